"""Errors that people read: one line that says what is wrong and what to do."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """The first line of what an error says (a driver's own, where SQLAlchemy wraps it); its class when it is mute."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0].rstrip() if lines else type(error).__name__


class NightshiftError(Exception):
    """A failure with a message for a person; the command line prints it on one line and exits with `exit_code`."""

    exit_code = 1


class UserError(NightshiftError):
    """Bad usage or bad input (wrong key, missing file, unreadable row): exit code 2."""

    exit_code = 2


class AlreadyExists(NightshiftError):
    """A conditional create lost: somebody else wrote that key first."""


class NotFound(NightshiftError):
    """A key that the store does not hold."""


class Busy(NightshiftError):
    """The same night is being run by another process."""


class Away(NightshiftError):
    """A server that is needed did not answer for long; that says nothing about what was asked of it."""
