"""Pages of a report in a real browser, opened from the disk."""

import json
import shutil
from itertools import pairwise

import pytest

from tests.conftest import wait_for
from tests.reports.sweeps import leave_run, usual
from unbraid.reports.making import make
from unbraid.reports.variants import runs_of

PLOTS = ("boxes", "heat", "curves", "parameters", "seconds")


@pytest.fixture
def listen(watched, report):
    page = watched.open(report / "listen.html")
    wait_for(page, "deck.current.readyState >= 3")
    return page


def position(page) -> float:
    return page.evaluate("deck.position")


def pressed(page) -> list[str]:
    return page.locator(".pick[aria-pressed=true]").all_inner_texts()


def test_plots_are_drawn_when_they_become_visible(watched, report):
    page = watched.open(report / "index.html")
    for plot in PLOTS:
        page.locator(f"#{plot}").scroll_into_view_if_needed()
        page.locator(f"#{plot} .main-svg").first.wait_for()
    assert page.locator("#boxes .trace.boxes").count() == 3
    assert page.locator("table.scores tbody tr").count() == 5
    assert "over songs and seeds" in page.locator(".verdicts").inner_text()


def test_paper_shows_all_plots_and_whole_tables(watched, report):
    page = watched.open(report / "index.html")
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    for plot in PLOTS:
        wait_for(page, f"document.querySelector('#{plot} .main-svg')?.getAttribute('width') === '680'")
    boxes = "[...document.querySelectorAll('.wide')].map((box) => getComputedStyle(box).overflow)"
    assert {*page.evaluate(boxes)} == {"visible"}
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    wait_for(page, "document.querySelector('#boxes .main-svg').getAttribute('width') !== '680'")


def test_plots_follow_the_selected_measure(watched, report):
    page = watched.open(report / "index.html")
    page.locator("#boxes").scroll_into_view_if_needed()
    page.locator("#boxes .main-svg").first.wait_for()
    page.select_option("#measure", "SIR")
    wait_for(page, "document.getElementById('boxes').layout.yaxis.title.text === 'SIR (dB)'")
    page.locator("#heat").scroll_into_view_if_needed()
    page.check("#relative")
    wait_for(page, "document.getElementById('heat').data[0].z[0].every((value) => value === 0)")


def test_switching_while_playing_keeps_the_position(listen):
    listen.keyboard.press("Space")
    wait_for(listen, "deck.position > 0.5")
    for number in (2, 3, 5, 1, 4):
        before = listen.evaluate("() => { window.old = deck.current; return deck.position; }")
        listen.keyboard.press(str(number))
        wait_for(listen, "deck.current !== window.old && deck.position > 0 && !deck.current.seeking")
        stopped, first, now = listen.evaluate(
            "[window.old.currentTime, deck.current.played.length ? deck.current.played.end(deck.current.played.length - 1)"
            " - deck.position : 0, deck.position]"
        )
        assert (
            abs(first) < 0.5 and stopped >= before and -0.05 < now - stopped < 0.5
        )  # tolerates a busy machine; the next test requires 50 ms
        assert listen.evaluate("window.old.paused && deck.playing")
    assert listen.evaluate("[...deck.players.values()].filter((player) => !player.paused).length") == 1


def test_switching_leaves_a_short_gap(listen):
    """The positions before and after a switch differ by less than 50 ms in the median of five switches."""
    listen.keyboard.press("Space")
    gaps = []
    for number in (3, 4, 5, 2, 1):
        listen.wait_for_timeout(250)
        gap = listen.evaluate(
            """(number) => new Promise((resolve) => {
                const old = deck.current;
                choose(number - 1);
                const now = deck.current;
                now.addEventListener("playing", () => resolve(now.currentTime - old.currentTime), { once: true });
            })""",
            number,
        )
        gaps.append(abs(gap))
    assert sorted(gaps)[2] < 0.05, gaps  # the median tolerates a busy machine


def test_switching_while_paused_keeps_the_position(listen):
    listen.evaluate("deck.seek(1.234)")
    for key in ("ArrowDown", "ArrowDown", "r", "r", "m", "t", "5"):
        listen.keyboard.press(key)
        assert position(listen) == pytest.approx(1.234, abs=0.001)
        assert listen.evaluate("!deck.playing && deck.current.paused")


def test_dragging_marks_a_loop(listen):
    box = listen.locator(".picture").nth(2).bounding_box()
    y = box["y"] + box["height"] / 2
    listen.mouse.move(box["x"] + 0.25 * box["width"], y)
    listen.mouse.down()
    listen.mouse.move(box["x"] + 0.4 * box["width"], y, steps=5)
    listen.mouse.up()
    loop = listen.evaluate("deck.loop")
    assert loop["from"] == pytest.approx(1.0, abs=0.02) and loop["to"] == pytest.approx(1.6, abs=0.02)
    assert listen.locator("#loop[aria-pressed=true]").count() == 1 and pressed(listen) == ["3net0"]
    listen.keyboard.press("Space")
    places = []
    for _ in range(40):
        places.append(position(listen))
        listen.wait_for_timeout(40)
    assert min(places) >= 0.95 and max(places) <= 1.6 + 0.1
    assert sum(after < before for before, after in pairwise(places)) >= 2  # the loop was played at least twice
    listen.keyboard.press("l")
    wait_for(listen, "deck.position > 1.8")


def test_bracket_keys_mark_a_loop(listen):
    listen.evaluate("deck.seek(1)")
    listen.keyboard.press("[")
    assert listen.evaluate("deck.loop") == {"from": 1, "to": 4}
    listen.evaluate("deck.seek(2)")
    listen.keyboard.press("]")
    assert listen.evaluate("[deck.loop, deck.looping, deck.position]") == [{"from": 1, "to": 2}, True, 1]


def test_end_of_song_stops_or_loops(listen):
    listen.evaluate("deck.seek(3.8)")
    listen.keyboard.press("Space")
    wait_for(listen, "!deck.playing")
    listen.keyboard.press("l")  # the loop is the whole song
    listen.evaluate("deck.seek(3.8)")
    listen.keyboard.press("Space")
    wait_for(listen, "deck.playing && deck.position < 1")


def test_click_on_a_spectrogram_seeks(listen):
    picture = listen.locator(".picture").nth(3)
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] / 2, "y": 10})
    assert position(listen) == pytest.approx(2.0, abs=0.02) and pressed(listen) == ["4net1"]
    cursor = listen.locator(".row .cursor").nth(0).bounding_box()
    assert cursor["x"] + cursor["width"] / 2 == pytest.approx(box["x"] + box["width"] / 2, abs=3)
    assert listen.locator("#time").inner_text() == "0:02.0 / 0:04.0"


def test_keys(listen):
    listen.keyboard.press("3")
    assert pressed(listen) == ["3net0"]
    listen.keyboard.press("ArrowUp")
    assert pressed(listen) == ["2true vocals"]
    listen.keyboard.press("m")
    assert pressed(listen) == ["1mixture"]
    listen.keyboard.press("ArrowUp")  # the first row stays selected
    listen.keyboard.press("9")  # row 9 does not exist
    listen.keyboard.press("r")  # a mixture has no residual
    assert pressed(listen) == ["1mixture"]
    listen.keyboard.press("ArrowRight")
    assert position(listen) == 2
    listen.keyboard.press("ArrowRight")
    listen.keyboard.press("ArrowRight")
    assert position(listen) == 4
    listen.keyboard.press("ArrowLeft")
    assert position(listen) == 2
    listen.keyboard.press("4")
    listen.keyboard.press("r")
    assert listen.locator(".residual[aria-pressed=true]").count() == 1 and pressed(listen) == []
    assert listen.evaluate("deck.current.src").endswith("1-net1-residual.flac")
    listen.keyboard.press("Space")
    assert listen.evaluate("deck.playing")
    listen.locator(".pick").nth(2).focus()
    listen.keyboard.press("Space")  # pauses, and does not press the button
    assert not listen.evaluate("deck.playing") and listen.locator(".residual[aria-pressed=true]").count() == 1


def test_blind_votes_are_downloaded(listen, tmp_path):
    listen.keyboard.press("x")
    assert listen.locator("#rows").is_hidden() and listen.locator("#duel").is_visible()
    assert "net" not in listen.locator("#duel").inner_text()
    listen.keyboard.press("Space")
    wait_for(listen, "deck.position > 0.3")
    before = position(listen)
    listen.keyboard.press("b")
    assert listen.locator("[data-side=b][aria-pressed=true]").count() == 1 and position(listen) >= before - 0.05
    listen.keyboard.press("1")
    listen.locator("[data-vote=none]").click()
    listen.keyboard.press("3")
    with listen.expect_download() as caught:
        listen.locator("#download").click()
    assert caught.value.suggested_filename == "votes.json"
    caught.value.save_as(tmp_path / "votes.json")
    downloaded = json.loads((tmp_path / "votes.json").read_text())
    assert downloaded["report"] == "a sweep" and len(downloaded["votes"]) == 3
    first, second, third = downloaded["votes"]
    assert (first["better"], second["better"], third["better"]) == (first["a"], None, third["b"])
    assert (
        len({frozenset((vote["a"], vote["b"])) for vote in downloaded["votes"]}) == 3
    )  # each pair is drawn once before one is drawn twice
    assert {vote["song"] for vote in downloaded["votes"]} == {"song 0"} and first["target"] == "vocals" and first["time"]
    listen.keyboard.press("x")
    assert listen.locator("#rows").is_visible() and listen.locator("#tally tbody tr").count() == 3


def test_another_song_starts_at_zero(listen):
    listen.evaluate("deck.seek(2)")
    listen.select_option("#song", "1")
    assert position(listen) == 0 and listen.evaluate("deck.current.src").endswith("audio/2-song_1/mixture.flac")
    assert listen.evaluate("[...deck.players.keys()].every((address) => address.startsWith('audio/2-song_1/'))")


def test_undefined_scores_give_empty_plots(watched, tmp_path):
    for number in range(2):
        run = leave_run(tmp_path, number, f"net{number}", 0, [1.0])
        scores = json.loads((run / "scores.json").read_text())
        for key in ("summary", "mixture"):
            scores[key] = {"vocals": {"NSDR": {"mean": None}}}
        scores["oracle"], scores["tracks"] = {}, {"song 0": {"vocals": {"NSDR": None}}}
        (run / "scores.json").write_text(json.dumps(scores))
    make(runs_of(tmp_path), tmp_path / "report", "a sweep")
    page = watched.open(tmp_path / "report/index.html")
    for plot in PLOTS:
        page.locator(f"#{plot}").scroll_into_view_if_needed()
        page.locator(f"#{plot} .main-svg").first.wait_for()


def test_a_narrow_window_scrolls_downwards_only(watched, report):
    watched.page.set_viewport_size({"width": 360, "height": 700})
    for name in ("index.html", "listen.html"):
        page = watched.open(report / name)
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
    picture = page.locator(".picture").first.bounding_box()
    assert picture["width"] > 300 and picture["y"] > page.locator(".pick").first.bounding_box()["y"]


def test_theme_follows_system_and_button(watched, report):
    ground = "getComputedStyle(document.body).backgroundColor"
    page = watched.open(report / "index.html")
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    assert light == "rgb(255, 255, 255)" and dark == "rgb(20, 23, 27)"
    button = page.locator("#theme")
    button.click()
    assert page.evaluate(ground) == light and button.inner_text() == "theme: light"
    page.emulate_media(color_scheme="light")
    button.click()
    assert page.evaluate(ground) == dark
    page.locator("#boxes").scroll_into_view_if_needed()
    wait_for(page, "document.getElementById('boxes').layout?.font.color === '#e8eaed'")  # plots too
    page = watched.open(report / "listen.html")
    assert page.evaluate(ground) == dark  # remembered
    page.locator("#theme").click()
    assert page.evaluate(ground) == light


def test_missing_audio_is_listed(watched, tmp_path):
    sweep = usual(tmp_path / "sweep")
    shutil.rmtree(sweep / "2-net1-demo-0/audio/song 0")
    make(runs_of(sweep), sweep / "report", "a sweep")
    page = watched.open(sweep / "report/listen.html")
    assert page.locator(".row.missing").inner_text().startswith("4net1")
    assert "2-net1-demo-0/audio/song 0/vocals-estimate.flac: no such file" in page.locator("#gone").inner_text()
    page.keyboard.press("4")
    page.keyboard.press("3")
    page.keyboard.press("ArrowDown")
    assert pressed(page) == ["5net2"]


@pytest.mark.slow
def test_only_the_open_song_is_loaded(watched, tmp_path):
    sweep = usual(tmp_path / "sweep", variants=12, songs=5)
    make(runs_of(sweep), sweep / "report", "a sweep")
    page = watched.open(sweep / "report/listen.html")
    wait_for(page, "deck.current.readyState >= 3")
    assert page.locator(".row").count() == 14
    assert page.evaluate("deck.players.size") <= 14  # files of the open song only


@pytest.fixture
def lossy(watched, tmp_path):
    """Open a report of four variants. One lacks an estimate of song 1, and another lacks a mixture of song 0."""
    sweep = usual(tmp_path / "sweep", variants=4)
    (sweep / "2-net1-demo-0/audio/song 1/vocals-estimate.flac").unlink()
    (sweep / "4-net2-demo-0/audio/song 0/mixture.flac").unlink()
    make(runs_of(sweep), sweep / "report", "a sweep")
    return watched.open(sweep / "report/listen.html")


def test_blind_comparison_hides_names_of_missing_files(lossy):
    lossy.keyboard.press("x")
    lossy.select_option("#song", "1")
    assert lossy.locator("#duel").is_visible() and lossy.locator("#gone").is_hidden()
    lossy.keyboard.press("x")
    assert lossy.locator("#gone").is_visible()


def test_blind_comparison_hides_names_of_broken_files(lossy):
    lossy.keyboard.press("x")
    lossy.evaluate("deck.current.dispatchEvent(new Event('error'))")
    assert lossy.locator("#hint").inner_text() == "this cannot be played"


def test_variants_of_unknown_level_are_not_compared_blind(lossy):
    names = "contestants().map((number) => rows()[number].name)"
    assert lossy.evaluate(names) == ["net0", "net1", "net3"]
    assert "unknown level" in lossy.locator(".row").nth(4).inner_text()
    assert "unknown level" not in lossy.locator(".row").nth(3).inner_text()
    lossy.keyboard.press("5")
    assert pressed(lossy) == ["5net2"]
    lossy.select_option("#song", "1")
    assert lossy.evaluate(names) == ["net0", "net2", "net3"]
