"""The selection: who races and at what cost; the same on any path; its numbers in the results."""

from __future__ import annotations

import json
import logging
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from tests.support import records as made
from tests.support.program import digest_of
from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream, sequence
from tictactoe.experiment.journal import read_trials
from tictactoe.experiment.racing import race
from tictactoe.experiment.record import Record, Task, to_json
from tictactoe.experiment.replicates import Replicates, median, par10
from tictactoe.experiment.results import best_learner
from tictactoe.experiment.selection import LOOKS, Selection, generator, plan, select
from tictactoe.process.interrupt import Interrupt
from tictactoe.settings import Settings
from tictactoe.tuning.fresh import FreshReplicates

DEFAULT = {"num_samples": 64, "seeds": 32, "games": 50_000}


def settings_of(**options: Any) -> Settings:
    return made.settings(**(DEFAULT | options))


def record(
    settings: Settings, index: int, games: Sequence[int | None], stopped: bool = False, share: float = 1.0, **values: Any
) -> Record:
    played = int(share * settings.games * len(games))
    return made.record(index, games, settings.games, stopped=stopped, played=played, share=share, **values)


def spread(settings: Settings, apart: float = 1.3) -> list[Record]:
    """Records that differ by a factor from one to the next, far more than their replicates do."""
    generator = random.Random(0)
    return [
        record(settings, index, [int(400 * apart**index * generator.uniform(0.95, 1.05)) for _ in range(settings.seeds)])
        for index in range(settings.num_samples)
    ]


def indices(records: list[Record]) -> list[int]:
    return [record.index for record in records]


def run_selection(
    settings: Settings, records: list[Record], interrupt: Interrupt, folder: Path, say: Callable[[str], None]
) -> Selection | None:
    """As main.py does it."""
    planned = plan(settings, records)
    return select(settings, records, planned, FreshReplicates(settings, planned.finalists, interrupt, folder, say), say)


def test_the_default_search_pays_11_percent_for_its_8_best() -> None:
    settings = settings_of()
    planned = plan(settings, spread(settings, 1.1))
    assert indices(planned.finalists) == list(range(8))
    assert planned.allowed == 225
    assert planned.looks == (12, 24, 48)
    assert planned.allowed < 0.15 * settings.num_samples * settings.seeds


def test_what_cannot_be_told_from_the_best_is_a_finalist_too() -> None:
    settings = settings_of()
    records = spread(settings, 1.1)
    slow_once = [400, None] * 2 + [400] * 28  # PAR-10 far behind, yet mostly as fast
    records[40] = record(settings, 40, slow_once)
    assert indices(plan(settings, records).finalists) == [*range(8), 40]
    alike = [record(settings, index, [400 + index] * 32) for index in range(64)]
    assert len(plan(settings, [record(settings, r.index, [400] * 32) for r in alike]).finalists) == 16


def test_trials_that_were_stopped_are_no_finalists_where_others_are() -> None:
    settings = settings_of()
    records = spread(settings)
    for index in range(50):
        records[index] = record(settings, index, records[index].games_to_optimal, stopped=True, share=1 / 9)
    planned = plan(settings, records)
    assert indices(planned.finalists) == list(range(50, 58))
    assert planned.allowed == 64  # 14 whole trials and 50 ninths are below 1,000 replicates
    assert planned.looks == (8,)


def test_without_a_whole_trial_nothing_is_run(tmp_path: Path) -> None:
    settings = settings_of(num_samples=3)
    records = [record(settings, index, [900 - index, None], stopped=True, share=0.1) for index in range(3)]
    selection = run_selection(settings, records, Interrupt(), tmp_path, print)
    assert selection == Selection(2, (), {}, 0, 0.0, 0)
    assert selection is not None
    assert selection.fresh is None
    assert selection.summary().gap is None
    assert not (tmp_path / "fresh.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "finalists", "each"),
    [
        ({"num_samples": 8, "seeds": 32}, 8, 8),
        ({"num_samples": 1, "seeds": 1}, 1, 8),
        ({"num_samples": 20, "seeds": 4}, 13, 8),  # 4 seeds tell nothing: everybody may be the best
        ({"num_samples": 6, "seeds": 4, "games": 5_000}, 6, 8),
        ({"num_samples": 8, "seeds": 1, "games": 3_000_000, "board": "4x4x4"}, 8, 1),
        ({"num_samples": 2, "seeds": 1, "games": 3_000_000, "board": "4x4x4"}, 2, 3),
        ({"num_samples": 8, "seeds": 8, "games": 3_000_000, "board": "4x4x4"}, 8, 8),
        ({"num_samples": 2, "seeds": 1, "games": 10**12}, 2, 1),
    ],
)
def test_small_searches_get_8_seeds_a_finalist_unless_that_is_more_than_the_search(
    options: dict[str, Any], finalists: int, each: int
) -> None:
    settings = settings_of(**options)
    planned = plan(settings, spread(settings, 1.1))
    assert len(planned.finalists) == finalists
    assert planned.looks == (8,)
    assert min(8, planned.allowed // finalists) == each


@pytest.mark.parametrize(("samples", "seeds"), [(1_000, 1), (32, 32), (64, 32), (300, 40), (2, 500)])
def test_larger_searches_pay_at_most_11_percent(samples: int, seeds: int) -> None:
    settings = settings_of(num_samples=samples, seeds=seeds)
    for apart in (1.0, 1.05):
        planned = plan(settings, spread(settings, apart))
        assert planned.allowed <= 0.11 * samples * seeds
        assert planned.allowed >= 8 * min(8, samples)
        assert planned.allowed // len(planned.finalists) >= 6
        assert set(planned.looks) <= set(LOOKS)
        assert planned.looks


@pytest.mark.parametrize(("samples", "seeds"), [(20, 4), (64, 8), (32, 32), (40, 32), (36, 32), (64, 32), (300, 40)])
def test_there_are_no_more_finalists_than_their_seeds_can_tell_apart(samples: int, seeds: int) -> None:
    """All but one never get there on fresh seeds: whoever they are, they are told from it."""
    settings = settings_of(num_samples=samples, seeds=seeds)
    planned = plan(settings, [record(settings, index, [400] * seeds) for index in range(samples)])
    games: list[list[int | None]] = [[400] * 100]
    games += [[None] * 100 for _ in planned.finalists[1:]]
    ended = race(
        len(games), planned.looks, planned.allowed, settings.games,
        lambda entrants, first, last: [games[entrant][first:last] for entrant in entrants], lambda n: generator(0, n),
    )  # fmt: skip
    assert ended is not None
    assert len(planned.finalists) >= 13
    assert ended.tied == {0}


def test_the_plan_does_not_depend_on_the_order_of_the_trials() -> None:
    settings = settings_of()
    records = spread(settings, 1.02)
    expected = plan(settings, records)
    for seed in range(5):
        random.Random(seed).shuffle(records)
        assert plan(settings, records) == expected


def test_unsolved_trials_can_be_planned() -> None:
    settings = settings_of()
    planned = plan(settings, [record(settings, index, [None] * 32) for index in range(64)])
    assert indices(planned.finalists) == list(range(16))


def test_fresh_seeds_are_none_of_the_searchs() -> None:
    streams = [sequence(3, stream, number) for stream in (Stream.SEARCH, Stream.FRESH) for number in range(500)]
    states = {tuple(stream.generate_state(4)) for stream in [np.random.SeedSequence(3), *streams]}
    states |= {tuple(generator(3, number).bit_generator.seed_seq.generate_state(4)) for number in range(5)}
    assert len(states) == 1_006
    h = Hyperparameters()
    first, tail, search = (
        Replicates(Task("3x3x3", seeds, 2_000, 5, stream, start), h)
        for seeds, start, stream in ((6, 0, Stream.FRESH), (2, 4, Stream.FRESH), (6, 0, Stream.SEARCH))
    )
    for replicates in (first, tail, search):
        replicates.advance(float("inf"), 2_000)
    assert first.games_to_optimal[4:] == tail.games_to_optimal
    assert all(not np.array_equal(a.table, b.table) for a in first.learners for b in search.learners)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


def test_a_selection_is_the_same_on_any_path(local_ray: None, tmp_path: Path) -> None:
    """Shuffled trials, tasks of other sizes one at a time, interrupted half-way, its file damaged: always the same."""
    settings = settings_of(num_samples=3, seeds=4, games=30_000, seed=7)
    records = []
    for index, config in enumerate(
        [Hyperparameters(), Hyperparameters(replay="backward", q_init=0.1), Hyperparameters(gamma=0.9)]
    ):
        replicates = Replicates(Task("3x3x3", 4, 30_000, 7), config)
        replicates.advance(float("inf"), 30_000)
        records.append(record(settings, index, replicates.games_to_optimal, config=config))
    store, lines_said = tmp_path / "fresh.jsonl", list[str]()
    whole = run_selection(settings, records, Interrupt(), tmp_path, lines_said.append)
    assert whole is not None
    assert lines_said == ["selection: 3 finalists on fresh seeds 1 to 8"]

    for index, games in whole.games_to_optimal.items():
        alone = Replicates(Task("3x3x3", 8, 30_000, 7, Stream.FRESH), records[index].config)
        alone.advance(float("inf"), 30_000)
        assert list(games) == alone.games_to_optimal
    for finalist in whole.finalists:
        games = whole.games_to_optimal[finalist.index]
        assert (finalist.par10, finalist.median, finalist.seeds) == (par10(games, 30_000), median(games), 8)
        assert finalist.interval == (min(games), max(games))  # type: ignore[type-var]
    assert whole.finalists[0].tied
    assert whole.games == 3 * 8 * 30_000

    ran = len(store.read_bytes().splitlines())
    again = run_selection(settings, records, Interrupt(), tmp_path, lines_said.append)
    assert again == whole
    assert len(store.read_bytes().splitlines()) == ran

    random.Random(1).shuffle(records)
    lines = store.read_bytes().splitlines()
    store.write_bytes(lines[0] + b"\n" + lines[1][: len(lines[1]) // 2])  # torn by a power failure
    interrupt = Interrupt()
    interrupt.event.set()
    one_at_a_time = settings.model_copy(update={"max_concurrent": 1})
    assert run_selection(one_at_a_time, records, interrupt, tmp_path, lines_said.append) is None
    resumed = run_selection(one_at_a_time, records, Interrupt(), tmp_path, lines_said.append)
    assert resumed is not None
    assert resumed.games_to_optimal == whole.games_to_optimal
    assert resumed.finalists == whole.finalists
    assert replace(resumed.summary(), learner_cpu_s=0.0) == replace(whole.summary(), learner_cpu_s=0.0)


def test_another_configurations_replicates_are_not_taken(local_ray: None, tmp_path: Path) -> None:
    settings = settings_of(num_samples=1, seeds=1, games=2_000)
    first, other = (record(settings, 0, [500], config=Hyperparameters(gamma=gamma)) for gamma in (1.0, 0.8))
    FreshReplicates(settings, [first], Interrupt(), tmp_path, print).run([0], 0, 3)
    assert FreshReplicates(settings, [first], Interrupt(), tmp_path, print).learner_cpu_s > 0
    assert FreshReplicates(settings, [other], Interrupt(), tmp_path, print).learner_cpu_s == 0


def test_a_replicate_that_fails_is_named(local_ray: None, tmp_path: Path) -> None:
    settings = settings_of(num_samples=1, seeds=1, games=2_000)
    too_large = settings.model_copy(update={"board": "5x5x4"})
    fresh = FreshReplicates(too_large, [record(settings, 5, [500])], Interrupt(), tmp_path, print)
    with pytest.raises(RuntimeError, match=r"trial_00005 failed on fresh seeds: .*at most 16") as raised:
        fresh.run([0], 0, 1)
    assert len(str(raised.value).splitlines()) == 1


Run = Callable[..., tuple[int, str, str]]


@pytest.mark.slow
def test_a_search_killed_in_its_selection_goes_on_there(
    program: Callable[..., subprocess.Popen[str]],
    finish: Run,
    joined: dict[str, str],
    summary: Callable[[], dict[str, Any]],
    tmp_path: Path,
) -> None:
    """The whole way: every field is written, and a kill changes none of them."""
    options = ("--num-samples", "4", "--seeds", "2", "--games", "500000", "--num-cpus", "2")
    undisturbed = tmp_path / "undisturbed"
    code, output, errors = finish(*options, "--results-dir", str(undisturbed), **joined)
    assert (code, errors) == (0, "")
    (folder,) = undisturbed.iterdir()
    expected = json.loads((folder / "summary.json").read_text())

    process = program(*options)
    stores = list[Path]()
    while not stores and process.poll() is None:
        time.sleep(0.05)
        stores = [path for path in (tmp_path / "results").glob("*/fresh.jsonl") if path.read_bytes().count(b"\n") >= 2]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    kept = stores[0].read_bytes()
    assert kept.count(b"\n") < 16
    assert summary()["status"] == "interrupted"

    code, output, errors = finish(*options, **joined)
    assert (code, errors) == (0, "")
    assert "4 of 4 trials are finished already" in output
    assert stores[0].read_bytes().startswith(kept)
    content = summary()
    assert digest_of(output) == content["digest"] == expected["digest"]
    assert content["digest_version"] == expected["digest_version"]
    assert {k: v for k, v in content["selection"].items() if k != "learner_cpu_s"} == {
        k: v for k, v in expected["selection"].items() if k != "learner_cpu_s"
    }

    best, selection = content["best"], content["selection"]
    winner = next(record for record in read_trials(folder)[0] if record.index == best["index"])
    assert {key: best[key] for key in ("config", "par10", "median", "solved")} == {
        key: to_json(winner)[key] for key in ("config", "par10", "median", "solved")
    }
    first = selection["finalists"][0]
    assert first["index"] == best["index"]
    assert best["fresh"] == {key: first[key] for key in ("par10", "median", "interval", "confidence", "seeds")}
    assert selection["gap"] == first["par10"] / best["par10"]
    assert selection["games"] == sum(row["seeds"] for row in selection["finalists"]) * 500_000
    assert (len(selection["finalists"]), selection["rounds"]) == (4, 1)
    assert all(row["seeds"] == 8 for row in selection["finalists"])
    assert best_learner("3x3x3", 500_000, 0, winner).games == 500_000

    for part in (
        "4 finalists, best first",
        "cost of the fresh seeds: 32 replicates",
        "on fresh seeds",
        "cannot be told from it",
    ):
        assert part in output
    assert 0.01 < content["cost"]["learner_share"] < 1
    line = next(line for line in output.splitlines() if line.startswith("winner:"))
    assert f"trial_{best['index']:05d}" in line
    assert "8 fresh seeds" in line
