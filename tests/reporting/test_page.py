"""The page of a report: what stands on it, and what it does with what results hold."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from tests.support import made_up
from tests.support.content import Content
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.experiment import slots
from tictactoe.experiment.record import Record, part
from tictactoe.experiment.results import Results, winner_learner
from tictactoe.experiment.summary import Fresh
from tictactoe.reporting.report import board, configurations, data, plots
from tictactoe.reporting.report import page as report
from tictactoe.text import games, trial_name

CHAPTERS = [
    "The winner",
    "Play against it",
    "Finalists",
    "All trials",
    "Each hyperparameter",
    "Learning curves",
    "Where the time went",
    "The same again",
]


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
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def content(page: str) -> Content:
    return Content(page)


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return Results.read(folder)


@pytest.fixture(scope="module")
def chapters(results: Results) -> list[report.Chapter]:
    """Those of `results`; their plots take seconds to draw."""
    return report.make_chapters(results)


def written(folder: Path, learner: QLearner) -> Content:
    return Content(report.write(folder, learner).read_text(encoding="utf-8"))


def rendered(results: Results, chapters: list[report.Chapter]) -> Content:
    return Content(report.render(results, chapters, QLearner(Board(), Hyperparameters(), 0)))


def test_the_page_stands_alone(folder: Path, page: str, content: Content) -> None:
    assert [address for address in content.values("src", "href", "xlink:href") if not address.startswith("#")] == []
    assert re.findall(r"url\((?!#)[^)]*\)|@import", page) == []
    ids = content.values("id")
    assert len(ids) == len(set(ids))
    assert {address[1:] for address in content.values("href", "xlink:href")} <= set(ids)
    assert not list(folder.rglob("*.partial"))


def test_the_page_says_what_the_search_came_to(content: Content, results: Results) -> None:
    summary = results.summary
    odds = summary.policy.vs_random
    assert content.texts("title") == ["made <up>: report"] and content.texts("h1") == ["made <up>"]
    assert content.texts("h2") == content.texts("a") == CHAPTERS
    assert content.texts("*", class_="note") == []
    assert "24 configurations" in content.text and "4 seeds" in content.text and "budget of 3,000 games" in content.text
    assert f"{trial_name(summary.best.index)} won. Its policy plays optimally" in content.text
    tiles = dict(zip(content.texts("strong"), content.texts("div", class_="tile"), strict=True))
    names = {number: tile.removeprefix(number).strip() for number, tile in tiles.items()}
    assert list(names) == [
        "444",
        games(1.25 * summary.best.par10),
        games(summary.best.par10),
        "1.25 ×",
        "2 of 4",
        "75 %",
    ]
    assert names["444"].startswith("games to optimal Half of the 64 fresh seeds")
    assert "between 400 and 500, 93.8 % sure" in names["444"]
    assert names["2 of 4"].startswith("finalists tied 1 other finalist cannot be told from the winner")
    assert dict(zip(content.texts("dt"), content.texts("dd"), strict=True))["replay"] == summary.best.config.replay
    assert content.rows()[:5] == [
        ["", "as X", "as O"],
        ["wins", f"{100 * odds['X'].win:.4f} %", f"{100 * odds['O'].win:.4f} %"],
        ["draws", f"{100 * odds['X'].draw:.4f} %", f"{100 * odds['O'].draw:.4f} %"],
        ["loses", "0.0000 %", "0.0000 %"],
        ["wins, at best", "99.4792 %", "91.6402 %"],
    ]
    assert [row[4:] for row in content.rows()[6:]] == [
        ["400 – 500", "64", "the winner"],
        ["401 – 501", "64", "tied"],
        ["402 – 502", "64", "worse"],
        ["403 – never", "64", "worse"],
    ]
    assert "races <on> fresh seeds" in content.text
    command = "python main.py --board 3x3x3 --num-samples 24 --seeds 4 --games 3000 --seed 0 --search random --scheduler none"
    assert content.texts("p", class_="mono") == [command, summary.digest]


def test_every_plot_has_a_description_and_a_png(folder: Path, content: Content, results: Results) -> None:
    assert "alpha_start" in results.searched and "table" not in results.searched
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
    assert set(pictures) == names | {f"hyperparameter-{name}" for name in results.searched}
    assert all(picture.startswith(b"\x89PNG") for picture in pictures.values())
    descriptions = [e.attributes["aria-label"] for e in content.elements if e.attributes.get("role") == "img"]
    captions = zip(content.texts("h3")[1:], content.texts("figcaption"), strict=True)
    assert descriptions == [f"{title}. {caption}" for title, caption in captions]
    assert len(content.texts("svg")) == len(pictures) == len(set(descriptions))
    solved = sum(record.kind == "solved" for record in results.records)
    assert f"{solved} of 24 trials solved every seed" in content.text


def test_plots_follow_the_theme(page: str) -> None:
    pictures = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", pictures)) == set()
    assert "var(--ink)" in pictures and "var(--solved)" in pictures and "<text" in pictures


def test_writing_twice_gives_the_same_bytes(folder: Path, page: str, results: Results) -> None:
    report.write(folder, winner_learner(results))
    assert (folder / "report.html").read_text(encoding="utf-8") == page


def test_nothing_from_a_search_is_taken_for_markup(content: Content, results: Results) -> None:
    forced = replace(results.winner.config)
    object.__setattr__(forced, "replay", "<b>&amp;")
    records = [replace(r, config=forced) if r is results.winner else r for r in results.records]
    hostile = Results(
        name="<u>'\"",
        records=records,
        summary=replace(
            results.summary,
            best=replace(results.summary.best, config=forced),
            num_errors=1,
            errors={7: "<script>alert(1)</script> &lt;"},
            versions={"<i>python": "</p>3"},
            digest="<s>",
        ),
    )
    page = rendered(hostile, report.make_chapters(hostile))
    assert {e.tag for e in page.elements} == {e.tag for e in content.elements} | {"ul", "li"}
    assert page.texts("h1") == ["<u>'\""]
    assert page.texts("li") == ["<script>alert(1)</script> &lt; (trial_00007)"]
    assert "<b>&amp;" in page.texts("dd") and "<b>&amp;" in page.texts("text")
    assert "PAR-10 over replay. The winner's replay is <b>&amp;." in page.values("aria-label")
    assert page.texts("p", class_="mono")[1] == "<s>"
    assert "<i>python </p>3." in page.text


def test_the_embedded_policy_cannot_end_its_element(
    results: Results, chapters: list[report.Chapter], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = {"data": "</script><b>&amp;<!--"}
    monkeypatch.setattr(board, "embed", lambda learner: embedded)
    page = rendered(results, chapters)
    assert list(map(json.loads, page.texts("script", id="policy"))) == [embedded]
    assert len(page.texts("script")) == 2 and page.texts("b") == []


def test_trials_that_were_stopped_or_failed_in_a_search_that_ended_early(tmp_path: Path) -> None:
    learner = made_up.results(tmp_path, trials=6, seeds=2, games=1500, searched=("q_init", "replay"))
    made_up.stop(tmp_path, 2)
    made_up.select(tmp_path)
    made_up.fail(tmp_path, {6: "too <late>", 7: "killed", 8: "killed", 9: "killed"})
    made_up.change(tmp_path, truncated=True)
    page = written(tmp_path, learner)
    assert page.texts("h2") == CHAPTERS
    early, failed = page.texts("*", class_="note")
    assert "time budget" in early
    assert failed.startswith("4 of 10 trials failed.")
    assert page.texts("li") == ["killed (trial_00007 and 2 others)", "too <late> (trial_00006)"]
    assert page.texts("text").count("stopped early") == 2  # legends
    assert "of 6 trials solved every seed" in page.text


def test_a_search_whose_trials_were_all_stopped(tmp_path: Path) -> None:
    learner = made_up.results(tmp_path, trials=3, seeds=2, games=1500, searched=("q_init", "replay"))
    made_up.stop(tmp_path, 3)
    page = written(tmp_path, learner)
    assert page.texts("h2") == [title for title in CHAPTERS if title != "Finalists"]
    assert "Half of the 2 searched seeds" in page.texts("div", class_="tile")[0]
    (note,) = page.texts("*", class_="note")
    assert note.startswith("No trial used its whole budget.")
    for absent in ("PAR-10 on fresh seeds", "winner's-curse", "finalists tied", "PED-ANOVA"):
        assert absent not in page.text


def test_one_trial_that_never_learned(tmp_path: Path) -> None:
    page = written(tmp_path, made_up.results(tmp_path, trials=1, seeds=1, games=100))
    assert page.texts("strong")[0] == "never"
    assert "The only searched seed does not play optimally" in page.text
    assert "does not play optimally" in page.text
    assert "0 of 1 trial solved every seed" in page.text
    assert not {"Finalists", "Each hyperparameter"} & {*page.texts("h2")}


def again(results: Results, chapters: list[report.Chapter], **values: Any) -> str:
    """The last chapter, of results with such values in their summary."""
    changed = replace(results, summary=replace(results.summary, **values))
    return rendered(changed, chapters).texts("section")[-1]


def test_the_same_again_promises_what_holds(results: Results, chapters: list[report.Chapter]) -> None:
    same = "Whoever runs the command again and reads the same digest has found the same."
    assert same in again(results, chapters) and "--max-concurrent" not in again(results, chapters)
    for other in (again(results, chapters, truncated=True), again(results, chapters, num_errors=1, errors={30: "late"})):
        assert same not in other
    asha = replace(results.summary.settings, scheduler="asha")
    assert "--scheduler asha --max-concurrent 1" in again(results, chapters, settings=asha)
    assert same in again(results, chapters, settings=asha)  # its trials ran one after another
    overlapping = replace(results, records=[replace(record, started_s=0.0, ended_s=1.0) for record in results.records])
    assert "several ran at the same time" in again(overlapping, chapters, settings=asha)


def test_few_fresh_seeds_say_little(results: Results, chapters: list[report.Chapter]) -> None:
    (first, *_) = results.summary.selection.finalists
    first = replace(first, seeds=1, median=500.0)
    fresh, alone = part(first, Fresh), replace(results.summary.selection, finalists=(first,))
    summary = replace(results.summary, best=replace(results.summary.best, fresh=fresh), selection=alone)
    tiles = rendered(replace(results, summary=summary), chapters).texts("div", class_="tile")
    assert tiles[0].startswith("500 games to optimal The only fresh seed plays optimally")
    assert "too few seeds" in tiles[0] and "between" not in tiles[0]
    assert tiles[4].startswith("1 of 1 finalists tied There was no other finalist.")


def test_the_search_own_best_that_did_not_win(results: Results, chapters: list[report.Chapter]) -> None:
    finalists = results.summary.selection.finalists
    loser = replace(finalists[1], search_par10=400.0, par10=800.0)
    selection = replace(results.summary.selection, finalists=(finalists[0], loser))
    page = rendered(replace(results, summary=replace(results.summary, selection=selection)), chapters)
    assert f"{trial_name(loser.index)}, went from 400 to 800: 2.00 ×." in page.text


def many(results: Results, number: int) -> Results:
    """Results of so many trials, that two workers have run in two attempts; the winner is the one of `results`."""
    made, configs, plain = list[Record](), [record.config for record in results.records], results.winner
    for index in range(number):
        first = index < number // 2
        games = tuple(None if index % 3 == 0 and seed else 100 + (7 * index + seed) % 2_900 for seed in range(4))
        times: dict[str, Any] = {
            "started_s": index * 1.0,
            "ended_s": index + 1.5,
            "attempt": 1 if first else 2,
            "worker": index % 2 + 2 * first,
        }
        scores: dict[str, Any] = {
            "par10": 100.0 + index,
            "solved": sum(value is not None for value in games),
            "games_to_optimal": games,
        }
        config = configs[index % len(configs)]
        made.append(replace(plain, index=index, config=config, **times, **scores))
    made[results.winner.index] = replace(made[results.winner.index], par10=150.5)  # not at an even step of rank
    return replace(results, records=made)


def test_plots_of_many_trials_show_some_of_them_and_say_so(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "DRAWN", 10)
    large = many(results, 300)
    shown = data.drawn(large)
    assert len(shown) == 10 and results.winner.index in [record.index for record in shown]
    assert {large.ranked[0].index, large.ranked[-1].index} <= {record.index for record in shown}
    left_out = " Of 300 trials 10 are drawn, from the best to the worst in even steps. trials.csv has all."
    for plot in (
        plots.games_to_optimal(large),
        plots.learning_curve(large, plots.MEASURES[0]),
        configurations.hyperparameter(large, "gamma"),
        configurations.parallel_coordinates(large),
    ):
        assert plot.caption.endswith(left_out)
    assert plots.timeline(large).caption.endswith(" A bar stands for up to 30 trials of a worker, one after another.")
    bars = [group for attempt in slots.attempts(large.records) for group in data.neighbours(attempt, 30)]
    assert sorted(record.index for _, group in bars for record in group) == list(range(300))
    assert all({record.worker for record in group} == {worker} and len(group) <= 30 for worker, group in bars)


@pytest.mark.slow
def test_the_report_of_the_largest_search_is_a_page_that_browsers_show(results: Results) -> None:
    large = many(results, 100_000)
    page = report.render(large, report.make_chapters(large), QLearner(Board(), Hyperparameters(), 0))
    assert len(page.encode()) < 15_000_000
