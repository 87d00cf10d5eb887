"""The privileged side of tapdraft: taps and NAT, and nothing else.

Read it in this order: request, plan, ruleset.nft, policy, caps, __main__, state, apply, netlink,
firewall, host. Neither preview nor commands is ever imported while there is a capability.
Nothing in here imports from the generator.
"""

__version__ = "0.1.0"
PROGRAM = "/usr/local/libexec/tapdraft/tapdraft-helper"  # as it is installed, for hints
