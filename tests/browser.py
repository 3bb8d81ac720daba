"""A real Chromium for tests of the report: one a session, without a window, its errors collected.

Rule: the tests that ask for it are skipped with a reason where there is none. Nothing is
downloaded: the driver is the one of the system.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_DRIVERS = ("chromedriver", "/usr/lib/chromium/chromedriver")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")

PHONE, DESKTOP = 390, 1280


class Browser:
    """Opens pages and uses them as people do."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, place: Path | str, *, width: int = DESKTOP, theme: str = "light") -> None:
        """Opens a file or an address at a width, in the light or the dark theme."""
        phone = width < 600
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        self.driver.get("about:blank")  # so that a change of the fragment alone loads anew
        self.driver.get_log("browser")
        self.driver.get(place.resolve().as_uri() if isinstance(place, Path) else place)

    def js(self, code: str, *arguments: Any) -> Any:
        """What a function body returns in the page."""
        return self.driver.execute_script(code, *arguments)

    def find(self, css: str) -> Any:
        """The first element of a selector."""
        return self.driver.find_element("css selector", css)

    def text(self, css: str) -> str:
        """The text of an element, hidden parts included."""
        return str(self.js("return document.querySelector(arguments[0]).textContent", css))

    def choose(self, css: str, value: str) -> None:
        """Takes an entry of a select."""
        from selenium.webdriver.support.select import Select

        Select(self.find(css)).select_by_value(value)

    def click(self, css: str) -> None:
        """Clicks an element in its middle."""
        element = self.find(css)
        self.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def click_at(self, css: str, x: float, y: float, *, click: bool = True) -> None:
        """Clicks at a place within an element, from its upper left corner, or only points there."""
        from selenium.webdriver.common.action_chains import ActionChains

        element = self.find(css)
        self.js("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        middle = self.js(
            "const b = arguments[0].getBoundingClientRect(); return [b.width / 2, b.height / 2]",
            element,
        )
        chain = ActionChains(self.driver)
        chain.move_to_element_with_offset(element, round(x - middle[0]), round(y - middle[1]))
        (chain.click() if click else chain).perform()

    def keys(self, css: str, *keys: str) -> None:
        """Types keys into an element: characters, or names such as `ARROW_RIGHT`."""
        from selenium.webdriver.common.keys import Keys

        element = self.find(css)
        self.js("arguments[0].focus()", element)
        for key in keys:
            element.send_keys(getattr(Keys, key, key))

    def see_everything(self) -> None:
        """Scrolls through the page, so that every chart is drawn."""
        height = self.js("return document.documentElement.scrollHeight")
        for y in range(0, int(height), 500):
            self.js("scrollTo({top: arguments[0], behavior: 'instant'})", y)
            time.sleep(0.05)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Writes a screenshot of the page, or of its first screen."""
        self.see_everything()
        self.js("scrollTo({top: 0, behavior: 'instant'})")
        width = self.js("return innerWidth")
        height = self.js("return document.documentElement.scrollHeight") if whole else 900
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        time.sleep(0.3)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))

    def complaints(self) -> list[str]:
        """What the console has said since the page was opened, or since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


def wait(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Waits for something to become true, and gives it.

    Raises:
        AssertionError: it did not.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)
    return found


def start() -> Iterator[Browser]:
    """A browser, closed at the end; skips where there is none."""
    driver_path = next((p for name in _DRIVERS if (p := shutil.which(name))), None)
    browser_path = next((p for name in _BROWSERS if (p := shutil.which(name))), None)
    if driver_path is None or browser_path is None:
        pytest.skip("no Chromium here; on Debian: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = browser_path
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_path))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
