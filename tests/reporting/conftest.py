"""Debian's chromium, without a network, on reports that tests make."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reporting.sweeps import usual
from unbraid.reporting.arms import runs_of
from unbraid.reporting.making import make

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


LOCAL = ("file:", "data:", "blob:")


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Skips where there is no chromium or nothing that drives it."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    folder = tmp_path_factory.mktemp("browser")
    with driver.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=program, headless=True, args=[*QUIET], accept_downloads=True
        )
        yield context
        context.close()


class Watched:
    """A page that remembers what it complained of and what it asked a network for."""

    def __init__(self, page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda message: message.type in ("error", "warning") and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith(LOCAL) or self.complaints.append(request.url))

    def open(self, path: Path):
        self.page.goto(path.as_uri())
        return self.page


@pytest.fixture
def watched(browser) -> Iterator[Watched]:
    page = browser.new_page()
    page.set_viewport_size({"width": 1200, "height": 900})
    page.emulate_media(color_scheme="light")
    watched = Watched(page)
    yield watched
    page.close()
    assert watched.complaints == []


@pytest.fixture(scope="session")
def report(tmp_path_factory) -> Path:
    """Of three arms of two seeds and two songs of 4 s."""
    sweep = usual(tmp_path_factory.mktemp("sweeps") / "sweep")
    make(runs_of(sweep), sweep / "report", "a sweep")
    return sweep / "report"
