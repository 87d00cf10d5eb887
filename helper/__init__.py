"""The privileged side of tapdraft: taps and NAT, and nothing else.

Read it in this order: request, plan, ruleset, policy, apply, netlink, caps, __main__.
Nothing in here imports from the generator.
"""

__version__ = "0.1.0"
