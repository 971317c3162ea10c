"""The report: exact odds, the embedded policy read back, and what stands on the page."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from tests.support import made_up
from tictactoe.core.evaluation import move_graph
from tictactoe.core.game import Board, graph
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.core.policy import Policy
from tictactoe.core.solution import best_wins
from tictactoe.errors import UserError
from tictactoe.experiment.journal import Journal
from tictactoe.experiment.results import winner_learner
from tictactoe.reporting.report import page as report
from tictactoe.reporting.report.board import embed
from tictactoe.reporting.report.data import Findings

LIMIT = 15_000_000


def trained(board: Board, games: int, **options: Any) -> QLearner:
    learner = QLearner(board, Hyperparameters(**options), 0)
    learner.train(games)
    return learner


def unpack(packed: dict[str, Any]) -> dict[int, tuple[int, float]]:
    """Moves (as a bit mask) and value of each position code, read as the page's policy.js reads them."""
    data, at, code, codes = gzip.decompress(base64.b64decode(packed["data"])), 0, 0, []
    for _ in range(packed["count"]):
        shift = 0
        while True:
            code += (data[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if data[at - 1] < 128:
                break
        codes.append(code)
    n = packed["count"]
    assert len(data) == at + 3 * n
    masks = [low | high << 8 for low, high in zip(data[at : at + n], data[at + n : at + 2 * n], strict=True)]
    values = np.frombuffer(data[at + 2 * n :], dtype=np.int8) * packed["unit"]
    return {code: (mask, float(value)) for code, mask, value in zip(codes, masks, values, strict=True)}


def smallest(packed: dict[str, Any], text: str) -> tuple[int, list[int]]:
    """A position's smallest image over the embedded symmetries, and the first of them that gives it."""
    marks = [(cell, ".XO".index(mark)) for cell, mark in enumerate(text) if mark != "."]
    images = [(sum(mark * 3 ** image[cell] for cell, mark in marks), place) for place, image in enumerate(packed["symmetries"])]
    code, place = min(images)
    return code, packed["symmetries"][place]


def test_the_best_possible_against_random_on_3x3x3() -> None:
    as_x, as_o = best_wins(Board())
    assert as_x == pytest.approx(191 / 192, abs=1e-12)
    assert as_o == pytest.approx(866 / 945, abs=1e-12)


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 3, 3), (3, 2, 2), (2, 4, 3)])
def test_the_best_possible_by_recursion_in_fractions(size: tuple[int, int, int]) -> None:
    board = Board(*size)

    @cache
    def value(code: int) -> int:
        """For X."""
        outcome = board.outcome(code)
        if outcome is not None:
            return outcome
        return (max, min)[board.to_move(code)](value(board.play(code, move)) for move in board.legal_moves(code))

    @cache
    def wins(code: int, seat: int) -> Fraction:
        outcome, sign = board.outcome(code), 1 - 2 * seat
        if outcome is not None:
            return Fraction(outcome == sign)
        following = [board.play(code, move) for move in board.legal_moves(code)]
        if board.to_move(code) == seat:
            return max(wins(after, seat) for after in following if sign * value(after) >= sign * value(0))
        return sum((wins(after, seat) for after in following), Fraction()) / len(following)

    assert best_wins(board) == pytest.approx((float(wins(0, 0)), float(wins(0, 1))), abs=1e-12)


@pytest.mark.parametrize(
    ("size", "games", "options"),
    [
        ((3, 3, 3), 0, {}),
        ((3, 3, 3), 400, {}),
        ((3, 3, 3), 20_000, {"q_init": 2.0}),
        ((3, 3, 3), 400, {"symmetry": False}),
        ((3, 3, 3), 400, {"table": "state-action"}),
        ((3, 3, 3), 400, {"table": "state-action", "symmetry": False}),
        ((1, 1, 1), 10, {}),
        ((2, 5, 2), 300, {}),
        ((3, 4, 3), 20_000, {}),
        ((3, 4, 3), 20_000, {"table": "state-action", "symmetry": False}),
    ],
)
def test_the_embedded_policy_is_the_policy_file(size: tuple[int, int, int], games: int, options: dict[str, Any]) -> None:
    learner = trained(Board(*size), games, **options)
    packed = json.loads(json.dumps(embed(learner)))
    decisions = unpack(packed)
    policy = Policy.from_learner(learner)
    met = set()
    for text, cells in policy.moves.items():
        code, image = smallest(packed, text)
        met.add(code)
        assert [cell for cell in range(learner.board.cells) if decisions[code][0] >> image[cell] & 1] == cells
    assert met == set(decisions)


@pytest.mark.parametrize("options", [{}, {"symmetry": False}, {"table": "state-action"}, {"q_init": -1.5}])
def test_embedded_values_are_those_of_the_best_moves(options: dict[str, Any]) -> None:
    learner = trained(Board(), 300, **options)
    packed = embed(learner)
    game, entry, by_child = move_graph(learner.board, learner.hyperparameters.table, learner.hyperparameters.symmetry)
    nodes = {int(code): node for node, code in enumerate(game.codes)}
    for code, (_, value) in unpack(packed).items():
        edges = range(game.first[nodes[code]], game.first[nodes[code] + 1])
        best = max(learner.table[entry[game.child[edge] if by_child else edge]] for edge in edges)
        assert abs(value - best) <= packed["unit"] / 2 + 1e-12
    assert packed["unit"] * 127 <= 2


class Content(HTMLParser):
    """Text of a page, without scripts and styles; ids; and addresses of anything to be fetched."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.labels: list[str] = []
        self._skip = ""
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self._skip = tag if tag in ("script", "style") else ""
        self.ids += [found["id"] or ""] if "id" in found else []
        self.labels += [found["aria-label"] or ""] if tag == "svg" else []
        for name in ("src", "href", "xlink:href"):
            if name in found and not (found[name] or "").startswith("#"):
                self.fetched.append(f"{tag} {found[name]}")

    def handle_endtag(self, tag: str) -> None:
        self._skip = ""

    def handle_data(self, data: str) -> None:
        if not self._skip:
            self.words.append(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results") / "made <up>"
    learner = made_up.results(path)
    made_up.select(path)
    before = dict(matplotlib.rcParams)
    assert report.write(path, learner) == path / "report.html"
    assert dict(matplotlib.rcParams) == before
    return path


@pytest.fixture(scope="module")
def content(folder: Path) -> Content:
    return Content((folder / "report.html").read_text(encoding="utf-8"))


def test_the_page_stands_alone(folder: Path, content: Content) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert content.fetched == []
    assert re.findall(r"url\((?!#)[^)]*\)|@import", page) == []
    assert len(content.ids) == len(set(content.ids))
    assert not list(folder.rglob("*.partial"))


def test_the_page_says_what_was_found(folder: Path, content: Content) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    odds = summary["policy"]["vs_random"]
    for expected in (
        "made <up>",
        "24 configurations of a Q-learner taught themselves 3x3x3 by self-play, each on 4 seeds with a budget of 3,000 games.",
        f"trial_{summary['best']['index']:05d} won. Its policy plays optimally: exploitability 0, exactly.",
        "444 games to optimal Half of the fresh seeds (64)",
        "the median is between 400 and 500, 93.8 % sure.",
        f"{1.25 * summary['best']['par10']:,.0f} PAR-10 on fresh seeds",
        f"{summary['best']['par10']:,.0f} PAR-10 in the search",
        "1.25 × winner's-curse gap",
        "2 of 4 finalists tied One other finalist is indistinguishable",
        "75% of the slots' time was learning",
        f"wins {odds['X']['win']:.4%} {odds['O']['win']:.4%}",
        "loses 0.0000% 0.0000%",
        "wins, at best 99.4792% 91.6402%",
        "races <on> fresh seeds",
        "never 403 – never 64 worse",
        "python main.py --board 3x3x3 --num-samples 24 --seeds 4 --games 3000 --seed 0 --search random --scheduler none",
        "sha256:0123",
    ):
        assert expected in content.text


def test_every_plot_has_a_description_and_a_png(folder: Path, content: Content) -> None:
    searched = Findings.read(folder).searched
    assert "alpha_start" in searched and "table" not in searched
    names = {
        "finalists",
        "games-to-optimal",
        "parallel-coordinates",
        "importance",
        "exploitability",
        "loss-vs-random",
        "timeline",
    }
    pictures = {path.stem: path.read_bytes() for path in (folder / "plots").iterdir()}
    assert set(pictures) == names | {f"hyperparameter-{name}" for name in searched}
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())
    assert len(content.labels) == len(pictures) == len(set(content.labels))
    solved = sum(Findings.read(folder).kind(record) == "solved" for record in Findings.read(folder).records)
    assert f"{solved} of 24 trials were solved on every seed" in content.text


def test_plots_follow_the_theme(folder: Path) -> None:
    page = (folder / "report.html").read_text(encoding="utf-8")
    pictures = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", pictures)) == set()
    assert "var(--ink)" in pictures and "var(--solved)" in pictures and "<text" in pictures


def test_writing_twice_gives_the_same_bytes(folder: Path) -> None:
    before = (folder / "report.html").read_bytes()
    report.write(folder, winner_learner(folder))
    assert (folder / "report.html").read_bytes() == before


def test_results_from_before_there_were_finalists(tmp_path: Path) -> None:
    learner = made_up.results(tmp_path, trials=3, seeds=2)
    records = list(map(json.loads, (tmp_path / "journal.jsonl").read_text().splitlines()))
    for record in records:
        del record["attempt"], record["history"], record["crc32"]
    damaged = Journal.line(records[0] | {"index": 8}).replace('"index": 8', '"index": 9')
    (tmp_path / "journal.jsonl").write_text("".join(map(Journal.line, records)) + damaged + '{"index": 7, "conf')
    made_up.change(tmp_path, truncated=True, num_errors=2, num_trials=5)
    text = Content(report.write(tmp_path, learner).read_text(encoding="utf-8")).text
    for expected in (
        "3 configurations",
        "Half of the searched seeds (2)",
        "The time budget ended this search",
        "2 of 5 trials failed",
    ):
        assert expected in text
    for absent in ("PAR-10 on fresh seeds", "Finalists", "winner's-curse", "Learning curves", "PED-ANOVA"):
        assert absent not in text


def test_one_trial_that_never_learned(tmp_path: Path) -> None:
    learner = made_up.results(tmp_path, trials=1, seeds=1, games=100)
    content = Content(report.write(tmp_path, learner).read_text(encoding="utf-8"))
    assert "never games to optimal Less than half of the searched seeds (1)" in content.text
    assert "does not play optimally" in content.text
    assert "0 of 1 trials were solved on every seed" in content.text


def test_a_report_that_cannot_be_made_is_said_and_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner, said = made_up.results(tmp_path, trials=1, seeds=1, games=200), list[str]()
    summary = made_up.change(tmp_path)
    assert report.write_or_say(tmp_path, learner, summary, said.append) == [tmp_path / "report.html"]
    monkeypatch.setattr(report, "_page", lambda *arguments: 1 / 0)
    assert report.write_or_say(tmp_path, learner, summary, said.append) == []
    assert len(said) == 1 and "ZeroDivisionError" in said[0] and f"main.py report {tmp_path.name}" in said[0]


def test_attempts_are_drawn_one_after_another() -> None:
    def record(index: int, attempt: int, start: float, end: float, cpu: float) -> dict[str, Any]:
        return {"index": index, "attempt": attempt, "started_s": start, "ended_s": end, "learner_cpu_s": cpu, "worker": 1}

    found = Findings("", {}, [record(0, 1, 5, 9, 3), record(1, 1, 5, 7, 2), record(2, 2, 1, 3, 1), record(3, 2, 4, 6, 2)])
    assert [offset for offset, _ in found.attempts] == [-5, 3]
    # Two slots for 4 s, then one for 5 s.
    assert found.slot_seconds() == {"learning": 8, "trial": 2, "between": 3}


@pytest.mark.parametrize("status", [None, "interrupted", "failed"])
def test_unfinished_results_are_refused(tmp_path: Path, status: str | None) -> None:
    if status:
        (tmp_path / "summary.json").write_text(json.dumps({"status": status}))
        (tmp_path / "journal.jsonl").touch()
    with pytest.raises(UserError, match=tmp_path.name):
        report.write(tmp_path, trained(Board(), 0))
    assert not (tmp_path / "report.html").exists()


def test_a_real_search(finish: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    code, _, errors = finish("--num-samples", "3", "--seeds", "2", "--games", "2000", "--num-cpus", "2", WANDB_MODE="disabled")
    assert code == 0, errors
    (folder,) = (path.parent for path in (tmp_path / "results").glob("*/summary.json"))
    page = report.write(folder, winner_learner(folder)).read_text(encoding="utf-8")
    packed = json.loads(page.partition('id="policy">')[2].partition("</script>")[0])
    decisions = unpack(packed)
    for text, cells in json.loads((folder / "policy.json").read_text())["moves"].items():
        position, image = smallest(packed, text)
        assert [cell for cell in range(9) if decisions[position][0] >> image[cell] & 1] == cells


@pytest.mark.slow
@pytest.mark.parametrize("symmetry", [True, False])
def test_a_policy_of_4x4x4_stays_small(symmetry: bool) -> None:
    learner = trained(Board(4, 4, 4), 100_000, symmetry=symmetry)
    packed = embed(learner)
    assert len(json.dumps(packed)) < LIMIT - 2_000_000  # what the plots of a large search may take
    positions = len(Policy.from_learner(learner).moves)
    assert positions > 100_000
    if symmetry:
        assert packed["count"] < positions / 4
        assert set(unpack(packed)) <= set(graph(learner.board, True).codes.tolist())
    else:
        assert packed["count"] == positions
