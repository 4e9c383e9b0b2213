"""Page of a MUSHRA test in a real browser, opened from the disk and used with the keyboard only."""

import json

import pytest

from tests.conftest import wait_for
from tests.reports.sweeps import usual
from unbraid.reports.mushra import make_test
from unbraid.reports.mushra_results import read_key, read_listeners
from unbraid.reports.variants import runs_of, variants_of

LETTERS = "abcdef"  # three systems, the hidden reference and two anchors


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    sweep = usual(tmp_path_factory.mktemp("sweeps") / "sweep")
    make_test(variants_of(runs_of(sweep)), sweep / "listening", 5, 10.0)
    return sweep / "listening"


@pytest.fixture
def page(watched, made):
    return watched.open(made / "page/index.html")


@pytest.fixture
def trial(page):
    page.keyboard.press("Enter")
    wait_for(page, "deck.current.readyState >= 3")
    return page


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def ratings(page):
    return page.locator("#stimuli output").all_inner_texts()


def test_a_listener_completes_the_test_by_keyboard(page, made, tmp_path):
    page.keyboard.type("Anna b")  # letters in the text field are not keys of the page
    press(page, "Enter")
    key, given = read_key(made), {}
    for number in range(2):
        assert page.locator("#item").inner_text() == f"Item {number + 1} of 2: vocals"
        press(page, "Space")
        for place, letter in enumerate(LETTERS):
            press(page, letter, str(9 - place), "ArrowUp")
            given[page.evaluate("chosen")] = 91 - 10 * place
        wait_for(page, "deck.position > 0 && deck.playing")
        press(page, "n")
    assert page.locator("#end").is_visible() and page.locator("#trial").is_hidden()
    with page.expect_download() as caught:
        press(page, "s")
    assert caught.value.suggested_filename.startswith("ratings-Anna_b-")
    caught.value.save_as(tmp_path / "anna.json")
    (listener,) = read_listeners([tmp_path / "anna.json"], key)
    assert listener.name == "Anna b"
    assert listener.ratings.tolist() == [[given[stimulus] for stimulus in item["stimuli"]] for item in key.items]
    saved = json.loads((tmp_path / "anna.json").read_text())
    assert {item["item"] for item in saved["items"]} == {1, 2} and all(item["seconds"] > 0 for item in saved["items"])
    assert page.evaluate("unsaved") is False


def test_tab_and_enter_are_enough(page):
    press(page, "Tab", "Enter")  # from the text field to the button
    assert page.locator("#trial").is_visible()
    press(page, "Enter")  # the button "play" has the focus
    assert page.evaluate("document.activeElement.id") == "play" and page.evaluate("deck.playing")
    press(page, "Tab", "Tab", "Tab", "Enter")  # loop, reference, stimulus A
    assert page.evaluate("chosen === trial().stimuli[0] && deck.playing")
    press(page, "Tab", "ArrowUp")  # slider of A
    assert ratings(page)[0] == "51" and page.evaluate("document.activeElement.value") == "51"
    press(page, "Tab", "Tab")  # slider of B
    assert page.evaluate("chosen === trial().stimuli[1]")


def test_rating_keys(trial):
    press(trial, "5", "ArrowUp")  # the reference is selected, and is not rated
    assert ratings(trial) == ["–"] * 6
    press(trial, "b", "7", "ArrowUp", "PageDown")
    assert ratings(trial)[1] == "61" and trial.locator("#stimuli input").nth(1).input_value() == "61"
    press(trial, "c", "End", "ArrowUp", "d", "Home", "ArrowDown", "e", "ArrowDown", "k")  # stimulus K does not exist
    assert ratings(trial) == ["–", "61", "100", "0", "49", "–"]
    assert trial.locator("#stimuli .pick[aria-pressed=true]").inner_text() == "Estimulus"


def test_switching_keeps_position_and_playback(trial):
    trial.evaluate("deck.seek(1.5)")
    for letter in ("a", "r", "c"):
        press(trial, letter)
        assert trial.evaluate("deck.position") == pytest.approx(1.5, abs=0.001) and not trial.evaluate("deck.playing")
    press(trial, "Space")
    wait_for(trial, "deck.position > 1.7")
    for letter in ("d", "r", "b"):
        before = trial.evaluate("() => { window.old = deck.current; return deck.position; }")
        press(trial, letter)
        wait_for(trial, "deck.current !== window.old && !deck.current.seeking && deck.playing")
        assert -0.05 < trial.evaluate("deck.position") - before < 0.5
    assert trial.evaluate("[...deck.players.values()].filter((player) => !player.paused).length") == 1
    press(trial, "ArrowLeft")
    assert trial.evaluate("deck.position") < 0.5


def test_the_excerpt_is_repeated(trial):
    trial.evaluate("deck.seek(3.9)")
    press(trial, "Space")
    wait_for(trial, "deck.playing && deck.position < 1 && deck.position > 0.1")
    press(trial, "]", "l")
    assert trial.evaluate("deck.loop.to < 2 && !deck.looping")


def test_each_stimulus_must_be_played_and_rated(trial):
    press(trial, *"a9b8c7", "n")
    assert trial.locator("#hint").inner_text() == "Play these stimuli first: A, B, C, D, E, F"
    press(trial, "Space", *LETTERS, "n")
    assert trial.locator("#hint").inner_text() == "Rate these stimuli first: D, E, F"
    press(trial, *"d3e2f1", "n")
    assert trial.locator("#item").inner_text().startswith("Item 2") and ratings(trial) == ["–"] * 6
    press(trial, "p")
    assert ratings(trial) == ["90", "80", "70", "30", "20", "10"] and not trial.evaluate("deck.playing")


def test_orders_are_random(watched, made):
    seen = set()
    for _ in range(12):
        page = watched.open(made / "page/index.html")
        seen.add(json.dumps(page.evaluate("trials.map((one) => [one.item, one.stimuli])")))
    orders = [json.loads(text) for text in seen]
    assert len(seen) > 6 and {order[0][0] for order in orders} == {1, 2}
    by_item = {(item, place, stimuli[0]) for order in orders for place, (item, stimuli) in enumerate(order)}
    assert len({first for _, _, first in by_item}) > 4


def test_the_page_fits_a_narrow_window(watched, made):
    watched.page.set_viewport_size({"width": 360, "height": 700})
    page = watched.open(made / "page/index.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    press(page, "Enter")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("#stimuli input").first.bounding_box()["width"] > 100
