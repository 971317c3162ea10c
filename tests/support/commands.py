"""The commands that the README, the pages of docs/ and the program print."""

from __future__ import annotations

import re
import textwrap

from tests.support.program import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
PROGRAMS = re.compile(
    r"(\S*\.venv/bin/\S+|\[|apptainer|apt-get|cat|cp|curl|docker|eval|export|git|install|kubectl|make|minikube|mkdir|mv"
    r"|pip|podman|prometheus|promtool|python\S*|ray|rm|tar|uv|wandb) \S"
)
"""What begins so is a command, with an argument at least."""
LISTINGS = ("winner: ", "  ", "its best policy ", "digest sha256:", "optimal: ", "not optimal as ", "tictactoe/", "tests/, ")
"""What the other lines of code blocks begin with: output, and the tree of folders."""


def of_pages() -> list[tuple[str, str]]:
    """Each command once, with the page that prints it: the lines of code blocks, and what stands between backticks.

    Lines are split at `&&` and pipes, and without comments and the variables that they set for their command. Two words in a
    sentence, as in `docker stop`, only name a command.
    """
    found: dict[str, str] = {}
    for page in PAGES:
        text = page.read_text()
        lines = [line for line in block_lines(text) if PROGRAMS.match(bare(line))]
        whole = [span for span in in_backticks(text) if len(span.split()) > 2 or span.startswith((".venv/bin/", "make "))]
        for line in lines + whole:
            for part in re.split(r" (?:&&|\|) ", bare(line)):
                found.setdefault(part.strip(), page.name)
    return list(found.items())


def block_lines(text: str) -> list[str]:
    """The lines of a page's code blocks, which are indented by four or fenced."""
    blocks = re.findall(r"(?<=\n\n)(?:    .*\n)+", text) + re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in textwrap.dedent(block).splitlines()]


def in_backticks(text: str) -> list[str]:
    return [span for span in re.findall(r"`([^`\n]+)`", text) if PROGRAMS.match(bare(span))]


def bare(line: str) -> str:
    return re.sub(r"^([A-Z_]+=\S* )+", "", re.sub(r"\s+#.*", "", line))
