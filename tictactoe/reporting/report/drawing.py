"""How plots are drawn: sized for a phone, as SVG that takes its colours from the page and as PNG on white.

This file imports matplotlib, which takes a second. So it is imported only when a report is made. Nothing global is changed:
there is no pyplot and no current figure, and the settings hold only inside `style`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

WIDTH = 340
"""Points. A phone shows about so many, so text keeps its size there."""
HALF_A_LABEL = 16
"""Points."""
DPI = 180
"""Of PNG."""
COLOURS = {
    "ink": "#1b1f24",
    "muted": "#59636e",
    "grid": "#d8dee4",
    "solved": "#0067a5",
    "unsolved": "#c8500a",
}
"""By role, on white. The page has others for its dark theme. The colour-blind can tell them apart too (blue and orange of
Okabe & Ito, 2008), and marks and dashes say the same without any colour."""
INK, MUTED, GRID, SOLVED, UNSOLVED = COLOURS.values()


class Look(NamedTuple):
    """How trials of one kind are drawn."""

    label: str
    colour: str
    marker: str
    """Of a trial that is a mark."""
    face: str
    """What fills the mark."""
    dashes: Any
    """Of a trial that is a line, as matplotlib has them."""
    opacity: float
    """Of that line."""


LOOKS = {
    "solved": Look("solved on every seed", SOLVED, "o", SOLVED, "-", 0.5),
    "unsolved": Look("not on every seed", UNSOLVED, "x", UNSOLVED, (0, (3, 2)), 0.8),
    "stopped": Look("dropped early (≥)", MUTED, "^", "none", ":", 0.3),
}
"""By `data.kind`."""


@dataclass(frozen=True)
class Plot:
    """One picture, and what it says in words."""

    name: str
    """File name, without its ending."""
    title: str
    caption: str
    svg: str
    """An <svg> element. matplotlib has escaped all text in it."""
    png: bytes

    @property
    def description(self) -> str:
        """For those who do not see the picture."""
        return f"{self.title}. {self.caption}"


@contextmanager
def style() -> Iterator[None]:
    """Settings for everything drawn inside, whatever a matplotlibrc of the user's says."""
    with matplotlib.rc_context(
        {
            **matplotlib.rcParamsDefault,
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
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=DPI, layout="constrained")
    return figure, figure.add_subplot()


def games_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make an axis one of games: logarithmic, labelled 300, 1k, 50k, with more labels the less it spans."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    if high < 4 * low:
        axis.set_major_locator(MaxNLocator(4))
    elif high < 50 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(EngFormatter(sep=""))
    unlabelled(axis)


def unlabelled(axis: Axis) -> None:
    """Draw an axis's minor ticks without labels; none are then laid out either, which takes its time."""
    axis.set_minor_formatter(NullFormatter())
    axis.set_tick_params(which="minor", label1On=False)


def legend(figure: Figure, axes: Axes) -> None:
    """Put a legend above the plot, with one entry for each label. It has two columns: three are too wide for some labels."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(list(once.values()), list(once), loc="outside upper left", ncols=2, handlelength=2.4, columnspacing=1.2)


def scatter(axes: Axes, kinds: Sequence[str], x: Sequence[float], y: Sequence[float], size: float) -> None:
    """Draw one mark for each trial, with the look of its kind."""
    for kind, look in LOOKS.items():
        places = [place for place, one in enumerate(kinds) if one == kind]
        if places:
            style: dict[str, Any] = {"marker": look.marker, "color": look.colour, "markerfacecolor": look.face}
            xs, ys = [x[place] for place in places], [y[place] for place in places]
            axes.plot(xs, ys, markersize=size, linestyle="", alpha=0.8, label=look.label, **style)


def lay_out(figure: Figure) -> None:
    """Make room for all labels, once: each `savefig` would do that anew, and draw the figure once more for it."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine(None)


def lay_out_alike(figures: Sequence[Figure]) -> None:
    """Make room in the first figure, and as much in the others, whose labels are as large: that takes a third of their time.

    Each has one axes. On the right there is room for half a label.
    """
    lay_out(figures[0])
    place = figures[0].axes[0].get_position()
    for figure in figures:
        figure.set_layout_engine(None)
        figure.axes[0].set_position((place.x0, place.y0, 1 - HALF_A_LABEL / WIDTH - place.x0, place.height))


def finish(figure: Figure, name: str, title: str, caption: str) -> Plot:
    """The figure as a `Plot`."""
    lay_out(figure)
    png, svg = io.BytesIO(), io.StringIO()
    figure.savefig(png, format="png", facecolor="white")
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    return Plot(name, title, caption, _inline(svg.getvalue(), name), png.getvalue())


def _inline(svg: str, name: str) -> str:
    """SVG that can stand in an HTML page beside others: no prologue, ids of its own, and colours by role."""
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    wanted = set(re.findall(r'(?:href="|url\()#([\w.-]+)', svg))

    def renamed(match: re.Match[str]) -> str:
        if match[1] not in wanted:  # nothing refers to it, or it was defined before: axes repeat the shape of their ticks
            return ""
        wanted.remove(match[1])
        return f' id="{name}-{match[1]}"'

    svg = re.sub(r' id="([\w.-]+)"', renamed, svg)
    svg = re.sub(r'(xlink:href="|url\()#([\w.-]+)', rf"\1#{name}-\2", svg)
    for role, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{role})")
    return re.sub(r' width="[\d.]+pt" height="[\d.]+pt"', "", svg, count=1)
