"""The `.env` file: what counts in it, and what is said where it is malformed."""

from __future__ import annotations

import os
from pathlib import Path

from dotenv.parser import parse_stream

from tictactoe.errors import UserError

PREFIX = "TICTACTOE_"
"""Of the environment variables and lines that are the program's own."""
_PLACEHOLDERS = {"", "your-key-here", "your_key_here", "your-api-key", "changeme"}


def path() -> Path:
    """The file that TICTACTOE_ENV_FILE names, else `.env` here."""
    return Path(os.environ.get(PREFIX + "ENV_FILE") or ".env")


def is_placeholder(value: str) -> bool:
    """Whether a value is what an example file holds, and so as good as none."""
    return value.strip() in _PLACEHOLDERS


def read(file: Path) -> dict[str, str]:
    """The assignments of the file; none if there is no such file. Raises UserError, with the line, if malformed."""
    try:
        if not file.is_file():
            return {}
        with file.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, UnicodeError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}); mend or remove it") from None
    for binding in bindings:
        text = binding.original.string  # begins with the empty lines before it
        line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        if binding.error or (binding.key is not None and (not binding.key or "=" in binding.key or binding.value is None)):
            raise UserError(f"{file}, line {line}: not of the form KEY=value; mend or remove it")
        if "\0" in (binding.key or "") + (binding.value or ""):
            raise UserError(f"{file}, line {line}: holds a null character; mend or remove it")
    return {binding.key: binding.value or "" for binding in bindings if binding.key}
