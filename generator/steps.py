"""A plan's operations as a script needs them: the words of each command, and its undoing."""

from typing import NamedTuple

from ..helper.commands import Command, commands, undo, why
from ..helper.plan import (
    AddUplink, CreateTap, EnableForwarding, EnsureRuleset, ForwardPort, Operation, Plan,
)  # fmt: skip
from .shell import join, marked


class Line(NamedTuple):
    """One command: its words, its input, and the test that decides whether it runs."""

    line: str
    stdin: str
    test: str  # as an if's condition; "" where it always runs
    when: str  # the part of it that is not about what is there already


class Step(NamedTuple):
    """One operation."""

    why: str
    commands: tuple[Line, ...]
    kind: str  # the operation's name
    label: str  # what a script notes of it before it runs, for its undoing; "" if there is none
    undo: "tuple[Line, ...]"


def steps(plan: Plan) -> tuple[Step, ...]:
    return tuple(_step(operation) for operation in plan)


def _step(operation: Operation) -> Step:
    back = undo(operation)  # one without fields is an empty tuple, so compare with None
    return Step(
        why(operation),
        tuple(_line(command) for command in commands(operation)),
        type(operation).__name__,
        _label(operation),
        tuple(_line(command) for command in commands(back)) if back is not None else (),
    )


def _line(command: Command) -> Line:
    when = join(marked(command.when))
    unless = f"! {join(marked(command.unless))}" if command.unless else ""
    test = " && ".join(filter(None, (when, unless)))
    return Line(join(marked(command.argv)), command.stdin, test, when)


def _label(operation: Operation) -> str:
    match operation:
        case CreateTap():
            return "tap"
        case EnsureRuleset():
            return "table"
        case AddUplink():
            return f"uplink:{operation.interface}"
        case EnableForwarding(was="") | EnableForwarding(was=None):
            return ""
        case EnableForwarding():
            return f"forwarding:{operation.was}:{operation.interface}"
        case ForwardPort():
            return f"forward:{operation.protocol}:{operation.port}"
    return ""
