"""The manuals, the README and SECURITY.md say what the program does: no more and no less."""

import importlib.util
import re
import shlex
import subprocess
import syslog
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tapdraft.generator import addressing, cli
from tapdraft.generator.checks import finding
from tapdraft.generator.commands import listing
from tapdraft.generator.description import keys, parser, values
from tapdraft.generator.description.keys import GUEST_KEYS, NETWORK_KEYS
from tapdraft.generator.formats import DISK_FORMATS
from tapdraft.generator.machines import MACHINES
from tapdraft.generator.model import (
    ACCELERATORS,
    AUDIO,
    BUSES,
    DEFAULTS,
    DISPLAYS,
    FURTHER,
    GL,
    KINDS,
    LAYOUTS,
)
from tapdraft.generator.qemu import command as qemu
from tapdraft.generator.scripts import render
from tapdraft.helper import __main__ as helper
from tapdraft.helper import caller, errors, netlink, plan, policy, request
from tapdraft.helper.explain import commands

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "tapdraft.1",
    "tapdraft.toml.5",
    "tapdraft-policy.conf.5",
    "tapdraft-runqemu.7",
    "tapdraft-helper.8",
)
REQUEST = "up web 192.168.7.1/30 192.168.7.2 nat forward=tcp:8080:80"
ANEW = "python3 man/refresh.py writes it anew"
ROUTED = "up far 192.168.7.5/32 192.168.7.9"


def page(name: str) -> str:
    return (ROOT / "man" / name).read_text("utf-8")


def section(name: str, title: str) -> str:
    """A section's or subsection's mdoc, down to the next heading."""
    return re.split(r"^\.S[hs] ", page(name).split(f" {title}\n", 1)[1], maxsplit=1, flags=re.M)[0]


def items(text: str, macro: str) -> dict[str, str]:
    """What each list item with this macro is about, and the text that follows it."""
    parts = re.split(rf"^\.It {macro} ?", text, flags=re.M)[1:]
    return {(part.partition("\n")[0].split() or [""])[0]: part for part in parts}


def plain(text: str) -> str:
    """Words of mdoc without its macros, in one line."""
    lines = [re.sub(r"^\.[A-Z][a-z] ?", "", line) for line in text.splitlines()]
    return " ".join(" ".join(lines).replace("\\e", "\\").split())


def displays(name: str) -> list[str]:
    """The literal displays and one-line displays of a page, as a reader sees them."""
    found = re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed|^\.Dl (.*)$", page(name), re.M | re.S)
    return [(block or line).replace("\\e", "\\").replace("\\\n", "") for block, line in found]


def refused(reader: Callable[[Any], Any], value: Any) -> str:
    """What a reader of values says to a value that it does not take."""
    with pytest.raises(values.Wrong) as wrong:
        reader(value)
    return f"{wrong.value} {wrong.value.hint}"


def choices(reader: Callable[[Any], Any]) -> set[str]:
    """The words that a reader takes, where it takes one of some words."""
    try:
        reader("?")
    except values.Wrong as wrong:
        match = re.fullmatch("this is none of (.*)", str(wrong))
        return set(match[1].split(", ")) if match else set()
    return set()


DISK_KEYS = refused(keys._disk, {"?": 1}).partition("there are ")[2]
INTERFACE_KEYS = refused(keys._interface, {"?": 1}).partition("there are ")[2]
KEYS: dict[str, Iterable[str]] = {
    "The network": NETWORK_KEYS,
    "A guest": GUEST_KEYS,
    "A disk": DISK_KEYS.split(", "),
    "An interface": INTERFACE_KEYS.split(", "),
}


@pytest.mark.parametrize("title", KEYS)
def test_each_key_of_a_description_is_documented_and_no_other(title: str) -> None:
    assert set(items(section("tapdraft.toml.5", title), "Va")) == set(KEYS[title])


@pytest.mark.parametrize(
    ("title", "key", "words"),
    [
        ("The network", "mode", request.MODES),
        ("A guest", "machine", MACHINES),
        ("A guest", "accel", ACCELERATORS),
        ("A guest", "display", DISPLAYS),
        ("A guest", "addressing", addressing.WORDS),
        ("A guest", "network", KINDS),
        ("A guest", "gl", GL),
        ("A guest", "defaults", DEFAULTS),
        ("A guest", "audio", AUDIO),
        ("A disk", "bus", BUSES),
        ("An interface", "network", FURTHER),
        ("The network", "layout", LAYOUTS),
        ("A guest", "host", ("closed", "open")),
        ("A guest", "forward", request.PROTOCOLS),
        ("A disk", "format", DISK_FORMATS),
    ],
)
def test_each_word_that_a_key_takes_is_documented_and_no_other(
    title: str, key: str, words: Iterable[str]
) -> None:
    found = re.findall(
        r"^\.(?:It )?Cm (\S+)", items(section("tapdraft.toml.5", title), "Va")[key], re.M
    )
    assert set(found) == set(words)


def test_no_key_that_takes_one_of_some_words_is_missing_above() -> None:
    tables = {**NETWORK_KEYS, **GUEST_KEYS}
    found = {key for key, reader in tables.items() if choices(reader)}
    assert found == {
        "mode",
        "machine",
        "accel",
        "display",
        "addressing",
        "host",
        "layout",
        "network",
        "gl",
        "audio",
        "defaults",
    }


def test_the_documented_defaults_are_those_of_a_guest_with_nothing_but_a_kernel() -> None:
    described = parser.parse(b'[guest.web]\nkernel = "vmlinuz"\n')
    guest, keys = described.guests[0], items(section("tapdraft.toml.5", "A guest"), "Va")
    documented = {
        key: match[1]
        for key, text in keys.items()
        if (match := re.search(r"Default:\s+(?:\.Qq )?(\w+)", plain(text).replace(" .", ".")))
    }
    given = {
        "machine": guest.machine,
        "memory": guest.memory,
        "cpus": guest.cpus,
        "accel": guest.accel,
        "display": guest.display,
        "addressing": addressing.AUTO,
        "mtu": guest.mtu,
        "queues": guest.queues,
        "host": "open" if guest.host_open else "closed",
    }
    assert {key: documented[key].removeprefix("Qq") for key in given} == {
        key: str(value) for key, value in given.items()
    }
    assert f'"{described.network.subnet}"' in text_of("tapdraft.toml.5")
    assert f'Default: "{described.network.mode}"' in text_of("tapdraft.toml.5")


def test_each_command_and_option_of_tapdraft_is_documented_and_no_other() -> None:
    usage = str(cli.__doc__)
    accepted = set(re.findall(r"^  tapdraft ([a-z]+)", usage, re.M))
    assert set(items(section("tapdraft.1", "COMMANDS"), "Cm")) == accepted
    options = set(re.findall(r"--([a-z-]+)", usage))
    assert {name[1:] for name in items(section("tapdraft.1", "OPTIONS"), "Fl")} == options
    for option in options:
        assert f"-{option}" in section("tapdraft.1", "SYNOPSIS")


@pytest.mark.parametrize(
    ("option", "words"), [("-dialect", render.DIALECTS), ("-attach", qemu.ATTACHMENTS)]
)
def test_each_word_of_an_option_is_documented_and_no_other(
    option: str, words: Iterable[str]
) -> None:
    text = items(section("tapdraft.1", "OPTIONS"), "Fl")[option]
    assert set(re.findall(r"^\.It Cm (\w+)", text, re.M)) == set(words)


def test_each_variable_that_scripts_read_is_documented() -> None:
    templates = "".join(path.read_text("utf-8") for path in (ROOT / "templates").glob("*.j2"))
    read = set(re.findall(r"\bTAPDRAFT_[A-Z]+\b", templates))
    assert read == {v for v in items(section("tapdraft.1", "ENVIRONMENT"), "Ev") if "TAP" in v}


def test_what_programs_read_is_documented() -> None:
    json = items(section("tapdraft.1", "OPTIONS"), "Fl")["-json"]
    documented = re.findall(r"^\.It Va (\w+)", json, re.M)
    assert tuple(documented) == listing.Row._fields + finding.Finding._fields


def test_each_option_of_the_helper_is_documented_and_no_other() -> None:
    source = Path(str(helper.__file__)).read_text("utf-8")
    accepted = set(re.findall(r'"--([a-z-]+)=?["[]', source))
    documented = {name[1:] for name in items(section("tapdraft-helper.8", "OPTIONS"), "Fl")}
    assert documented - {""} == accepted
    assert accepted <= set(re.findall(r"--([a-z-]+)", str(helper.__doc__)))


def test_each_word_of_a_request_is_documented_and_no_other() -> None:
    documented = set(items(section("tapdraft-helper.8", "Requests"), "Cm"))
    grammar = str(request.__doc__).partition("\n\n")[2].partition("\n\n")[0]
    words = set(re.findall(r"\b[a-z]+=", grammar)) | set(request.MODES) | {"up", "down"}
    assert documented == words
    examples = {
        "host=": "open",
        "uplink=": "eth0",
        "forward=": "udp:53:5353",
        "mtu=": "1400",
        "queues=": "2",
    }
    for word in words - {"up", "down"}:
        request.parse(f"up web 192.168.7.1/30 192.168.7.2 {word}{examples.get(word, '')}")


def test_each_key_of_the_policy_is_documented_and_no_other() -> None:
    documented = items(section("tapdraft-policy.conf.5", "Keys"), "Va")
    assert set(documented) == set(policy.KEYS)


def test_the_modes_that_the_policy_takes_are_documented() -> None:
    text = items(section("tapdraft-policy.conf.5", "Keys"), "Va")["modes"]
    assert set(re.findall(r"^\.Cm (\w+)", text, re.M)) == set(request.MODES)


def all_operations() -> list[plan.Operation]:
    """One of each, as the manual's example has them."""
    uplinks = (plan.Uplink("eth0", "0"),)
    up = plan.plan_up(request.parse(REQUEST), "1000", uplinks)
    route = plan.plan_up(request.parse(ROUTED), "1000", uplinks)
    down = plan.plan_down(("td-web",), (("tcp", 8080),)) + plan.plan_last(uplinks)
    first: dict[type, plan.Operation] = {}
    for operation in (*up, *route, *down, plan.RemoveUplink("eth0", "0")):
        first.setdefault(type(operation), operation)
    assert set(first) == set(typing.get_args(plan.Operation))
    return list(first.values())


def test_each_operation_is_documented_and_no_other() -> None:
    documented = items(section("tapdraft-helper.8", "WHAT IT CHANGES"), "Sy")
    assert set(documented) == {type(operation).__name__ for operation in all_operations()}
    ups = [type(o).__name__ for o in all_operations() if type(o) in commands.UNDONE]
    assert {type(o) for o in all_operations() if type(o).__name__ in ups} == set(commands.UNDONE)


@pytest.mark.parametrize("operation", all_operations(), ids=lambda o: type(o).__name__)
def test_an_operation_is_documented_with_its_reason_commands_and_undoing(
    operation: plan.Operation,
) -> None:
    text = items(section("tapdraft-helper.8", "WHAT IT CHANGES"), "Sy")[type(operation).__name__]
    said = plain(text).replace(" \\ ", " ")
    assert commands.why(operation) in said
    for command in commands.commands(operation):
        assert shlex.join(command.argv) in said
    undone = commands.UNDONE.get(type(operation), "")
    assert undone.lower() in said.lower()


def test_chains_groups_numbers_and_marks_are_as_documented() -> None:
    text = text_of("tapdraft-helper.8")
    chains = set(re.findall(r"^\.It (\w+) Ta", section("tapdraft-helper.8", "The ruleset"), re.M))
    names = set(re.findall(r"^\tchain (\w+) {$", commands.ruleset(), re.M))
    assert {name for name in chains if not name.isdigit()} == names
    requests = [
        request.parse(f"{ROUTED} {mode} host={host}")
        for mode in request.MODES
        for host in ("open", "closed")
    ]
    groups = {str(plan.group_of(r)) for r in requests} | {str(plan.DOOMED)}
    assert {name for name in chains if name.isdigit()} == groups
    create = plan.CreateTap("td-NAME", "UID", 0, 1500, False)
    limits = (
        netlink.LOCK_PORT,
        request.LONGEST_LINE,
        helper.MOST_REQUESTS,
        create.alias,
        *(f"{span[0]} to {span[-1]}" for span in (request.MTUS, request.QUEUES)),
        policy.PATH,
    )
    for limit in limits:
        assert str(limit) in text
    assert (helper.LOCK_SECONDS, "held by another for ten seconds" in text) == (10, True)
    assert (policy.LARGEST, "64 KiB" in text_of("tapdraft-policy.conf.5")) == (1 << 16, True)


@pytest.mark.parametrize("name", ["tapdraft.1", "tapdraft-helper.8"])
def test_each_exit_status_is_documented(name: str) -> None:
    known = {0, errors.FAILED, errors.USAGE, errors.REFUSED, errors.IN_THE_WAY}
    assert {int(n) for n in items(section(name, "EXIT STATUS"), "(?=[0-9])")} == known


def test_the_log_has_the_documented_format(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[int, str]] = []
    monkeypatch.setattr(caller.Log, "__init__", lambda self: None)
    monkeypatch.setattr(caller.Log, "write", lambda self, *line: logged.append(line))
    who = caller.Caller(1000, (1000,), holder=False, writer=caller.Log())
    section_5 = policy.Section("group tapdraft", 5, {})
    permits = f"{policy.PATH}:{section_5.line}: [{section_5.title}] permits it"
    who.log("decision=allow", ROUTED, permits)
    who.log("decision=refuse", "", 'malformed: "x"\n')
    who.log("result=done", "down web", "td-web is down")
    who.log("result=failed", "down web", "")
    monkeypatch.setenv("TAPDRAFT_HARDENING", "landlock=none seccomp=on")
    caller.this_caller(holder=False)
    formats = [
        line for line in section("tapdraft-helper.8", "Log").splitlines() if "uid=UID" in line
    ]
    patterns = [re.sub("UID|GID", "[0-9]+", line.replace("|", r"\b|[a-z]+=")) for line in formats]
    patterns = [re.sub("REQUEST|TEXT", '[^"]*', pattern) for pattern in patterns]
    for level, line in logged:
        first, _, rest = line.partition(" ")
        assert any(first.partition("=")[0] in p and first.partition("=")[2] in p for p in patterns)
        assert any(re.fullmatch(pattern.partition(" ")[2], rest) for pattern in patterns), line
        alarming = first in ("decision=refuse", "hardening=missing")
        assert level == (syslog.LOG_WARNING if alarming else syslog.LOG_NOTICE)
    assert "reason=\"malformed: 'x'\"" in logged[1][1]


def text_of(name: str) -> str:
    """A manual as a reader sees it, in one line."""
    return " ".join((ROOT / "man/text" / f"{name}.txt").read_text("utf-8").split())


def test_every_description_in_the_manuals_is_accepted() -> None:
    found = [text for name in PAGES for text in displays(name) if "[guest." in text]
    assert len(found) == 4
    for text in found:
        content = text.partition("<< 'END'\n")[2].partition("END\n")[0] or text
        parser.parse(content.encode())


def test_every_policy_in_the_manuals_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [text for text in displays("tapdraft-policy.conf.5") if "subnets" in text]
    assert len(found) == 2
    for text in found:
        monkeypatch.setattr(policy, "_read", lambda _, text=text: text)
        assert len(policy.load()) == 2


def test_every_request_in_the_manuals_is_accepted() -> None:
    text = "\n".join(text for name in PAGES for text in displays(name))
    before = r"(?:.*tapdraft-helper |request=')?(?:--[a-z-]+ )?"
    found = re.findall(rf"^{before}((?:up|down) [a-z][^'\n]*)", text, re.M)
    assert len(found) == 8
    for line in found:
        request.parse(line)


def test_every_tapdraft_command_in_the_documents_is_accepted() -> None:
    manuals = "\n".join(text for name in PAGES for text in displays(name))
    lines = re.findall(r"^tapdraft ([a-z][^#\n]*)", manuals, re.M)
    readme = (ROOT / "README.md").read_text("utf-8")
    lines += re.findall(r"(?:^ {4}|`)tapdraft ([a-z][^#\n`]*)", readme, re.M)
    assert len(lines) > 12
    for line in lines:
        words = line.split()
        cli._arguments(words if len(words) > 1 else [*words, "net.toml"])


def test_the_error_in_the_manual_is_what_a_user_is_shown() -> None:
    (shown,) = [text for text in displays("tapdraft.1") if text.startswith("error:")]
    with pytest.raises(cli.TapdraftError) as error:
        parser.parse(b'[guest.web]\nkernal = "vmlinuz"\n', "net.toml")
    assert str(error.value) == shown.rstrip("\n")


@pytest.mark.parametrize("name", PAGES)
def test_the_manual_is_good_mdoc(name: str, requires: Callable[..., None]) -> None:
    requires("mandoc", "man")
    path = ROOT / "man" / name
    argv = ["mandoc", "-T", "lint", path]
    lint = subprocess.run(argv, capture_output=True, text=True, check=False)
    # Other manuals need not be installed here; without a name after .Os it would be this machine's.
    expected = ("referenced manual not found", "operating system explicitly specified")
    complaints = [line for line in lint.stdout.splitlines() if not any(e in line for e in expected)]
    assert complaints == []
    groff = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", path], text=True, capture_output=True, check=True
    )
    assert (groff.stderr, bool(groff.stdout)) == ("", True)


@pytest.fixture(scope="module")
def refresh() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refresh", ROOT / "man/refresh.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_manual_is_known() -> None:
    assert {path.name for path in (ROOT / "man").glob("*.[0-9]")} == set(PAGES)
    assert {path.name for path in (ROOT / "man/text").iterdir()} == {f"{p}.txt" for p in PAGES}


@pytest.mark.parametrize("name", PAGES)
def test_the_manual_as_text_is_that_of_the_manual(
    name: str, refresh: ModuleType, requires: Callable[..., None]
) -> None:
    requires("mandoc")
    text = (ROOT / "man/text" / f"{name}.txt").read_text("utf-8")
    assert text == refresh.as_text(ROOT / "man" / name), ANEW


@pytest.mark.parametrize(
    ("document", "scripts"),
    [
        ("README.md", {"web/ifup"}),
        ("doc/scripts.md", {"web/ifup", "web/ifdown", "web/qemu", "web/run"}),
    ],
)
def test_a_document_shows_the_scripts_as_they_are_rendered(
    refresh: ModuleType, document: str, scripts: set[str]
) -> None:
    text = (ROOT / document).read_text("utf-8")
    assert set(refresh.blocks(text)) == {"net.toml", *scripts}
    assert refresh.with_scripts(text) == text, ANEW


def test_the_readme_shows_only_a_short_part_of_a_script(refresh: ModuleType) -> None:
    (shown,) = refresh.blocks((ROOT / "README.md").read_text("utf-8")).keys() - {"net.toml"}
    lines = refresh.blocks((ROOT / "README.md").read_text("utf-8"))[shown].splitlines()
    assert 10 < len(lines) <= 30
    assert lines[-1].startswith("run tapdraft-helper up web ")


DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "doc").glob("*.md")]


def headings(path: Path) -> set[str]:
    """The names by which a link can point at a heading of a document."""
    found = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_points_to_is_there(path: Path) -> None:
    text = path.read_text("utf-8")
    for link, heading in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", text):
        target = path.parent / link if link else path
        assert target.exists(), link
        assert not heading or heading in headings(target), f"{link}#{heading}"
    for program in re.findall(r"sh ((?:packaging|tools)/[\w/-]+)", text):
        assert (ROOT / program).exists(), program


def test_the_readmes_commands_make_the_files_that_its_description_names(
    refresh: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the letter, in a checkout, where a reader types them."""
    readme = (ROOT / "README.md").read_text("utf-8")
    (typed,) = re.findall(r"^    (folder=.*)\n    (cp .*)$", readme, re.M)
    for folder in ("packaging", "tools"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "net.toml").write_text(refresh.blocks(readme)["net.toml"])
    subprocess.run(["sh", "-ec", "\n".join(typed)], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["render", "--check-files", "net.toml"]) == 0
    assert (tmp_path / "out/web/run").is_file()


@pytest.mark.parametrize("path", sorted((ROOT / "doc").glob("*.md")), ids=lambda path: path.name)
def test_the_readme_and_the_index_lead_to_every_document(path: Path) -> None:
    assert f"](doc/{path.name})" in (ROOT / "README.md").read_text("utf-8")
    index = (ROOT / "doc/README.md").read_text("utf-8")
    assert path.name == "README.md" or f"]({path.name})" in index


def test_the_readme_says_in_its_first_ten_lines_what_it_is_for_and_for_whom() -> None:
    first = (ROOT / "README.md").read_text("utf-8").splitlines()[:10]
    for word in ("qemu", "NAT", "sudo", "setuid", "cap_net_admin=p", "for people who"):
        assert any(word in line for line in first), word
