"""A search space as a sweep of W&B."""

import hydra
import pytest
import yaml
from omegaconf import OmegaConf

from unbraid.commands.cli import CONF
from unbraid.commands.experiment import check_experiment

DOOR = "scripts/wandb_sweep.py"
SPACE = [
    "model=unet,unet_noskip", "optim.optimizer.lr=tag(log,interval(1e-4,1e-2))", "data.batch_size=range(4,17,4)",
    "model.separator.net.dropout=interval(0.0,0.5)", "seed=range(0,10)", "data.chunks_per_track=tag(log,range(1,65))",
]  # fmt: skip


def read(path):
    return yaml.safe_load(path.read_text())


def test_a_space_becomes_a_sweep_whose_agents_run_train_py(cli, tmp_path):
    status, out, _ = cli(*SPACE, "trainer=cpu", "trials=20", "objective=test/uSDR/vocals", "direction=maximize", script=DOOR)
    assert status == 0 and "wandb sweep wandb_sweep.yaml" in out
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["wandb_sweep.yaml"]
    found = read(tmp_path / "work/wandb_sweep.yaml")
    assert found["metric"] == {"name": "test/uSDR/vocals", "goal": "maximize"}
    assert (found["method"], found["project"], found["run_cap"]) == ("bayes", "unbraid", 20)
    assert (tmp_path / "work" / found["program"]).resolve() == CONF.parent / "train.py"
    assert found["parameters"] == {
        "model": {"values": ["unet", "unet_noskip"]},
        "optim.optimizer.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "data.batch_size": {"values": [4, 8, 12, 16]},
        "model.separator.net.dropout": {"distribution": "uniform", "min": 0.0, "max": 0.5},
        "seed": {"distribution": "int_uniform", "min": 0, "max": 9},
        "data.chunks_per_track": {"distribution": "q_log_uniform_values", "min": 1, "max": 64, "q": 1},
    }
    *head, fixed, arguments = found["command"]
    assert (head, fixed) == (["${env}", "${interpreter}", "${program}", "logger=[csv,wandb]"], "trainer=cpu")
    assert arguments == "${args_no_hyphens}"
    # what an agent then types is an experiment
    typed = [f"{name}={one.get('values', [one.get('min')])[0]}" for name, one in found["parameters"].items()]
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("train", ["name=test", head[-1], fixed, *typed])
    check_experiment(config)
    assert OmegaConf.select(config, "logger.wandb.project") == "unbraid" and config.trainer.accelerator == "cpu"


def test_an_experiment_brings_its_own_space_and_a_grid_lists_all(cli, tmp_path):
    words = ["experiment=skip_ablation", "seed=0,1", "method=grid", "logger=wandb", "output=mine/sweep.yaml", "entity=us"]
    assert cli(*words, script=DOOR)[0] == 0
    found = read(tmp_path / "work/mine/sweep.yaml")
    assert found["parameters"]["model"] == {"values": ["unet_small", "unet_noskip_small", "chimera_small"]}
    assert found["parameters"]["seed"] == {"values": [0, 1]}
    assert found["command"][3:-1] == ["experiment=skip_ablation", "logger=wandb"] and found["entity"] == "us"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["model=unet"], "overrides: "),
        (["model=unet,unet_noskips"], "model=unet_noskips: there is no such choice"),
        (["seed=0,1", "trials=0"], "trials must be at least 1, found 0"),
        (["seed=0,1", "objective=loss"], "objective=loss: expected a name that begins with train/, valid/, test/"),
        (["seed=0,1", "method=guess"], "method: found 'guess', expected"),
        (["seed=0,1", "launcher=slurm"], "launcher=slurm: is no part of a run"),
        (["seed=0,1", "hydra.sweeper.conditions=['seed if model=unet']"], "W&B's sweeps know no conditions"),
        (["optim.optimizer.lr=interval(0.1,0.2)", "method=grid"], "optim.optimizer.lr: has no list of values, as a grid needs"),
        (["seed=0,1", "logger=csv"], "logger: has no wandb, which is how W&B hears of the objective; expected"),
        (["seed=0,1", "logger=tensorboard"], "logger: has no wandb"),
        (["-m", "seed=0,1", "trainer.max_epoch=3"], "trainer.max_epoch: there is no such key; did you mean 'max_epochs'?"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_sweep_is_said_and_nothing_is_written(cli, tmp_path, words, sentence):
    status, _, err = cli(*words, script=DOOR)
    assert status == 1 and sentence in err and err.startswith("error: ") and err.count("\n") == 1
    assert not [*(tmp_path / "work").iterdir()]


def test_a_file_is_never_overwritten(cli, tmp_path):
    (tmp_path / "work/wandb_sweep.yaml").write_text("mine")
    status, _, err = cli("seed=0,1", script=DOOR)
    assert status == 1 and "output=wandb_sweep.yaml: is there already" in err
    assert (tmp_path / "work/wandb_sweep.yaml").read_text() == "mine"
