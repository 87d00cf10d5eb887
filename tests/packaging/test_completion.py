"""The shells' completion offers what docopt accepts, and nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tapdraft.generator import cli, qemu, render

ROOT = Path(__file__).resolve().parents[2]
GENERATE = ROOT / "packaging/completion/generate.py"
USAGE = re.findall(r"^  tapdraft (.*(?:\n   .*)*)$", str(cli.__doc__), re.MULTILINE)
COMMANDS = {line.split()[0] for line in USAGE if line[0].islower()}


def generate(shell: str) -> str:
    argv = [sys.executable, "-I", str(GENERATE), shell]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the completions, a description and something else."""
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh", "fish"):
        (folder / shell).write_text(generate(shell))
    (folder / "net.toml").write_text(
        '[network]\nsubnet = "192.168.7.0/24"\n[guest.web]\n[guest.db-1] # the other\n'
    )
    (folder / "scripts").mkdir()
    return folder


@pytest.fixture
def offered(files: Path, requires: Callable[..., None]) -> Callable[..., set[str]]:
    """`offered("render", "--dia")` is what bash offers for the last word."""
    requires("bash")

    def ask(*words: str) -> set[str]:
        # As bash does it: "=" is a word of its own.
        split = [part for word in words for part in re.split("(=)", word) if part or word == ""]
        code = """. ./bash; COMP_WORDS=(tapdraft "$@"); COMP_CWORD=$#
            _tapdraft tapdraft; printf '%s\\n' "${COMPREPLY[@]}" """
        done = subprocess.run(
            ["bash", "--norc", "-c", code, "bash", *split],
            check=True,
            cwd=files,
            capture_output=True,
            text=True,
        )
        assert not done.stderr
        return set(done.stdout.split())

    return ask


def test_bash_offers_every_command_and_no_other(offered: Callable[..., set[str]]) -> None:
    assert offered("") == {*COMMANDS, "--help", "--version"}
    assert offered("re") == {word for word in COMMANDS if word.startswith("re")}


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_bash_offers_the_options_of_each_command_and_no_other(
    offered: Callable[..., set[str]], command: str
) -> None:
    lines = [line for line in USAGE if line.split()[0] == command]
    options = set(re.findall(r"(--[a-z-]+=?)", " ".join(lines)))
    assert offered(command, "--") == options


def test_bash_offers_the_values_that_an_option_takes(offered: Callable[..., set[str]]) -> None:
    assert offered("render", "--dialect=") == set(render.DIALECTS)
    assert offered("render", "--attach=h") == {w for w in qemu.ATTACHMENTS if w.startswith("h")}
    assert offered("render", "--output=") == {"scripts"}
    assert offered("ping", "--timeout=") == set()


def test_bash_offers_files_and_then_the_guests_in_them(offered: Callable[..., set[str]]) -> None:
    assert offered("render", "net") == {"net.toml"}
    assert offered("up", "net.toml", "") == {"web", "db-1"}
    assert offered("render", "--dialect=nft", "net.toml", "web", "d") == {"db-1"}
    assert offered("run", "net.toml", "web", "") == set()


def test_bash_loads_it_as_it_loads_others(files: Path, requires: Callable[..., None]) -> None:
    requires("bash")
    code = ". /usr/share/bash-completion/bash_completion; . ./bash; complete -p tapdraft"
    done = subprocess.run(
        ["bash", "--norc", "-c", code], check=True, cwd=files, capture_output=True, text=True
    )
    assert done.stdout == "complete -F _tapdraft tapdraft\n"


def test_fish_offers_commands_options_values_and_guests(
    files: Path, requires: Callable[..., None]
) -> None:
    requires("fish")

    def ask(line: str) -> set[str]:
        argv = ["fish", "--no-config", "-c", f"source ./fish; complete -C '{line}'"]
        done = subprocess.run(argv, check=True, cwd=files, capture_output=True, text=True)
        return {offer.split("\t")[0] for offer in done.stdout.splitlines()}

    assert ask("tapdraft ") == COMMANDS
    assert ask("tapdraft render --dia") == {"--dialect"}
    assert {f"--dialect={word}" for word in render.DIALECTS} == ask("tapdraft render --dialect=")
    assert {"web", "db-1"} <= ask("tapdraft up net.toml ")


def test_zsh_offers_commands_options_and_guests(files: Path, requires: Callable[..., None]) -> None:
    requires("zsh")
    # compadd and _describe as they would be called, without a terminal.
    code = """
        autoload -Uz compinit; compinit -u -D
        compadd() { while [[ $1 == -* && $1 != -a ]] shift; [[ $1 == -a ]] && print -l ${(P)2}; }
        _describe() { print -l ${${(P)2}%%:*}; }
        _arguments() { print -l -- "${@%%\\[*}"; }
        . ./functions
        words=(tapdraft); CURRENT=2; _tapdraft_commands
        words=(tapdraft render ''); CURRENT=3; _tapdraft
        words=(tapdraft up net.toml ''); CURRENT=4; _tapdraft_guests
    """
    (files / "functions").write_text((files / "zsh").read_text().replace('\n_tapdraft "$@"', ""))
    done = subprocess.run(
        ["zsh", "-f", "-c", code], check=True, cwd=files, capture_output=True, text=True
    )
    said = done.stdout.split()
    assert set(said) >= {*COMMANDS, "--dialect=", "--check-files", "web", "db-1"}


def test_a_usage_text_of_another_form_ends_the_build(tmp_path: Path) -> None:
    for folder in ("packaging/completion", "generator"):
        (tmp_path / folder).mkdir(parents=True)
    for file in GENERATE.parent.iterdir():
        if file.is_file():
            (tmp_path / "packaging/completion" / file.name).write_bytes(file.read_bytes())
    text = Path(str(cli.__file__)).read_text().replace("  --json ", "  -j, --json ")
    (tmp_path / "generator/cli.py").write_text(text)
    argv = [sys.executable, "-I", str(tmp_path / "packaging/completion/generate.py"), "bash"]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "not the form of an option" in done.stderr
