"""A plan's operations as a script needs them: the words of each command, and its undoing."""

from typing import NamedTuple

from ..helper.commands import Command, commands, undo, why
from ..helper.plan import (
    AddUplink,
    CreateTap,
    EnableForwarding,
    EnsureRuleset,
    ForwardPort,
    Operation,
    Plan,
)
from .shell import Code, Variable, Word, in_quotes, join, word


class Line(NamedTuple):
    """One command: its words, its input, and the test that decides whether it runs."""

    line: Code
    stdin: Code
    test: Code  # as an if's condition; "" where it always runs
    when: Code  # the part of it that is not about what is there already


class Step(NamedTuple):
    """One operation."""

    why: str
    commands: tuple[Line, ...]
    kind: str  # the operation's name
    label: Code  # what a script notes of it, in quotes, before it runs; "" if there is no undoing
    there: Code  # a test: was the last command's work done already? "" if that is never asked
    undo: "tuple[Line, ...]"


def stand_in(variable: Variable) -> str:
    """What a plan is made with in place of a variable's value, which only the script knows.

    A NUL can be in no argument of a program, so nothing else looks like one.
    """
    return f"\0{variable.value}\0"


def _word(argument: str) -> Word:
    """An argument of a plan, taken apart at its stand-ins."""
    pieces = argument.split("\0")
    return word(*(Variable(piece) if n % 2 else piece for n, piece in enumerate(pieces)))


def steps(plan: Plan) -> tuple[Step, ...]:
    return tuple(_step(operation) for operation in plan)


def _step(operation: Operation) -> Step:
    back = undo(operation)  # one without fields is an empty tuple, so compare with None
    return Step(
        why(operation),
        tuple(_line(command) for command in commands(operation)),
        type(operation).__name__,
        in_quotes(_word(_label(operation))),
        join(map(_word, commands(operation)[-1].unless)) if commands(operation) else Code(),
        tuple(_line(command) for command in commands(back)) if back is not None else (),
    )


def _line(command: Command) -> Line:
    when = join(map(_word, command.when))
    unless = f"! {join(map(_word, command.unless))}" if command.unless else ""
    test = " && ".join(filter(None, (when, unless)))
    return Line(join(map(_word, command.argv)), Code(command.stdin), Code(test), when)


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
