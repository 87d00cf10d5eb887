"""Arguments"""

from __future__ import annotations

import pytest
from attacker import UP, assert_refused, assert_up, attack, take_down
from labnet import Lab

USAGE = 2


def with_name(lab: Lab, name: str) -> None:
    """Refused as a name, both on the command line and on standard input."""
    words = ("up", name, *UP[2:])
    assert_refused(lab.helper("down", name), USAGE, "")
    done = lab.helper("-", input=" ".join(words) + "\n")
    assert_refused(done, USAGE, "request 1: ")


def test_a_start_without_argv_0_is_refused(target: Lab) -> None:
    """Kernels from 5.18 make it an empty one; argc is 0 on older ones."""
    done = attack(target, "libc.execve(HELPER.encode(), None, None)")
    assert_refused(done, USAGE, "")


def test_5000_arguments_are_refused(target: Lab) -> None:
    assert_refused(target.helper(*["up"] * 5000), USAGE, "not 1 to 64 arguments")


def test_an_argument_of_128_kib_is_refused(target: Lab) -> None:
    assert_refused(target.helper("up", "a" * (131072 - 1)), USAGE, "not 1 to 64 arguments")


@pytest.mark.parametrize("length", [13, 16, 4000])
def test_a_name_that_is_too_long_is_refused(target: Lab, length: int) -> None:
    """The kernel would cut the 16th character off, and another tap would be meant."""
    with_name(target, "a" * length)


def test_a_name_of_4096_characters_is_refused(target: Lab) -> None:
    assert_refused(target.helper("up", "a" * 4096, *UP[2:]), USAGE, "not 1 to 64 arguments")


@pytest.mark.parametrize("name", ["a%d", "a%s", "%n", "%d"])
def test_a_format_in_a_name_is_refused(target: Lab, name: str) -> None:
    """TUNSETIFF expands %d."""
    with_name(target, name)


@pytest.mark.parametrize(
    "name",
    ["'a'", '"a"', "a;b", "$(id)", "`id`", "a|b", "a&b", "a>b", "$HOME", "a\\b", "a*", "a b"],
)
def test_a_name_that_means_something_to_a_shell_is_refused(target: Lab, name: str) -> None:
    with_name(target, name)


@pytest.mark.parametrize(
    "name", ["a\nb", "a\n", "\na", "a\rb", "a\x1b[31mb", "a\tb", "a\x7f", "a\x01b", "a\bb"]
)
def test_a_control_character_in_a_name_is_refused(target: Lab, name: str) -> None:
    """A newline would forge a line of the log, an escape a terminal's; neither is printed back."""
    done = target.helper("up", name, *UP[2:])
    assert_refused(done, USAGE, "an argument is not all printable ASCII")
    done = target.helper("-", input=f"up {name} 192.168.7.1/30 192.168.7.2\n")
    assert_refused(done, USAGE, "request 1: ")


@pytest.mark.parametrize("name", ["w\u0435b", "\uff57eb", "we\u200bb", "\u202ebew", "we\u0301b"])
def test_a_look_alike_letter_is_refused(target: Lab, name: str) -> None:
    """Cyrillic, full width, zero width, right to left, combining."""
    done = target.helper("up", name, *UP[2:])
    assert_refused(done, USAGE, "an argument is not all printable ASCII")
    done = target.helper("-", input=f"up {name} 192.168.7.1/30 192.168.7.2\n")
    assert_refused(done, USAGE, r"request 1: the character U\+")


@pytest.mark.parametrize(
    "data", [b"up \xff\xfe\n", b"\x00\n", b"up a\x00b 192.168.7.1/30\n", b"\xef\xbb\xbfup\n"]
)
def test_bytes_that_are_no_text_are_refused(target: Lab, data: bytes) -> None:
    done = target.helper("-", input=data.decode("utf-8", "surrogateescape"))
    assert_refused(done, USAGE, r"request 1: the character U\+")


@pytest.mark.parametrize(
    "name", ["..", ".", "/", "../web", "a/b", "/etc", "-h", "-", "--", "-a", "_a", "a.b"]
)
def test_a_name_that_is_a_path_or_an_option_is_refused(target: Lab, name: str) -> None:
    words = ("up", name, *UP[2:])
    assert_refused(target.helper(*words), USAGE, "")
    assert_refused(target.helper("-", input=" ".join(words)), USAGE, "request 1: ")


@pytest.mark.parametrize(
    "name",
    [
        "..",
        "../../ipv6/conf/eth0",
        "all",
        "default",
        "lo",
        "eth0/forwarding",
        "eth0 ",
        "",
        "a" * 16,
        "eth0%d",
        ".",
    ],
)
def test_an_uplink_that_names_no_single_interface_is_refused(target: Lab, name: str) -> None:
    """`all` and `default` are folders beside the interfaces' own below net/ipv4/conf."""
    assert_refused(target.helper(*UP, f"uplink={name}"), USAGE, "")


@pytest.mark.parametrize("name", ["all", "default", "lo", "td-web"])
def test_a_name_that_the_kernel_uses_itself_means_a_tap_of_ours(target: Lab, name: str) -> None:
    """The prefix makes it td-all, td-default, td-lo: nothing of the kernel's is meant."""
    assert_up(target.helper("up", name, *UP[2:]), name)
    assert [tap.name for tap in target.tapdraft().taps] == [f"td-{name}"]
    take_down(target)


NUMBERS = (
    "0100",
    "+100",
    "-100",
    "0x64",
    "1e3",
    "100.0",
    "1_000",
    "99999",
    "4294967396",
    "18446744073709551716",
    "",
    "\uff11\uff10\uff10",
)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_is_not_plain_is_refused(target: Lab, number: str) -> None:
    """Leading zeros, signs, hex, exponents, other scripts' digits, overflows of 16, 32, 64 bits."""
    done = target.helper("-", input=" ".join([*UP, f"mtu={number}"]))
    assert_refused(done, USAGE, "request 1: ")


@pytest.mark.parametrize("number", ["080", "+80", "0x50", "65616"])
@pytest.mark.parametrize(
    "words", ["queues=%s", "forward=tcp:%s:80", "forward=tcp:8080:%s", "%s"], ids=repr
)
def test_no_number_of_a_request_is_read_otherwise(target: Lab, words: str, number: str) -> None:
    """The same for queues, both ports of a forward and the prefix's length."""
    words = words % number
    line = " ".join([*UP, words]) if "=" in words else f"up web 192.168.7.1/{words} 192.168.7.2"
    assert_refused(target.helper("-", input=line), USAGE, "request 1: ")


@pytest.mark.parametrize(
    ("host", "guest"),
    [
        ("0.0.0.0/0", "192.168.7.2"),
        ("0.0.0.0/8", "0.0.0.1"),
        ("192.168.7.0/30", "192.168.7.1"),
        ("192.168.7.3/30", "192.168.7.1"),
        ("192.168.7.1/30", "192.168.7.3"),
        ("192.168.7.1/30", "192.168.7.1"),
        ("192.168.7.1/31", "192.168.7.0"),
        ("192.168.7.1/33", "192.168.7.2"),
        ("192.168.7.1/7", "192.168.7.2"),
        ("127.0.0.1/8", "127.0.0.2"),
        ("169.254.1.1/30", "169.254.1.2"),
        ("169.254.169.254/32", "192.168.7.2"),
        ("192.168.7.1/32", "169.254.169.254"),
        ("224.0.0.1/30", "224.0.0.2"),
        ("255.255.255.253/30", "255.255.255.254"),
        ("192.168.7.1/30", "255.255.255.255"),
        ("192.168.7.1/30", "192.168.7.6"),
        ("192.168.007.1/30", "192.168.7.2"),
        ("192.168.7/30", "192.168.7.2"),
        ("3232237313/30", "192.168.7.2"),
        ("0xc0a80701/30", "192.168.7.2"),
        ("192.168.7.1", "192.168.7.2"),
        ("192.168.7.1/255.255.255.252", "192.168.7.2"),
        ("::1/64", "::2"),
    ],
)
def test_an_address_that_no_guest_can_have_is_refused(target: Lab, host: str, guest: str) -> None:
    """All addresses, host bits, loopback, link-local, metadata, multicast, old notations."""
    assert_refused(target.helper("up", "web", host, guest), USAGE, "")


@pytest.mark.parametrize(
    ("host", "guest"),
    [
        ("203.0.113.5/30", "203.0.113.6"),
        ("203.0.113.9/32", "203.0.113.10"),
        ("192.168.7.1/24", "192.168.7.2"),
        ("192.168.7.9/32", "192.168.7.129"),
    ],
)
def test_a_subnet_that_overlaps_a_route_of_the_host_is_refused(
    target: Lab, host: str, guest: str
) -> None:
    """The host's own network, and a route in a table other than the main one."""
    target.site.policy("[group tapdraft]\nsubnets=0.0.0.0/0\ntaps=1\nmodes=nat\nuplinks=*\n")
    target.run(["ip", "route", "add", "192.168.7.128/25", "dev", "eth0", "table", "7"]).check()
    assert_refused(target.helper("up", "web", host, guest), 4, "overlap")
    target.run(["ip", "route", "flush", "table", "7"]).check()


@pytest.mark.parametrize("mtu", ["0", "67", "65522", "65536"])
def test_an_mtu_that_the_kernel_cannot_keep_is_refused(target: Lab, mtu: str) -> None:
    assert_refused(target.helper(*UP, f"mtu={mtu}"), USAGE, "is not from 68 to 65521")


@pytest.mark.parametrize("queues", ["0", "257"])
def test_a_number_of_queues_that_the_kernel_does_not_have_is_refused(
    target: Lab, queues: str
) -> None:
    assert_refused(target.helper(*UP, f"queues={queues}"), USAGE, "is not from 1 to 256")


@pytest.mark.parametrize(
    "word",
    [
        "forward=tcp:0:80",
        "forward=tcp:80",
        "forward=icmp:8080:80",
        "forward=tcp:8080:80:80",
        "forward=tcp:65536:80",
        "forward=",
    ],
)
def test_a_forward_that_is_none_is_refused(target: Lab, word: str) -> None:
    assert_refused(target.helper(*UP, word), USAGE, "")


@pytest.mark.parametrize(
    "words",
    [
        ("mtu=1400", "mtu=1400"),
        ("mtu=1400", "mtu=1300"),
        ("nat", "routed"),
        ("host=open", "host=closed"),
        ("forward=tcp:8080:80", "forward=tcp:8080:81"),
        ("uplink=eth0", "uplink=eth0"),
        ("owner=0",),
        ("uid=0",),
        ("pid=1",),
        ("netns=1",),
        ("alias=x",),
        ("nat=1",),
        ("host=",),
        ("up",),
    ],
)
def test_words_that_contradict_or_do_not_exist_are_refused(
    target: Lab, words: tuple[str, ...]
) -> None:
    """No last word wins, and there is no word for a process, a namespace, an owner or a path."""
    assert_refused(target.helper(*UP, *words), USAGE, "")


@pytest.mark.parametrize(
    "last",
    [
        "up bad",
        "up web0 10.0.0.1/30 10.0.0.2",
        "down web0",
        "\x1b",
        "up web0 192.168.7.1/30 192.168.7.2",
        "",
    ],
)
def test_a_thousand_requests_of_which_the_last_is_bad_do_nothing(target: Lab, last: str) -> None:
    """Malformed, not permitted, of the other verb, said twice: checked before the first change."""
    target.site.policy("[group tapdraft]\nsubnets=192.168.0.0/16\ntaps=2000\nmodes=nat\nuplinks=*")
    lines = [
        f"up web{n} 192.168.{n // 64}.{n % 64 * 4 + 1}/30 192.168.{n // 64}.{n % 64 * 4 + 2}"
        for n in range(999)
    ]
    done = target.helper("-", input="\n".join([*lines, last]) + "\n")
    assert done.status in (2, 3, 4)
    assert_refused(done, done.status, "")


def test_more_requests_than_anybody_needs_are_refused(target: Lab) -> None:
    assert_refused(target.helper("-", input="down web\n" * 4097), USAGE, "more than 4096 requests")
    assert_refused(target.helper("-", input="a" * ((1 << 20) + 1)), USAGE, "more than")


def test_up_and_down_together_are_refused(target: Lab) -> None:
    done = target.helper("-", input=" ".join(UP) + "\ndown web\n")
    assert_refused(done, USAGE, "cannot be mixed")


@pytest.mark.parametrize(
    "words",
    [
        ("--fd=0", *UP),
        ("--fd=2", *UP),
        ("--fd=-1", *UP),
        ("--fd=99999999999", *UP),
        ("--fd=03", *UP),
        ("--fd=", *UP),
        ("--fd=9", *UP),
        ("--fd=3", "--fd=4", *UP),
        ("--prefix=/tmp", *UP),
        ("--policy=/tmp/policy.conf", *UP),
        ("--dry-run", "--explain", *UP),
        ("-v", *UP),
        (),
    ],
)
def test_an_option_that_is_none_is_refused(target: Lab, words: tuple[str, ...]) -> None:
    assert_refused(target.helper(*words), USAGE, "")
