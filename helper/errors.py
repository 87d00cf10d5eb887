"""What can go wrong, as the caller is told it: what is wrong, what to do, and the exit status."""

FAILED, USAGE, REFUSED, IN_THE_WAY = 1, 2, 3, 4


class HelperError(Exception):
    """An error for a person: `str(error)` says what is wrong, `hint` what to do about it."""

    status = FAILED

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.hint = hint


class BadRequest(HelperError):
    """The request's words are wrong, whoever asks and whatever the host looks like."""

    status = USAGE


class Refused(HelperError):
    """The policy does not permit it, or the thing asked for is somebody else's."""

    status = REFUSED


class InTheWay(HelperError):
    """Something on this host prevents it, and a person has to change that first."""

    status = IN_THE_WAY
