"""The page in Debian's Chromium: a real song is uploaded, separated, played, drawn and deleted."""

import pytest

from tests.conftest import wait_for
from tests.inference.export.conftest import SMALL, made
from tests.inference.web.test_server import TOKEN, serving


@pytest.fixture
def page(browser, tmp_path):
    """Open the page, and check at the end that it raised no error and sent no request to other hosts."""
    with serving(made(*SMALL["joint"]), tmp_path / "songs") as (address, songs):
        page = browser.new_page()
        page.set_viewport_size({"width": 1048, "height": 900})
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if not request.url.startswith(address) else None)
        page.goto(f"{address}/?token={TOKEN}")
        assert page.url == f"{address}/"
        yield page, songs
        page.close()
        assert problems == []


def level(page, stem):
    return page.evaluate("name => context.stems.find((stem) => stem.name === name).gain.gain.value", stem)


def test_song_is_separated_played_drawn_and_deleted(page, stem_file, tmp_path):
    page, songs = page
    page.set_input_files("#file", stem_file)
    page.wait_for_selector("#player:not([hidden])", timeout=60_000)
    assert page.locator(".stem").evaluate_all("rows => rows.map((row) => row.dataset.stem)") == songs.names
    pixels = "[...$('spectrogram').getContext('2d').getImageData(0, 0, 1000, 300).data]"
    assert page.evaluate(f"{pixels}.filter((value, i) => i % 4 < 3 && value > 40).length") > 10_000
    page.screenshot(path=tmp_path / "page.png", full_page=True)

    page.click("#play")
    wait_for(page, "position() > 0.3")
    assert page.evaluate("context.sources.length") == len(songs.names)
    page.click("#play")
    assert page.evaluate("context.playing") is False
    page.click("text=solo >> nth=0")
    assert level(page, "drums") == 0 and level(page, "vocals") == 1
    page.click("text=solo >> nth=0")
    page.click("[aria-label='mute vocals']")
    assert level(page, "drums") == 1 and level(page, "vocals") == 0
    page.locator("[aria-label='volume of bass']").fill("0.5")
    assert abs(level(page, "bass") - 0.5) < 1e-6
    page.evaluate("seek(2)")
    assert abs(page.evaluate("position()") - 2) < 0.01

    before = page.evaluate("$('spectrogram').toDataURL()")
    page.click("[aria-label='mask of drums']")
    assert page.evaluate("$('spectrogram').toDataURL()") != before
    with page.expect_download() as download:
        page.click(".stem[data-stem='vocals'] a")
    assert download.value.suggested_filename.endswith("-vocals.wav") and download.value.path().stat().st_size > 10_000

    assert any(songs.folder.iterdir())
    page.click("#remove")
    wait_for(page, "$('message').textContent === 'deleted'")
    assert songs.all == {} and not any(songs.folder.iterdir())


def test_page_shows_errors_of_invalid_files(page, tmp_path):
    page, _ = page
    (tmp_path / "notes.mp3").write_text("this is no music at all\n" * 50)
    page.set_input_files("#file", tmp_path / "notes.mp3")
    page.wait_for_selector("#message.wrong", timeout=30_000)
    assert page.inner_text("#message").startswith("notes.mp3: ")
    assert page.is_hidden("#player") and page.is_hidden("#progress")


def test_closed_page_deletes_its_song(page, stem_file):
    page, songs = page
    page.set_input_files("#file", stem_file)
    page.wait_for_selector("#player:not([hidden])", timeout=60_000)
    page.goto("about:blank")
    for _ in range(100):
        if not any(songs.folder.iterdir()):
            break
        page.wait_for_timeout(50)
    assert songs.all == {} and not any(songs.folder.iterdir())
