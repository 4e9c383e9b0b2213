"""Tests of pages with hostile names in Chromium: they send zero requests, run no script in a name, and still work."""

import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.conftest import wait_for
from tests.reports.conftest import Watched
from tests.reports.sweeps import usual
from unbraid.reports.making import make
from unbraid.reports.page import Report, write
from unbraid.reports.tables import tables
from unbraid.reports.variants import runs_of, variants_of

PLOTS = ("boxes", "heat", "curves", "parameters", "seconds")
MINE = "http://elsewhere"  # replaced by the address of a server that counts requests
NAMES = [
    f'<a href="{MINE}/link">x</a>',
    f"<img src={MINE}/picture onerror=\"document.title='hostile'\">",
    f"</script><script>document.title='hostile';fetch('{MINE}/script')</script>",
    f'<span style="background:url({MINE}/style)">x</span><sub>y</sub><br>',
    f"\"' onmouseover=\"document.title='hostile'\"><svg/onload=\"fetch('{MINE}/svg')\">",
    f"&lt;a href={MINE}/entity&gt;x&lt;/a&gt;",
    "__proto__",
    "constructor",
    "a\u2028b\u2029`${document.title='hostile'}`",
    "{{ 7*7 }}%{y}<extra>$\\frac{1}{2}$",
]


@contextmanager
def elsewhere():
    """Start a server on this machine and record the requested paths."""
    requested = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requested.append(self.path)
            self.send_error(404)

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requested
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return usual(tmp_path_factory.mktemp("sweeps") / "sweep", variants=10, songs=0)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    make(runs_of(usual(folder / "sweep", variants=1, songs=1)), folder / "report", "a sweep")
    return folder / "report"


@pytest.fixture
def page(browser):
    page = browser.new_page()
    yield Watched(page)
    page.close()


def hostile(sweep, names):
    """Return a report with each name as target, measure, track and variant, set after the check of the files."""
    first = names[2]

    def scores(run):
        tracks = [*run.scores["tracks"].values()]
        of = {name: dict.fromkeys(names, one["vocals"]["NSDR"]) for name in names for one in tracks[:1]}
        figures = {name: dict.fromkeys(names, run.scores["summary"]["vocals"]["NSDR"]) for name in names}
        return run.scores | {
            "protocol": run.scores["protocol"] | {"name": first}, "tracks": dict.fromkeys(names, of), "summary": figures,
            "mixture": figures, "oracle": {first: figures}, "cost": run.scores["cost"] | {"device": first},
        }  # fmt: skip

    def renamed(run):
        config = {**run.config, first: first, "model": {first: run.folder.name}, "optim": first + run.model}
        return replace(run, scores=scores(run), words=(f"model={first}", first), config=config)

    read = variants_of(runs_of(sweep))
    variants = [replace(old, name=name, runs=[*map(renamed, old.runs[:1])]) for name, old in zip(names, read, strict=True)]
    return Report(first, variants, variants[0], tables(variants))


def test_hostile_names_are_displayed_as_text(sweep, page, tmp_path):
    with elsewhere() as (address, requested):
        names = [name.replace(MINE, address) for name in NAMES]
        write(hostile(sweep, names), tmp_path / "report", songs=0)
        shown = page.open(tmp_path / "report/index.html")
        for plot in PLOTS:
            shown.locator(f"#{plot}").scroll_into_view_if_needed()
            shown.locator(f"#{plot} .main-svg").first.wait_for()
        written = (
            "[...document.querySelectorAll('#boxes .ytitle, #boxes .xtick')].map((one) => one.textContent.replace(/\\s/g, ''))"
        )
        for name, other in zip(names, reversed(names), strict=True):
            shown.select_option("#target", name)
            shown.select_option("#measure", other)
            title = json.dumps("".join(f"{other} (dB)".split()))
            wait_for(shown, f"document.getElementById('boxes').data.length === {len(names)} && {written}.includes({title})")
        assert {*shown.evaluate(written)} - {title.strip('"')} <= {
            "".join(name.split()) for name in [*names, f"{names[0]} (dB)"]
        }
        shown.locator("#boxes").hover(position={"x": 300, "y": 200})
        links = "[...document.querySelectorAll('a')].map((one) => one.getAttribute('href') ?? one.getAttribute('xlink:href'))"
        assert {*shown.evaluate(links)} == {"index.html", "listen.html", "table.csv", "table.md", "table.tex"}
        assert shown.evaluate("document.querySelectorAll('img, iframe, object, form, [onload], [onmouseover]').length") == 0
        assert shown.evaluate("document.title") != "hostile" and shown.evaluate("({}).measures === undefined")
        assert page.complaints == [] and requested == []


MARKUP = (
    "<img src='{0}/i'><script src='{0}/s.js'></script><script>document.title = 'hostile'</script><iframe src='{0}/f'></iframe>"
    "<link rel=stylesheet href='{0}/c.css'><video src='{0}/v'></video><object data='{0}/o'></object><base href='{0}/b/'>"
    "<div style='background: url({0}/u)' onclick='1'>x</div>"
    "<style>@import '{0}/m.css'; body {{ background: url({0}/b) }}</style>"
    "<form action='{0}/form' id=hostile><button>x</button></form><link rel=prefetch href='{0}/p'>"
    "<a ping='{0}/ping' href='#'>x</a>"
)


@pytest.mark.parametrize("name", ["index.html", "listen.html"])
def test_the_policy_blocks_unescaped_names(report, page, tmp_path, name):
    with elsewhere() as (address, requested):
        for path in report.iterdir():
            if path.is_file():
                (tmp_path / path.name).write_bytes(path.read_bytes())
        text = (report / name).read_text()
        (tmp_path / name).write_text(text.replace("<main>", f"<main>{MARKUP.format(address)}", 1))
        shown = page.open(tmp_path / name)
        shown.wait_for_timeout(500)
        shown.evaluate(f"fetch('{address}/fetch').catch(() => 0)")
        shown.evaluate(f"navigator.sendBeacon('{address}/beacon')")
        assert shown.title() == "a sweep: " + {"index.html": "report", "listen.html": "listen"}[name]
        shown.evaluate("document.getElementById('hostile').submit()")
        shown.wait_for_timeout(200)
        assert requested == []


FILES = ["a#b?c%41", "%2e%2e%2f", "?x", "#x", "a b&c=d+e;f", "é'\"<i>"]
TARGETS = ["__proto__", "constructor", "<img src=x>", "a", "b", "c"]


def test_files_of_any_name_are_played(report, page, tmp_path):
    shutil.copytree(report, tmp_path / "report")
    script, before = tmp_path / "report/listen-data.js", "1-song_0"
    for name, target in zip(FILES, TARGETS, strict=True):
        for kind in ("audio", "spectrograms"):
            (tmp_path / "report" / kind / before).rename(tmp_path / "report" / kind / name)
        start, value = script.read_text().split("JSON.parse(")
        value = json.loads(
            json.loads(value.removesuffix(");\n")).replace(f"/{json.dumps(before)[1:-1]}/", f"/{json.dumps(name)[1:-1]}/")
        )
        (rows,) = value["songs"][0]["targets"].values()
        value["songs"][0]["targets"] = {target: rows}
        script.write_text(f"{start}JSON.parse({json.dumps(json.dumps(value))});\n")
        before = name
        shown = page.open(tmp_path / "report/listen.html")
        wait_for(shown, "deck.current.readyState >= 3")
        wait_for(shown, "document.images.length === 3 && [...document.images].every((one) => one.naturalWidth > 0)")
        assert shown.locator("#target").input_value() == target and shown.locator(".row").count() == 3
    assert page.complaints == []


def test_a_song_without_targets_is_shown(report, page, tmp_path):
    """The only target can be the residual of the protocol."""
    shutil.copytree(report, tmp_path / "report")
    script = tmp_path / "report/listen-data.js"
    start, value = script.read_text().split("JSON.parse(")
    value = json.loads(json.loads(value.removesuffix(");\n")))
    value["songs"][0]["targets"] = {}
    script.write_text(f"{start}JSON.parse({json.dumps(json.dumps(value))});\n")
    shown = page.open(tmp_path / "report/listen.html")
    wait_for(shown, "document.getElementById('play').disabled")
    assert page.complaints == []
