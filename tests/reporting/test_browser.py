"""The report in a real browser: `make test-browser`. Needs Chromium and its driver."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.support import made_up
from tests.support.browser import browser, picture, show
from tictactoe.core.game import Board
from tictactoe.core.policy import Policy, move_values
from tictactoe.experiment.results import Results, winner_learner
from tictactoe.reporting.report import page as report

pytestmark = pytest.mark.browser
PHONE = (360, 740)
DESKTOP = (1200, 900)

DRIVE = """
/* Plays by clicking, against every reply of the policy: all moves of the human for `depth` moves, then random ones.
   Returns how many games ended in which words. */
const [seat, depth, times] = arguments, { rules, policy } = play, random = Math.random, tally = {};
const act = (button, choice) => {
  Math.random = () => choice;
  button.click();
  Math.random = random;
};
const choices = (position) => {
  const count = rules.outcome(position) === null ? policy.moves(position).length : 1;
  return [...Array(count).keys()].map((n) => (n + 0.5) / count);
};
const descend = (moves) => {
  const position = play.position, open = rules.legalMoves(position);
  if (!open.length) {
    const words = document.getElementById("status").textContent.match(/(You win|The policy wins|A draw)[.]$/)[1];
    tally[words] = (tally[words] || 0) + 1;
  } else if (moves) {
    for (const cell of open) {
      for (const choice of choices(rules.play(position, cell))) {
        play.position = position;
        act(play.buttons[cell], choice);
        descend(moves - 1);
      }
    }
  } else {
    act(play.buttons[open[Math.floor(random() * open.length)]], random());
    descend(0);
  }
};
for (const opening of seat === 1 ? [0] : choices(rules.empty())) {
  for (let n = 0; n < times; n++) {
    act(document.querySelector(`[data-seat="${seat}"]`), opening);
    descend(depth);
  }
}
return tally;
"""


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(searched: Path) -> Path:
    """A real, finished search on 3x3x3."""
    return searched / "small"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results on 4x4x4 whose policy plays optimally."""
    path = tmp_path_factory.mktemp("large")
    report.write(path, made_up.results(path, "4x4x4", trials=1, seeds=1, games=2_500_000))
    assert Results.read(path).summary.policy.optimal
    return path


def complaints(driver: Chrome) -> list[str]:
    """What the page has written to the console."""
    entries = driver.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in entries]


def cells(driver: Chrome) -> list[WebElement]:
    return driver.find_elements(By.CSS_SELECTOR, ".board button")


def status(driver: Chrome) -> str:
    return driver.find_element(By.ID, "status").text


def games_against(folder: Path, seat: int) -> int:
    """Games that the policy of policy.json can be drawn into by an opponent in `seat` (0 is X)."""
    policy = Policy.load(folder / "policy.json")
    board = policy.board

    @cache
    def games(code: int) -> int:
        if board.outcome(code) is not None:
            return 1
        moves = board.legal_moves(code) if board.to_move(code) == seat else policy.moves[board.decode(code)]
        return sum(games(board.play(code, move)) for move in moves)

    return games(0)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_draws(driver: Chrome, folder: Path, size: tuple[int, int], dark: bool) -> None:
    show(driver, folder / "report.html", *size, dark)
    assert complaints(driver) == []
    wide, visible = driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= visible == size[0]  # nothing sticks out sideways
    boxes = driver.execute_script("return [...document.querySelectorAll('svg')].map(e => [e.clientWidth, e.clientHeight])")
    assert len(boxes) == len(list((folder / "plots").iterdir()))
    assert min(map(min, boxes)) > 50
    ink, page = driver.execute_script(
        "const style = getComputedStyle(document.body); return [style.color, style.backgroundColor]"
    )
    assert (luminance(ink) > luminance(page)) == dark
    assert abs(luminance(ink) - luminance(page)) > 0.7
    assert picture(driver).startswith(b"\x89PNG")


def luminance(colour: str) -> float:
    """Of a CSS rgb(...), roughly, in [0, 1]."""
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(",")) / 765


@pytest.mark.parametrize("seat", [1, 2])
def test_every_game_by_clicking(driver: Chrome, folder: Path, seat: int) -> None:
    show(driver, folder / "report.html")
    tally = driver.execute_script(DRIVE, seat, 9, 1)
    assert "You win" not in tally
    assert sum(tally.values()) == games_against(folder, seat - 1)
    assert complaints(driver) == []


@pytest.mark.parametrize("seat", [1, 2])
def test_a_random_tournament(driver: Chrome, folder: Path, seat: int) -> None:
    show(driver, folder / "report.html")
    tally = driver.execute_script(DRIVE, seat, 0, 1000)
    assert "You win" not in tally
    assert tally["The policy wins"] > 500


@pytest.mark.parametrize("seat", [1, 2])
def test_a_large_board(driver: Chrome, large: Path, seat: int) -> None:
    assert (large / "report.html").stat().st_size < 15_000_000
    show(driver, large / "report.html", *PHONE)
    first_moves = driver.execute_script(DRIVE, seat, 1, 1)
    tournament = driver.execute_script(DRIVE, seat, 0, 300)
    assert "You win" not in first_moves.keys() | tournament.keys()
    assert sum(first_moves.values()) >= 15
    assert complaints(driver) == []


def test_a_game_with_the_mouse(driver: Chrome, folder: Path) -> None:
    show(driver, folder / "report.html")
    driver.find_element(By.CSS_SELECTOR, '[data-seat="2"]').click()
    assert "New game: you play O. The policy: row" in status(driver)
    for _ in range(4):
        next(cell for cell in cells(driver) if cell.get_attribute("aria-disabled") == "false").click()
        if not status(driver).endswith("Your move."):
            break
    assert status(driver).endswith(("The policy wins.", "A draw."))
    assert all(cell.get_attribute("aria-disabled") == "true" for cell in cells(driver))


def test_a_game_with_the_keyboard_as_a_screen_reader_hears_it(driver: Chrome, folder: Path) -> None:
    show(driver, folder / "report.html")
    driver.execute_script("play.buttons[0].focus()")
    first = driver.switch_to.active_element
    assert (first.aria_role, first.accessible_name) == ("button", "row 1, column 1: empty")
    first.send_keys(Keys.ARROW_RIGHT)
    driver.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    centre = driver.switch_to.active_element
    assert centre.accessible_name == "row 2, column 2: empty"
    centre.send_keys(Keys.ENTER)
    assert centre.accessible_name == "row 2, column 2: X"
    assert status(driver).startswith("You: row 2, column 2. The policy: row")
    assert driver.find_element(By.ID, "status").get_attribute("aria-live") == "polite"
    centre.send_keys(Keys.ENTER)
    assert status(driver).startswith("row 2, column 2 is taken.")
    assert sum(cell.get_attribute("tabindex") == "0" for cell in cells(driver)) == 1
    centre.send_keys(Keys.HOME)
    assert driver.switch_to.active_element.accessible_name.startswith("row 2, column 1")


def test_values_stand_on_the_cells_if_wanted(driver: Chrome, folder: Path) -> None:
    show(driver, folder / "report.html")
    assert driver.find_elements(By.CSS_SELECTOR, ".value") == []
    driver.find_element(By.ID, "values").click()
    shown = [float(value.text.replace("\u2212", "-")) for value in driver.find_elements(By.CSS_SELECTOR, ".value")]
    board, learner = Board(), winner_learner(Results.read(folder))
    # What the policy expects of its reply.
    expected = np.array([max(move_values(learner, board.play(0, cell)).values()) for cell in range(9)])
    assert shown == pytest.approx(-expected, abs=0.01 / 2 + 1e-9)
