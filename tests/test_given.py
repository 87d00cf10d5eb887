"""What options of run say in place of the description, and that import writes one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tapdraft.generator import cli, given, hardware
from tapdraft.generator.description import GUEST_KEYS, Guest, parse
from tapdraft.generator.errors import TapdraftError

CONF = Path(__file__).parent / "qemuboot/qemuarm64.qemuboot.conf"
TWO = (
    '[guest.web]\nkernel = "k"\nappend = "quiet"\nforward = ["tcp:1:1"]\n'
    '[guest.db]\nkernel = "k"\nnetwork = "bridge"\nbridge = "br0"\n'
)


def run(*options: str, guest: str = "web") -> Guest:
    """The guest that `tapdraft run OPTION... FILE GUEST` starts."""
    changed = given.changed(cli._arguments(["run", *options, "vm.toml", guest]))
    described = parse(TWO.encode(), change=lambda tables: given.apply(tables, guest, changed))
    return described.chosen([guest])[0]


def test_without_options_the_description_counts() -> None:
    assert given.changed(cli._arguments(["run", "vm.toml"])) == {}
    assert (run().append, run().network) == ("quiet", "tap")


def test_each_option_means_the_key_of_its_name() -> None:
    for option, change in given.CHANGES.items():
        assert change.key in GUEST_KEYS
        assert option == f"--{change.key}"


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        (["--network=user"], "network", "user"),
        (["--bridge=br1"], "bridge", "br1"),
        (["--bridge=br1"], "network", "bridge"),
        (["--vhost"], "vhost", True),
        (["--accel=tcg"], "accel", "tcg"),
        (["--display=gtk", "--gl=es"], "gl", "es"),
        (["--serial=tcp:4444,terminal"], "serial", ("tcp:4444", "terminal")),
        (["--audio=pa"], "audio", "pa"),
        (["--agent=a"], "agent", "a"),
        (["--qmp=q"], "qmp", "q"),
        (["--firmware=uefi"], "firmware", "uefi"),
        (["--snapshot"], "snapshot", True),
        (["--append=debug nosplash"], "append", "quiet debug nosplash"),
        (["--qemu=-device 'a b'"], "qemu", ("-device", "a b")),
        (["--network=none"], "forwards", ()),
    ],
)
def test_an_option_counts_for_the_guest_that_is_run(
    options: list[str], key: str, value: object
) -> None:
    assert getattr(run(*options), key) == value


def test_the_other_guests_are_as_they_were() -> None:
    changed = given.changed(cli._arguments(["run", "--network=user", "vm.toml", "web"]))
    described = parse(TWO.encode(), change=lambda tables: given.apply(tables, "web", changed))
    assert [guest.network for guest in described.guests] == ["user", "bridge"]


def test_another_network_needs_no_bridge() -> None:
    assert (run("--network=tap", guest="db").network, run("--network=tap", guest="db").bridge) == (
        "tap",
        "",
    )


@pytest.mark.parametrize(
    "option", ["--display=x11", "--serial=tty", "--network=vde", "--qemu='x", "--gl=yes"]
)
def test_a_word_that_is_none_is_refused_with_what_there_is(option: str) -> None:
    with pytest.raises(TapdraftError) as error:
        run(option)
    assert error.value.status == 2
    assert str(error.value).startswith(f"error: {option}: ")
    assert error.value.hint


def test_every_key_about_hardware_is_read_as_in_a_description() -> None:
    assert set(hardware.KEYS) <= set(GUEST_KEYS)


def test_import_writes_to_standard_output_or_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["import", str(CONF)]) == 0
    told = capsys.readouterr()
    assert parse(told.out.encode()).guests[0].machine == "qemuarm64"
    assert f"warning: there is no {CONF.parent}/Image" in told.err
    assert cli.main(["import", "--output=vm.toml", str(CONF)]) == 0
    assert (tmp_path / "vm.toml").read_text() == told.out
    assert capsys.readouterr().out == ""
    assert cli.main(["import", "--output=no/vm.toml", str(CONF)]) == 1
    assert "no/vm.toml cannot be written" in capsys.readouterr().err
    assert cli.main(["import", "--type=wic", str(CONF)]) == 0
    assert 'disk = { file = "' in capsys.readouterr().out


def test_import_does_not_replace_a_description_that_was_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # nothing is lost by writing the same again
        assert cli.main(["import", "--output=vm.toml", str(CONF)]) == 0
    capsys.readouterr()
    with Path("vm.toml").open("a") as file:
        file.write('forward = ["tcp:8080:80"]\n')
    assert cli.main(["import", "--output=vm.toml", str(CONF)]) == 1
    said = capsys.readouterr().err
    assert "error: vm.toml exists and differs" in said
    assert "hint: mv vm.toml vm.toml.old\n" in said
    assert "tcp:8080:80" in Path("vm.toml").read_text()


def test_import_of_what_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["import", "/nonexistent"]) == 2
    assert capsys.readouterr().err.startswith("error: /nonexistent cannot be read: ")


def test_a_port_is_not_awaited_of_a_guest_without_a_tap(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "k").touch()
    file = tmp_path / "vm.toml"
    file.write_text('[guest.web]\nkernel = "k"\n')
    assert cli.main(["run", "--network=user", "--wait-for=22", str(file)]) == 2
    assert "only a tap leads to a guest" in capsys.readouterr().err


def test_run_does_not_start_a_qemu_that_lacks_what_the_guest_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text("#!/bin/sh\n[ $1 != -machine ] || echo 'q36 Next PC'\n")
    qemu.chmod(0o755)
    monkeypatch.setattr("tapdraft.generator.shell.PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "k").touch()
    (tmp_path / "vm.toml").write_text('[guest.web]\nkernel = "k"\n')
    assert cli.main(["run", "vm.toml"]) == 4
    said = capsys.readouterr().err
    assert said.startswith("error: this qemu-system-x86_64 has no machine q35, for guest web\n")
    assert 'board = "q36"' in said


@pytest.mark.parametrize("words", [["ping"], ["ssh"], ["dhcp"]])
def test_a_guest_without_a_tap_cannot_be_reached_and_that_is_told(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "vm.toml"
    file.write_text('[guest.web]\nkernel = "k"\nnetwork = "user"\n')
    assert cli.main([*words, str(file), "web"]) == 2
    assert 'error: guest web has network = "user"' in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["user", "none"])
@pytest.mark.parametrize(
    "keys",
    [
        'address = "192.168.7.30"',
        'address = "192.168.7.30"\ngateway = "192.168.7.29"',
        "vhost = true",
        "queues = 2",
        "mtu = 1400",
        'addressing = "dhcp"',
        'addressing = "cloud-init"\nuser-data = "#cloud-config"',
    ],
)
def test_what_only_a_tap_has_goes_with_it(keys: str, kind: str) -> None:
    text = f'[guest.web]\nkernel = "k"\n{keys}'
    (found,) = parse(
        text.encode(), change=lambda tables: given.apply(tables, "web", {"--network": kind})
    ).guests
    assert (found.network, found.vhost, found.queues) == (kind, False, 1)
