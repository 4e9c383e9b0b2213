"""Distances to published scores of the same data, protocol and model, and agreement of recipe docs with yaml files."""

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
    """Return scores in the form of `Scorer.scores`. The median differs from the mean, so that confusing them fails a test."""
    summary = {
        name: {measure: {"mean": mean, "median": 99.0} for measure, mean in measures.items()}
        for name, measures in sources.items()
    }
    return {"protocol": {"name": protocol}, "summary": summary}


def lines(found, data="ikala", model="unet", reference=REFERENCE):
    return comparison_text(reference.compare(found, data, model)).splitlines()


def test_distance_is_score_minus_published_score():
    found = scores(vocals={"NSDR": 3.21, "SIR": 30.0}, accompaniment={"NSDR": 14.435, "SIR": 0.0})
    assert lines(found) == [
        "distance to reference (Jansson et al., ISMIR 2017): vocals NSDR 3.21 - 11.09 = -7.88 dB, SIR 30.00 - 23.96 = +6.04 dB",
        "distance to reference (Jansson et al., ISMIR 2017): accompaniment NSDR 14.44 - 14.44 = +0.00 dB, "
        "SIR 0.00 - 21.83 = -21.83 dB",
    ]
    record = REFERENCE.compare(found, "ikala", "unet")
    assert record["distances"]["vocals"]["NSDR"] == {"found": 3.21, "reference": 11.094, "distance": pytest.approx(-7.884)}
    assert (record["name"], record["statistic"], record["model"]) == ("Jansson et al., ISMIR 2017", "mean", "unet")


def test_training_tracks_give_no_distance():
    found = scores(vocals={"NSDR": 3.21}) | {"tracks": {"a": {}, "b": {}}}
    compared = REFERENCE.compare(found, "ikala", "unet", {"a": "train: a"})
    assert "distances" not in compared and "1 of the 2 scored tracks" in compared["differs"]
    assert "distances" in REFERENCE.compare(found, "ikala", "unet", {})


def test_published_statistic_is_compared():
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
def test_difference_in_data_protocol_or_model(data, protocol, model, reason):
    found = scores(protocol, vocals={"NSDR": 3.21, "SIR": 1.0})
    assert lines(found, data, model) == [f"no distance to reference (Jansson et al., ISMIR 2017): {reason}"]
    assert "distances" not in REFERENCE.compare(found, data, model)


def test_only_scored_targets_are_compared():
    assert [line.split(": ")[1].split()[0] for line in lines(scores(vocals={"NSDR": 1.0, "SIR": 1.0}))] == ["vocals"]
    assert lines(scores(drums={"NSDR": 1.0}))[0].endswith(": reference is for vocals + accompaniment, found drums")


def test_undefined_scores_are_none():
    found = scores(vocals={"NSDR": None})
    assert lines(found) == [
        "distance to reference (Jansson et al., ISMIR 2017): vocals NSDR undefined in every track, reference 11.09 dB, "
        "SIR undefined in every track, reference 23.96 dB"
    ]
    record = REFERENCE.compare(found, "ikala", "unet")
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["distances"]["vocals"]["NSDR"] == {"found": None, "reference": 11.094, "distance": None}


def test_published_nan_is_refused():
    with pytest.raises(InputError) as error:
        PublishedScores("a paper", "ikala", "ikala_nsdr", "mean", {"unet": {"vocals": {"NSDR": float("nan")}}})
    assert error.value.where == "figures" and "unet.vocals.NSDR" in error.value.problem


def test_autoencoders_refuse_published_scores():
    config = compose("experiment=jansson2017_ikala", "model=ae")
    config.protocol = None
    with pytest.raises(InputError) as error:
        check_experiment(config)
    assert error.value.where == "published"


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_doc_has_the_published_scores(recipe):
    card = (PROJECT / f"docs/reference/recipes/{recipe}.md").read_text()
    experiment = OmegaConf.to_container(OmegaConf.load(PROJECT / f"conf/experiment/{recipe}.yaml"))
    table = card.partition("## Published figures")[2].partition("##")[0].splitlines()
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table if line.startswith("|")]
    (_, _, *measures), _, *rows = rows
    figures = {}
    for model, target, *numbers in rows:
        figures.setdefault(model, {})[target] = dict(zip(measures, map(float, numbers), strict=True))
    assert figures == experiment["published"]["figures"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_doc_starts_with_its_command(recipe):
    lines = (PROJECT / f"docs/reference/recipes/{recipe}.md").read_text().splitlines()
    assert lines[0].startswith("# ") and lines[2:4] == ["```sh", f"python train.py experiment={recipe} data.root=R"]
    assert f"[{recipe}]({recipe}.md)" in (PROJECT / "docs/reference/recipes/index.md").read_text()


@pytest.mark.parametrize("recipe", ["umx_musdb18", "umxhq_musdb18hq"])
def test_recipe_doc_command_for_one_target(recipe):
    """Run the Wiener filter with the documented options for one target, which needs the residual."""
    (words,) = re.findall(r"`(targets=[^`]*)` trains one", (PROJECT / f"docs/reference/recipes/{recipe}.md").read_text())
    config = compose(f"experiment={recipe}", *words.split())
    check_experiment(config)
    spectra = torch.ones(1, len(config.targets), 2, 2049, 4, dtype=torch.complex64)
    stft = build(config.model.separator.stft)
    assert build(config.phase)(spectra, spectra[:, 0], stft, 3072).shape == (1, 1, 2, 3072)


@pytest.mark.parametrize("recipe", ["umx_musdb18", "umxhq_musdb18hq"])
def test_recipe_doc_states_the_chunk_length(recipe):
    config = compose(f"experiment={recipe}")
    card = (PROJECT / f"docs/reference/recipes/{recipe}.md").read_text()
    ((seconds, share),) = re.findall(r"in chunks of (\S+) s, .* overlap of (\S+) %", card)
    assert (float(seconds), float(share)) == (config.model.separator.chunk_seconds, 100 * USUAL)


def test_recipe_index_command_for_other_data():
    """Remove the layout keys of a recipe with the documented option, and check it with other data."""
    index = (PROJECT / "docs/reference/recipes/index.md").read_text()
    (without,) = re.findall(r"'(~data[^']*)'\n", index)
    for recipe in RECIPES:
        sets_a_layout = "layout" in OmegaConf.load(PROJECT / f"conf/experiment/{recipe}.yaml").get("data", {})
        check_experiment(compose(f"experiment={recipe}", "data=demo", *([without] if sets_a_layout else [])))
