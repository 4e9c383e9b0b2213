"""Initial weights: from which files they are read, which tensors are loaded, and which targets they belong to."""

import pytest
import torch
from omegaconf import OmegaConf

from tests.conftest import NARROW, make_run
from tests.test_configs import compose
from unbraid.interop.initial import Init, initialise, with_hash
from unbraid.interop.origins import sha256_of
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.training.initial import use_initial_weights

JOINT = ["model=unet_softmax", "model.separator.net.channels=[2,2,4,4,4,4]"]


def task_of(*words):
    """Return the config and the task of a model with other random weights than those of `make_run`."""
    config = compose(*words)
    torch.manual_seed(7)
    return config, build(config.model)


def started(folder, words, **options):
    """Load weights into a model; return what was recorded, the model, and its state before."""
    config, task = task_of(*words)
    OmegaConf.update(config, "init", {"path": str(folder), **options}, merge=False, force_add=True)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    return use_initial_weights(config, task, folder / "new"), task, before


def state_of(run):
    return torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("words", [[NARROW, "targets=vocals_accompaniment"], JOINT, ["model=ae", "data=digits"]], ids=str)
def test_a_run_of_the_same_model_is_loaded_exactly(tmp_path, words):
    run = make_run(tmp_path / "run", *words)
    config, task = task_of(*words)
    torch.manual_seed(0)
    other = build(config.model)
    torch.save({"state_dict": other.state_dict()}, run / "checkpoints/best.ckpt")
    found, task, _ = started(run, words)
    assert all(torch.equal(tensor, task.state_dict()[name]) for name, tensor in state_of(run).items())
    assert (found.kind, found.name, found.random, found.loaded) == ("run", "run", [], len(state_of(run)))
    assert found.sha256 == sha256_of(run / "checkpoints/best.ckpt")


def test_a_checkpoint_file_and_last_are_loaded(tmp_path):
    run = make_run(tmp_path / "run", NARROW)
    last = run / "checkpoints/last.ckpt"
    state = {name: tensor + 1 for name, tensor in state_of(run).items()}
    torch.save({"state_dict": state}, last)
    for path, options, kind in ((run, {"weights": "last"}, "run"), (last, {}, "checkpoint")):
        found, task, _ = started(path, [NARROW], **options)
        assert found.kind == kind and all(torch.equal(task.state_dict()[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("alone", [False, True])
def test_a_published_folder_and_its_file_are_loaded(tmp_path, cli, alone):
    run = make_run(tmp_path / "run", NARROW)
    status, _, error = cli(f"run={run}", f"output={tmp_path / 'public'}", script="scripts/publish.py")
    assert status == 0, error
    path = tmp_path / "public"
    if alone:
        (path / "config.yaml").unlink()
        path = path / "model.safetensors"
    found, task, _ = started(path, [NARROW])
    assert found.kind == "safetensors"
    assert all(torch.equal(tensor, task.state_dict()[name]) for name, tensor in state_of(run).items())


def test_targets_are_matched_by_name_in_separate_networks(tmp_path):
    run = make_run(tmp_path / "run", NARROW, "targets=[drums,bass,vocals]", "data=musdb")
    state = state_of(run)
    _, task, _ = started(run, [NARROW, "targets=[vocals,drums]", "data=musdb"])
    for theirs, ours in ((2, 0), (0, 1)):
        for name in (name for name in state if name.startswith(f"separator.nets.{theirs}.")):
            assert torch.equal(task.state_dict()[name.replace(f"nets.{theirs}", f"nets.{ours}", 1)], state[name])


def test_targets_are_matched_by_name_in_a_joint_network(tmp_path):
    run = make_run(tmp_path / "run", *JOINT, "targets=[drums,bass,vocals]", "data=musdb")
    _, task, before = started(run, [*JOINT, "targets=[vocals,other,drums]", "data=musdb"], partial=True)
    state, ours = state_of(run), task.state_dict()
    (last,) = [name for name in state if name.endswith("decoder.5.0.bias")]
    assert ours[last][[0, 2, 3]].tolist() == state[last][[2, 0, 3]].tolist()  # the last class is the residual
    assert ours[last][1] == before[last][1] and torch.equal(ours[last[:-4] + "weight"][:, 0], state[last[:-4] + "weight"][:, 2])


def test_a_new_target_needs_partial(tmp_path):
    run = make_run(tmp_path / "run", NARROW)
    words = [NARROW, "targets=[vocals,drums]", "data=musdb"]
    with pytest.raises(InputError) as error:
        started(run, words)
    assert (error.value.where, error.value.found) == (f"init={run}", "weights for vocals")
    found, task, before = started(run, words, partial=True)
    after = task.state_dict()
    assert found.random == [name.removeprefix("separator.") for name in sorted(before) if ".nets.1." in name]
    assert all(torch.equal(after[name], before[name]) == (".nets.1." in name) for name in after if name.endswith("conv.weight"))


def test_every_tensor_that_does_not_fit_is_listed(tmp_path):
    run = make_run(tmp_path / "run", NARROW)
    wider = "model.separator.net.channels=[3,2,4,4,4,4]"
    with pytest.raises(InputError) as error:
        started(run, [wider])
    names = [part.split()[0] for part in error.value.found.split(": ", 1)[1].split("; ")]
    assert "nets.0.encoder.0.0.weight" in names and "nets.0.encoder.2.0.weight" not in names
    found, _, _ = started(run, [wider], partial=True)
    assert [*found.random] == sorted(names) and found.loaded > 20


def test_prefixes_select_tensors(tmp_path):
    run = make_run(tmp_path / "run", NARROW)
    for options in ({"only": ["nets.0.encoder"]}, {"skip": ["nets.*.decoder"]}):
        found, task, before = started(run, [NARROW], **options)
        for name, tensor in task.state_dict().items():
            source = state_of(run) if ".encoder." in name else before
            assert torch.equal(tensor, source[name])
        assert all(".decoder." in name for name in found.random)
    for key in ("only", "skip"):
        with pytest.raises(InputError) as error:
            started(run, [NARROW], **{key: ["nets.0.encode"]})
        assert error.value.where == f"init.{key}=nets.0.encode" and "nets.0.encoder" in error.value.hint


@pytest.mark.parametrize(
    ("change", "where", "found"),
    [
        ({"partial": 3}, "init.partial", "3"),
        ({"weights": "bets"}, "init.weights", "'bets'"),
        ({"fro": "x"}, "init.fro", None),
        ({"path": None, "partial": True}, "init.path", None),
    ],
)
def test_invalid_options_are_refused(tmp_path, change, where, found):
    with pytest.raises(InputError) as error:
        Init.of(OmegaConf.create({"path": "x"} | change))
    assert (error.value.where, error.value.found) == (where, found)


def test_other_sample_rates_and_kinds_of_models_are_refused(tmp_path):
    run = make_run(tmp_path / "run", NARROW)
    with pytest.raises(InputError) as error:
        started(run, [NARROW, "model.separator.sample_rate=16000"])
    assert (error.value.found, error.value.expected) == ("16000 Hz", "8192 Hz")
    with pytest.raises(InputError) as error:
        started(run, ["model=ae", "data=digits"])
    assert error.value.where == f"init={run}" and "separator.nets.0.encoder.0.0.weight" in error.value.found


def test_not_a_number_and_missing_files_are_refused(tmp_path):
    run = make_run(tmp_path / "run", NARROW)
    with pytest.raises(InputError) as error:
        started(tmp_path / "other", [NARROW])
    assert error.value.where == f"init={tmp_path / 'other'}"
    with pytest.raises(InputError) as error:
        started(run, [NARROW], weights="last")
    assert error.value.where == "checkpoint=last"
    state = state_of(run)
    state["separator.nets.0.encoder.0.0.weight"].view(-1)[3] = torch.nan
    torch.save({"state_dict": state}, run / "checkpoints/best.ckpt")
    with pytest.raises(InputError) as error:
        started(run, [NARROW])
    assert error.value.found == "nets.0.encoder.0.0.weight"


def test_the_hash_is_part_of_the_config(tmp_path):
    run = make_run(tmp_path / "run", NARROW)
    config = compose(NARROW, f"init.path={run}")
    with_hash(config)
    first = config.init.sha256
    assert first == sha256_of(run / "checkpoints/best.ckpt")
    torch.save({"state_dict": {}}, run / "checkpoints/best.ckpt")
    with pytest.raises(InputError) as error:
        with_hash(config)
    assert error.value.expected == first
    config.init.sha256 = None
    with_hash(config)
    assert config.init.sha256 != first


def test_a_resumed_run_does_not_load_again(tmp_path):
    run = make_run(tmp_path / "run", NARROW)
    (run / "checkpoints/best.ckpt").rename(run / "checkpoints/last.ckpt")
    config, task = task_of(NARROW, "init.path=/does/not/exist")
    assert use_initial_weights(config, task, run) is None


def test_init_is_not_used_without_a_path():
    config, task = task_of(NARROW)
    assert Init.of(None) == Init.of(config.init) == Init()
    with pytest.raises(InputError):
        initialise(task, Init("/does/not/exist"), lambda targets: task)
