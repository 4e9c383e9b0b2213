"""Distances to published figures: only of the same data, protocol and model; the cards and the yamls say the same."""

import json
import re

import pytest
import torch
from omegaconf import OmegaConf

from tests.conftest import PROJECT
from tests.test_configs import RECIPES, compose
from unbraid.commands.experiment import check_experiment
from unbraid.inference.chunked import USUAL
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.scoring.published import PublishedScores, comparison_text

FIGURES = {"unet": {"vocals": {"NSDR": 11.094, "SIR": 23.96}, "accompaniment": {"NSDR": 14.435, "SIR": 21.832}}}
REFERENCE = PublishedScores("Jansson et al., ISMIR 2017", "ikala", "ikala_nsdr", "mean", FIGURES)


def scores(protocol="ikala_nsdr", **sources):
    """As `Scorer.scores` gives them; the median is another number, so that it shows where it is taken for the mean."""
    summary = {
        name: {measure: {"mean": mean, "median": 99.0} for measure, mean in measures.items()}
        for name, measures in sources.items()
    }
    return {"protocol": {"name": protocol}, "summary": summary}


def lines(found, data="ikala", model="unet", reference=REFERENCE):
    return comparison_text(reference.compare(found, data, model)).splitlines()


def test_the_distance_is_the_score_less_the_figure():
    found = scores(vocals={"NSDR": 3.21, "SIR": 30.0}, accompaniment={"NSDR": 14.435, "SIR": 0.0})
    assert lines(found) == [
        "distance to reference (Jansson et al., ISMIR 2017): vocals NSDR 3.21 - 11.09 = -7.88 dB, SIR 30.00 - 23.96 = +6.04 dB",
        "distance to reference (Jansson et al., ISMIR 2017): accompaniment NSDR 14.44 - 14.44 = +0.00 dB, "
        "SIR 0.00 - 21.83 = -21.83 dB",
    ]
    record = REFERENCE.compare(found, "ikala", "unet")
    assert record["distances"]["vocals"]["NSDR"] == {"found": 3.21, "reference": 11.094, "distance": pytest.approx(-7.884)}
    assert (record["name"], record["statistic"], record["model"]) == ("Jansson et al., ISMIR 2017", "mean", "unet")


def test_no_distance_on_tracks_of_the_training():
    found = scores(vocals={"NSDR": 3.21}) | {"tracks": {"a": {}, "b": {}}}
    compared = REFERENCE.compare(found, "ikala", "unet", {"a": "train: a"})
    assert "distances" not in compared and "1 of the 2 scored tracks" in compared["differs"]
    assert "distances" in REFERENCE.compare(found, "ikala", "unet", {})


def test_the_statistic_is_the_papers():
    median = PublishedScores("a paper", "ikala", "ikala_nsdr", "median", {"unet": {"vocals": {"NSDR": 98.0}}})
    assert lines(scores(vocals={"NSDR": 3.21}), reference=median) == [
        "distance to reference (a paper): vocals NSDR 99.00 - 98.00 = +1.00 dB"
    ]


@pytest.mark.parametrize(
    ("data", "protocol", "model", "reason"),
    [
        ("demo", "ikala_nsdr", "unet", "reference is for data=ikala, found data=demo"),
        ("ikala", "energy_ratios", "unet", "reference is for protocol=ikala_nsdr, found protocol=energy_ratios"),
        ("ikala", "ikala_nsdr", "vae", "reference is for model=unet, found model=vae"),
    ],
)
def test_what_differs_is_said_in_place_of_a_distance(data, protocol, model, reason):
    found = scores(protocol, vocals={"NSDR": 3.21, "SIR": 1.0})
    assert lines(found, data, model) == [f"no distance to reference (Jansson et al., ISMIR 2017): {reason}"]
    assert "distances" not in REFERENCE.compare(found, data, model)


def test_only_targets_that_were_scored_are_compared():
    assert [line.split(": ")[1].split()[0] for line in lines(scores(vocals={"NSDR": 1.0, "SIR": 1.0}))] == ["vocals"]
    assert lines(scores(drums={"NSDR": 1.0}))[0].endswith(": reference is of vocals + accompaniment, found drums")


def test_undefined_scores_are_said_and_never_nan():
    found = scores(vocals={"NSDR": None})
    assert lines(found) == [
        "distance to reference (Jansson et al., ISMIR 2017): vocals NSDR undefined in every track, reference 11.09 dB, "
        "SIR undefined in every track, reference 23.96 dB"
    ]
    record = REFERENCE.compare(found, "ikala", "unet")
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["distances"]["vocals"]["NSDR"] == {"found": None, "reference": 11.094, "distance": None}


def test_a_figure_that_is_no_number_is_refused():
    with pytest.raises(InputError, match=r"figures: unet\.vocals\.NSDR must be a number of dB, found nan"):
        PublishedScores("a paper", "ikala", "ikala_nsdr", "mean", {"unet": {"vocals": {"NSDR": float("nan")}}})


def test_an_autoencoder_has_no_use_for_a_reference():
    config = compose("experiment=jansson2017_ikala", "model=ae")
    config.protocol = None
    with pytest.raises(InputError) as error:
        check_experiment(config)
    assert error.value.where == "published"


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_figures_of_a_card_are_those_of_its_yaml(recipe):
    card = (PROJECT / f"docs/recipes/{recipe}.md").read_text()
    experiment = OmegaConf.to_container(OmegaConf.load(PROJECT / f"conf/experiment/{recipe}.yaml"))
    table = card.partition("## The published figures")[2].partition("##")[0].splitlines()
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table if line.startswith("|")]
    (_, _, *measures), _, *rows = rows
    figures = {}
    for model, target, *numbers in rows:
        figures.setdefault(model, {})[target] = dict(zip(measures, map(float, numbers), strict=True))
    assert figures == experiment["published"]["figures"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_card_begins_with_its_command_and_stands_in_the_index(recipe):
    first = (PROJECT / f"docs/recipes/{recipe}.md").read_text().splitlines()[0]
    assert re.fullmatch(rf"    python train\.py experiment={recipe} data\.root=R", first)
    assert f"[{recipe}]({recipe}.md)" in (PROJECT / "docs/recipes/README.md").read_text()


@pytest.mark.parametrize("recipe", ["umx_musdb18", "umxhq_musdb18hq"])
def test_the_words_of_a_card_that_train_one_target_do(recipe):
    """A Wiener filter has nothing to tell one target from unless it is told to."""
    (words,) = re.findall(r"`(targets=[^`]*)` trains one", (PROJECT / f"docs/recipes/{recipe}.md").read_text())
    config = compose(f"experiment={recipe}", *words.split())
    check_experiment(config)
    spectra = torch.ones(1, len(config.targets), 2, 2049, 4, dtype=torch.complex64)
    stft = build(config.model.separator.stft)
    assert build(config.phase)(spectra, spectra[:, 0], stft, 3072).shape == (1, 1, 2, 3072)


@pytest.mark.parametrize("recipe", ["umx_musdb18", "umxhq_musdb18hq"])
def test_a_card_says_in_what_pieces_tracks_are_separated(recipe):
    config = compose(f"experiment={recipe}")
    card = (PROJECT / f"docs/recipes/{recipe}.md").read_text()
    ((seconds, share),) = re.findall(r"in chunks of (\S+) s, .* overlap by (\S+) %", card)
    assert (float(seconds), float(share)) == (config.model.separator.chunk_seconds, 100 * USUAL)


def test_the_index_says_how_every_recipe_meets_other_data():
    """Keys of a layout that a recipe sets are no keys of another one."""
    index = (PROJECT / "docs/recipes/README.md").read_text()
    (without,) = re.findall(r"`'(~data[^`]*)'`", index)
    for recipe in RECIPES:
        sets_a_layout = "layout" in OmegaConf.load(PROJECT / f"conf/experiment/{recipe}.yaml").get("data", {})
        check_experiment(compose(f"experiment={recipe}", "data=demo", *([without] if sets_a_layout else [])))
