"""How plots are drawn: sized for a phone, as SVG that takes its colours from the page and as PNG on white.

Imports matplotlib, and is imported only where a report is made. Nothing global is changed: no pyplot, no
current figure, and settings hold inside `style` only.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 340
"""Points; about what a phone shows, so that text keeps its size there."""
COLOURS = {
    "ink": "#1b1f24",
    "muted": "#59636e",
    "grid": "#d8dee4",
    "solved": "#0067a5",
    "unsolved": "#c8500a",
}
"""By role: what they are on white. The page has others for its dark theme, told apart by the colour-blind too
(blue and orange of Okabe & Ito, 2008); marks and dashes say the same without any colour."""
INK, MUTED, GRID, SOLVED, UNSOLVED = COLOURS.values()


@dataclass(frozen=True)
class Plot:
    """One picture and what it says."""

    name: str
    """File name, without its ending."""
    title: str
    caption: str
    svg: str
    png: bytes


@contextmanager
def style() -> Iterator[None]:
    """Settings for everything drawn inside."""
    with matplotlib.rc_context(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": "report",
            "font.size": 11,
            "axes.labelcolor": MUTED,
            "axes.edgecolor": MUTED,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": GRID,
            "grid.linewidth": 0.6,
            "xtick.color": MUTED,
            "ytick.color": MUTED,
            "xtick.labelsize": 10,
            "ytick.labelsize": 10,
            "text.color": INK,
            "legend.fontsize": 10,
            "legend.frameon": False,
        }
    ):
        yield


def new_figure(height: float) -> tuple[Figure, Axes]:
    """A figure of the common width and `height` points, and its only axes."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    return figure, figure.add_subplot()


def finish(figure: Figure, name: str, title: str, caption: str) -> Plot:
    """The figure as a `Plot`."""
    png, svg = io.BytesIO(), io.StringIO()
    figure.savefig(png, format="png", dpi=180, facecolor="white")
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    return Plot(name, title, caption, _inline(svg.getvalue(), name, f"{title}. {caption}"), png.getvalue())


def _inline(svg: str, name: str, description: str) -> str:
    """SVG to stand in an HTML page beside others: no prologue, ids of its own, colours by role, a description."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    wanted = set(re.findall(r'(?:href="|url\()#([\w.-]+)', svg))

    def renamed(match: re.Match[str]) -> str:
        if match[1] not in wanted:  # nobody refers to it, or it was defined before: axes repeat the shape of their ticks
            return ""
        wanted.remove(match[1])
        return f' id="{name}-{match[1]}"'

    svg = re.sub(r' id="([\w.-]+)"', renamed, svg)
    svg = re.sub(r'(xlink:href="|url\()#([\w.-]+)', rf"\1#{name}-\2", svg)
    for role, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{role})")
    svg = re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", svg, count=1)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(description)}" ', 1)
