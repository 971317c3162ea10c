"""The selection with real learners, as Ray tasks: the same on any path, and it goes on after a kill."""

from __future__ import annotations

import json
import logging
import math
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from tests.support import records as made
from tests.support.program import FAULTS, digest_of
from tictactoe.core.learner import Hyperparameters
from tictactoe.core.seeds import Stream
from tictactoe.experiment.journal import replays
from tictactoe.experiment.record import Task, to_json
from tictactoe.experiment.replicates import Replicates
from tictactoe.experiment.results import Results, winner_learner
from tictactoe.experiment.selection import Selection, select
from tictactoe.process.interrupt import Interrupt
from tictactoe.settings import Settings
from tictactoe.tuning.nodes import Nodes
from tictactoe.tuning.replays import Replays

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


def replays_of(
    settings: Settings, folder: Path, interrupt: Interrupt | None = None, say: Callable[[str], None] = print
) -> Replays:
    """On the nodes of the Ray that is up."""
    return Replays(settings, interrupt or Interrupt(), folder, Nodes(settings, None, say), say)


def test_a_selection_is_the_same_on_any_path(local_ray: None, tmp_path: Path) -> None:
    """Again from its file, one task at a time, interrupted, its file damaged: always the same."""
    settings = made.settings(num_samples=3, seeds=4, games=5_000, seed=7)
    records = []
    for index, config in enumerate(
        [Hyperparameters(), Hyperparameters(replay="backward", q_init=0.1), Hyperparameters(gamma=0.9)]
    ):
        replicates = Replicates(Task("3x3x3", 4, 5_000, 7), config)
        replicates.advance(math.inf, 5_000)
        records.append(made.record(index, replicates.games_to_optimal, 5_000, config=config))
    store, said = tmp_path / "fresh.jsonl", list[str]()

    def run(settings: Settings, interrupt: Interrupt) -> Selection | None:
        return select(settings, records, 0, replays_of(settings, tmp_path, interrupt, said.append), said.append)

    whole = run(settings, Interrupt())
    assert whole is not None
    assert said == [
        "race: 3 finalists on fresh seeds 1 to 96",
        "race: 2 finalists on fresh seeds 97 to 224",
        "confirmation: the winner on 200 other seeds",
    ]
    for index, games in whole.fresh.items():
        alone = Replicates(Task("3x3x3", len(games), 5_000, 7, Stream.FRESH), records[index].config)
        alone.advance(math.inf, 5_000)
        assert list(games) == alone.games_to_optimal
    alone = Replicates(Task("3x3x3", 200, 5_000, 7, Stream.CONFIRMATION), whole.winner.config)
    alone.advance(math.inf, 5_000)
    assert list(whole.confirmation) == alone.games_to_optimal

    ran = store.read_bytes()
    assert run(settings, Interrupt()) == whole
    assert store.read_bytes() == ran

    random.Random(1).shuffle(records)
    lines = ran.splitlines()
    store.write_bytes(lines[0] + b"\n" + lines[1][: len(lines[1]) // 2])  # torn by a power failure
    interrupt = Interrupt()
    interrupt.event.set()
    one_at_a_time = settings.model_copy(update={"max_concurrent": 1})
    assert run(one_at_a_time, interrupt) is None
    resumed = run(one_at_a_time, Interrupt())
    assert resumed is not None
    assert (resumed.fresh, resumed.finalists, resumed.confirmation) == (whole.fresh, whole.finalists, whole.confirmation)
    assert replace(resumed.confirmed, learner_cpu_s=0.0) == replace(whole.confirmed, learner_cpu_s=0.0)
    assert replace(resumed.summary, learner_cpu_s=0.0) == replace(whole.summary, learner_cpu_s=0.0)


def test_another_configurations_replicates_are_not_taken(local_ray: None, tmp_path: Path) -> None:
    settings = made.settings(num_samples=1, seeds=1, games=2_000)
    first, other = (made.record(0, [500], 2_000, config=Hyperparameters(gamma=gamma)) for gamma in (1.0, 0.8))
    for record, added in ((first, 1), (first, 0), (other, 1)):
        before = len(replays(tmp_path).read())
        replays_of(settings, tmp_path).run(Stream.FRESH, [record], 0, 3)
        assert len(replays(tmp_path).read()) == before + added


def test_a_replicate_that_fails_is_named(local_ray: None, tmp_path: Path) -> None:
    too_large = made.settings(num_samples=1, seeds=1, games=2_000).model_copy(update={"board": "5x5x4"})
    too_large_replays = replays_of(too_large, tmp_path)
    with pytest.raises(RuntimeError, match=r"trial_00005 failed .*at most 16") as raised:
        too_large_replays.run(Stream.FRESH, [made.record(5, [500], 2_000)], 0, 1)
    assert len(str(raised.value).splitlines()) == 1


def test_a_replicate_that_takes_too_long_is_named(local_ray: None, tmp_path: Path) -> None:
    slow = replays_of(made.settings(num_samples=1, seeds=1, games=2_000_000, trial_timeout=0.01), tmp_path)
    with pytest.raises(RuntimeError, match=r"trial_00005 took longer than --trial-timeout 0.01 s on other seeds"):
        slow.run(Stream.FRESH, [made.record(5, [500], 2_000)], 0, 1)
    assert list((tmp_path / "unfinished-fresh").iterdir())  # it goes on from there, with more time


Run = Callable[..., tuple[int, str, str]]


def test_a_search_killed_in_its_selection_goes_on_there(
    finish: Run, joined: dict[str, str], summary: Callable[[], dict[str, Any]], tmp_path: Path
) -> None:
    """The whole way: every field is written, and a kill changes none of them."""
    options = ("--num-samples", "4", "--seeds", "2", "--games", "500000", "--num-cpus", "2")
    undisturbed = tmp_path / "undisturbed"
    code, output, errors = finish(*options, "--results-dir", str(undisturbed), **joined)
    assert (code, errors) == (0, "")
    (folder,) = undisturbed.iterdir()
    expected = json.loads((folder / "summary.json").read_text())

    killed = {"PYTHONPATH": FAULTS, "FAULT": "fresh.jsonl:2"}
    assert finish(*options, **joined | killed)[0] == -signal.SIGKILL
    (store,) = (tmp_path / "results").glob("*/fresh.jsonl")
    kept = store.read_bytes()
    assert kept.count(b"\n") < 20
    assert summary()["status"] == "interrupted"

    code, output, errors = finish(*options, **joined)
    assert (code, errors) == (0, "")
    assert "4 of 4 trials are finished already" in output
    assert store.read_bytes().startswith(kept)
    content = summary()
    assert digest_of(output) == content["digest"] == expected["digest"]
    assert content["digest_version"] == expected["digest_version"]
    for part in ("selection", "best"):
        assert untimed(content[part]) == untimed(expected[part])

    results = Results.read(folder)
    best, selection = content["best"], content["selection"]
    winner = to_json(results.winner)
    assert {key: best[key] for key in ("config", "mean_log", "par10", "median", "solved")} == {
        key: winner[key] for key in ("config", "mean_log", "par10", "median", "solved")
    }
    first = selection["finalists"][0]
    assert first["index"] == best["index"]
    assert best["fresh"] == {key: first[key] for key in ("mean_log", "par10", "median", "interval", "solved", "seeds")}
    assert selection["gap"] == math.exp(best["confirmed"]["mean_log"] - best["mean_log"])
    assert selection["games"] == sum(row["seeds"] for row in selection["finalists"]) * 500_000
    assert (len(selection["finalists"]), selection["rounds"]) == (4, 2)
    assert [row["seeds"] for row in selection["finalists"]] == [24, 24, 10, 10]
    assert (best["confirmed"]["seeds"], best["confirmed"]["games"]) == (20, 10_000_000)
    learner = winner_learner(results)
    assert learner.games == 500_000
    confirmation = [replay for replay in replays(folder).read() if replay.stream == Stream.CONFIRMATION]
    games = [value for replay in sorted(confirmation, key=lambda one: one.first) for value in replay.games_to_optimal]
    assert games[content["policy"]["replicate"]] == min(value for value in games if value is not None)

    for part in ("race of 4 finalists", "winner: trial_", "on 20 seeds that chose nothing", "confirmed over search:"):
        assert part in output
    assert 0.01 < content["cost"]["learner_share"] < 1


def untimed(content: Any) -> Any:
    """JSON without CPU seconds."""
    if not isinstance(content, dict):
        return content
    return {key: untimed(value) for key, value in content.items() if key != "learner_cpu_s"}
