"""The plan: what a request means, that it is undone in full, and that all sides know each part."""

import ast
import errno
import hashlib
import inspect
import re
from typing import get_args

import pytest

from tapdraft.helper import apply, firewall, plan
from tapdraft.helper.explain import commands
from tapdraft.helper.explain.commands import undo
from tapdraft.helper.plan import Uplink, group_of, plan_down, plan_last, plan_up
from tapdraft.helper.request import parse

OPERATIONS = get_args(plan.Operation)
FULL = "up web 192.168.7.1/32 192.168.7.2 nat uplink=eth0 forward=tcp:8080:80 queues=2"


def full_plan() -> plan.Plan:
    return plan_up(parse(FULL), "1000", (Uplink("eth0", "0"),))


def names(operations: plan.Plan) -> list[str]:
    return [type(operation).__name__ for operation in operations]


def test_a_tap_is_switched_on_after_all_that_guards_it_and_kept_last() -> None:
    order = names(full_plan())
    for guard in ("HardenTap", "AddAddress", "EnsureRuleset", "AddUplink", "ForwardPort"):
        assert order.index(guard) < order.index("SetUp")
    assert order[0] == "CreateTap"
    assert order[-1] == "PersistTap"


def test_every_operation_of_up_is_in_a_full_plan() -> None:
    assert set(map(type, full_plan())) == set(commands.UNDONE)


def test_down_is_up_backwards() -> None:
    undone = {type(o) for operation in full_plan() if (o := undo(operation)) is not None}
    down = plan_down(("td-web",), (("tcp", 8080),)) + plan_last((Uplink("eth0", "0"),))
    # RemoveUplink is for an `up` that failed: in a `down` the uplinks go with the table.
    assert undone - {plan.RemoveUplink} == set(map(type, down))


def test_an_isolated_guest_has_no_uplink_and_no_forwarding() -> None:
    request = parse("up db 192.168.7.5/30 192.168.7.6 isolated")
    order = names(plan_up(request, "1000", (Uplink("eth0", "0"),)))
    assert not {"AddUplink", "EnableForwarding", "ForwardPort"} & set(order)


@pytest.mark.parametrize(
    ("words", "group"),
    [
        ("nat", 0x7403),
        ("routed", 0x7401),
        ("isolated", 0x7400),
        ("nat host=open", 0x7407),
        ("routed host=open", 0x7405),
        ("isolated host=open", 0x7404),
    ],
)
def test_the_device_group_says_what_a_tap_may_do(words: str, group: int) -> None:
    assert group_of(parse(f"up a 10.0.0.1/30 10.0.0.2 {words}")) == group


def test_no_request_has_the_group_in_which_taps_wait_to_be_deleted() -> None:
    modes = [
        f"{mode} host={host}"
        for mode in ("nat", "routed", "isolated")
        for host in ("open", "closed")
    ]
    groups = {group_of(parse(f"up a 10.0.0.1/30 10.0.0.2 {words}")) for words in modes}
    assert plan.DOOMED not in groups


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_says_why_has_commands_and_is_carried_out(operation: type) -> None:
    assert (operation.__doc__ or "").endswith(".")
    assert operation.__name__ in _cases(commands.commands)
    assert operation.__name__ in _carried_out()


def _cases(function: object) -> set[str]:
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(function)))  # type: ignore[arg-type]
    return {
        ast.unparse(node.cls).removeprefix("p.")
        for node in ast.walk(tree)
        if isinstance(node, ast.MatchClass)
    }


def _carried_out() -> set[str]:
    return _cases(apply.Work._do) | _cases(firewall.messages)


# Of every ruleset that was ever installed under a mark.
RULESETS = {2: "1d3e4249a5a4a0ebc132424809c169c6450dd8efd92f768b2c27c73b77e972c0"}


def test_the_mark_changes_with_the_rules() -> None:
    """Else a newer helper would add guests to a table that guards them otherwise."""
    rules = "\n".join(
        line for line in commands.ruleset().splitlines() if not re.match(r"\s*(#|comment )", line)
    )
    digest = hashlib.sha256(f"{plan.GROUP} {plan.GROUPS}\n{rules}".encode()).hexdigest()
    assert digest == RULESETS[plan.MARK], f"raise plan.MARK, and note here {digest}"
    assert f'comment "{plan.COMMENT}"' in commands.ruleset()
    assert plan.MARK not in plan.EARLIER


def steps_of_all() -> list[list[plan.Operation]]:
    """The steps of a plan that has two operations of each kind, the last kind first."""
    each = [kind(*["1"] * len(kind._fields)) for kind in OPERATIONS]
    return apply._steps([*reversed(each), *reversed(each)])


def test_operations_of_many_taps_are_carried_out_in_an_order_that_names_them_all() -> None:
    done = [type(operation) for step in steps_of_all() for operation in step]
    assert done == [kind for kind in OPERATIONS for _ in range(2)]


def test_what_is_done_in_one_go_is_one_step() -> None:
    together = [{type(operation) for operation in step} for step in steps_of_all() if len(step) > 1]
    rules = {plan.EnsureRuleset, plan.AddUplink, plan.ForwardPort}
    assert together == [{plan.RemoveForward}, {plan.DeleteTap}, rules, {plan.SetUp}]


def test_taps_of_many_requests_are_guarded_before_they_are_on_and_until_they_are_gone() -> None:
    place = [type(operation) for step in steps_of_all() for operation in step].index
    for guard in (plan.HardenTap, plan.EnsureRuleset, plan.AddUplink, plan.ForwardPort):
        assert place(plan.CreateTap) < place(guard) < place(plan.SetUp) < place(plan.PersistTap)
    assert place(plan.DeleteTap) < place(plan.RemoveUplink) < place(plan.RemoveRuleset)


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (plan.AddUplink("eth0", "0"), "add uplink eth0: Device or resource busy"),
        (plan.RemoveRuleset(), "remove ruleset: Device or resource busy"),
        (plan.SetUp("td-web"), "set up td-web: Device or resource busy"),
    ],
)
def test_what_failed_is_told_in_words(operation: plan.Operation, said: str) -> None:
    assert apply._failed(operation, OSError(errno.EBUSY, "Device or resource busy")) == said


@pytest.mark.parametrize(
    ("error", "left", "hint"),
    [
        (OSError(errno.EMFILE, "Too many open files"), [], "raise ulimit -n"),
        (OSError(errno.ENOENT, "No such file or directory", "/dev/net/tun"), [], "modprobe tun"),
        (OSError(errno.EBUSY, "Device or resource busy"), [], "nothing was changed"),
        (OSError(errno.EBUSY, "Device or resource busy"), ["x"], "tapdraft-helper down --all"),
    ],
)
def test_what_failed_is_told_with_what_to_do(error: OSError, left: list[str], hint: str) -> None:
    assert hint in apply._hint(error, left)


def test_equal_fields_do_not_make_two_operations_one() -> None:
    # Both are tuples of the tap's name: whoever keeps operations in a set has to know.
    assert plan.SetUp("td-a") == plan.PersistTap("td-a")
    state_free = plan_up(parse("up a 10.0.0.1/30 10.0.0.2 isolated"), "1000", ())
    assert names(state_free)[-2:] == ["SetUp", "PersistTap"]
