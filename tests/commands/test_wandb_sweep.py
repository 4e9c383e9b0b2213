"""scripts/wandb_sweep.py writes a search space as a W&B sweep."""

import hydra
import pytest
import yaml
from omegaconf import OmegaConf

from tests.commands.conftest import has_names
from unbraid.commands.cli import CONF
from unbraid.commands.experiment import check_experiment

SCRIPT = "scripts/wandb_sweep.py"
SPACE = [
    "model=unet,unet_noskip", "optim.optimizer.lr=tag(log,interval(1e-4,1e-2))", "data.batch_size=range(4,17,4)",
    "model.separator.net.dropout=interval(0.0,0.5)", "seed=range(0,10)", "data.chunks_per_track=tag(log,range(1,65))",
]  # fmt: skip


def read(path):
    return yaml.safe_load(path.read_text())


def test_a_space_becomes_a_sweep_of_train_py(cli, tmp_path):
    status, out, _ = cli(*SPACE, "trainer=cpu", "trials=20", "objective=test/uSDR/vocals", "direction=maximize", script=SCRIPT)
    assert status == 0 and "wandb sweep wandb_sweep.yaml" in out
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["wandb_sweep.yaml"]
    sweep = read(tmp_path / "work/wandb_sweep.yaml")
    assert sweep["metric"] == {"name": "test/uSDR/vocals", "goal": "maximize"}
    assert (sweep["method"], sweep["project"], sweep["run_cap"]) == ("bayes", "unbraid", 20)
    assert (tmp_path / "work" / sweep["program"]).resolve() == CONF.parent / "train.py"
    assert sweep["parameters"] == {
        "model": {"values": ["unet", "unet_noskip"]},
        "optim.optimizer.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "data.batch_size": {"values": [4, 8, 12, 16]},
        "model.separator.net.dropout": {"distribution": "uniform", "min": 0.0, "max": 0.5},
        "seed": {"distribution": "int_uniform", "min": 0, "max": 9},
        "data.chunks_per_track": {"distribution": "q_log_uniform_values", "min": 1, "max": 64, "q": 1},
    }
    *head, fixed, arguments = sweep["command"]
    assert (head, fixed) == (["${env}", "${interpreter}", "${program}", "logger=[csv,wandb]"], "trainer=cpu")
    assert arguments == "${args_no_hyphens}"
    # the command of an agent is a valid experiment
    typed = [f"{name}={value.get('values', [value.get('min')])[0]}" for name, value in sweep["parameters"].items()]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", ["name=test", head[-1], fixed, *typed])
    check_experiment(config)
    assert OmegaConf.select(config, "logger.wandb.project") == "unbraid" and config.trainer.accelerator == "cpu"


def test_a_grid_lists_the_space_of_an_experiment(cli, tmp_path):
    words = ["experiment=skip_ablation", "seed=0,1", "method=grid", "logger=wandb", "output=mine/sweep.yaml", "entity=us"]
    assert cli(*words, script=SCRIPT)[0] == 0
    sweep = read(tmp_path / "work/mine/sweep.yaml")
    assert sweep["parameters"]["model"] == {"values": ["unet_small", "unet_noskip_small", "chimera_small"]}
    assert sweep["parameters"]["seed"] == {"values": [0, 1]}
    assert sweep["command"][3:-1] == ["experiment=skip_ablation", "logger=wandb"] and sweep["entity"] == "us"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["model=unet"], "overrides"),
        (["model=unet,unet_noskips"], "model unet_noskips"),
        (["seed=0,1", "trials=0"], "trials 0"),
        (["seed=0,1", "objective=loss"], "objective loss train/ valid/ test/"),
        (["seed=0,1", "method=guess"], "method 'guess'"),
        (["seed=0,1", "launcher=slurm"], "launcher=slurm"),
        (["seed=0,1", "hydra.sweeper.conditions=['seed if model=unet']"], "hydra.sweeper.conditions 'seed if model=unet'"),
        (["optim.optimizer.lr=interval(0.1,0.2)", "method=grid"], "optim.optimizer.lr"),
        (["seed=0,1", "logger=csv"], "logger logger=[csv,wandb]"),
        (["seed=0,1", "logger=tensorboard"], "logger logger=[csv,wandb]"),
        (["-m", "seed=0,1", "trainer.max_epoch=3"], "trainer.max_epoch 'trainer.max_epochs'"),
    ],
)
def test_an_invalid_sweep_writes_nothing(refused, tmp_path, words, names):
    assert has_names(refused(*words, script=SCRIPT), names) and not [*(tmp_path / "work").iterdir()]


def test_a_file_is_never_overwritten(refused, tmp_path):
    (tmp_path / "work/wandb_sweep.yaml").write_text("mine")
    assert "output=wandb_sweep.yaml" in refused("seed=0,1", script=SCRIPT)
    assert (tmp_path / "work/wandb_sweep.yaml").read_text() == "mine"
