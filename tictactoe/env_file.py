"""The `.env` file: what counts in it, and what is said where it is malformed."""

from __future__ import annotations

import io
import os
from pathlib import Path

from dotenv import dotenv_values
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


def is_word(value: str) -> bool:
    """Whether a value can be a key or a token: one word of printable ASCII."""
    return value.isascii() and value.isprintable() and " " not in value


def note(file: Path) -> str | None:
    """What to tell the user where nothing is read though something may be meant: a name, a folder, a pipe."""
    named = os.environ.get(PREFIX + "ENV_FILE")
    shown = f"{PREFIX}ENV_FILE {file}" if named else str(file)
    if str(file) == os.devnull:  # which is how one says that there is none
        return None
    if os.path.lexists(file):
        return None if file.is_file() else f"{shown}: no plain file; no settings are taken from it"
    return f"{shown}: there is no such file; no settings are taken from it" if named else None


def read(file: Path) -> dict[str, str]:
    """The assignments of the file, with `${OTHER}` replaced as python-dotenv does it; none if it is no plain file.

    Raises UserError, with the line, if malformed.
    """
    try:
        if not file.is_file():
            return {}
        content = file.read_text(encoding="utf-8-sig")  # some editors on Windows begin with a byte order mark
        bindings = list(parse_stream(io.StringIO(content)))
    except (OSError, UnicodeError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}); mend or remove it") from None
    for binding in bindings:
        text = binding.original.string  # begins with the empty lines before it
        line = binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")
        if binding.error or (binding.key is not None and (not binding.key or "=" in binding.key or binding.value is None)):
            raise UserError(f"{file}, line {line}: not of the form KEY=value; mend or remove it")
        if "\0" in (binding.key or "") + (binding.value or ""):
            raise UserError(f"{file}, line {line}: holds a null character; mend or remove it")
    return {name: value or "" for name, value in dotenv_values(stream=io.StringIO(content)).items()}
