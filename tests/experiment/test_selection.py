"""The selection: who races and at what cost; the same on any path; its numbers in the results."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from tests.support.program import digest_of
from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream, sequence
from tictactoe.experiment.racing import race
from tictactoe.experiment.replicates import Job, Replicates, median, par10
from tictactoe.experiment.results import best_learner
from tictactoe.experiment.selection import LOOKS, Selection, generator, plan, select
from tictactoe.process.interrupt import Interrupt
from tictactoe.settings import Settings
from tictactoe.tuning.fresh import FreshReplicates

DEFAULT = {"num_samples": 64, "seeds": 32, "games": 50_000}


def chosen(**options: Any) -> Settings:
    return Settings(_env_file=None, **(DEFAULT | options))  # type: ignore[call-arg]


def record(
    settings: Settings, index: int, games: list[int | None], stopped: bool = False, share: float = 1.0
) -> dict[str, Any]:
    config = Hyperparameters(replay="backward", q_init=0.1 + index / 1_000).as_dict()
    return {"index": index, "config": config, "games_to_optimal": games, "par10": par10(games, settings.games),
            "stopped": stopped, "played": int(share * settings.games * len(games))}  # fmt: skip


def spread(settings: Settings, apart: float = 1.3) -> list[dict[str, Any]]:
    """Records that differ by a factor from one to the next, far more than their replicates do."""
    generator = random.Random(0)
    return [
        record(settings, index, [int(400 * apart**index * generator.uniform(0.95, 1.05)) for _ in range(settings.seeds)])
        for index in range(settings.num_samples)
    ]


def indices(records: list[dict[str, Any]]) -> list[int]:
    return [record["index"] for record in records]


def run_selection(
    settings: Settings, records: list[dict[str, Any]], interrupt: Interrupt, store: Path, say: Callable[[str], None]
) -> Selection | None:
    """As main.py does it."""
    planned = plan(settings, records)
    return select(settings, records, planned, FreshReplicates(settings, planned.finalists, interrupt, store), say)


def test_the_default_search_pays_11_percent_for_its_8_best() -> None:
    settings = chosen()
    found = plan(settings, spread(settings, 1.1))
    assert indices(found.finalists) == list(range(8))
    assert found.allowed == 225
    assert found.looks == (12, 24, 48)
    assert found.allowed < 0.15 * settings.num_samples * settings.seeds


def test_what_cannot_be_told_from_the_best_is_a_finalist_too() -> None:
    settings = chosen()
    records = spread(settings, 1.1)
    slow_once = [400, None] * 2 + [400] * 28  # PAR-10 far behind, yet mostly as fast
    records[40] = record(settings, 40, slow_once)
    assert indices(plan(settings, records).finalists) == [*range(8), 40]
    alike = [record(settings, index, [400 + index] * 32) for index in range(64)]
    assert len(plan(settings, [record(settings, r["index"], [400] * 32) for r in alike]).finalists) == 16


def test_trials_that_were_stopped_are_no_finalists_where_others_are() -> None:
    settings = chosen()
    records = spread(settings)
    for index in range(50):
        records[index] = record(settings, index, records[index]["games_to_optimal"], stopped=True, share=1 / 9)
    found = plan(settings, records)
    assert indices(found.finalists) == list(range(50, 58))
    assert found.allowed == 64  # 14 whole trials and 50 ninths are below 1,000 replicates
    assert found.looks == (8,)


def test_without_a_whole_trial_nothing_is_run(tmp_path: Path) -> None:
    settings = chosen(num_samples=3)
    records = [record(settings, index, [900 - index, None], stopped=True, share=0.1) for index in range(3)]
    found = run_selection(settings, records, Interrupt(), tmp_path / "fresh.jsonl", print)
    assert found == Selection(2, [], {}, 0, 0.0, 0)
    assert found is not None
    assert found.fresh is None
    assert found.summary()["gap"] is None
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
    settings = chosen(**options)
    found = plan(settings, spread(settings, 1.1))
    assert len(found.finalists) == finalists
    assert found.looks == (8,)
    assert min(8, found.allowed // finalists) == each


@pytest.mark.parametrize(("samples", "seeds"), [(1_000, 1), (32, 32), (64, 32), (300, 40), (2, 500)])
def test_larger_searches_pay_at_most_11_percent(samples: int, seeds: int) -> None:
    settings = chosen(num_samples=samples, seeds=seeds)
    for apart in (1.0, 1.05):
        found = plan(settings, spread(settings, apart))
        assert found.allowed <= 0.11 * samples * seeds
        assert found.allowed >= 8 * min(8, samples)
        assert found.allowed // len(found.finalists) >= 6
        assert set(found.looks) <= set(LOOKS)
        assert found.looks


@pytest.mark.parametrize(("samples", "seeds"), [(20, 4), (64, 8), (32, 32), (40, 32), (36, 32), (64, 32), (300, 40)])
def test_there_are_no_more_finalists_than_their_seeds_can_tell_apart(samples: int, seeds: int) -> None:
    """All but one never get there on fresh seeds: whoever they are, they are told from it."""
    settings = chosen(num_samples=samples, seeds=seeds)
    found = plan(settings, [record(settings, index, [400] * seeds) for index in range(samples)])
    games: list[list[int | None]] = [[400] * 100, *([[None] * 100] * (len(found.finalists) - 1))]
    ended = race(
        len(games), found.looks, found.allowed, settings.games,
        lambda entrants, first, last: [games[entrant][first:last] for entrant in entrants], lambda n: generator(0, n),
    )  # fmt: skip
    assert ended is not None
    assert len(found.finalists) >= 13
    assert ended.left == {0}


def test_the_plan_does_not_depend_on_the_order_of_the_trials() -> None:
    settings = chosen()
    records = spread(settings, 1.02)
    expected = plan(settings, records)
    for seed in range(5):
        random.Random(seed).shuffle(records)
        assert plan(settings, records) == expected


def test_unsolved_trials_can_be_planned() -> None:
    settings = chosen()
    found = plan(settings, [record(settings, index, [None] * 32) for index in range(64)])
    assert indices(found.finalists) == list(range(16))


def test_fresh_seeds_are_none_of_the_searchs() -> None:
    streams = [sequence(3, stream, number) for stream in (Stream.SEARCH, Stream.FRESH) for number in range(500)]
    states = {tuple(stream.generate_state(4)) for stream in [np.random.SeedSequence(3), *streams]}
    states |= {tuple(generator(3, number).bit_generator.seed_seq.generate_state(4)) for number in range(5)}  # type: ignore[attr-defined]
    assert len(states) == 1_006
    h = Hyperparameters()
    first, tail, search = (
        Replicates(Job("3x3x3", seeds, 2_000, 5, first=start, fresh=fresh), h)
        for seeds, start, fresh in ((6, 0, True), (2, 4, True), (6, 0, False))
    )
    for replicates in (first, tail, search):
        replicates.advance(float("inf"), 2_000)
    assert first.games_to_optimal[4:] == tail.games_to_optimal
    assert all(not np.array_equal(a.table, b.table) for a in first.learners for b in search.learners)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def test_a_selection_is_the_same_on_any_path(local_ray: None, tmp_path: Path) -> None:
    """Shuffled trials, tasks of other sizes one at a time, interrupted half-way, its file damaged: always the same."""
    settings = chosen(num_samples=3, seeds=4, games=30_000, seed=7)
    records = []
    for index, config in enumerate(
        [Hyperparameters(), Hyperparameters(replay="backward", q_init=0.1), Hyperparameters(gamma=0.9)]
    ):
        replicates = Replicates(Job("3x3x3", 4, 30_000, 7), config)
        replicates.advance(float("inf"), 30_000)
        records.append(record(settings, index, replicates.games_to_optimal) | {"config": config.as_dict()})
    store, said = tmp_path / "fresh.jsonl", list[str]()
    whole = run_selection(settings, records, Interrupt(), store, said.append)
    assert whole is not None
    assert said == ["selection: 3 finalists on fresh seeds 1 to 8"]

    for index, games in whole.games_to_optimal.items():
        alone = Replicates(Job("3x3x3", 8, 30_000, 7, fresh=True), Hyperparameters(**records[index]["config"]))
        alone.advance(float("inf"), 30_000)
        assert games == alone.games_to_optimal
    for row in whole.finalists:
        games = whole.games_to_optimal[row["index"]]
        assert (row["par10"], row["median"], row["seeds"]) == (par10(games, 30_000), median(games), 8)
        assert row["interval"] == [min(games), max(games)]  # type: ignore[type-var]
    assert whole.finalists[0]["tied"]
    assert whole.games == 3 * 8 * 30_000

    ran = len(store.read_bytes().splitlines())
    again = run_selection(settings, records, Interrupt(), store, said.append)
    assert again == whole
    assert len(store.read_bytes().splitlines()) == ran

    random.Random(1).shuffle(records)
    lines = store.read_bytes().splitlines()
    store.write_bytes(lines[0] + b"\n" + lines[1][: len(lines[1]) // 2])  # torn by a power failure
    interrupt = Interrupt()
    interrupt.event.set()
    one_at_a_time = settings.model_copy(update={"max_concurrent": 1})
    assert run_selection(one_at_a_time, records, interrupt, store, said.append) is None
    resumed = run_selection(one_at_a_time, records, Interrupt(), store, said.append)
    assert resumed is not None
    assert resumed.games_to_optimal == whole.games_to_optimal
    assert [row | {"tied": 0} for row in resumed.finalists] == [row | {"tied": 0} for row in whole.finalists]
    assert resumed.summary() | {"learner_cpu_s": 0} == whole.summary() | {"learner_cpu_s": 0}


def test_another_configurations_replicates_are_not_taken(local_ray: None, tmp_path: Path) -> None:
    settings = chosen(num_samples=1, seeds=1, games=2_000)
    first, other = (record(settings, 0, [500]) | {"config": Hyperparameters(gamma=gamma).as_dict()} for gamma in (1.0, 0.8))
    FreshReplicates(settings, [first], Interrupt(), tmp_path / "fresh.jsonl").run([0], 0, 3)
    assert FreshReplicates(settings, [first], Interrupt(), tmp_path / "fresh.jsonl").learner_cpu_s > 0
    assert FreshReplicates(settings, [other], Interrupt(), tmp_path / "fresh.jsonl").learner_cpu_s == 0


def test_a_replicate_that_fails_is_named(local_ray: None, tmp_path: Path) -> None:
    settings = chosen(num_samples=1, seeds=1, games=2_000)
    broken = record(settings, 5, [500])
    broken["config"]["gamma"] = 7.0
    fresh = FreshReplicates(settings, [broken], Interrupt(), tmp_path / "fresh.jsonl")
    with pytest.raises(RuntimeError, match=r"trial_00005 failed on fresh seeds: .*gamma") as raised:
        fresh.run([0], 0, 1)
    assert len(str(raised.value).splitlines()) == 1


Run = Callable[..., tuple[int, str, str]]


@pytest.mark.slow
def test_a_search_killed_in_its_selection_goes_on_there(
    program: Callable[..., subprocess.Popen[str]], finish: Run, summary: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """The whole way: every field is written, and a kill changes none of them."""
    options = ("--num-samples", "4", "--seeds", "2", "--games", "500000", "--num-cpus", "2")
    undisturbed = tmp_path / "undisturbed"
    code, output, errors = finish(*options, "--results-dir", str(undisturbed))
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

    code, output, errors = finish(*options)
    assert (code, errors) == (0, "")
    assert "4 of 4 trials are finished already" in output
    assert stores[0].read_bytes().startswith(kept)
    found = summary()
    assert digest_of(output) == found["digest"] == expected["digest"]
    assert found["digest_version"] == 2
    assert {k: v for k, v in found["selection"].items() if k != "learner_cpu_s"} == {
        k: v for k, v in expected["selection"].items() if k != "learner_cpu_s"
    }

    best, selection = found["best"], found["selection"]
    journal = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    record = next(record for record in journal if record["index"] == best["index"])
    assert {key: best[key] for key in ("config", "par10", "median", "solved")} == {
        key: record[key] for key in ("config", "par10", "median", "solved")
    }
    first = selection["finalists"][0]
    assert first["index"] == best["index"]
    assert best["fresh"] == {key: first[key] for key in ("par10", "median", "interval", "confidence", "seeds")}
    assert selection["gap"] == first["par10"] / best["par10"]
    assert selection["games"] == sum(row["seeds"] for row in selection["finalists"]) * 500_000
    assert (len(selection["finalists"]), selection["rounds"]) == (4, 1)
    assert all(row["seeds"] == 8 for row in selection["finalists"])
    assert best_learner("3x3x3", 500_000, 0, record).games == 500_000

    for part in (
        "4 finalists, best first",
        "cost of the fresh seeds: 32 replicates",
        "on fresh seeds",
        "cannot be told from it",
    ):
        assert part in output
    assert 0.01 < found["cost"]["learner_share"] < 1
    line = next(line for line in output.splitlines() if line.startswith("winner:"))
    assert f"trial_{best['index']:05d}" in line
    assert "8 fresh seeds" in line
