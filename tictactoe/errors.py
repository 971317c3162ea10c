"""What is the user's to mend."""

from __future__ import annotations


class UserError(Exception):
    """Bad input or a state that the user can mend: one line that names the option and the remedy; exit code 2."""

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))
