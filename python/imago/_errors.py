"""What goes wrong, in the library's own words."""
from __future__ import annotations


class ImagoError(Exception):
    """A failure of the library: one line that names the thing, what was found, what was wanted and what to do.

    ``str(error)`` is the whole line; ``error.hint`` is its end, what to do, where the line has such an end behind its last
    ``"; "``, else ``""``.
    """

    @property
    def hint(self) -> str:
        return str(self).rpartition("; ")[2] if "; " in str(self) else ""


class Stopped(ImagoError):
    """What was asked for was given up: a callback said so."""


class ImagoWarning(UserWarning):
    """Something that the library says and that is no failure, such as a prompt that was cut."""
