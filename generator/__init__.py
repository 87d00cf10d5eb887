"""The side of tapdraft without privilege: a description in, scripts and qemu commands out.

Read it in this order: model, description, requests, addressing, qemu, scripts, cli.
"""
