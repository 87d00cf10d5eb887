"""The scripts as programs: linted, and run by every shell that may be /bin/sh.

Each is run as it was rendered, but for two lines: PATH, so that stand-ins are found in place of
qemu and the helper, and /dev/kvm, so that the machine's own does not matter.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tapdraft.generator.description.parser import load, parse
from tapdraft.generator.machines import MACHINES
from tapdraft.generator.options import doubled
from tapdraft.generator.qemu import command, firmware
from tapdraft.generator.scripts.render import render
from tapdraft.generator.shell import PATH, quote

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests/golden"
SCRIPTS = sorted(str(path) for path in GOLDEN.glob("*/*/*/*") if path.is_file())
QEMU = sorted(GOLDEN.glob("*/*/*/qemu"))
SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}
USUAL = "/usr/sbin:/usr/bin:/sbin:/bin"

FAKE_QEMU = """#!/bin/sh
case " $* " in *accel=kvm*\\ -cpu\\ host\\ -m\\ 16M*) exec "$KVM_PROOF" ;; esac
printf '%s\\0' "${0##*/}" "$@" > "$WRITTEN"
"""


def test_there_are_scripts_to_look_at() -> None:
    assert len(SCRIPTS) > 30


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_can_read_every_script(shell: str, requires: Callable[..., None]) -> None:
    requires(SHELLS[shell][0])
    for script in SCRIPTS:
        done = subprocess.run([*SHELLS[shell], "-n", script], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b""), script


def test_shellcheck_has_nothing_to_say(requires: Callable[..., None]) -> None:
    requires("shellcheck")
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-x", *SCRIPTS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert not [script for script in SCRIPTS if "shellcheck disable" in Path(script).read_text()]


def test_checkbashisms_has_nothing_to_say(requires: Callable[..., None]) -> None:
    requires("checkbashisms")
    done = subprocess.run(
        ["checkbashisms", "-p", *SCRIPTS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_script_stops_at_an_error_and_fixes_its_path() -> None:
    for script in SCRIPTS:
        lines = Path(script).read_text().splitlines()
        assert lines[0] == "#!/bin/sh"
        at = lines.index("set -eu")
        assert lines[at + 1 : at + 3] == [f"PATH={PATH}", "export PATH"]
        assert all(line.startswith("#") for line in lines[:at])


def staged(script: Path, folder: Path) -> Path:
    """A copy of the script that finds programs in folder/bin first, and folder/kvm."""
    programs = quote(f"{folder}/bin:{USUAL}")
    text = script.read_text().replace(f"\nPATH={PATH}\n", f"\nPATH={programs}\n")
    copy = folder / script.name
    text = text.replace("/sys/class/net/", quote(f"{folder}/"))
    copy.write_text(text.replace("/dev/kvm", quote(f"{folder}/kvm")))
    copy.chmod(0o755)
    return copy


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.parametrize("kvm", ["missing", "works", "fails"])
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("script", QEMU, ids=lambda p: "-".join(p.parts[-4:-1]))
def test_qemu_gets_every_argument_as_the_description_has_it(
    script: Path, shell: str, kvm: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires(SHELLS[shell][0])
    scenario, how, name = script.parts[-4:-1]
    description = load(str(GOLDEN / scenario / "description.toml"))
    (guest,) = description.chosen([name])
    if command.accel(guest) != "auto" and kvm != "missing":
        return  # the script does not ask
    # A comma is what qemu would take for the end of a value.
    absolute = any(file.startswith("/") for file in guest.files)
    folder = tmp_path / ("a,folder" if absolute else "a, 'folder' $HOME")
    files = folder / "files"
    for file in guest.files:
        (files / file.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (files / file.lstrip("/")).write_text("")
    machine = MACHINES[guest.machine]
    program(folder / "bin" / machine.binary, FAKE_QEMU)
    for name in ("tapdraft-helper", "zstd", "xz"):
        program(folder / "bin" / name, "#!/bin/sh\n")
    if kvm != "missing":
        (folder / "kvm").write_text("")
    copy = staged(script, folder)
    # The goldens' absolute files are below /srv, and not to be made on this machine.
    copy.write_text(copy.read_text().replace("/srv/", f"{files}/srv/"))
    for code, variables in firmware.places(guest)[-1:]:
        text = copy.read_text().replace(f"{code} {variables}", quote(str(copy)) + " /dev/null")
        copy.write_text(text)
    subprocess.run(
        [*SHELLS[shell], copy],
        check=True,
        capture_output=True,
        env={
            "TAPDRAFT_FILES": str(files),
            "WRITTEN": str(tmp_path / "argv"),
            "KVM_PROOF": "true" if kvm == "works" else "false",
        },
    )
    found = (tmp_path / "argv").read_text().replace(f"{files}/srv/", "/srv/").split("\0")[:-1]
    accel, cpu = f"kvm{machine.kvm_machine}", guest.cpu or "host"
    if kvm != "works":
        accel, cpu = "tcg", command.cpu_of(guest)
    attach = how.partition("-")[2]
    here = doubled(str(folder))
    assert found == command.argv(
        guest, attach, accel=accel, cpu=cpu, here=here, firmware=str(copy), vars="/dev/null"
    )


def test_qemu_is_not_started_without_the_guests_files(tmp_path: Path) -> None:
    program(tmp_path / "bin/qemu-system-x86_64", "#!/bin/sh\necho started\n")
    copy = staged(GOLDEN / "plain/helper-run/web/qemu", tmp_path)
    done = subprocess.run([copy], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "error: no file vmlinuz can be read here\nhint: start this in the" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("keys", "option", "value"),
    [
        ('board = "q35,usb=$(touch canary)off"', "-machine", "q35,usb=$(touch canary)off,accel="),
        ('accel = "tcg"\ncpu = "max,$cpu`touch canary`"', "-cpu", "max,$cpu`touch canary`"),
        ('accel = "kvm"\nboard = "${cpu:=$(touch canary)}"', "-machine", "${cpu:=$(touch canary)}"),
    ],
)
def test_text_beside_a_variable_of_the_scripts_stays_text(
    keys: str, option: str, value: str, shell: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires(SHELLS[shell][0])
    files = render(parse(f'[guest.web]\ndisk = "d.img"\n{keys}'.encode()))
    (tmp_path / "rendered").write_bytes(files["web/qemu"])
    (tmp_path / "d.img").touch()
    program(tmp_path / "bin/qemu-system-x86_64", FAKE_QEMU)
    copy = staged(tmp_path / "rendered", tmp_path)
    subprocess.run(
        [*SHELLS[shell], copy],
        check=True,
        capture_output=True,
        cwd=tmp_path,
        env={"WRITTEN": str(tmp_path / "argv")},
    )
    found = (tmp_path / "argv").read_text().split("\0")
    assert found[found.index(option) + 1].startswith(value)
    assert not (tmp_path / "canary").exists()


LISTING_QEMU = """#!/bin/sh
case $1 in
-machine) echo 'Supported machines are:'; echo 'q35  Standard PC' ;;
-cpu) echo 'x86 486-v1'; echo '  max-loongarch-cpu' ;;
-device) echo 'name "virtio-rng-pci", bus PCI'; echo 'name "virtio-net-pcj"' ;;
*) echo started ;;
esac
"""


def test_qemu_is_not_started_where_it_lacks_what_the_guest_needs(tmp_path: Path) -> None:
    program(tmp_path / "bin/qemu-system-x86_64", LISTING_QEMU)
    copy = staged(GOLDEN / "plain/helper-run/web/qemu", tmp_path)
    (tmp_path / "vmlinuz").touch()
    (tmp_path / "initrd").touch()
    done = subprocess.run([copy], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "error: this qemu-system-x86_64 has no device virtio-net-pci\nhint: " in done.stderr
    assert done.stdout == ""


def test_an_older_qemu_gets_the_older_cpu(tmp_path: Path) -> None:
    """The list of a qemu 7.2 has no rva23s64."""
    found = []
    for cpus in ("rv64", "rv64 rva23s64"):
        text = f"case $* in '-cpu help') echo {cpus} ;; *help) ;; *) echo $* ;; esac\n"
        program(tmp_path / "bin/qemu-system-riscv64", f"#!/bin/sh\n{text}")
        copy = staged(GOLDEN / "machine-qemuriscv64/helper-run/vm/qemu", tmp_path)
        for name in ("Image", "root.ext4"):
            (tmp_path / name).touch()
        done = subprocess.run([copy], cwd=tmp_path, capture_output=True, text=True, check=False)
        found.append(done.stdout.partition("-cpu ")[2].split()[0])
    assert found == ["rv64", "rva23s64"]


@pytest.mark.parametrize("how", ["helper-run", "helper-helper", "helper-hooks"])
def test_a_script_that_needs_the_helper_says_so(how: str, tmp_path: Path) -> None:
    script = GOLDEN / "plain" / how / "web" / ("qemu" if how == "helper-helper" else "ifup")
    done = subprocess.run([staged(script, tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "tapdraft-helper is not installed" in done.stderr


class Run:
    """A `run` whose ifup, ifdown and qemu are stand-ins that write down when they ran."""

    def __init__(self, folder: Path, how: str, shell: str, guest: str = "plain/web") -> None:
        self.folder = folder
        self.log = folder / "log"
        scenario, name = guest.split("/")
        self.argv = [*SHELLS[shell], staged(GOLDEN / scenario / how / name / "run", folder)]
        self.env = {"XDG_RUNTIME_DIR": str(folder)}
        os.mkfifo(folder / "ready")
        self.program("ifup", "")
        self.program("ifdown", "")
        self.program("qemu", "")

    def program(self, name: str, then: str) -> None:
        line = f'echo {name} >> "{self.log}"'
        if name == "qemu":
            line = f'[ "${{1:-}}" != --check ] || exit 0\n{line}'
        program(self.folder / name, f"#!/bin/sh\n{line}\n{then}\n")

    def ran(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
        )

    def locks(self) -> list[Path]:
        return list(self.folder.glob(".tapdraft-run-*"))

    def link(self, name: str, content: str) -> None:
        """What the kernel would say of the tap."""
        (self.folder / "td-web").mkdir(exist_ok=True)
        (self.folder / "td-web" / name).write_text(f"{content}\n")

    def until_qemu_is_there(self) -> None:
        """Wait for the stand-in that was told to write to `ready`."""
        (self.folder / "ready").read_text()


@pytest.fixture(params=SHELLS)
def run(request: pytest.FixtureRequest, tmp_path: Path, requires: Callable[..., None]) -> Run:
    requires(SHELLS[request.param][0])
    return Run(tmp_path, "helper-run", request.param)


def test_run_is_ifup_qemu_ifdown_and_ends_as_qemu_does(run: Run) -> None:
    run.program("qemu", "exit 7")
    assert run.start().wait(20) == 7
    assert run.ran() == ["ifup", "qemu", "ifdown"]


def test_run_ends_well_if_all_do(run: Run) -> None:
    assert run.start().wait(20) == 0


def test_an_ifup_that_fails_ends_run_and_nothing_is_taken_down(run: Run) -> None:
    run.program("ifup", "exit 3")
    assert run.start().wait(20) == 3
    assert run.ran() == ["ifup"]


@pytest.mark.parametrize(("closed", "said"), [("<&-", "input"), (">&-", "output")])
@pytest.mark.parametrize("how", ["helper-run", "nft-run"])
@pytest.mark.parametrize("shell", SHELLS)
def test_run_with_a_closed_stream_says_so_and_starts_nothing(
    shell: str, how: str, closed: str, said: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires(SHELLS[shell][0])
    run = Run(tmp_path, how, shell)
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" nobody {closed}', "sh", *run.argv],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 4
    assert done.stderr == (
        f"error: standard {said} is closed\nhint: start this with {closed[0]} /dev/null\n"
    )
    assert run.ran() == []


@pytest.mark.parametrize("how", ["helper-run", "helper-helper", "helper-hooks"])
def test_a_guest_that_is_running_keeps_its_tap(how: str, tmp_path: Path) -> None:
    """Somebody holds the tap open: a second run would end with taking it down."""
    run = Run(tmp_path, how, "dash")
    (tmp_path / "td-web").mkdir()
    (tmp_path / "td-web/carrier").write_text("1\n")
    assert run.start().wait(20) == 4
    assert run.ran() == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("how", ["helper-run", "helper-helper", "helper-hooks", "nft-run"])
@pytest.mark.parametrize(("file", "content"), [("carrier", "1"), ("ifindex", "8")])
def test_a_run_takes_down_no_tap_that_another_has_by_now(
    file: str, content: str, how: str, shell: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    """Another's qemu has it open, or it was made anew; what is still this run's goes."""
    requires(SHELLS[shell][0], "setpriv", "script")
    run = Run(tmp_path, how, shell)
    if how == "nft-run":
        run.argv.append("root")
    made = ""
    if how == "helper-helper":  # there the tap comes with qemu
        link = f"'{tmp_path}/td-web'"
        made = f"mkdir {link}; echo 0 > {link}/carrier; echo 7 > {link}/ifindex; "
        run.program("qemu", f"[ $# -gt 0 ] || {{ {made} :; }}")
    else:
        run.link("carrier", "0")
        run.link("ifindex", "7")
    assert run.start().wait(20) == 0
    assert run.ran()[-1] == "ifdown"
    run.log.unlink()
    if made:
        shutil.rmtree(tmp_path / "td-web")
    taking = f"{made} echo {content} > '{tmp_path}/td-web/{file}'; exit 1"
    run.program("qemu", f"[ $# -gt 0 ] || {{ {taking}; }}")
    assert run.start().wait(20) == 1
    taken = how == "helper-helper" and file == "ifindex"  # there its tap comes after its start
    assert ("ifdown" in run.ran()) == taken


def test_a_tap_that_is_up_is_not_taken_down_where_qemu_would_make_its_own(tmp_path: Path) -> None:
    run = Run(tmp_path, "helper-helper", "dash")
    run.link("carrier", "0")
    process = run.start()
    _, said = process.communicate(timeout=20)
    assert (process.returncode, b"the tap td-web is up already" in said) == (4, True)
    assert run.ran() == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("how", ["helper-run", "helper-helper", "helper-hooks"])
def test_of_two_runs_at_once_the_loser_starts_and_removes_nothing(
    how: str, shell: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    """The winner is about to make its tap, or its qemu has not yet opened it."""
    requires(SHELLS[shell][0], "flock")
    run = Run(tmp_path, how, shell)
    first = "qemu" if how == "helper-helper" else "ifup"
    run.program(first, f": > '{run.folder}/ready'\nread -r go")
    winner = run.start()
    run.until_qemu_is_there()
    run.link("carrier", "0")
    loser = run.start()
    _, said = loser.communicate(b"\n", 20)
    assert (loser.returncode, b"guest web is running already" in said) == (4, True)
    assert run.ran() == [first]
    winner.communicate(b"\n", 20)
    assert run.ran() == [first, *(["qemu"] if first == "ifup" else []), "ifdown"]
    assert run.locks() == []
    assert winner.returncode == 0


def test_a_guest_goes_on_being_running_when_only_its_run_was_killed(run: Run) -> None:
    run.program("qemu", f": > '{run.folder}/ready'\nread -r never")
    killed = run.start()
    run.until_qemu_is_there()
    killed.kill()
    killed.wait()
    assert run.start().wait(20) == 4
    assert run.ran() == ["ifup", "qemu"]
    assert killed.stdin is not None
    killed.stdin.close()


def test_a_tap_that_was_up_before_stays_up(run: Run) -> None:
    run.link("ifindex", "7")
    run.program("ifup", "echo td-web is up already")
    out, said = run.start().communicate(b"", 20)
    assert run.ran() == ["ifup", "qemu"]
    assert out == b"td-web is up already\n"
    assert b"[#] the tap td-web was up before this run: it stays\n" in said
    assert run.locks() == []


def test_a_tap_of_a_run_that_was_killed_goes_with_the_next(run: Run) -> None:
    run.link("ifindex", "7")
    run.program("ifup", "echo td-web is up")
    run.program("qemu", "kill -KILL $PPID")
    assert run.start().wait(20) == -signal.SIGKILL
    assert run.ran() == ["ifup", "qemu"]
    run.program("ifup", "echo td-web is up already")
    run.program("qemu", "")
    assert run.start().wait(20) == 0
    assert run.ran() == ["ifup", "qemu", "ifup", "qemu", "ifdown"]
    assert run.locks() == []


def test_without_a_folder_of_ones_own_a_tap_that_is_there_is_anothers(run: Run) -> None:
    for folder in ("relative", "/nonexistent", "/tmp"):  # the last one is open to everybody
        run.env = {"XDG_RUNTIME_DIR": folder}
        run.program("ifup", "echo td-web is up already")
        _, said = run.start().communicate(b"", 20)
        assert b"error: the tap td-web is up already, and another run may have it\n" in said
        assert run.ran() == ["ifup"]
        run.log.unlink()
    run.program("ifup", "")
    assert run.start().wait(20) == 0
    assert run.ran() == ["ifup", "qemu", "ifdown"]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("missing", ["qemu", "file", "tapdraft", "helper", ""])
def test_run_says_what_is_missing_before_it_makes_the_tap(
    missing: str, shell: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    """All four scripts are the real ones; each program that they start is a stand-in."""
    requires(SHELLS[shell][0])
    run = Run(tmp_path, "helper-run", shell, "addressing/any")
    for name in ("ifup", "qemu", "ifdown"):
        (tmp_path / name).unlink()
        staged(GOLDEN / "addressing/helper-run/any" / name, tmp_path)
    # The machine's own must not be found in the place of one that is missing.
    text = (tmp_path / "qemu").read_text().replace("qemu-system-x86_64", "qemu-stand-in")
    (tmp_path / "qemu").write_text(text)
    told = {
        "qemu": "error: qemu-stand-in is not installed",
        "file": "error: no file any.img can be read here",
        "tapdraft": "error: tapdraft is not installed",
        "helper": "error: tapdraft-helper is not installed",
        "": "",
    }[missing]
    log = f'echo "${{0##*/}}" "$1" >> "{run.log}"'
    for name, kind, says in (
        ("qemu-stand-in", "qemu", ""),
        ("tapdraft", "tapdraft", "ready"),
        ("tapdraft-helper", "helper", "td-any is up"),
    ):
        if kind != missing:
            program(tmp_path / "bin" / name, f"#!/bin/sh\n{log}\necho {says}\n")
    if missing != "file":
        (tmp_path / "any.img").touch()
    run.env["TAPDRAFT_FILES"] = str(tmp_path)
    process = run.start()
    _, said = process.communicate(b"", 20)
    assert told in said.decode()
    assert process.returncode == (4 if missing else 0), said
    ran = run.log.read_text() if run.log.exists() else ""
    assert ("tapdraft-helper up" in ran) == (not missing)
    assert run.locks() == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("always", [False, True])
def test_what_answers_dhcp_and_is_killed_is_started_again_and_run_says_so(
    always: bool, shell: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires(SHELLS[shell][0], "setsid")
    run = Run(tmp_path, "helper-run", shell, "addressing/any")
    (tmp_path / "td-any").mkdir()
    (tmp_path / "td-any/ifindex").write_text("7\n")
    lives = "false" if always else f"[ -e '{tmp_path}/second' ]"
    run.program(
        "bin/tapdraft",
        f"""echo ready
exec > /dev/null
if {lives}; then
    exec sleep 600
fi
: > '{tmp_path}/second'
kill -KILL $$""",
    )
    run.program("qemu", "read -r go")
    process = run.start()
    assert process.stderr is not None
    assert process.stdin is not None
    said = b""
    last = b"nobody answers it now\n" if always else b"it is started again\n[#] tapdraft dhcp"
    while last not in said:
        line = process.stderr.readline()
        assert line
        said += line
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.wait(20) == 0
    again = b"[#] what answers the guest's DHCP has ended (status 137): it is started again\n"
    assert said.count(again) == (2 if always else 1)
    assert said.count(b"[#] tapdraft dhcp --tap=td-any") == (3 if always else 2)


def test_an_ifdown_that_fails_is_told_unless_qemu_failed_first(run: Run) -> None:
    run.program("ifdown", "exit 3")
    assert run.start().wait(20) == 1
    run.program("qemu", "exit 7")
    assert run.start().wait(20) == 7


def test_the_guests_console_is_runs_own_input(run: Run) -> None:
    run.program("qemu", "cat")
    out, _ = run.start().communicate(b"typed\n", 20)
    assert out == b"typed\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_reaches_qemu_and_ifdown_follows(run: Run, number: signal.Signals) -> None:
    run.program("qemu", f"trap 'exit 5' TERM\n: > '{run.folder}/ready'\nread -r never")
    process = run.start()
    run.until_qemu_is_there()
    process.send_signal(number)
    assert process.wait(20) == 5
    assert run.ran() == ["ifup", "qemu", "ifdown"]


def test_a_killed_qemu_leaves_no_tap(run: Run) -> None:
    run.program("qemu", "kill -KILL $$")
    assert run.start().wait(20) == 128 + signal.SIGKILL
    assert run.ran() == ["ifup", "qemu", "ifdown"]


def test_a_signal_during_ifup_takes_down_what_it_made(run: Run) -> None:
    run.program("ifup", f": > '{run.folder}/ready'\nread -r go")
    process = run.start()
    run.until_qemu_is_there()
    process.send_signal(signal.SIGTERM)
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert run.ran() == ["ifup", "ifdown"]


@pytest.mark.parametrize("shell", SHELLS)
def test_ifdown_works_with_nobody_reading_what_it_says(
    shell: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    """`run 2>&1 | head` must not keep the tap."""
    requires(SHELLS[shell][0])
    done = tmp_path / "done"
    program(tmp_path / "bin/tapdraft-helper", f"#!/bin/sh\necho \"$@\" > '{done}'\n")
    script = staged(GOLDEN / "plain/helper-run/web/ifdown", tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    subprocess.run([*SHELLS[shell], script], stderr=writer, check=False)
    os.close(writer)
    assert done.read_text() == "down web\n"


def test_with_attach_helper_qemu_alone_makes_the_tap(
    tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires("dash")
    run = Run(tmp_path, "helper-helper", "dash")
    assert run.start().wait(20) == 0
    assert run.ran() == ["qemu", "ifdown"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_helper_script_asks_for_just_its_request(
    shell: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    requires(SHELLS[shell][0])
    program(tmp_path / "bin/tapdraft-helper", '#!/bin/sh\nprintf "%s\\n" "$@"\nexit 3\n')
    script = staged(GOLDEN / "routed/helper-run/far/ifup", tmp_path)
    done = subprocess.run([*SHELLS[shell], script], capture_output=True, text=True, check=False)
    words = (
        "up far 192.168.7.65/32 192.168.7.100 routed host=open uplink=eth0 uplink=wg0.7 "
        "mtu=9000 queues=4"
    )
    assert done.stdout.split("\n")[:-1] == words.split()
    assert done.returncode == 3
    assert f"[#] tapdraft-helper {words}\n" in done.stderr


@pytest.mark.parametrize("what", ["forger", "../self", "1\n2", "-1", ""])
def test_root_ends_no_process_for_a_forged_number_of_dnsmasqs(
    what: str, tmp_path: Path, requires: Callable[..., None]
) -> None:
    """dnsmasq's user owns the file with its number, and its processes may call themselves so."""
    requires("bash", "dash")
    pid_file = tmp_path / "pid"
    text = (GOLDEN / "addressing/nft-run/any/ifdown").read_text()
    text = text[text.index("end_dhcp() {") :].partition("\n}\n")[0] + "\n}\n"
    text = text.replace("/run/tapdraft-td-any.pid", quote(str(pid_file)))
    program(tmp_path / "bin/dnsmasq", "#!/bin/sh\n")
    forger = ["sh", "-c", "echo; read -r never", "sh", f"--pid-file={pid_file}"]
    with subprocess.Popen(forger, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        pid_file.write_text(str(process.pid) if what == "forger" else what)
        script = f'PATH={quote(f"{tmp_path}/bin:{USUAL}")}\nrun() {{ echo "$@"; }}\n{text}end_dhcp'
        done = subprocess.run(["dash", "-euc", script], capture_output=True, text=True, check=False)
        assert process.stdin is not None
        process.stdin.close()
    assert done.stdout == f"rm -f {pid_file}\n"
