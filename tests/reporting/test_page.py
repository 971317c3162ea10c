"""The page of a report: what stands on it, and what it does with what results hold."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from tests.support import made_up
from tests.support import records as made
from tests.support.content import Content
from tictactoe.core.game import Board
from tictactoe.core.learner import Hyperparameters, QLearner
from tictactoe.experiment import slots
from tictactoe.experiment.objective import geometric_mean
from tictactoe.experiment.record import Record
from tictactoe.experiment.results import Results, winner_learner
from tictactoe.experiment.selection import LOOKS
from tictactoe.reporting.report import board, configurations, data, plots, race, timeline
from tictactoe.reporting.report import page as report
from tictactoe.text import games, trial_name

CHAPTERS = [
    "The winner",
    "Play against it",
    "Rounds and race",
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
    learner = made_up.results(path, searched=("alpha_start", "gamma", "q_init", "bootstrap", "replay"))
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
    best, odds = summary.best, summary.policy.vs_random
    assert content.texts("title") == ["made <up>: report"] and content.texts("h1") == ["made <up>"]
    assert content.texts("h2") == content.texts("a") == CHAPTERS
    assert content.texts("*", class_="note") == []
    assert "24 configurations" in content.text and "in 2 rounds on up to 4 seeds" in content.text
    assert "The best then raced, with a budget of 3,000 games for every seed." in content.text
    assert f"{trial_name(best.index)} won. Its best policy plays optimally" in content.text
    assert dict(zip(content.texts("dt"), content.texts("dd"), strict=True))["replay"] == best.config.replay
    assert content.rows()[:5] == [
        ["", "as X", "as O"],
        ["wins", f"{100 * odds['X'].win:.4f} %", f"{100 * odds['O'].win:.4f} %"],
        ["draws", f"{100 * odds['X'].draw:.4f} %", f"{100 * odds['O'].draw:.4f} %"],
        ["loses", "0.0000 %", "0.0000 %"],
        ["wins, at best", "99.4792 %", "91.6402 %"],
    ]
    command = "python main.py --board 3x3x3 --num-samples 24 --seeds 4 --games 3000 --seed 0 --search random --scheduler race"
    assert content.texts("p", class_="mono") == [command, summary.digest]


def tiles(content: Content) -> dict[str, str]:
    """What stands on each tile, by its number."""
    texts = zip(content.texts("strong"), content.texts("div", class_="tile"), strict=True)
    return {number: tile.removeprefix(number).strip() for number, tile in texts}


def test_the_headline_is_the_confirmation_and_what_it_cannot_know(results: Results, chapters: list[report.Chapter]) -> None:
    best = replace(results.summary.best, confirmed=made.confirmed())
    selection = replace(results.summary.selection, gap=1.25)
    shown = tiles(rendered(replace(results, summary=replace(results.summary, best=best, selection=selection)), chapters))
    tied = sum(finalist.tied for finalist in selection.finalists)
    assert list(shown) == ["431", "450", "200 of 200", "468", "1.25 ×", f"{tied} of 8", "75 %"]
    assert "The median is between 381 and 476, 95 % sure." in shown["431"]
    assert "it is between 430 and 520, 95 % sure." in shown["450"]
    assert shown["200 of 200"].startswith("seeds solved Of all seeds at least 98.5 % are, 95 % sure.")
    assert "up to 7,894 if as many fail as 200 seeds may hide" in shown["468"]
    assert best.fresh is not None
    assert f"in the race it was {games(geometric_mean(best.fresh.mean_log))} on".lower() in shown["1.25 ×"].lower()


def test_stages_and_finalists_stand_in_tables(content: Content, results: Results) -> None:
    summary = results.summary
    rows = {row[0]: row[1:] for row in content.rows()}
    names = ["round 1", "round 2", "look 1", "look 2", "look 3", "confirmation"]
    assert [name for name in rows if name in names] == names
    first, last = summary.rounds
    assert rows["round 1"][:4] == ["24", "4", games(first.games), games(first.played)]
    assert rows["round 2"][:4] == ["8", "4", games(last.games), games(last.played)]
    before, seeds = LOOKS[4], LOOKS[2]
    assert rows["look 3"][:3] == ["2", str(seeds - before), "3,000"] and rows["confirmation"][:3] == ["1", "200", "3,000"]
    for finalist in summary.selection.finalists:
        row = rows[trial_name(finalist.index)]
        means = finalist.search_mean_log, finalist.mean_log, finalist.at_least, finalist.means[-1]
        assert row[:4] == [games(geometric_mean(mean)) for mean in means]
        won = finalist is summary.selection.finalists[0]
        assert row[-1] == ("the winner" if won else "tied" if finalist.tied else "worse")
        assert row[-2] == ("" if won else f"look {len(finalist.means) - 1}")


def test_every_plot_has_a_description_and_a_png(folder: Path, content: Content, results: Results) -> None:
    names = {
        "stages",
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
    solved = sum(record.round == 1 and record.solved == 4 for record in results.records)
    words = f"{solved} of 24 trials solved every seed, {8 - solved} did not, and 16 were dropped early"
    assert words in content.text


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
    hostile = replace(
        results,
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
    assert "Games to optimal over replay. The winner's replay is <b>&amp;." in page.values("aria-label")
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
    searched = ("q_init", "replay")
    learner = made_up.results(tmp_path, trials=6, seeds=2, games=1500, searched=searched, scheduler="asha")
    made_up.stop(tmp_path, 2)
    made_up.fail(tmp_path, {6: "too <late>", 7: "killed", 8: "killed", 9: "killed"})
    made_up.change(tmp_path, truncated=True)
    page = written(tmp_path, learner)
    assert page.texts("h2") == CHAPTERS
    early, failed = page.texts("*", class_="note")
    assert "time budget" in early
    assert failed.startswith("4 of 10 trials failed.")
    assert page.texts("li") == ["killed (trial_00007 and 2 others)", "too <late> (trial_00006)"]
    assert page.texts("text").count("dropped early (≥)") == 2  # legends
    assert "and 2 were dropped early." in page.text
    assert "6 configurations" in page.text and "Each ran on 2 seeds" in page.text


def test_a_search_whose_trials_were_all_stopped(tmp_path: Path) -> None:
    learner = made_up.results(tmp_path, trials=3, seeds=2, games=1500, searched=("q_init", "replay"), scheduler="asha")
    made_up.stop(tmp_path, 3)
    page = written(tmp_path, learner)
    assert page.texts("h2") == CHAPTERS
    assert "0 of 3 trials solved every seed, 0 did not, and 3 were dropped early." in page.text


def test_one_trial_that_never_learned(tmp_path: Path) -> None:
    page = written(tmp_path, made_up.results(tmp_path, trials=1, seeds=1, games=100))
    assert page.texts("strong")[:3] == ["never", "1,000", "0 of 200"]
    assert "Less than half of the seeds play optimally" in page.text
    assert "does not play optimally" in page.text
    assert "0 of 1 trial solved every seed, 1 did not, and 0 were dropped early." in page.text
    assert not {"Finalists", "Rounds and race", "Each hyperparameter"} & {*page.texts("h2")}
    for absent in ("finalists tied", "In the race", "PED-ANOVA"):
        assert absent not in page.text


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
    optuna = replace(results.summary.settings, search="optuna", lag=9)
    assert "--lag" not in again(results, chapters, settings=optuna)  # a race
    assert "--lag 9" in again(results, chapters, settings=optuna, rounds=results.summary.rounds[:1])
    overlapping = replace(results, records=[replace(record, started_s=0.0, ended_s=1.0) for record in results.records])
    assert "several ran at the same time" in again(overlapping, chapters, settings=asha)


def test_few_seeds_say_little(results: Results, chapters: list[report.Chapter]) -> None:
    few = made.confirmed(seeds=1, solved=1, solved_at_least=0.05, median=500.0, interval=(0.0, None))
    summary = replace(results.summary, best=replace(results.summary.best, confirmed=few))
    shown = tiles(rendered(replace(results, summary=summary), chapters))
    assert "too few seeds" in shown["500"] and "between" not in shown["500"]
    assert "at least 5.0 % are" in shown["1 of 1"]


def many(results: Results, number: int) -> Results:
    """Results of so many trials, that two workers have run in two attempts; the winner is the one of `results`."""
    several, configs, plain = list[Record](), [record.config for record in results.records], results.winner
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
            "mean_log": math.log(100 + index),
            "par10": 100.0 + index,
            "solved": sum(value is not None for value in games),
            "games_to_optimal": games,
        }
        config = configs[index % len(configs)]
        several.append(replace(plain, index=index, config=config, **times, **scores))
    for finalist in results.summary.selection.finalists:  # in no even step of rank
        several[finalist.index] = replace(several[finalist.index], mean_log=math.log(150.5 + finalist.index / 100))
    return replace(results, records=several, rounds=several)


def test_plots_of_many_trials_show_some_of_them_and_say_so(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "DRAWN", 20)
    large = many(results, 300)
    shown = {record.index for record in data.drawn(large)}
    assert len(shown) == 20 and {large.ranked[0].index, large.ranked[-1].index} <= shown
    assert {finalist.index for finalist in results.summary.selection.finalists} <= shown
    left_out = " Of 300 trials 20 are drawn, from the best to the worst in even steps. trials.csv has all."
    for plot in (
        race.stages_plot(large),
        plots.games_to_optimal(large),
        plots.learning_curve(large, plots.MEASURES[0]),
        *configurations.hyperparameters(large),
        configurations.parallel_coordinates(large),
    ):
        assert plot.caption.endswith(left_out)
    assert timeline.timeline(large).caption.endswith(" A bar stands for up to 15 trials of a worker, one after another.")
    bars = [group for attempt in slots.attempts(large.records, []) for group in timeline.neighbours(attempt, 15)]
    assert sorted(record.index for _, group in bars for record in group) == list(range(300))
    assert all({(one.node, one.worker) for one in group} == {process} and len(group) <= 15 for process, group in bars)


def test_the_way_of_each_trial_through_the_stages(results: Results) -> None:
    paths = race._paths(results)
    looks = {finalist.index: len(finalist.means) - 1 for finalist in results.summary.selection.finalists}
    assert paths.keys() == {record.index for record in results.records}
    for record in results.records:
        path = paths[record.index]
        last = 1 + looks[record.index] if record.index in looks else record.round
        assert path.stages == list(range(last + 1))
        assert path.bound == (record.index not in looks and record.stopped and record.solved < len(record.games_to_optimal))
        if record.index not in looks:
            assert path.means[-1] == record.geometric_mean


@pytest.mark.slow
def test_the_report_of_the_largest_search_is_a_page_that_browsers_show(results: Results) -> None:
    large = many(results, 100_000)
    page = report.render(large, report.make_chapters(large), QLearner(Board(), Hyperparameters(), 0))
    assert len(page.encode()) < 15_000_000
