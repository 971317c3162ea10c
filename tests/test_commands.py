"""The commands that look at finished searches: which one is meant, and what is said when there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import records as made
from tests.support.program import ROOT, clean_environment
from tictactoe.commands import find
from tictactoe.errors import UserError
from tictactoe.experiment import summary
from tictactoe.experiment.summary import Unfinished

FINISHED = made.summary([made.record()])


def put(results: Path, name: str, content: Unfinished | str, at: int) -> Path:
    """A search's folder with a summary.json of this content and time."""
    (results / name).mkdir(parents=True)
    path = results / name / "summary.json"
    if isinstance(content, str):
        path.write_text(content)
    else:
        summary.write(results / name, content)
    os.utime(path, (at, at))
    return results / name


def run(home: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `python main.py` with its input at its end."""
    ran = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), *arguments],
        cwd=home, env=clean_environment(home, **variables), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    return ran.returncode, ran.stdout, ran.stderr


def test_the_named_search_or_the_one_finished_last(tmp_path: Path) -> None:
    first, last = put(tmp_path, "z", FINISHED, 100), put(tmp_path, "a", FINISHED, 200)
    put(tmp_path, "newer", made.unfinished(), 300)
    put(tmp_path, "broken", made.unfinished(status="failed"), 300)
    put(tmp_path, "torn", '{"status": "fini', 400)
    put(tmp_path, "odd", "[]", 500)
    put(tmp_path, "old", '{"status": "finished"}', 600)
    (tmp_path / "stray").write_text("")
    assert find(tmp_path, None) == last
    assert find(tmp_path, "z") == first
    with pytest.raises(UserError, match=r"NAME 'newer': this search is not finished but interrupted; finished ones: a, z$"):
        find(tmp_path, "newer")
    with pytest.raises(UserError, match=r"NAME 'broken': this search is not finished but failed; finished ones: a, z$"):
        find(tmp_path, "broken")
    with pytest.raises(UserError, match=r"NAME 'old': these results are of another version .* --fresh; finished ones: a, z$"):
        find(tmp_path, "old")
    with pytest.raises(UserError, match=r"NAME 'torn': this search is not finished but damaged; finished ones: a, z$"):
        find(tmp_path, "torn")
    with pytest.raises(UserError, match=r"NAME 'none': no such search in .*; finished ones: a, z$"):
        find(tmp_path, "none")
    for number in range(5):
        put(tmp_path, f"more{number}", FINISHED, 1000 - number)
    with pytest.raises(UserError, match=r"finished ones: more0, more1, more2, more3, more4 and 2 more$"):
        find(tmp_path, "none")


def test_a_path_to_the_folder_or_into_it_does_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    put(results, "other", FINISHED, 200)
    mine = put(results, "mine", FINISHED, 100)
    elsewhere = put(tmp_path, "elsewhere", FINISHED, 100)
    put(tmp_path / "more", "begun", made.unfinished(), 300)
    (mine / "wandb").mkdir()
    (mine / "policy.json").touch()
    monkeypatch.chdir(tmp_path)
    for name in (
        "mine/",
        "results/mine/",
        "results/mine/policy.json",
        "results/mine/wandb",
        "results/../results/mine",
        str(mine),
    ):
        assert find(results, name).samefile(mine)
    assert find(results, "elsewhere") == elsewhere
    monkeypatch.chdir(mine)
    assert find(results, ".") == mine
    with pytest.raises(
        UserError, match=r"NAME '../../more/begun/': this search is not finished but interrupted; finished ones:"
    ):
        find(results, "../../more/begun/")
    for name in ("..", "/", "~nobody-of-this-name/x", "x" * 5000, "a\0b", "mine/none"):
        with pytest.raises(UserError, match=r"no such search in .*; finished ones: other, mine$"):
            find(results, name)


def test_searches_of_another_version_are_told(tmp_path: Path) -> None:
    put(tmp_path, "old", '{"status": "finished"}', 600)
    with pytest.raises(
        UserError, match=r"no finished search in .*, but 1 of another version .*; run one with `python main.py`"
    ):
        find(tmp_path, None)


@pytest.mark.parametrize("command", ["play", "report"])
def test_no_search_is_one_line_and_exit_2(tmp_path: Path, command: str) -> None:
    for arguments, part in (([], "no finished search in"), (["mine"], "NAME 'mine': no such search")):
        code, output, errors = run(tmp_path, command, *arguments)
        assert (code, output, errors.count("\n")) == (2, "", 1)
        assert errors.startswith("error: ")
        assert part in errors


def test_a_damaged_policy_is_one_line_and_exit_2(tmp_path: Path) -> None:
    folder = put(tmp_path / "results", "mine", FINISHED, 100)
    for text, part in (("{", "is not a policy file"), ('{"board": "1x1x1", "moves": {}}', "no move in position")):
        (folder / "policy.json").write_text(text)
        code, _, errors = run(tmp_path, "play", "--as", "O")
        assert (code, errors.count("\n")) == (2, 1)
        assert part in errors


def test_the_end_of_input_is_a_way_to_leave(searched: Path) -> None:
    code, output, errors = run(searched.parent, "play")
    assert (code, errors) == (0, "")
    assert "search small, board 3x3x3" in output


def test_report_names_the_file_that_it_wrote(searched: Path, tmp_path: Path) -> None:
    (tmp_path / "é").symlink_to(searched)
    code, output, errors = run(tmp_path, "report", "é/small/", PYTHONIOENCODING="ascii")
    assert (code, errors) == (0, "")
    assert Path(output.strip().removeprefix("report: ").replace("\\xe9", "é")).is_file()
