#!/usr/bin/python3
"""Compile the firewall: ruleset.nft, as nft reads it, to the netlink messages that load it.

    compile_ruleset.py helper/ruleset.nft > ruleset.bin

A part of the build, as the compiler of the launcher is: the helper only sends what is ready. A rule
is made of terms from the closed list below, each with the expressions that it stands for; anything
else in the file is an error. A test loads both forms into a kernel and compares them. Numbers are
those of linux/netfilter/nf_tables.h, in the byte order of the machine that builds.
"""

import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

REQUEST, EXCL, CREATE, APPEND = 1, 0x200, 0x400, 0x800
NFTABLES, INET = 10 << 8, 1
NEWTABLE, NEWCHAIN, NEWRULE, NEWSET = 0, 3, 6, 9
# nft's own numbers of types, and their sizes: each of a concatenation takes six bits, and a
# multiple of four bytes.
TYPES = {"ifname": (41, 16), "inet_proto": (12, 4), "inet_service": (13, 4), "ipv4_addr": (7, 4)}
HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "postrouting": 4}
PRIORITIES = {"raw": -300, "filter": 0}

_REGISTER, _SECOND = 1, 9  # NFT_REG_1, and the second field of a concatenation that begins in it
_EQUAL, _UNEQUAL = 0, 1


def attribute(kind: int, payload: bytes) -> bytes:
    """A netlink attribute, padded to four bytes (RFC 3549, section 2.3)."""
    return struct.pack("=HH", len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


def nest(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | 0x8000, b"".join(attributes))  # NLA_F_NESTED


def number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack(">i" if value < 0 else ">I", value))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode("ascii") + b"\0")


def _expression(name: str, *attributes: bytes) -> bytes:
    return nest(1, text(1, name), nest(2, *attributes))


def _load(name: str, key: int) -> bytes:
    return _expression(name, number(1, _REGISTER), number(2, key))


def _data(kind: int, value: bytes) -> bytes:
    return nest(kind, attribute(1, value))


def _host(value: int) -> bytes:
    return struct.pack("=I", value)  # what meta, ct and fib load is in the machine's own order


def _payload(base: int, offset: int, length: int, register: int = _REGISTER) -> bytes:
    where = (number(2, base), number(3, offset), number(4, length))
    return _expression("payload", number(1, register), *where)


def _mask(mask: bytes) -> bytes:
    size = (number(1, _REGISTER), number(2, _REGISTER), number(3, len(mask)), number(6, 0))
    return _expression("bitwise", *size, _data(4, mask), _data(5, bytes(len(mask))))


def _compare(value: bytes, operator: int = _EQUAL) -> bytes:
    return _expression("cmp", number(1, _REGISTER), number(2, operator), _data(3, value))


def _immediate(value: bytes, register: int = _REGISTER) -> bytes:
    return _expression("immediate", number(1, register), _data(2, value))


def _verdict(code: int, *chain: bytes) -> bytes:
    verdict = nest(2, nest(2, number(1, code), *chain))
    return _expression("immediate", number(1, 0), verdict)


def _group(key: int, mask: int, value: int, operator: int = _EQUAL) -> bytes:
    return _load("meta", key) + _mask(_host(mask)) + _compare(_host(value), operator)


def _name_in(key: int, name: str) -> bytes:
    return _load("meta", key) + _expression("lookup", text(1, name), number(2, _REGISTER))


def _protocol(code: int) -> bytes:
    return _L4 + _compare(bytes((code,)))


def _icmp(kind: int) -> bytes:
    return _IPV4 + _protocol(1) + _payload(2, 0, 1) + _compare(bytes((kind,)))


def _ct_state(bits: int) -> bytes:
    return _load("ct", 0) + _mask(_host(bits)) + _compare(_host(0), _UNEQUAL)


def _socket(wildcard: int) -> bytes:
    """Is there a socket for the packet, and is it bound to any address (1) or to one (0)?"""
    look = _expression("socket", number(1, 2), number(2, _REGISTER))
    return look + _compare(bytes((wildcard,)))


def _count(most: int) -> bytes:
    """One more connection in the set, for this interface; it goes on where there are too many."""
    limit = nest(7, text(1, "connlimit"), nest(2, number(1, most), number(2, 1)))
    where = (text(1, "connections"), number(3, 0), number(4, _REGISTER))
    return _load("meta", _IIFNAME) + _expression("dynset", *where, limit)


def _rate(most: int, burst: int) -> bytes:
    """One more packet in this second, of this interface; it goes on where there are too many."""
    often = attribute(1, struct.pack(">Q", most)) + attribute(2, struct.pack(">Q", 1))
    limit = nest(7, text(1, "limit"), nest(2, often, number(3, burst), number(4, 0), number(5, 1)))
    where = (text(1, "begun"), number(3, 1), number(4, _REGISTER))
    return _load("meta", _IIFNAME) + _expression("dynset", *where, limit)


def _udp(source: int, destination: int) -> bytes:
    return _protocol(17) + _payload(2, 0, 4) + _compare(_ports(source, destination))


def _set_udp(offset: int, value: int) -> bytes:
    """Write a field of the UDP header and mend the checksum, at offset 6 (RFC 768)."""
    where = (number(5, _REGISTER), number(2, 2), number(3, offset), number(4, 2))
    write = _expression("payload", *where, number(6, 1), number(7, 6), number(8, 0))
    return _immediate(_ports(value)) + write


def _ports(*ports: int) -> bytes:
    return b"".join(port.to_bytes(2, "big") for port in ports)


def _address(offset: int, address: str, mask: str = "") -> bytes:
    masked = _mask(bytes.fromhex(mask)) if mask else b""
    return _IPV4 + _payload(1, offset, 4) + masked + _compare(bytes.fromhex(address))


def _masquerade(code: int) -> bytes:
    low, high = _immediate(_ports(61000)), _immediate(_ports(65535), _REGISTER + 1)
    masq = _expression("masq", number(1, 2), number(2, _REGISTER), number(3, _REGISTER + 1))
    return _protocol(code) + low + high + masq


def _fib(flags: int, result: int, value: int) -> bytes:
    fib = (number(1, _REGISTER), number(2, result), number(3, flags))
    return _expression("fib", *fib) + _compare(_host(value))


_IIFGROUP, _OIFGROUP, _IIFNAME, _OIFNAME, _IIFKIND, _OIFKIND = 21, 22, 6, 7, 26, 27
_L4 = _load("meta", 16)
_IPV4 = _load("meta", 15) + _compare(b"\x02")
_SADDR, _DADDR = 12, 16

TERMS = {
    "accept": _verdict(1),
    "drop": _verdict(0),
    "return": _verdict(-5),
    "jump errors": _verdict(-3, text(2, "errors")),
    "jump leaving": _verdict(-3, text(2, "leaving")),
    "jump entering": _verdict(-3, text(2, "entering")),
    "jump passing": _verdict(-3, text(2, "passing")),
    "jump hiding": _verdict(-3, text(2, "hiding")),
    "counter": _expression("counter", attribute(1, bytes(8)), attribute(2, bytes(8))),
    "iifgroup 29696/29": _group(_IIFGROUP, 0xFFFFFFF8, 0x7400),
    "iifgroup != 29696/29": _group(_IIFGROUP, 0xFFFFFFF8, 0x7400, _UNEQUAL),
    "iifgroup & 0x4 == 0x4": _group(_IIFGROUP, 4, 4),
    "iifgroup & 0x3 == 0x1": _group(_IIFGROUP, 3, 1),
    "iifgroup & 0x3 == 0x3": _group(_IIFGROUP, 3, 3),
    "iifgroup & 0xfffffffa == 0x7402": _group(_IIFGROUP, 0xFFFFFFFA, 0x7402),
    "oifgroup 29696/29": _group(_OIFGROUP, 0xFFFFFFF8, 0x7400),
    "oifgroup & 0x3 == 0x1": _group(_OIFGROUP, 3, 1),
    "iifname @uplinks": _name_in(_IIFNAME, "uplinks"),
    "oifname @uplinks": _name_in(_OIFNAME, "uplinks"),
    "iifname @opened": _name_in(_IIFNAME, "opened"),
    "oifname @opened": _name_in(_OIFNAME, "opened"),
    'meta iifkind "bridge"': _load("meta", _IIFKIND) + _compare(b"bridge".ljust(16, b"\0")),
    'meta oifkind "bridge"': _load("meta", _OIFKIND) + _compare(b"bridge".ljust(16, b"\0")),
    "meta nfproto ipv6": _load("meta", 15) + _compare(b"\x0a"),
    "udp sport 68 udp dport 67": _udp(68, 67),
    "udp sport 68 udp dport 10067": _udp(68, 10067),
    "udp sport 10067 udp dport 68": _udp(10067, 68),
    "udp dport set 10067": _set_udp(2, 10067),
    "udp sport set 67": _set_udp(0, 67),
    "udp checksum set 0": _set_udp(6, 0),
    "udp dport 68": _protocol(17) + _payload(2, 2, 2) + _compare(_ports(68)),
    "icmp type destination-unreachable": _icmp(3),
    "icmp type source-quench": _icmp(4),
    "icmp type redirect": _icmp(5),
    "icmp type echo-request": _icmp(8),
    "icmp type time-exceeded": _icmp(11),
    "icmp type parameter-problem": _icmp(12),
    "tcp flags & (fin | syn | rst | ack) != syn": _protocol(6)
    + _payload(2, 13, 1)
    + _mask(b"\x17")
    + _compare(b"\x02", _UNEQUAL),
    "@nh,96,32 set @th,192,32": _payload(2, 24, 4)
    + _expression(
        "payload",
        number(5, _REGISTER),
        number(2, 1),
        number(3, _SADDR),
        number(4, 4),
        number(6, 0),
        number(7, 0),
    ),
    "ip saddr 0.0.0.0": _address(_SADDR, "00000000"),
    "ip daddr 127.0.0.0/8": _IPV4 + _payload(1, _DADDR, 1) + _compare(b"\x7f"),
    "ip daddr 169.254.0.0/16": _IPV4 + _payload(1, _DADDR, 2) + _compare(b"\xa9\xfe"),
    "ip daddr 224.0.0.0/4": _address(_DADDR, "e0000000", "f0000000"),
    "ip daddr 255.255.255.255": _address(_DADDR, "ffffffff"),
    "ct state new": _ct_state(8),
    "ct state established": _ct_state(2),
    "ct state related": _ct_state(4),
    "ct state established,related": _ct_state(6),
    "ct status dnat": _load("ct", 2) + _mask(_host(32)) + _compare(_host(0), _UNEQUAL),
    "meta l4proto tcp": _protocol(6),
    "meta l4proto udp": _protocol(17),
    "meta l4proto icmp": _protocol(1),
    "socket wildcard 0": _socket(0),
    "socket wildcard 1": _socket(1),
    "add @connections { iifname ct count over 2048 }": _count(2048),
    "update @begun { iifname limit rate over 256/second burst 2048 packets }": _rate(256, 2048),
    "fib saddr . iif oif 0": _fib(1 | 8, 1, 0),
    "fib daddr type local": _fib(2, 3, 2),
    "dnat ip to meta l4proto . th dport map @forwards": _L4
    + _payload(2, 2, 2, _SECOND)
    + _expression("lookup", text(1, "forwards"), number(2, _REGISTER), number(3, _REGISTER))
    + _expression(
        "nat",
        number(1, 1),
        number(2, 2),
        *(number(kind, _REGISTER) for kind in (3, 4)),
        *(number(kind, _SECOND) for kind in (5, 6)),
        number(7, 3),
    ),
    "meta l4proto tcp masquerade to :61000-65535": _masquerade(6),
    "meta l4proto udp masquerade to :61000-65535": _masquerade(17),
    "masquerade": _expression("masq"),
}


def messages(source: str) -> Iterator[bytes]:
    """The messages of one transaction without what begins and ends it. KeyError for a term that is
    not in TERMS."""
    name = re.findall(r"^table inet (\w+) {$", source, re.M)[0]
    table = text(1, name)
    remark = re.findall(r'^\tcomment "(.*)"$', source, re.M)[0].encode("ascii") + b"\0"
    # User data as nft writes a comment: type 0, the length, the text with its NUL.
    said = attribute(6, bytes((0, len(remark))) + remark)
    yield _message(NEWTABLE, CREATE | EXCL, table + said)
    dynamic_set = r"(?:\t\tsize (\d+)\n\t\tflags (dynamic)(?:,timeout\n\t\ttimeout (\d+)m)?\n)?"
    sets = re.findall(rf"^\t(?:set|map) (\w+) {{\n\t\ttype (.*)\n{dynamic_set}", source, re.M)
    for order, (name, types, size, dynamic, minutes) in enumerate(sets, 1):
        described = _types(types, 0x20 * bool(dynamic) | 0x10 * bool(minutes)) + number(10, order)
        described += nest(9, number(1, int(size))) if size else b""
        described += attribute(11, struct.pack(">Q", int(minutes) * 60000)) if minutes else b""
        yield _message(NEWSET, CREATE, table + text(2, name) + described)
    chains = [_chain(words) for words in source.split("\tchain ")[1:]]
    for name, hook, _ in chains:
        yield _message(NEWCHAIN, CREATE, table + text(3, name) + hook)
    for name, _, rules in chains:
        for rule in rules:
            yield _message(NEWRULE, CREATE | APPEND, table + text(2, name) + nest(4, rule))


def _message(kind: int, flags: int, body: bytes) -> bytes:
    head = struct.pack("=IHHII", 20 + len(body), NFTABLES | kind, REQUEST | flags, 0, 0)
    return head + struct.pack("=Bxxx", INET) + body


def _types(words: str, more: int) -> bytes:
    key, colon, value = words.partition(" : ")
    kind, size = _type(key)
    # The last attribute tells nft the byte order of the key.
    order = attribute(13, b"\0\4\1\0\0\0") if not colon else b""
    flags = 8 * bool(colon) | more  # NFT_SET_MAP; NFT_SET_EVAL, NFT_SET_TIMEOUT
    described = number(3, flags) + number(4, kind) + number(5, size)
    if colon:
        kind, size = _type(value)
        described += number(6, kind) + number(7, size)
    return described + order


def _type(words: str) -> tuple[int, int]:
    kind = size = 0
    for word in words.split(" . "):
        kind, size = kind << 6 | TYPES[word][0], size + TYPES[word][1]
    return kind, size


def _chain(source: str) -> tuple[str, bytes, list[bytes]]:
    """Name, hook if it has one, and the expressions of each rule."""
    name, _, body = source.partition(" {\n")
    rules = [line.strip() for line in body.splitlines()]
    rules = [line for line in rules if line and line[0] not in "#}"]
    hook = _hook(rules.pop(0).split()) if rules[0].startswith("type ") else b""
    return name, hook, [_compile(rule) for rule in rules]


def _hook(words: list[str]) -> bytes:
    # type KIND hook HOOK priority PRIORITY; policy accept;
    place = number(1, HOOKS[words[3]]) + number(2, _priority(words[5].rstrip(";")))
    return nest(4, place) + number(5, 1) + text(7, words[1])


def _priority(word: str) -> int:
    return PRIORITIES[word] if word in PRIORITIES else int(word)


def _compile(rule: str) -> bytes:
    expressions, words = b"", rule.split(" ")
    while words:
        # The longest term that the rest begins with: some terms begin like others.
        size = next(n for n in range(len(words), -1, -1) if " ".join(words[:n]) in TERMS or not n)
        expressions += TERMS[" ".join(words[:size])]
        words = words[size:]
    return expressions


if __name__ == "__main__":
    sys.stdout.buffer.write(b"".join(messages(Path(sys.argv[1]).read_text("ascii"))))
