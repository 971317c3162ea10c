"""A headless Chromium for looking at reports: what the tests drive and the screenshots are taken with."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LOAD_SECONDS = 30


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    """A browser with no network but files, which keeps what pages write to its console."""
    options = Options()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                     "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost"):  # fmt: skip
        options.add_argument(argument)
    options.binary_location = next(filter(None, map(shutil.which, BROWSERS)), "")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def show(driver: webdriver.Chrome, page: Path, width: int = 1200, height: int = 900, dark: bool = False) -> None:
    """Load a report as a screen of this size and theme shows it, and wait until its board is ready."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    )
    theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})
    driver.get(page.absolute().as_uri())
    ready = "return document.getElementById('play').dataset.ready === 'true'"
    WebDriverWait(driver, LOAD_SECONDS).until(lambda loaded: loaded.execute_script(ready))


def picture(driver: webdriver.Chrome, selector: str | None = None, height: int | None = None) -> bytes:
    """PNG of an element with some space around it, or of the page's first `height` pixels (default: all of it)."""
    box: dict[str, Any] = {"x": 0, "y": 0, "width": 0, "height": 0, "scale": 1}
    if selector is None:
        box["width"], whole = driver.execute_script(
            "const page = document.documentElement; return [page.clientWidth, page.scrollHeight]"
        )
        box["height"] = min(whole, height or whole)
    else:
        box |= driver.execute_script(
            "const box = document.querySelector(arguments[0]).getBoundingClientRect();"
            "return {x: box.x + scrollX - 12, y: box.y + scrollY - 12, width: box.width + 24, height: box.height + 24}",
            selector,
        )
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": box})
    return base64.b64decode(shot["data"])
