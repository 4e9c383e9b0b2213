"""Every yaml binds to the signature it is for, both ways, in every choice of every group."""

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

GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
CHOICES = [f"{group}={path.stem}" for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]
RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml") if "\npublished:" in path.read_text())

# What a choice cannot be without.
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
    """Every node with a `_target_`, with the path to it."""
    if isinstance(value, dict):
        if "_target_" in value:
            yield where, value
        for key, item in value.items():
            yield from nodes(item, f"{where}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from nodes(item, where)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_binds_to_what_it_names(choice):
    check(compose(choice, *WITH.get(choice, ())), Experiment)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_option_of_our_own_classes_stands_in_a_yaml(choice):
    for where, node in nodes(OmegaConf.to_container(compose(choice, *WITH.get(choice, ())), resolve=True)):
        if node["_target_"].startswith("unbraid."):
            parameters = {
                name
                for name, parameter in inspect.signature(resolve(node["_target_"], where)).parameters.items()
                if parameter.kind not in VARIADIC  # of nn.Module, for networks and losses without options
            }
            # What a task or a separator tells its network of features and targets: what no yaml can say for all of them.
            told = {"size", "shape", "classes", "sources", "sample_rate", "hop_length"}
            given = told - set(node) if node.get("_partial_") else set()
            assert parameters - given == set(node) - {"_target_", "_partial_"}, where


def test_every_top_level_key_is_in_the_schema_and_every_group_has_a_default():
    optional = {name for name, one in inspect.signature(Experiment).parameters.items() if one.default is None}
    known = set(inspect.signature(Experiment).parameters)
    assert known - optional <= set(compose()) <= known
    assert {*GROUPS} - {"experiment", "sweeper"} <= {*compose(), *compose("model=ae"), *compose("model=ddsp")}


def test_every_option_of_a_search_stands_in_its_yaml_and_is_one():
    own = OmegaConf.load(CONF / "sweeper/optuna.yaml").hydra.sweeper
    assert {*own} == {*inspect.signature(Options).parameters}
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra.compose("train", ["sweeper=optuna"], return_hydra_config=True).hydra.sweeper
    assert composed._target_ == "hydra_plugins.unbraid_optuna.SearchSweeper" and composed.n_trials == own.n_trials
    Options(**OmegaConf.to_container(own)).check()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_of_the_data_protocol_and_models_that_its_reference_names(recipe):
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
    one = compose("data=musdb", "data.root=/a", "data.cache_dir=/c")
    assert identity(one) == identity(compose("data=musdb", "data.root=/b", "data.cache_dir=/d"))
    assert identity(one) != identity(compose("data=musdb", "data.root=/a", "seed=1"))


def test_identity_does_not_depend_on_who_is_told_of_a_run():
    assert identity(compose("logger=[csv,wandb,tensorboard]", "logger.wandb.project=p")) == identity(compose())
    check(compose("logger=[]"), Experiment)
    assert identity(compose("logger=[]")) == identity(compose())


def test_identity_does_not_depend_on_the_dry_run():
    assert identity(compose()) == identity(compose("plan=true", "power=0.5", "power_from=a/sweep"))


@pytest.mark.parametrize(
    ("overrides", "where", "found"),
    [
        (["power=0.5"], "power", 0.5),
        (["power_from=a"], "power_from", "a"),
        (["plan=true", "power_from=a"], "power_from", "a"),
        (["plan=true", "power=0"], "power", 0),
        (["plan=true", "power=0.5", "model=ae"], "power", 0.5),
    ],
)
def test_power_is_of_dry_runs_of_separators(overrides, where, found):
    with pytest.raises(InputError) as raised:
        check_experiment(compose(*overrides))
    assert (raised.value.where, raised.value.found) == (where, found)
    check_experiment(compose("plan=true", "power=0.5", "power_from=a"))


def test_a_run_of_a_search_is_the_same_experiment():
    asked = "+search={_target_:unbraid.sweeps.search.pruning.Pruning,storage:s,trial:3,objective:valid/loss}"
    check(compose(asked), Experiment)
    assert identity(compose(asked)) == identity(compose())


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("+model.separator.net.chanels=[1]", "model.separator.net.chanels: unknown key. Did you mean 'channels'?"),
        ("trainer.max_epochs=abc", "trainer.max_epochs: found 'abc', expected"),
        ("model.separator.net.channels=abc", "model.separator.net.channels: found 'abc', expected Sequence[int]"),
        ("model.separator.net.channels=[16,abc]", "model.separator.net.channels: found [16, 'abc']"),
        ("model.separator.net.skips=3", "model.separator.net.skips: found 3, expected bool"),
        ("model.separator.scaling=loud", "model.separator.scaling: found 'loud', expected Literal['patch', 'none']"),
        ("data.batch_size=true", "data.batch_size: found True, expected int"),
        ("evaluation.inference.batch_size=true", "evaluation.inference.batch_size: found True, expected int | None"),
        ("seed=abc", "seed: found 'abc', expected int"),
        ("+colour=red", "colour: unknown key"),
        ("targets.vocals=vocals", "targets: found {'vocals': 'vocals'}, expected dict[str, list[str]]"),
        ("~model.separator.sample_rate", "model.separator.sample_rate"),
        ("data=musdb", "data.root: "),
        ("model._target_=os.system", "model._target_: "),
        ("model.loss._target_=unbraid.audio.os.getcwd", "model.loss._target_: the class is not allowed"),
        ("model.loss._target_=unbraid.models.losses.Loss3", "model.loss._target_: the class does not exist"),
        ("+model.loss._args_=[1]", "model.loss._args_: unknown key"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_config_is_said_in_one_sentence(override, sentence):
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", ["name=test", override])
    with pytest.raises(InputError) as caught:
        check(config, Experiment)
    assert sentence in str(caught.value)


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
    assert raised.value.where == key and "_target_" in raised.value.found
