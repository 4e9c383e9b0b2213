"""Tests of Muon together with AdamW, and of the optimizers of optional packages with replacements of the packages."""

import sys
from copy import deepcopy

import pytest
import torch
from torch import nn

from unbraid.runs.errors import InputError
from unbraid.tasks.optimizers import MuonWithAdamW, Prodigy, ScheduleFreeAdamW

OPTIONS = {"lr": 1e-2, "weight_decay": 0.0, "momentum": 0.95, "adamw_lr": 1e-2, "adamw_weight_decay": 0.1}

STAND_IN = """
import torch


class Averaging(torch.optim.Optimizer):
    \"\"\"Train with fast weights, and average them as the package does.\"\"\"

    def __init__(self, params, lr, **options):
        super().__init__(params, {"lr": lr, "train_mode": False, "k": 0})

    def _swap(self, mode):
        for group in self.param_groups:
            if group["train_mode"] is not mode:
                for p in group["params"]:
                    state = self.state[p]
                    other = state.setdefault("other", p.detach().clone())
                    state["other"], p.data = p.detach().clone(), other.clone()
                group["train_mode"] = mode

    def train(self):
        self._swap(True)

    def eval(self):
        self._swap(False)

    @torch.no_grad()
    def step(self, closure=None):
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            assert group["train_mode"]
            group["k"] += 1
            for p in group["params"]:
                if p.grad is not None:
                    p.sub_(group["lr"] * p.grad.sign())
                    self.state[p]["other"].lerp_(p, 1 / group["k"])
        return loss


AdamWScheduleFree = Averaging


class Prodigy(torch.optim.SGD):
    def __init__(self, params, lr, weight_decay, d_coef, safeguard_warmup):
        super().__init__(params, 1e-3 * lr * d_coef, weight_decay=weight_decay)
"""


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """Replace the packages by modules, also if they are installed."""
    for name in ("prodigyopt", "schedulefree"):
        (tmp_path / f"{name}.py").write_text(STAND_IN)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("prodigyopt", "schedulefree"):
        sys.modules.pop(name, None)


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Conv1d(2, 2, 3), nn.Linear(4, 1))


def train(model, optimizer, steps):
    for step in range(steps):
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(step)
        batch = torch.randn(8, 2, 4, generator=generator)
        (model(batch) - batch.mean(dim=-1, keepdim=True)).square().mean().backward()
        optimizer.step()


def test_matrices_are_those_of_muon_and_the_rest_of_adamw():
    model, alone = net(), net()
    both = MuonWithAdamW(model.parameters(), **OPTIONS)
    muon = torch.optim.Muon([alone[0].weight, alone[2].weight], 1e-2, 0.0, 0.95, adjust_lr_fn="match_rms_adamw")
    others = [alone[0].bias, *alone[1].parameters(), alone[2].bias]
    adamw = torch.optim.AdamW(others, 1e-2, weight_decay=0.1)
    for step in range(3):
        batch = torch.randn(8, 2, 4, generator=torch.Generator().manual_seed(step))
        for each in (model, alone):
            each.zero_grad()
            each(batch).square().mean().backward()
        both.step(), muon.step(), adamw.step()
    for ours, theirs in zip(model.parameters(), alone.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_schedule_changes_both_learning_rates():
    optimizer = MuonWithAdamW(net().parameters(), **OPTIONS)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()
    schedule.step()
    assert [group["lr"] for part in optimizer.parts for group in part.param_groups] == [5e-3, 5e-3]


def test_training_resumes_from_the_state():
    whole, resumed = net(), net()
    optimizer = MuonWithAdamW(whole.parameters(), **OPTIONS)
    train(whole, optimizer, 4)
    resumed.load_state_dict(whole.state_dict())
    other = MuonWithAdamW(resumed.parameters(), **OPTIONS)
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    train(whole, optimizer, 2), train(resumed, other, 2)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("vectors", [True, False])
def test_one_kind_of_parameters_is_enough(vectors):
    parameters = [nn.Parameter(torch.ones(3) if vectors else torch.ones(3, 3))]
    assert len(MuonWithAdamW(parameters, **OPTIONS).parts) == 1


@pytest.mark.parametrize(
    ("make", "package"),
    [
        (lambda p: Prodigy(p, 1.0, 0.0, 1.0, False), "prodigyopt"),
        (lambda p: ScheduleFreeAdamW(p, 1e-3, 0.0, 0), "schedulefree"),
    ],
)
def test_a_missing_package_is_an_error(monkeypatch, make, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as raised:
        make(net().parameters())
    assert raised.value.where == package and "pip install" in raised.value.hint


def test_a_missing_package_leaves_no_run(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "prodigyopt", None)
    status, _, err = cli("optim=prodigy", "model=unet_small", "trainer.accelerator=cpu")
    assert status == 1 and "unbraid[prodigy]" in err and len(err.splitlines()) == 1
    assert [*(tmp_path / "work").iterdir()] == []


SHORT = ["model=ae", "data=digits", "trainer.accelerator=cpu", "trainer.max_epochs=2", "+trainer.limit_train_batches=2"]


def test_prodigy_trains(stand_ins, cli):
    status, _, err = cli("optim=prodigy", *SHORT)
    assert status == 0, err


def test_averaged_weights_are_validated_and_saved(stand_ins, cli):
    status, _, err = cli("optim=schedule_free", *SHORT, "hydra.run.dir=run")
    assert status == 0, err
    content = torch.load("run/checkpoints/last.ckpt", weights_only=True)
    (state,) = content["optimizer_states"]
    assert [group["train_mode"] for group in state["param_groups"]] == [False]
    weights = [value for name, value in content["state_dict"].items() if name.startswith("net.")]
    fast = [entry["other"] for entry in state["state"].values()]
    assert any(not torch.equal(a, b) for a, b in zip(weights, fast, strict=True))
