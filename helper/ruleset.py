"""The firewall: one nftables table, the same for one tap and for ten thousand.

It matches the device group of a tap, never names or addresses. Every rule is written once, of
terms that know both their text, as nft prints it, and their netlink expressions: the script and
the helper cannot differ. Numbers are those of linux/netfilter/nf_tables.h.

It needs Linux 5.7 or newer, where the postrouting hook knows the interface a packet came in by.
"""

import struct
from typing import NamedTuple

FAMILY, NAME = "inet", "tapdraft"
TABLE = (FAMILY, NAME)
UPLINKS, FORWARDS = "uplinks", "forwards"
# The mark by which the table is known as ours; the number goes up when the rules change.
COMMENT = "tapdraft 1: removed with the last tap"

REGISTER, VERDICT = 1, 0  # NFT_REG_1, NFT_REG_VERDICT
SECOND = 9  # NFT_REG32_01: the second field of a concatenation that begins in NFT_REG_1
DROP, ACCEPT, JUMP = 0, 1, -3
EQUAL, UNEQUAL = 0, 1


def attribute(kind: int, payload: bytes) -> bytes:
    """A netlink attribute, padded to four bytes (RFC 3549, section 2.3)."""
    return struct.pack("=HH", len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def nest(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | 0x8000, b"".join(attributes))  # NLA_F_NESTED


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">i" if value < 0 else ">I", value))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode("ascii") + b"\0")


def comment(value: str) -> bytes:
    """User data as nft writes a comment: type 0, the length, the text with its NUL."""
    return bytes((0, len(value) + 1)) + value.encode("ascii") + b"\0"


def _expression(name: str, *attributes: bytes) -> bytes:
    return nest(1, text(1, name), nest(2, *attributes))


def _data(kind: int, value: bytes) -> bytes:
    return nest(kind, attribute(1, value))  # NFTA_DATA_VALUE


def _host(value: int) -> bytes:
    return struct.pack("=I", value)  # what meta, ct and fib load is in the machine's own order


def _meta(key: int) -> bytes:
    return _expression("meta", number(1, REGISTER), number(2, key))


def _ct(key: int) -> bytes:
    return _expression("ct", number(1, REGISTER), number(2, key))


def _payload(base: int, offset: int, length: int, register: int = REGISTER) -> bytes:
    return _expression(
        "payload", number(1, register), number(2, base), number(3, offset), number(4, length)
    )


def _mask(mask: bytes) -> bytes:
    size = number(3, len(mask))
    into = (number(1, REGISTER), number(2, REGISTER), size, number(6, 0))  # NFT_BITWISE_BOOL
    return _expression("bitwise", *into, _data(4, mask), _data(5, b"\0" * len(mask)))


def _compare(value: bytes, operator: int = EQUAL) -> bytes:
    return _expression("cmp", number(1, REGISTER), number(2, operator), _data(3, value))


def _load(value: bytes, register: int = REGISTER) -> bytes:
    return _expression("immediate", number(1, register), _data(2, value))


def _verdict(code: int, chain: str = "") -> bytes:
    to_chain = (text(2, chain),) if chain else ()
    verdict = nest(2, number(1, code), *to_chain)  # NFTA_DATA_VERDICT
    return _expression("immediate", number(1, VERDICT), nest(2, verdict))


def _set_port(offset: int, port: int) -> bytes:
    """Write a UDP port and mend the checksum, which stands at offset 6 (RFC 768)."""
    where = (number(1 + 4, REGISTER), number(2, 2), number(3, offset), number(4, 2))
    checksum = (number(6, 1), number(7, 6), number(8, 0))  # NFT_PAYLOAD_CSUM_INET
    return _load(struct.pack(">H", port)) + _expression("payload", *where, *checksum)


class Term(NamedTuple):
    """A part of a rule: as text, and as the netlink expressions that the text stands for."""

    text: str
    expressions: bytes


_IPV4 = _meta(15) + _compare(b"\x02")  # NFT_META_NFPROTO
_UDP = _meta(16) + _compare(b"\x11")  # NFT_META_L4PROTO


def _group(key: str, mask: int, value: int, operator: int, words: str) -> Term:
    load = _meta({"iifgroup": 20, "oifgroup": 21}[key])
    return Term(f"{key} {words}", load + _mask(_host(mask)) + _compare(_host(value), operator))


def _tap(key: str) -> Term:
    return _group(key, 0xFFFFFFF8, 0x7400, EQUAL, "29696/29")


def _bits(key: str, mask: int, value: int) -> Term:
    return _group(key, mask, value, EQUAL, f"& 0x{mask:x} == 0x{value:x}")


def _uplink(key: str) -> Term:
    load = _meta({"iifname": 6, "oifname": 7}[key])
    lookup = _expression("lookup", text(1, UPLINKS), number(2, REGISTER))
    return Term(f"{key} @{UPLINKS}", load + lookup)


def _ports(source: int, destination: int) -> Term:
    ports = struct.pack(">HH", source, destination)
    return Term(
        f"udp sport {source} udp dport {destination}", _UDP + _payload(2, 0, 4) + _compare(ports)
    )


def _address(field: str, words: str, address: str, mask: str = "") -> Term:
    load = _IPV4 + _payload(1, {"saddr": 12, "daddr": 16}[field], 4)
    masked = _mask(bytes.fromhex(mask)) if mask else b""
    return Term(f"ip {field} {words}", load + masked + _compare(bytes.fromhex(address)))


def _masquerade(protocol: str, code: int) -> Term:
    # A guest must not come out at a reserved port: old services trust those.
    match = _meta(16) + _compare(bytes((code,)))
    low, high = _load(struct.pack(">H", 1024)), _load(struct.pack(">H", 65535), REGISTER + 1)
    # NF_NAT_RANGE_PROTO_SPECIFIED
    masq = _expression("masq", number(1, 2), number(2, REGISTER), number(3, REGISTER + 1))
    return Term(f"meta l4proto {protocol} masquerade to :1024-65535", match + low + high + masq)


_NOT_TAP = _group("iifgroup", 0xFFFFFFF8, 0x7400, UNEQUAL, "!= 29696/29")
_NOT_MASQUERADED = _group("iifgroup", 0xFFFFFFFA, 0x7402, UNEQUAL, "& 0xfffffffa != 0x7402")
_ACCEPT = Term("accept", _verdict(ACCEPT))
_DROP = Term("drop", _verdict(DROP))
_COUNTER = Term("counter", _expression("counter", attribute(1, bytes(8)), attribute(2, bytes(8))))
_KNOWN = Term(
    "ct state established,related", _ct(0) + _mask(_host(6)) + _compare(_host(0), UNEQUAL)
)
_FORWARDED = Term("ct status dnat", _ct(2) + _mask(_host(32)) + _compare(_host(0), UNEQUAL))
_IPV6 = Term("meta nfproto ipv6", _meta(15) + _compare(b"\x0a"))
_PING = Term(
    "icmp type echo-request",
    _IPV4 + _meta(16) + _compare(b"\x01") + _payload(2, 0, 1) + _compare(b"\x08"),
)
# NFTA_FIB_F_SADDR|IIF, and NFT_FIB_RESULT_OIF: 0 where the way back is not the way in.
_SPOOFED = Term(
    "fib saddr . iif oif 0",
    _expression("fib", number(1, REGISTER), number(2, 1), number(3, 1 | 8)) + _compare(_host(0)),
)
# NFTA_FIB_F_DADDR, NFT_FIB_RESULT_ADDRTYPE, RTN_LOCAL.
_TO_HOST = Term(
    "fib daddr type local",
    _expression("fib", number(1, REGISTER), number(2, 3), number(3, 2)) + _compare(_host(2)),
)
_HAND_ON = Term(
    f"dnat ip to meta l4proto . th dport map @{FORWARDS}",
    _meta(16)
    + _payload(2, 2, 2, SECOND)
    + _expression("lookup", text(1, FORWARDS), number(2, REGISTER), number(3, REGISTER))
    # NF_NAT_RANGE_MAP_IPS|PROTO_SPECIFIED; NFT_NAT_DNAT, NFPROTO_IPV4.
    + _expression(
        "nat", number(1, 1), number(2, 2),
        number(3, REGISTER), number(4, REGISTER), number(5, SECOND), number(6, SECOND),
        number(7, 3),
    ),
)  # fmt: skip


def _jump(chain: str) -> Term:
    return Term(f"jump {chain}", _verdict(JUMP, chain))


class Rule(NamedTuple):
    """A rule: its terms in order, and why it is there."""

    terms: tuple[Term, ...]
    why: str

    @property
    def text(self) -> str:
        return " ".join(term.text for term in self.terms)

    @property
    def expressions(self) -> bytes:
        return b"".join(term.expressions for term in self.terms)


def _rule(why: str, *terms: Term) -> Rule:
    return Rule(terms, why)


class Hook(NamedTuple):
    """Where a base chain is called from."""

    kind: str  # "filter" or "nat"
    name: str
    number: int  # enum nf_inet_hooks
    words: str  # the priority as nft prints it
    priority: int


class Chain(NamedTuple):
    name: str
    hook: "Hook | None"
    rules: tuple[Rule, ...]


CHAINS = (
    Chain(
        "from_guest",
        Hook("filter", "prerouting", 0, "raw", -300),
        (
            _rule("Only what comes from a tap concerns this chain.", _NOT_TAP, _ACCEPT),
            _rule("The guest has no IPv6 here.", _IPV6, _DROP),
            _rule(
                "DHCP without privilege: the server listens on 10067 instead of 67.",
                _ports(68, 67), Term("udp dport set 10067", _set_port(2, 10067)), _ACCEPT,
            ),
            _rule("Nothing but DHCP comes from no address.",
                  _address("saddr", "0.0.0.0", "00000000"), _DROP),
            _rule("A guest speaks for its own address only.", _SPOOFED, _COUNTER, _DROP),
        ),
    ),
    Chain(
        "to_guest",
        Hook("filter", "postrouting", 4, "300", 300),
        (
            _rule(
                "DHCP's answer comes from port 67, as guests expect.",
                _tap("oifgroup"), _ports(10067, 68), Term("udp sport set 67", _set_port(0, 67)),
            ),
        ),
    ),
    Chain(
        "host",
        Hook("filter", "input", 1, "filter", 0),
        (
            _rule("Only what comes from a tap concerns this chain.", _NOT_TAP, _ACCEPT),
            _rule("host=open", _bits("iifgroup", 4, 4), _ACCEPT),
            _rule("Answers to what the host began.", _KNOWN, _ACCEPT),
            _rule("The guest may ping its gateway.", _PING, _ACCEPT),
            _rule("DHCP, on its rewritten port.", _ports(68, 10067), _ACCEPT),
            _rule("host=closed: nothing else.", _COUNTER, _DROP),
        ),
    ),
    Chain(
        "forward",
        Hook("filter", "forward", 2, "filter", 0),
        (
            _rule("What guests send.", _tap("iifgroup"), _jump("leaving")),
            _rule("What guests are sent.", _tap("oifgroup"), _jump("entering")),
        ),
    ),
    Chain(
        "leaving",
        None,
        (
            _rule(
                "Link-local addresses are never forwarded (RFC 3927, 7); clouds keep"
                " credentials there.",
                _address("daddr", "169.254.0.0/16", "a9fe0000", "ffff0000"), _COUNTER, _DROP,
            ),
            _rule("nat and routed guests may leave, through uplinks only.",
                  _bits("iifgroup", 1, 1), _uplink("oifname"), _ACCEPT),
            _rule("Answers of an isolated guest to a forwarded port.",
                  _KNOWN, _uplink("oifname"), _ACCEPT),
            _rule("Nothing else: no other guest, no other network.", _COUNTER, _DROP),
        ),
    ),
    Chain(
        "entering",
        None,
        (
            _rule("Answers to what the guest began.", _KNOWN, _ACCEPT),
            _rule("Forwarded ports.", _FORWARDED, _ACCEPT),
            _rule("routed: the outside may begin.",
                  _bits("oifgroup", 3, 1), _uplink("iifname"), _ACCEPT),
            _rule("Nothing else.", _COUNTER, _DROP),
        ),
    ),
    Chain(
        "forward_ports",
        Hook("nat", "prerouting", 0, "dstnat", -100),
        (
            _rule("Only what is meant for this host, not what it routes for others.",
                  _uplink("iifname"), _TO_HOST, _HAND_ON),
        ),
    ),
    Chain(
        "hide",
        Hook("nat", "postrouting", 4, "srcnat", 100),
        (
            _rule("Only guests in mode nat.", _NOT_MASQUERADED, _ACCEPT),
            _rule("No multicast, no broadcast.",
                  _address("daddr", "224.0.0.0/4", "e0000000", "f0000000"), _ACCEPT),
            _rule("", _address("daddr", "255.255.255.255", "ffffffff"), _ACCEPT),
            _rule("A guest comes out at no reserved port: old services trust those.",
                  _masquerade("tcp", 6)),
            _rule("", _masquerade("udp", 17)),
            _rule("", Term("masquerade", _expression("masq"))),
        ),
    ),
)  # fmt: skip


def ruleset_text() -> str:
    """The whole table as `nft -f` reads it, each rule below its reason."""
    sets = (
        f"\tset {UPLINKS} {{\n\t\ttype ifname\n\t}}\n",
        f"\tmap {FORWARDS} {{\n\t\ttype inet_proto . inet_service : ipv4_addr . inet_service\n\t}}\n",
    )
    chains = (_chain_text(chain) for chain in CHAINS)
    body = "\n".join((f'\tcomment "{COMMENT}"\n', *sets, *chains))
    return f"table {FAMILY} {NAME} {{\n{body}}}\n"


def _chain_text(chain: Chain) -> str:
    lines = []
    if chain.hook:
        hook = f"hook {chain.hook.name} priority {chain.hook.words}; policy accept;"
        lines.append(f"type {chain.hook.kind} {hook}")
    for rule in chain.rules:
        lines += [f"# {rule.why}"] if rule.why else []
        lines.append(rule.text)
    return f"\tchain {chain.name} {{\n" + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n"
