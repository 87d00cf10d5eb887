"""Put qemu guests on tap interfaces, with NAT, without sudo.

Usage:
  tapdraft render [--output=DIR] [--dialect=NAME] [--attach=HOW] [--check-files] FILE [GUEST...]
  tapdraft run [--output=DIR] [--attach=HOW] [--wait-for=PORT] [--network=KIND] [--bridge=NAME]
        [--forward=PORTS] [--vhost] [--accel=NAME] [--display=KIND] [--gl=API] [--serial=LINES]
        [--audio=DRIVER] [--agent=SOCKET] [--qmp=SOCKET] [--firmware=NAME] [--snapshot]
        [--append=WORDS] [--qemu=ARGUMENTS] FILE [GUEST]
  tapdraft up FILE [GUEST...]
  tapdraft down FILE [GUEST...]
  tapdraft down --all
  tapdraft ping [--timeout=SECONDS] FILE GUEST
  tapdraft ssh FILE GUEST [--] [COMMAND...]
  tapdraft dhcp FILE GUEST
  tapdraft dhcp --tap=TAP OPTION...
  tapdraft import [--output=FILE] [--type=FSTYPE] QEMUBOOT_CONF
  tapdraft list [--json]
  tapdraft check [--json] [FILE]
  tapdraft check --policy [FILE]
  tapdraft --help
  tapdraft --version

Commands:
  render  write the scripts for all guests of the description FILE, or for those named
  run     render the scripts, then run them: set up the tap, start qemu, take the tap down
  up      set up the guests' taps through the helper: all of them or none
  down    take the guests' taps down
  ping    wait until the guest answers, and print how long that took
  ssh     start your own ssh with the guest's address; GUEST may be USER@GUEST
  dhcp    answer the guest's DHCP requests until its tap is gone
  import  write a description from Yocto's qemuboot.conf
  list    show the taps that exist, with their guests, addresses and port forwards
  check   find what on this host would keep a guest from working, and print how to fix it

Options:
  --output=DIR    write to this folder instead of out, or for run instead of a temporary
                  folder; import writes to this file instead of standard output
  --dialect=NAME  how ifup and ifdown are written: helper, or nft for root [default: helper]
  --attach=HOW    how qemu gets the tap, see tapdraft(1): run, helper or hooks [default: run]
  --wait-for=PORT  print when this TCP port of the guest is open, and how long that took
  --network=KIND  run: tap, user, bridge or none, instead of what the description says
  --bridge=NAME   run: connect the guest to this bridge of the host
  --forward=PORTS  run: forward these ports of the host, such as tcp:8080:80,udp:53:53
  --vhost         run: let the kernel move the guest's packets
  --accel=NAME    run: auto, kvm or tcg
  --display=KIND  run: none, gtk, sdl, egl-headless, vnc or public-vnc
  --gl=API        run: OpenGL for the window: off, on or es
  --serial=LINES  run: where the serial lines lead, such as terminal,tcp:4444
  --audio=DRIVER  run: the host's sound driver, such as alsa or pa
  --agent=SOCKET  run: socket for the guest agent
  --qmp=SOCKET    run: socket on which qemu takes commands
  --firmware=NAME  run: uefi, secure-boot or a file
  --snapshot      run: discard what the guest writes when qemu ends
  --append=WORDS  run: add these words to the kernel's command line
  --qemu=ARGUMENTS  run: add these arguments to qemu's
  --type=FSTYPE   import: the image's type as runqemu calls it, such as ext4, wic or nfs;
                  by default the configuration's own
  --check-files   fail if a file that a guest needs is missing
  --timeout=SECONDS  give up after this many seconds [default: 60]
  --all           take down all your taps
  --tap=TAP       the tap to answer on; tapdraft dhcp --tap=TAP --help lists the other options
  --json          print JSON, for programs
  --policy        print what the administrator's policy permits to you, and with FILE whether
                  it permits what the guests need
  --help          print this text; tapdraft COMMAND --help is about that command
  --version       print the version

Exit status: 0 success, 1 failure, 2 wrong usage or a wrong description, 3 refused by the policy,
4 something on this host is in the way. run ends with qemu's status. See tapdraft(1),
tapdraft.toml(5).
"""

import errno
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docopt

from ..helper import __version__
from ..helper.commands import line
from . import (
    addressing,
    ask,
    check_qemu,
    description,
    given,
    output,
    ports,
    qemu,
    reach,
    requests,
    run,
    ssh,
    streams,
)
from .dhcp import __main__ as responder
from .errors import FAILED, IN_THE_WAY, USAGE, TapdraftError, plain
from .finding import Place
from .qemuboot.convert import importing
from .usage import Usage

Arguments = given.Arguments
USAGE_TEXT = Usage(str(__doc__))


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command and give its exit status. No traceback reaches the user."""
    closed = streams.prepare()
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        status = _carry_out(words, closed)
        sys.stdout.flush()
    except TapdraftError as error:
        print(error, file=sys.stderr)
        status = error.status
    except BrokenPipeError:
        # Whoever read our output has enough.
        status = 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except SystemExit:
        if streams.settle():
            raise
        print(TapdraftError(f"{streams.NAMES[1]} cannot be written"), file=sys.stderr)
        return FAILED
    except OSError as error:
        where = error.filename
        what = f"{where}: {streams.reason(error)}" if where else streams.reason(error)
        hint = "raise the limit: ulimit -n 1024" if error.errno == errno.EMFILE else ""
        print(TapdraftError(what, hint), file=sys.stderr)
        status = FAILED
    streams.settle()
    return status


def _carry_out(words: list[str], closed: tuple[int, ...]) -> int:
    if words[:1] == ["dhcp"] and any(
        word == "--tap" or word.startswith("--tap=") for word in words
    ):
        return responder.main(words[1:])
    arguments = _arguments(words)
    if arguments["run"]:
        for number, sign in ((0, "<"), (1, ">")):
            if number in closed:
                what = f"{streams.NAMES[number]} is closed: the guest's console needs it"
                raise TapdraftError(what, f"add this to the command: {sign} /dev/null", IN_THE_WAY)
    return _dispatch(arguments)


def _arguments(argv: list[str]) -> Arguments:
    # What stands behind the guest's name is the guest's.
    if argv[:1] == ["ssh"] and len(argv) > 2 and argv[3:4] != ["--"]:
        argv = [*argv[:3], "--", *argv[3:]]
    elif argv[:1] != ["ssh"] and "--" in argv:  # what comes behind it is no option
        at = argv.index("--")
        after = [f"./{word}" if word.startswith("-") else word for word in argv[at + 1 :]]
        argv = [*argv[:at], *after]
    if USAGE_TEXT.asks_for_help(argv):
        print(USAGE_TEXT.help(USAGE_TEXT.command(argv)), end="")
        raise SystemExit(0)
    try:
        return dict(docopt.docopt(str(__doc__), argv, version=__version__))
    except docopt.DocoptExit as error:
        lines = str(error).splitlines()
        # docopt's own complaint, if it has one, stands before the usage. docopt-ng's "Warning"
        # is about its own objects.
        what = lines[0] if lines and not lines[0].startswith(("Usage:", "Warning:")) else ""
        raise USAGE_TEXT.wrong(argv, what) from None


def _dispatch(arguments: Arguments) -> int:
    commands = {
        "render": _render,
        "run": _run,
        "up": _up,
        "down": _down,
        "list": _list,
        "check": _check,
        "import": _import,
        "dhcp": _dhcp,
        "ping": _ping,
        "ssh": _ssh,
    }
    return next(function for name, function in commands.items() if arguments[name])(arguments)


def _render(arguments: Arguments) -> int:
    file = arguments["FILE"]
    described = description.load(file)
    guests = described.chosen(arguments["GUEST"])
    if arguments["--check-files"]:
        given.need_files(guests, Path(file).parent)
    folder = Path(arguments["--output"] or "out")
    for path in _write(arguments, described, guests, folder):
        print(folder / path)
    return 0


def _run(arguments: Arguments) -> int:
    file = arguments["FILE"]
    changed = given.changed(arguments)
    name = "".join(arguments["GUEST"][:1])
    described = description.load(file, lambda tables: given.apply(tables, name, changed))
    guests = described.chosen(arguments["GUEST"])
    if len(guests) > 1:
        names = ", ".join(guest.name for guest in guests)
        what = f"{file} has {len(guests)} guests, and run starts one"
        hint = f"name one of {names}: tapdraft run {file} {guests[0].name}"
        raise TapdraftError(what, hint, USAGE)
    # Unlike render, which may be on another machine than the guest's files.
    given.need_files(guests, Path(file).parent)
    for finding in check_qemu.parts(Place(guests, Path(file).parent)):
        raise TapdraftError(finding.what, finding.fix, IN_THE_WAY)
    _need_ports(guests)
    guests = given.with_name_servers(guests)
    with run.folder(arguments["--output"]) as folder:
        _write(arguments, described, guests, folder)
        script = folder / guests[0].name / "run"
        if arguments["--wait-for"] is None:
            return run.run(script, Path(file).parent, lambda _: None)
        port = given.number(arguments, "--wait-for", 65535)
        awaited = run.Awaited(given.need_tap(guests[0]), port)
        status = run.run(script, Path(file).parent, awaited)
        return FAILED if status == 0 and awaited.seconds is None else status


def _write(arguments: Arguments, described: Any, guests: Any, folder: Path) -> list[str]:
    from . import render  # noqa: PLC0415  jinja2 takes longer than all the rest

    files = render.render(
        described,
        guests,
        dialect=given.word(arguments, "--dialect", render.DIALECTS),
        attach=given.word(arguments, "--attach", qemu.ATTACHMENTS),
    )
    output.write(files, folder)
    closed = [
        path
        for path in (folder, *(folder / guest.name for guest in guests))
        if not path.stat().st_mode & 0o001
    ]
    if closed and arguments["--dialect"] == "nft":
        # The script run starts qemu as another user.
        print(f"warning: other users cannot enter {plain(str(closed[0]))}", file=sys.stderr)
        paths = plain(shlex.join(str(path) for path in closed))
        print(f"hint: chmod go+x {paths}", file=sys.stderr)
    for guest in guests:
        if guest.reader.lacks_driver:
            print(f"warning: guest {guest.name}: {plain(guest.reader.why)}", file=sys.stderr)
        if given.lacks_name_servers(guest) and arguments["render"]:
            what = "its scripts name no name server, so it cannot look up host names"
            print(f"warning: guest {guest.name}: {what}", file=sys.stderr)
            print('hint: write dns = ["9.9.9.9"] below [network]', file=sys.stderr)
    return list(files)


def _up(arguments: Arguments) -> int:
    guests = description.load(arguments["FILE"], look=False).chosen(arguments["GUEST"])
    _need_ports(guests)
    return ask.ask(line(requests.up(guest)) for guest in guests if guest.has_tap)


def _need_ports(guests: Any) -> None:
    """A forward of a port that the host needs itself would do nothing: better said before."""
    for what, fix in ports.forwarded_in_vain(guests):
        raise TapdraftError(what, fix, IN_THE_WAY)


def _down(arguments: Arguments) -> int:
    if arguments["--all"]:
        return ask.ask(["down --all"])
    guests = description.load(arguments["FILE"], look=False).chosen(arguments["GUEST"])
    return ask.ask(line(requests.down(guest)) for guest in guests)


def _dhcp(arguments: Arguments) -> int:
    guest = given.tapped(arguments["FILE"], arguments["GUEST"][0])
    words = [word for word in addressing.dhcp.responder(guest) if word != "--quiet"]
    return responder.main(words)


def _ping(arguments: Arguments) -> int:
    guest = given.tapped(arguments["FILE"], arguments["GUEST"][0])
    return reach.ping(guest, arguments["FILE"], given.number(arguments, "--timeout", 86400))


def _ssh(arguments: Arguments) -> int:
    user, _, name = arguments["GUEST"][0].rpartition("@")
    guest = given.tapped(arguments["FILE"], name)
    return ssh.run(arguments["FILE"], guest, user, arguments["COMMAND"])


def _import(arguments: Arguments) -> int:
    return importing(arguments["QEMUBOOT_CONF"], arguments["--output"], arguments["--type"])


def _list(arguments: Arguments) -> int:
    from . import listing  # noqa: PLC0415  reads the kernel, which nothing else here does

    return listing.show(as_json=arguments["--json"])


def _check(arguments: Arguments) -> int:
    from . import check  # noqa: PLC0415  reads the kernel, which nothing else here does

    file = arguments["FILE"]
    guests = description.load(file).guests if file else ()
    if arguments["--policy"]:
        return ask.policy(line(requests.up(guest)) for guest in guests if guest.has_tap)
    return check.check(Place(guests, Path(file or ".").parent), as_json=arguments["--json"])
