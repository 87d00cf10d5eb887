"""What each method of addressing adds to a guest's start, and which one a guest gets."""

from __future__ import annotations

import json
import base64
import os
import select
import subprocess
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from tapdraft.generator import addressing, check_address, cli, given, output, reach, shell, ssh
from tapdraft.generator.addressing import cloud_init, credential, dhcp
from tapdraft.generator.description import Guest, parse
from tapdraft.generator.errors import BadDescription, TapdraftError
from tapdraft.generator.finding import Place
from tapdraft.generator.machines import MACHINES
from tapdraft.generator.options import Option, doubled
from tapdraft.generator.render import render
from tapdraft.generator.shell import PATH

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGVyZGVyZGVyZGVyZGVyZGVyZGVyZGVyZGVyZGVyZGVy"
NETWORK = '[network]\ndns = ["9.9.9.9", "1.1.1.1"]\ndomain = "lab.example"\n'
DISK = 'disk = "d.img"\n'


def guest(keys: str, network: str = NETWORK) -> Guest:
    return parse(f"{network}[guest.web]\n{keys}".encode()).guests[0]


def scripts(keys: str, **how: str) -> dict[str, str]:
    files = render(parse(f"{NETWORK}[guest.web]\n{keys}".encode()), **how)
    return {name.removeprefix("web/"): content.decode() for name, content in files.items()}


CHOICES = {
    DISK: "dhcp",
    'kernel = "k"': "kernel",
    'kernel = "k"\ninitrd = "i"': "kernel",
    'kernel = "k"\nappend = "ro ip=dhcp"': "dhcp",
    'kernel = "k"\nappend = "ip=10.0.0.2::10.0.0.1:255.0.0.0"': "none",
    f'{DISK}ssh-key = "{KEY}"': "cloud-init",
    f'{DISK}user-data = "#!/bin/sh"': "cloud-init",
    f'{DISK}addressing = "none"': "none",
    f'{DISK}addressing = "auto"': "dhcp",
}


@pytest.mark.parametrize("keys", CHOICES)
def test_the_method_follows_from_the_description_and_the_script_says_why(keys: str) -> None:
    found = guest(keys)
    assert found.addressing == CHOICES[keys]
    text = scripts(keys)["qemu"].replace("\n# ", " ")
    said = f"# How it learns its address: {found.addressing}, as {found.addressing_why}."
    assert said.replace("# ", "", 1) in text


REFUSED = {
    "no kernel to tell": f'{DISK}addressing = "kernel"',
    "user-data for nobody": f'{DISK}addressing = "dhcp"\nuser-data = "x"',
    "a key for nobody": f'{DISK}addressing = "none"\nssh-key = "{KEY}"',
    "a private key": f'{DISK}ssh-key = "-----BEGIN OPENSSH PRIVATE KEY-----"',
    "a key with a command": f"{DISK}ssh-key = 'command=\"x\" {KEY}'",
    "two keys in one": f'{DISK}ssh-key = """{KEY}\n{KEY}"""',
    "a stub without a stub": 'kernel = "k"\naddressing = "cmdline"',
    "no SMBIOS, no fw_cfg": f'machine = "s390x"\n{DISK}addressing = "credential"',
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_method_cannot_do_is_refused_with_the_place(what: str) -> None:
    with pytest.raises(BadDescription, match=r"description:\d+: "):
        guest(REFUSED[what])


@pytest.mark.parametrize("domain", ["Lab", "lab_x", "-a", "a..b", "a b", "x" * 64, ""])
def test_a_domain_that_is_none_is_refused(domain: str) -> None:
    with pytest.raises(BadDescription, match="this is not a domain"):
        guest(DISK, f'[network]\ndomain = "{domain}"\n')


def test_the_seed_is_what_nocloud_documents() -> None:
    files = cloud_init.seed(guest(f'{DISK}ssh-key = ["{KEY} a@b"]\nuser-data = "#!/bin/sh\\n:"'))
    assert set(files) == {"meta-data", "user-data", "network-config"}
    assert files["user-data"] == "#!/bin/sh\n:"
    assert files["meta-data"].splitlines()[1:] == [
        'local-hostname: "web"',
        "public-keys:",
        f'  - "{KEY} a@b"',
    ]
    assert 'macaddress: "52:54:c0:a8:07:02"' in files["network-config"]


@pytest.mark.parametrize("name", ["null", "on", "0x10", "123", "1e3", "no", "true", "nan", "web"])
def test_every_value_of_the_seed_is_quoted(name: str) -> None:
    """Unquoted, some names are numbers, or nothing, to YAML."""
    text = f'[network]\ndns = ["192.0.2.53"]\ndomain = "on"\n[guest.{name}]\n{DISK}mtu = 1400\n'
    files = cloud_init.seed(parse(f"{text}addressing = 'cloud-init'\n".encode()).guests[0])
    lines = "".join(files[name] for name in ("meta-data", "network-config")).splitlines()
    plain = {"version: 2", "set-name: eth0", "dhcp4: false", "mtu: 1400"}
    for line in (line.strip().removeprefix("- ") for line in lines):
        value = line.partition(": ")[2] or line
        assert line in plain or line.endswith(":") or value == json.dumps(json.loads(value))
    assert f'local-hostname: "{name}"' in lines
    assert f'instance-id: "{name}-' in files["meta-data"]


def test_what_changes_in_the_seed_makes_a_new_instance() -> None:
    seeds = [
        f"{DISK}user-data = 'a'",
        f"{DISK}user-data = 'b'",
        f"{DISK}ssh-key = '{KEY}'",
        f"{DISK}user-data = 'a'\naddress = '192.168.7.6'",
    ]
    ids = [cloud_init.seed(guest(keys))["meta-data"].splitlines()[0] for keys in seeds]
    assert len(set(ids)) == len(ids)
    assert cloud_init.seed(guest(seeds[0]))["meta-data"].splitlines()[0] == ids[0]


@pytest.mark.parametrize("method", ["cloud-init", "credential", "kernel"])
def test_run_tells_the_hosts_name_servers_where_the_description_names_none(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "host_resolvers", lambda: (IPv4Address("192.0.2.53"),))
    start = 'kernel = "k"\n' if method == "kernel" else DISK
    keys = f'{start}addressing = "{method}"\n'

    def said(one: Guest) -> str:
        added = addressing.METHODS[method].adds(one)
        return " ".join((*added.append, *added.plain, *added.files.values()))

    silent = guest(keys, "")
    (told,) = given.with_name_servers((silent,))
    assert "192.0.2.53" not in said(silent)
    assert "192.0.2.53" in said(told)
    named = guest(keys, NETWORK)
    assert [said(one) for one in given.with_name_servers((named,))] == [said(named)]
    isolated = guest(f'{keys}mode = "isolated"\n', "")
    assert given.with_name_servers((isolated,)) == (isolated,)
    if method == "cloud-init":  # another network of the host's makes no new guest
        ids = [cloud_init.seed(one)["meta-data"] for one in (silent, told)]
        assert ids[0] == ids[1]


def test_render_names_no_server_of_this_host_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another host has others, and the same description gives the same bytes on both."""
    monkeypatch.setattr(given, "host_resolvers", lambda: (IPv4Address("192.0.2.53"),))
    monkeypatch.chdir(tmp_path)
    text = f'[guest.web]\n{DISK}addressing = "cloud-init"\n'
    for network, warned in (("", True), (NETWORK, False)):
        Path("vm.toml").write_text(network + text)
        assert cli.main(["render", "vm.toml"]) == 0
        assert ("web: its scripts name no name server" in capsys.readouterr().err) is warned
        assert "192.0.2.53" not in Path("out/web/seed/network-config").read_text()


def test_a_credential_goes_through_smbios_or_fw_cfg_and_says_the_same() -> None:
    keys = f'{DISK}addressing = "credential"\n'
    pc, arm = guest(keys), guest(f'{keys}machine = "aarch64"')
    (_, network), (_, name) = credential.adds(pc).options
    start = f"type=11,value=io.systemd.credential.binary:{credential.NAME}="
    assert network.startswith(start)
    said = base64.b64decode(network.removeprefix(start)).decode()
    assert name == "type=11,value=io.systemd.credential:system.hostname=web"
    assert credential.adds(arm).options[0] == (
        "-fw_cfg",
        f"name=opt/io.systemd.credentials/{credential.NAME},string={said}",
    )
    assert said.splitlines() == list(credential.adds(pc).plain)
    # What qemu takes for a name of fw_cfg is at most this long.
    assert len(f"opt/io.systemd.credentials/{credential.NAME}") < 56


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("method", ["cloud-init", "credential", "cmdline"])
def test_qemu_takes_what_a_method_adds(
    method: str, machine: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    """In a folder whose name has a comma, which the script writes twice."""
    requires(MACHINES[machine].binary)
    there = guest(f'machine = "{machine}"\n{DISK}addressing = "{method}"')
    added = addressing.METHODS[method].adds(there)
    here = tmp_path / "a,b"
    output.write({name: text.encode() for name, text in added.files.items()}, here)
    variables = {"here": doubled(str(here))}
    argv = [word for option in added.options for word in Option(*option).argv(variables)]
    board = MACHINES[machine].machine
    done = subprocess.run(
        [
            MACHINES[machine].binary,
            "-nodefaults",
            "-machine",
            board,
            "-display",
            "none",
            "-S",
            "-monitor",
            "stdio",
            *argv,
        ],
        input=b"quit\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_dhcp_tells_the_responder_and_dnsmasq_the_same() -> None:
    there = guest(f'{DISK}mtu = 1400\naddress = "192.168.7.100"\ngateway = "192.168.7.65/32"')
    ours, theirs = dhcp.responder(there), dhcp.dnsmasq(there)
    for one, other in (
        ("--tap=td-web", "--interface=td-web"),
        ("--mac=52:54:c0:a8:07:64", "--dhcp-host=52:54:c0:a8:07:64,192.168.7.100,web"),
        ("--prefix=26", "--dhcp-range=192.168.7.100,192.168.7.100,255.255.255.192,12h"),
        ("--router=192.168.7.65", "--dhcp-option=option:router,192.168.7.65"),
        ("--dns=1.1.1.1", "--dhcp-option=option:dns-server,9.9.9.9,1.1.1.1"),
        ("--domain=lab.example", "--domain=lab.example"),
        ("--mtu=1400", "--dhcp-option=option:mtu,1400"),
    ):
        assert one in ours
        assert other in theirs


def test_dhcp_is_refused_where_the_tap_comes_with_qemu() -> None:
    with pytest.raises(TapdraftError, match="its tap is there only with qemu"):
        scripts(DISK, attach="helper")


def test_what_is_no_script_cannot_be_run_and_goes_when_it_is_not_rendered_any_more(
    tmp_path: Path,
) -> None:
    with_seed, without = (
        render(parse(f"[guest.web]\n{DISK}addressing = '{method}'".encode()))
        for method in ("cloud-init", "dhcp")
    )
    output.write(with_seed, tmp_path)
    assert os.access(tmp_path / "web/run", os.X_OK)
    assert not (tmp_path / "web/seed/user-data").stat().st_mode & 0o111
    output.write(without, tmp_path)
    assert not (tmp_path / "web/seed/user-data").exists()


class Run:
    """The `run` of a guest with DHCP; all that it starts writes down that it ran."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.script = folder / "run"
        text = scripts(DISK)["run"].replace(PATH, f"{folder}/bin:/usr/bin:/bin")
        self._write(self.script, text)
        for name in ("ifup", "ifdown", "qemu", "bin/tapdraft"):
            self.program(name, "")

    def program(self, name: str, then: str) -> None:
        line = f'echo {Path(name).name} "$@" >> "{self.log}"'
        if name == "qemu":
            line = f'[ "${{1:-}}" != --check ] || exit 0\n{line}'
        self._write(self.script.parent / name, f"#!/bin/sh\n{line}\n{then}\n")

    def _write(self, path: Path, text: str) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(self) -> int:
        done = subprocess.run(
            [self.script],
            timeout=30,
            check=False,
            capture_output=True,
            env={"XDG_RUNTIME_DIR": str(self.script.parent)},
        )
        return done.returncode

    def ran(self) -> list[str]:
        return [line.split()[0] for line in self.log.read_text().splitlines()]


def test_run_starts_no_guest_if_nobody_can_answer_it(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.program("bin/tapdraft", "exit 4")
    assert run.run() == 4
    assert run.ran() == ["ifup", "tapdraft", "ifdown"]


def test_run_ends_what_answers_when_the_guest_ends(tmp_path: Path) -> None:
    run = Run(tmp_path)
    answers = f"exec 7> '{tmp_path}/ended'\necho ready\nexec sleep 600 > /dev/null"
    run.program("bin/tapdraft", answers)
    os.mkfifo(tmp_path / "ended")
    ended = os.open(tmp_path / "ended", os.O_RDONLY | os.O_NONBLOCK)
    assert run.run() == 0
    assert select.select([ended], [], [], 20)[0]
    assert os.read(ended, 1) == b""
    os.close(ended)
    assert run.ran() == ["ifup", "tapdraft", "qemu", "ifdown"]
    words = run.log.read_text().splitlines()[1].split()[1:]
    assert words == ["dhcp", *dhcp.responder(guest(DISK))]


def test_ssh_is_the_users_own_with_the_guests_own_known_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    hosts = ssh.known_hosts("a.toml", "web")
    assert hosts != ssh.known_hosts("b.toml", "web")
    assert hosts.is_relative_to(tmp_path)
    argv = ssh.argv(guest(DISK), "root", "/a %h/b", ["ls", "-l"])
    assert argv[-6:] == ["-l", "root", "--", "192.168.7.2", "ls", "-l"]
    assert 'UserKnownHostsFile="/a %%h/b"' in argv
    assert "ProxyUseFdpass=yes" in argv
    (through,) = [word for word in argv if word.startswith("ProxyCommand=")]
    assert through.endswith("connect.py td-web 192.168.7.2 %p")


def test_ssh_takes_no_open_connection_to_the_address_for_the_guest(
    tmp_path: Path, requires: Callable[..., None]
) -> None:
    """That one may be to a stranger who has the address elsewhere."""
    requires("ssh")
    config = tmp_path / "config"
    config.write_text(f"Host *\n ControlMaster auto\n ControlPath {tmp_path}/%h\n")
    name, *rest = ssh.argv(guest(DISK), "", "/a", [])
    for argv, expected in (
        ([name, "-F", str(config), "-G", "192.168.7.2"], 1),
        ([name, "-F", str(config), "-G", *rest], 0),
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        assert done.stdout.count("\ncontrolpath ") == expected


def test_check_finds_that_the_scripts_would_not_find_what_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "PATH", str(tmp_path))
    place = Place((guest(DISK),), tmp_path)
    (found,) = check_address.responder(place)
    assert found.level == "error"
    (tmp_path / "tapdraft").write_text("#!/bin/sh\n")
    (tmp_path / "tapdraft").chmod(0o755)
    assert list(check_address.responder(place)) == []
    assert list(check_address.responder(Place((guest('kernel = "k"'),), tmp_path))) == []


WRONG = {
    "no number": ["ping", "--timeout=x", "d.toml", "web"],
    "no time": ["ping", "--timeout=0", "d.toml", "web"],
    "no such guest": ["ssh", "d.toml", "root@db", "ls", "-l"],
    "no command without a guest": ["ssh", "d.toml"],
    "no guest for DHCP": ["dhcp", "d.toml"],
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_use_is_told_and_nothing_is_started(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.toml").write_text(f"[guest.web]\n{DISK}")
    assert cli.main(WRONG[what]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_waiting_ends_with_the_answer_with_the_time_or_when_it_is_given_up() -> None:
    tries = iter([False, False, True])
    took = reach.until(lambda: next(tries), 60, lambda _: False)
    assert took is not None
    assert reach.until(lambda: False, -1, lambda _: False) is None
    assert reach.until(lambda: False, 60, lambda _: True) is None
