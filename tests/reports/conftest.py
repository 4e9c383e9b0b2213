"""A browser page that checks for errors, and a report that tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reports.sweeps import usual
from unbraid.reports.making import make
from unbraid.reports.variants import runs_of

LOCAL = ("file:", "data:", "blob:")


class Watched:
    """Open pages, and record their error messages and their requests to the network."""

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
    """Make a report of three variants with two seeds each, and two songs of 4 seconds."""
    sweep = usual(tmp_path_factory.mktemp("sweeps") / "sweep")
    make(runs_of(sweep), sweep / "report", "a sweep")
    return sweep / "report"
