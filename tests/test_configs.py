"""Every yaml binds to the signature of its target in both directions, in every choice of every group."""

import inspect
from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf

from unbraid.commands.cli import CONF
from unbraid.commands.experiment import Experiment, check_experiment
from unbraid.runs.config import VARIADIC, check, resolve
from unbraid.runs.errors import InputError
from unbraid.runs.records import identity
from unbraid.sweeps.search.options import Options

GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "base")
CHOICES = [f"{group}={path.stem}" for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml") if "\npublished:" in path.read_text())

# Other choices that a choice needs.
WITH = {"data=digits": ["model=ae"], "features=pixels": ["model=ae", "data=digits"], "evaluation=reconstruction": ["model=ae"]}
WITH |= {f"pitch={path.stem}": ["model=ddsp"] for path in (CONF / "pitch").glob("*.yaml")}
WITH |= {choice: ["model=ddsp"] for choice in ("features=controls", "evaluation=resynthesis", "optim=ddsp")}
WITH |= {f"corruption={path.stem}": ["model=ae"] for path in (CONF / "corruption").glob("*.yaml")}


def compose(*overrides: str) -> DictConfig:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", ["name=test", *overrides])
    if OmegaConf.is_missing(config.data, "root"):
        config.data.root = "/data"
    return config


def nodes(value, where=""):
    """Yield every node with a `_target_` and its path."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield where, value
        for key, item in value.items():
            yield from nodes(item, f"{where}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item, where)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_binds_to_its_target(choice):
    check(compose(choice, *WITH.get(choice, ())), Experiment)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_option_of_our_classes_is_in_yaml(choice):
    for where, node in nodes(OmegaConf.to_container(compose(choice, *WITH.get(choice, ())), resolve=True)):
        if node["_target_"].startswith("unbraid."):
            parameters = {
                name
                for name, parameter in inspect.signature(resolve(node["_target_"], where)).parameters.items()
                if parameter.kind not in VARIADIC  # of nn.Module, for networks and losses without options
            }
            # Arguments that a task or a separator passes to its network.
            passed = {"params", "optimizer", "size", "shape", "classes", "sources", "sample_rate", "hop_length"}
            given = passed - set(node) if node.get("_partial_") else set()
            assert parameters - given == set(node) - {"_target_", "_partial_"}, where


def test_top_level_keys_and_groups_are_complete():
    optional = {name for name, parameter in inspect.signature(Experiment).parameters.items() if parameter.default is None}
    known = set(inspect.signature(Experiment).parameters)
    assert known - optional <= set(compose()) <= known
    assert {*GROUPS} - {"experiment", "sweeper", "debug", "lora", "curve"} <= {
        *compose(),
        *compose("model=ae"),
        *compose("model=ddsp"),
    }


def test_options_of_a_search_are_those_of_yaml():
    options = OmegaConf.load(CONF / "sweeper/optuna.yaml").hydra.sweeper
    assert {*options} == {*inspect.signature(Options).parameters}
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra.compose("train", ["sweeper=optuna"], return_hydra_config=True).hydra.sweeper
    assert composed._target_ == "hydra_plugins.unbraid_optuna.SearchSweeper" and composed.n_trials == options.n_trials
    Options(**OmegaConf.to_container(options)).check()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_agrees_with_its_published_scores(recipe):
    config = compose(f"experiment={recipe}")
    check_experiment(config)
    assert config.protocol.name == config.published.protocol and config.protocol.tracks == config.published.statistic
    assert {*config.targets} == {target for figures in config.published.figures.values() for target in figures}
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra.compose("train", [f"experiment={recipe}"], return_hydra_config=True)
    chosen = composed.hydra.runtime.choices
    assert chosen.data == config.published.data and chosen.model in config.published.figures


def test_a_variant_is_three_lines_over_its_parent():
    lines = [line for line in (CONF / "model/unet_noskip.yaml").read_text().splitlines() if line.strip()]
    assert len(lines) <= 3


def test_no_path_of_a_machine_in_any_yaml():
    for path in Path(CONF).rglob("*.yaml"):
        lines = [line for line in path.read_text().splitlines() if "- override /" not in line]
        assert not any(word.startswith("/") for line in lines for word in line.split()), path


def test_identity_ignores_paths_and_nothing_else():
    run = compose("data=musdb", "data.root=/a", "data.cache_dir=/c")
    assert identity(run) == identity(compose("data=musdb", "data.root=/b", "data.cache_dir=/d"))
    assert identity(run) != identity(compose("data=musdb", "data.root=/a", "seed=1"))


def test_identity_does_not_depend_on_loggers():
    assert identity(compose("logger=[csv,wandb,tensorboard]", "logger.wandb.project=p")) == identity(compose())
    check(compose("logger=[]"), Experiment)
    assert identity(compose("logger=[]")) == identity(compose())


def test_identity_does_not_depend_on_the_dry_run():
    assert identity(compose()) == identity(compose("plan=true", "power=0.5", "power_from=a/sweep"))


@pytest.mark.parametrize(
    ("overrides", "where", "found"),
    [
        (["power=0.5"], "power", None),
        (["power_from=a"], "power_from", None),
        (["plan=true", "power_from=a"], "power_from", None),
        (["plan=true", "power=0"], "power", 0),
        (["plan=true", "power=0.5", "model=ae"], "power", None),
    ],
)
def test_power_only_applies_to_dry_runs_of_separators(overrides, where, found):
    with pytest.raises(InputError) as raised:
        check_experiment(compose(*overrides))
    assert (raised.value.where, raised.value.found) == (where, found)
    check_experiment(compose("plan=true", "power=0.5", "power_from=a"))


def test_a_run_of_a_search_is_the_same_experiment():
    search = "+search={_target_:unbraid.sweeps.search.pruning.Pruning,storage:s,trial:3,objective:valid/loss}"
    check(compose(search), Experiment)
    assert identity(compose(search)) == identity(compose())


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("+model.separator.net.chanels=[1]", "model.separator.net.chanels 'channels'"),
        ("trainer.max_epochs=abc", "trainer.max_epochs 'abc' int"),
        ("model.separator.net.channels=abc", "model.separator.net.channels 'abc' integer"),
        ("model.separator.net.channels=[16,abc]", "model.separator.net.channels 16, 'abc'"),
        ("model.separator.net.skips=3", "model.separator.net.skips 3 true"),
        ("model.separator.scaling=loud", "model.separator.scaling 'loud' patch none"),
        ("data.batch_size=true", "data.batch_size True int"),
        ("evaluation.inference.batch_size=true", "evaluation.inference.batch_size True int"),
        ("seed=abc", "seed 'abc' int"),
        ("+colour=red", "colour"),
        ("targets.vocals=vocals", "targets 'vocals' mapping"),
        ("~model.separator.sample_rate", "model.separator.sample_rate"),
        ("data=musdb", "data.root"),
        ("model._target_=os.system", "model._target_ os.system"),
        ("model.loss._target_=unbraid.audio.os.getcwd", "model.loss._target_ unbraid.audio.os.getcwd"),
        ("model.loss._target_=unbraid.models.losses.Loss3", "model.loss._target_ unbraid.models.losses.Loss3"),
        ("+model.loss._args_=[1]", "model.loss._args_"),
    ],
)  # fmt: skip
def test_an_invalid_key_or_value_is_named(override, names):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", ["name=test", override])
    with pytest.raises(InputError) as caught:
        check(config, Experiment)
    assert all(name in str(caught.value) for name in names.split())


@pytest.mark.parametrize(
    ("key", "node"),
    [
        ("model.separator.stft", {"_target_": "torch.nn.Identity"}),
        ("model.separator.phase", {"_target_": "unbraid.models.losses.MagnitudeL1"}),
        ("model.separator", {"_target_": "torch.nn.Identity"}),
        ("model.separator.stft", {"_target_": "unbraid.dsp.stft.STFT", "_partial_": True, "n_fft": 512, "hop_length": 128}),
    ],
)
def test_a_class_of_another_kind_is_refused(key, node):
    config = compose()
    OmegaConf.update(config, key, OmegaConf.create(node), merge=False)
    with pytest.raises(InputError) as raised:
        check(config, Experiment)
    assert raised.value.where == key and node["_target_"] in str(raised.value.found)
