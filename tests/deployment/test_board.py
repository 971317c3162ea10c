"""Grafana's board: of Grafana's own structure, and of what the program exports. No Grafana runs here."""

from __future__ import annotations

import copy
import json
import re
import typing
from typing import Any

import pydantic
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.support.monitoring import (
    CONFIGURATIONS,
    EXPORTED,
    FOLDER,
    board,
    metrics_in,
    panel_queries,
    rays_own,
    unknown_values,
)

BOARD = board()
PANELS: list[dict[str, Any]] = BOARD["panels"]
QUERIES = list(panel_queries())
SCREEN = (24, 26)
"""Columns, which Grafana always has, and rows that a screen of 1080 lines shows."""


def problems(content: dict[str, Any]) -> list[str]:
    """What Grafana's own model of a board does not know, or wants of another type."""
    register_default_plugins()
    try:
        model = Dashboard.from_json(content)
    except (KeyError, TypeError, ValueError) as error:
        return [repr(error)]
    return [*_lost(content, json.loads(json.dumps(model, cls=JSONEncoder)), "board"), *_of_another_type(model, "board")]


def _lost(before: Any, after: Any, path: str) -> list[str]:
    """What does not come back from the model, since it has no place for it."""
    if isinstance(before, dict) and isinstance(after, dict):
        gone = [f"{path}.{key} is unknown" for key in before.keys() - after.keys()]
        return gone + [p for key in before.keys() & after.keys() for p in _lost(before[key], after[key], f"{path}.{key}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [p for index, pair in enumerate(zip(before, after, strict=True)) for p in _lost(*pair, f"{path}[{index}]")]
    return [] if before == after else [f"{path} is {after} and not {before}"]


def _of_another_type(model: object, path: str) -> list[str]:
    """By the annotations of the model's classes. What is in lists it keeps as it comes, where it has no class of its own."""
    if isinstance(model, list):
        return [p for index, one in enumerate(model) for p in _of_another_type(one, f"{path}[{index}]")]
    if not type(model).__module__.startswith("grafana_foundation_sdk.models"):
        return []
    found = []
    hints = typing.get_type_hints(type(model).__init__)
    for name, value in getattr(model, "__dict__", {}).items():
        hint = object if isinstance(value, list) else hints.get(name, object)
        adapter: pydantic.TypeAdapter[object] = pydantic.TypeAdapter(
            hint, config=pydantic.ConfigDict(arbitrary_types_allowed=True)
        )
        try:
            taken = adapter.validate_python(value)  # a choice by its word or number
            found += [] if taken == value else [f"{path}.{name} is {value!r} and not {taken!r}"]
        except pydantic.ValidationError as error:
            found.append(f"{path}.{name}: {error.errors()[0]['msg']}")
        found += _of_another_type(value, f"{path}.{name}")
    return found


def test_it_is_grafanas() -> None:
    assert problems(BOARD) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schemaVersion",), "41"),
        (("templating", "list", 1, "refrsh"), 2),
        (("panels", 0, "gridPos", "w"), "3"),
        (("panels", 0, "options", "textMode"), "names"),
        (("panels", 6, "fieldConfig", "defaults", "untis"), "s"),
        (("panels", 6, "fieldConfig", "defaults", "custom", "drawStyle"), "curve"),
        (("panels", 6, "targets", 0, "exprs"), "up"),
        (("panels", 14, "options", "showHeader"), "always"),
    ],
)
def test_a_mistake_is_found(path: tuple[str | int, ...], value: object) -> None:
    wrong: Any = copy.deepcopy(BOARD)
    place = wrong
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert len(problems(wrong)) == 1


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_each_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["type"] in ("timeseries", "stat", "bargauge", "table")
    assert panel["title"] and panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        assert target["expr"] and target["datasource"] == panel["datasource"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_panels_fill_one_screen_and_nothing_twice() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    width, height = max(x for x, _ in cells) + 1, max(y for _, y in cells) + 1
    assert len(cells) == len(set(cells)) == width * height
    assert width == SCREEN[0] and height <= SCREEN[1]
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)


def test_its_variables() -> None:
    source, search = BOARD["templating"]["list"]
    assert (source["name"], source["type"], source["query"]) == ("datasource", "datasource", "prometheus")
    assert (search["name"], search["query"]["query"]) == ("search", "label_values(ray_tictactoe_phase, search)")
    assert BOARD["schemaVersion"] >= 39
    assert all("$" not in query for _, query in QUERIES)


@pytest.mark.parametrize(("title", "query"), QUERIES)
def test_a_query_asks_for_what_is_exported(title: str, query: str) -> None:
    assert metrics_in(query) <= {*EXPORTED, *rays_own()}
    assert metrics_in(query) or title == "Alerts"
    assert unknown_values(query) == []
    ours = [metric for metric in metrics_in(query) if metric in EXPORTED]
    assert query.count('{search="a"') >= len(ours)


def test_it_shows_all_that_the_search_says_of_itself() -> None:
    shown = set().union(*(metrics_in(query) for _, query in QUERIES))
    elsewhere = {  # in alerts, and one that is of interest where the network is slow
        "ray_tictactoe_last_finished_timestamp_seconds", "ray_tictactoe_results_free_bytes",
        "ray_tictactoe_results_size_bytes", "ray_tictactoe_state_sent_bytes_total",
    }  # fmt: skip
    assert EXPORTED.keys() - shown == elsewhere


@pytest.mark.parametrize("file", CONFIGURATIONS)
def test_prometheus_keeps_what_it_shows(file: str) -> None:
    (job,) = yaml.safe_load((FOLDER / file).read_text())["scrape_configs"]
    (kept,) = job["metric_relabel_configs"]
    assert kept["action"] == "keep"
    for _, query in QUERIES:
        assert all(re.fullmatch(kept["regex"], metric) for metric in metrics_in(query))
