"""Pictures of a finished search's report, as the README shows them. Needs Chromium and its driver."""

from __future__ import annotations

import argparse
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from benchmarks.common import ROOT
from tests.support.browser import browser, picture, show
from tictactoe.commands import find

WIDTH = 1000
"""Of a page, in pixels."""
FIRST_CHAPTER = "return Math.floor(document.getElementById('play-against-it').getBoundingClientRect().top) - 24"
"""Where it ends."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", help="name of the search (default: the newest finished one)")
    parser.add_argument("--results-dir", type=Path, default=ROOT / "results", help="default: results")
    parser.add_argument("--to", type=Path, default=ROOT / "docs", help="folder for the pictures (default: docs)")
    options = parser.parse_args()
    page = find(options.results_dir, options.name) / "report.html"
    options.to.mkdir(exist_ok=True)
    with browser() as driver:
        for theme in ("light", "dark"):
            show(driver, page, WIDTH, dark=theme == "dark")
            save(options.to / f"report-{theme}.png", picture(driver, height=driver.execute_script(FIRST_CHAPTER)))
            play(driver)
            save(options.to / f"board-{theme}.png", picture(driver, "#play"))


def play(driver: Chrome) -> None:
    """The policy's opening, always the same one, and what the human's replies to it are worth."""
    driver.execute_script("Math.random = () => 0")
    driver.find_element(By.CSS_SELECTOR, '[data-seat="2"]').click()
    driver.find_element(By.ID, "values").click()


def save(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    print(f"{path}: {len(content) // 1024} KiB")


if __name__ == "__main__":
    main()
