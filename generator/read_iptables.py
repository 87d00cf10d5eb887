"""Rules of iptables as conditions on packets: reads what iptables-save gives.

nft shows a rule of iptables with its extensions left out, so these are read from iptables itself.
See iptables(8) and iptables-extensions(8). A condition that is not understood may hold or not.
"""

import shlex
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from .packets import NEVER, UNCLEAR, Chain, Field, Packet, Rule, Truth, Verdict, all_of

_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
_HOOKS = {name.upper(): name for name in ("prerouting", "input", "forward", "output")}
_HOOKS["POSTROUTING"] = "postrouting"
_PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp"}
_TARGETS = {
    "ACCEPT": "accept",
    "DROP": "drop",
    "REJECT": "drop",
    "RETURN": "return",
    "DNAT": "dnat",
    "REDIRECT": "dnat",
    "NETMAP": "dnat",
    "SNAT": "accept",
    "MASQUERADE": "accept",
    "NFQUEUE": "accept",
    "QUEUE": "accept",
    "TPROXY": "accept",
}
# Conditions that hold for the usual packet: limits that it stays below.
_USUAL = {"--limit", "--hashlimit-upto", "--hashlimit", "--connlimit-upto"}
# Options that are no conditions of their own.
_PART = {
    "--limit-burst",
    "--comment",
    "--hashlimit-burst",
    "--hashlimit-mode",
    "--hashlimit-name",
    "--hashlimit-htable-expire",
    "--hashlimit-htable-size",
    "--hashlimit-htable-max",
    "--hashlimit-htable-gcinterval",
    "--hashlimit-srcmask",
    "--hashlimit-dstmask",
    "--loose",
    "--validmark",
    "--accept-local",
    "--connlimit-mask",
    "--connlimit-saddr",
    "--connlimit-daddr",
    "--limit-iface-in",
    "--limit-iface-out",
    "--mask",
    "--rsource",
    "--rdest",
    "--name",
}


def chains(text: str, source: str) -> list[Chain]:
    """All chains of what iptables-save wrote; `source` is iptables-nft or iptables-legacy."""
    table = ""
    heads: dict[tuple[str, str], str] = {}
    rules: dict[tuple[str, str], list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            heads[table, name] = policy
        elif line.startswith("-A "):
            rules.setdefault((table, line.split()[1]), []).append(line)
    found = []
    for (table, name), policy in heads.items():
        hook = _HOOKS.get(name, "") if policy != "-" else ""
        own = {name for of, name in heads if of == table}
        priority = _PRIORITIES.get(table, -100 if name in ("PREROUTING", "OUTPUT") else 100)
        found.append(
            Chain(
                source,
                "ip",
                table,
                name,
                tuple(_rule(line, own) for line in rules.get((table, name), ())),
                hook,
                priority,
                "drop" if policy == "DROP" else "accept",
                (),
                "nat" if table == "nat" else "filter",
            )
        )
    return found


def sets_marks(text: str) -> bool:
    """Does any rule give packets a mark?"""
    return any(word in text for word in ("-j MARK", "-j CONNMARK", "--restore-mark"))


def _rule(line: str, own: set[str]) -> Rule:
    words = shlex.split(line)[2:]
    conditions, verdict = list(_options(words)), _verdict(words, own)

    def outcomes(packet: Packet) -> list[tuple[Truth, Verdict]]:
        if verdict is None:
            return []
        return [(all_of([_holds(*condition, packet) for condition in conditions]), verdict)]

    return Rule(line, outcomes)


def _verdict(words: list[str], own: set[str]) -> Verdict | None:
    for at, word in enumerate(words[:-1]):
        if word in ("-j", "-g"):
            target = words[at + 1]
            if target in own:
                return Verdict("jump" if word == "-j" else "goto", target)
            to = (
                "".join(words[words.index("--to-destination") + 1 :][:1])
                if ("--to-destination" in words)
                else "this host"
            )
            kind = _TARGETS.get(target)
            return Verdict(kind, to if kind == "dnat" else "") if kind else None
    return None


def _options(words: list[str]) -> Iterator[tuple[str, bool, list[str]]]:
    """Each condition: its option, whether it is negated, its arguments."""
    module, negated, at = "", False, 0
    invert = "--invert" in words
    while at < len(words) and words[at] not in ("-j", "-g"):
        word = words[at]
        at += 1
        if word == "!":
            negated = True
            continue
        arguments = []
        while at < len(words) and words[at] != "!" and not words[at].startswith("-"):
            arguments.append(words[at])
            at += 1
        if word == "-m":
            module = "".join(arguments)
            if module == "rpfilter":
                yield "rpfilter", invert, []
        elif word not in _PART and word != "--invert":
            yield word, negated, arguments
        negated = False


def _holds(option: str, negated: bool, arguments: list[str], packet: Packet) -> Truth:
    try:
        truth = _plain(option, "".join(arguments[:1]), arguments, packet)
    except ValueError:
        truth = Truth(negated, False)  # not understood: the usual packet is no exception
        return truth
    if truth is None:
        return NEVER  # the packet has no such field
    return Truth(not truth.holds, truth.sure) if negated else truth


def _plain(option: str, word: str, words: list[str], packet: Packet) -> Truth | None:
    """The condition without its negation. ValueError for what is not understood."""
    if option == "rpfilter":
        return Truth(True)
    if option in _USUAL:
        return Truth(True, False)
    if option.startswith("--physdev"):
        return Truth(False)  # taps are routed, not bridged
    if option == "--syn":
        option, words = "--tcp-flags", ["FIN,SYN,RST,ACK", "SYN"]
    if option == "--tcp-flags":
        flags = packet.get("flags")
        mask, wanted = (set() if w == "NONE" else set(w.lower().split(",")) for w in words)
        return flags and Truth(flags.value & mask == wanted, flags.known)
    if option in ("-i", "-o", "--in-interface", "--out-interface"):
        name = packet.get(f"{option.strip('-')[0]}ifname")
        return name and Truth(_named(str(name.value), word), name.known)
    if option in ("--ctstate", "--state", "--ctstatus"):
        return _flagged(packet, word)
    if option in _FIELDS:
        field = packet.get(_FIELDS[option])
        return field and Truth(_within(field, word), field.known)
    raise ValueError(option)


_FIELDS = {
    "-s": "saddr",
    "-d": "daddr",
    "--src-range": "saddr",
    "--dst-range": "daddr",
    "-p": "l4proto",
    "--sport": "sport",
    "--dport": "dport",
    "--sports": "sport",
    "--dports": "dport",
    "--src-group": "iifgroup",
    "--dst-group": "oifgroup",
    "--mark": "mark",
    "--dst-type": "type",
}


def _named(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("+") else name == pattern


def _flagged(packet: Packet, word: str) -> Truth | None:
    """SNAT and DNAT are states to iptables."""
    state, status = packet.get("state"), packet.get("status", Field(frozenset()))
    if state is None:
        return None
    wanted = {one.lower() for one in word.split(",")}
    return Truth(bool({state.value, *status.value} & wanted), state.known and status.known)


def _within(field: Field, word: str) -> bool:
    """Is the value among those that the argument means? ValueError if that is not clear."""
    value = field.value
    if field == UNCLEAR or value is None:
        raise ValueError(word)
    if isinstance(value, IPv4Address):
        first, dash, last = word.partition("-")
        if dash:
            return IPv4Address(first) <= value <= IPv4Address(last)
        return value in IPv4Network(word, strict=False)
    if isinstance(value, int):
        return any(_number(value, one) for one in word.split(","))
    if word == "all":
        return True
    return str(value).lower() == _PROTOCOLS.get(word, word).lower()


def _number(value: int, word: str) -> bool:
    if "/" in word:
        wanted, mask = (int(part, 0) for part in word.split("/"))
        return value & mask == wanted
    first, colon, last = word.partition(":")
    if colon:
        return int(first or 0) <= value <= int(last or 65535)
    return value == int(word, 0)
