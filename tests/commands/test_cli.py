"""Hydra's command line: completion, exit statuses, one-line errors, and no incomplete files after an error."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tests.commands.conftest import has_names
from tests.conftest import PROJECT, SHORT, files_below, hear_ctrl_c, only_run
from tests.data.test_store import break_length, break_rate, break_text, break_truncate
from unbraid.commands.cli import error_message
from unbraid.commands.keys import check_paths
from unbraid.runs.errors import InputError

SCRIPT = [sys.executable, str(PROJECT / "train.py")]


def musdb(root, *more):
    return ["model=unet", "data=musdb", f"data.root={root}", *SHORT, *more]


def without_heavy_imports(folder, script, *words):
    """Run a script in `folder`, check that it imports no package that takes long, and return the finished process."""
    code = f"""if True:
        import atexit, runpy, sys
        heavy = ("torch", "numpy", "matplotlib", "optuna", "wandb", "tensorboard")
        atexit.register(lambda: print("HEAVY", [name for name in heavy if name in sys.modules]))
        sys.argv = [{script!r}, *{words!r}]
        runpy.run_path({str(PROJECT / script)!r}, run_name="__main__")
    """
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert "HEAVY []" in result.stdout
    return result


def test_composing_imports_nothing_heavy(tmp_path):
    assert "hop_length: 768" in without_heavy_imports(tmp_path, "train.py", "--cfg", "job").stdout


@pytest.mark.parametrize(
    ("script", "word", "missing"),
    [
        ("train.py", "data.root=none", True),
        ("train.py", "data.root=file", False),
        ("scripts/separate.py", "run=none", True),
        ("scripts/evaluate.py", "run=none", True),
    ],
)
def test_a_wrong_path_is_found_before_slow_imports(tmp_path, script, word, missing):
    (tmp_path / "file").write_text("")
    words = ["data=musdb", word] if script != "scripts/separate.py" else [word]
    result = without_heavy_imports(tmp_path, script, *words)
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1 and line.startswith(f"error: {word}: ") and ("exist" in line) == missing
    assert files_below(tmp_path) == ["file"]


@pytest.mark.parametrize("script", ["train.py", "scripts/prepare.py"])
def test_an_unset_data_folder_is_found_before_slow_imports(tmp_path, script):
    (line,) = without_heavy_imports(tmp_path, script, "data=stems").stderr.splitlines()
    assert line.startswith("error: data.root: ")


@pytest.mark.parametrize("key", ["wrong_key", "trainer.max_epoch", "model.nets.wrong_key", "optim.optimizer.wrong_key"])
def test_an_unknown_key_is_named_before_slow_imports(tmp_path, key):
    (line,) = without_heavy_imports(tmp_path, "train.py", f"{key}=1").stderr.splitlines()
    assert line.startswith(f"error: {key}: ")


def test_shell_completion_knows_the_choices(cli, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "python train.py model=")
    monkeypatch.setenv("COMP_POINT", "22")
    status, out, _ = cli("-sc", "query=bash")
    assert status == 0 and {"model=unet", "model=unet_noskip", "model=pca"} <= {*out.split()}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["model=unett"], "model unett 'unet' bs_roformer"),
        (["logger=[csv,wandbb]"], "logger wandbb 'wandb' csv"),
        (["trainer.max_epoch=3"], "trainer.max_epoch 'trainer.max_epochs'"),
        (["modell=unet"], "modell 'model'"),
        (["trainerr.max_epochs=1"], "trainerr.max_epochs 'trainer.max_epochs'"),
        (["seed.x=1"], "seed.x"),
        (["data=musdb", "data.layout.seconds=3"], "data.layout.seconds"),
        (["+trainer.max_epoch=3"], "trainer.max_epoch 'max_epochs'"),
        (["data.targets.vocals=[drums]"], "data.targets ${targets}"),
        (["trainer.limit_val_batches=1"], "trainer.limit_val_batches +trainer.limit_val_batches="),
        (["data=null"], "data null"),
        (["modl=unet", "dta=demo"], "modl 'model'"),
        (["foo"], "foo"),
    ],
)
def test_an_unknown_key_or_choice_is_named(refused, tmp_path, words, names):
    assert has_names(refused(*words), names) and files_below(tmp_path / "work") == []


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["model=ae", "data=digits", "code=2"], "model.net.code"),
        (["code=2"], "model=deep_ae"),
        (["lr=0.01"], "optim.optimizer.lr"),
        (["optim.lr=0.01"], "optim.optimizer.lr"),
        (["root=songs"], "data.root"),
        (["epochs=5"], "trainer.max_epochs"),
        (["trainer.max_epoch=5"], "trainer.max_epochs"),
        (["model=PCA"], "'pca'"),
        (["data=/songs/mine"], "data.root=/songs/mine"),
    ],
)
def test_the_key_that_was_meant_is_suggested(refused, words, key):
    assert key in refused(*words)


@pytest.mark.parametrize(
    ("words", "script"),
    [
        (["data=musdb", "data.root=outputs/swep"], "train.py"),
        (["sweep=outputs/swep"], "scripts/report.py"),
        (["run=outputs/swep", "input=song.wav"], "scripts/separate.py"),
    ],
)
def test_a_similar_existing_path_is_suggested(refused, tmp_path, words, script):
    (tmp_path / "work" / "outputs" / "sweep").mkdir(parents=True)
    assert "'outputs/sweep'" in refused(*words, script=script)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["trainer.max_epochs=abc"], "trainer.max_epochs 'abc'"),
        (["data=musdb"], "data.root"),
        (["data=musdb", "data.root=nowhere"], "data.root=nowhere"),
        (["data.chunk_seconds=2"], "64 23"),
        (["seed=-1"], "seed -1"),
        (["evaluation.inference.overlap=1"], "evaluation.inference.overlap 1"),
        (["data.batch_size=0"], "data.batch_size 0"),
        (["trainer.accelerator=tpu"], "trainer"),
        (["data.sample_rate=16000"], "data.sample_rate 16000 model.separator.sample_rate"),
        (["+data.targets.x=[drums]"], "data.targets targets"),
        (["+trainer.callbacks=[]"], "trainer.callbacks"),
        (["data.num_workers=-1"], "data.num_workers -1"),
        (["data.chunk_seconds=-1"], "data.chunk_seconds -1"),
        (["model.separator.chunk_seconds=3000"], "model.separator.chunk_seconds 3000"),
        (["model.separator.channels=3"], "model.separator.channels 3"),
        (["model.separator.stft.n_fft=0"], "model.separator.stft.n_fft 0"),
        (["model.separator.net.channels=[]"], "model.separator"),
        (["model.separator.net.dropout=2"], "model.separator dropout"),
        (
            ["model=unet_small", "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1"],
            "trainer.gradient_clip_val optim.optimizer.fused",
        ),
        (["~targets.vocals"], "model.separator.targets"),
        (["trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches 0"),
        (["data.layout.train=0"], "data.layout.train 0"),
        (["data.layout.seconds=0.2"], "data.layout.seconds 0.2"),
        (["model.loss._target_=unbraid.models.losses.BinCrossEntropy"], "model.loss"),
        (["model.loss._target_=5"], "model.loss._target_ 5"),
        (["trainer.accelerator=gpu", "trainer.devices=99"], "trainer"),
        *[([f"trainer.precision={name}"], f"trainer.precision {name} bf16-mixed") for name in ("16", "16-mixed", "16-true")],
    ],
)
def test_an_invalid_value_is_named(error_of, tmp_path, words, names):
    words = [f"data.cache_dir={tmp_path / 'cache'}", "trainer.accelerator=cpu", *words]
    assert has_names(str(error_of("train", *words)), names) and files_below(tmp_path / "work") == []


def other_layout(root):
    shutil.rmtree(root)
    (root / "Wavfile").mkdir(parents=True)


BROKEN = {
    "another layout": (other_layout, "Wavfile"),
    "no test tracks": (lambda root: shutil.rmtree(root / "test"), "test"),
    "no valid tracks": (lambda root: shutil.rmtree(root / "valid"), "valid"),
    "no train tracks": (lambda root: shutil.rmtree(root / "train"), "train"),
    "missing stem": (lambda root: (root / "test/song 3/vocals.wav").unlink(), "song 3/vocals.wav"),
    "another length": (lambda root: break_length(root / "test/song 3"), "song 3/bass.wav"),
    "another rate": (lambda root: break_rate(root / "test/song 3"), "song 3/bass.wav"),
    "truncated": (lambda root: break_truncate(root / "test/song 3"), "song 3/bass.wav"),
    "not audio": (lambda root: break_text(root / "test/song 3"), "song 3/bass.wav"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_unusable_data_is_named(error_of, own_songs, tmp_path, kind):
    break_it, name = BROKEN[kind]
    break_it(own_songs)
    before = files_below(own_songs)
    error = error_of("train", *musdb(own_songs))
    assert str(own_songs) in error.where and name in str(error)
    assert files_below(own_songs) == before and files_below(tmp_path / "work") == []


@pytest.mark.slow
def test_a_diverged_run_is_marked_as_failed(cli, songs, tmp_path):
    status, _, err = cli(*musdb(songs, "optim.optimizer.lr=1e30", "trainer.max_epochs=2"))
    run = only_run(tmp_path / "work")
    assert status == 1 and "optim.optimizer.lr" in err and "Traceback" not in err
    assert not (run / "audio").exists() and '"state": "failed"' in (run / "run.json").read_text()


@pytest.mark.slow
def test_a_monitor_that_is_never_logged_is_named(cli, songs):
    status, _, err = cli(*musdb(songs, "callbacks.best.monitor=foo"))
    assert status == 1 and "monitor='foo'" in err and "Traceback" not in err


def test_a_closed_output_pipe_prints_no_error():
    program = subprocess.Popen([*SCRIPT, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    program.stdout.close()
    assert program.stderr.read() == ""
    assert program.wait(timeout=30) == 1


def test_an_unknown_source_of_a_target_is_named(error_of, songs):
    error = error_of("train", *musdb(songs, "+targets.piano=[piano]"))
    assert error.where == "targets.piano" and "'piano'" in str(error)


@pytest.mark.slow
def test_a_sweep_continues_after_a_failed_run(cli, songs, tmp_path):
    status, out, err = cli("-m", *musdb(songs), "hydra.sweep.dir=sweep", "data.batch_size=0,2")
    assert status == 1
    assert "0-batch_size=0 after" in out and "data.batch_size" in out
    assert has_names(err, "error: 0-batch_size=0") and "1-batch" not in err and len(err.splitlines()) == 1
    assert (tmp_path / "work/sweep/1-batch_size=2/scores.json").is_file()


def test_an_unwritable_run_folder_is_named(cli, songs, tmp_path):
    (tmp_path / "file").touch()
    status, _, err = cli(*musdb(songs, f"hydra.run.dir={tmp_path}/file/run"))
    assert status == 1 and err.strip() == f"error: {tmp_path}/file/run: Not a directory"


@pytest.mark.slow
def test_a_full_disk_leaves_no_incomplete_file(songs, tmp_path):
    """Simulate the full disk by a limit of the file size, which is too small for the checkpoint."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    words = musdb(songs, "hydra.run.dir=run", "model.separator.net.channels=[16,32,64,64,64,64]")
    result = subprocess.run([*SCRIPT, *words], cwd=tmp_path, preexec_fn=limit, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.strip().split("\n")[-1] == f"error: {tmp_path}/run: File too large"
    assert files_below(tmp_path / "run") == [".lock", "checkpoints", "config.yaml", "metrics.csv", "run.json", "tracks.json"]
    assert '"state": "failed"' in (tmp_path / "run/run.json").read_text()


@pytest.mark.slow
def test_a_full_disk_of_the_store_is_named(songs, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    words = musdb(songs, f"data.cache_dir={tmp_path}/cache", "hydra.run.dir=run")
    result = subprocess.run([*SCRIPT, *words], cwd=tmp_path, preexec_fn=limit, capture_output=True, text=True)
    assert result.returncode == 1
    assert has_names(result.stderr.strip().splitlines()[-1], f"error: {tmp_path}/cache/store File too large")
    assert [p for p in (tmp_path / "cache/store").iterdir() if p.name != "locks"] == [] and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_ctrl_c_keeps_the_last_checkpoint_and_exits_130(songs, tmp_path):
    words = musdb(songs, "hydra.run.dir=run", "trainer.max_epochs=100000", "callbacks.early_stopping.patience=100000")
    program = subprocess.Popen(
        [*SCRIPT, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
    )
    checkpoint, deadline = tmp_path / "run/checkpoints/last.ckpt", time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    program.send_signal(signal.SIGINT)
    _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert err.strip().split("\n")[-1] == "stopped by Ctrl-C. The same command resumes the run"
    assert "Traceback" not in err
    assert torch.load(checkpoint, weights_only=True)["global_step"] > 0
    assert '"state": "interrupted"' in (tmp_path / "run/run.json").read_text()
    assert not [path for path in files_below(tmp_path / "run") if "partial" in path or "tmp" in path]


def test_hydra_full_error_prints_the_traceback():
    result = subprocess.run(
        [*SCRIPT, "model=unett"], env=os.environ | {"HYDRA_FULL_ERROR": "1"}, capture_output=True, text=True
    )
    assert result.returncode == 1 and "Traceback" in result.stderr


def test_missing_memory_is_an_error_of_the_input():
    error = MemoryError("Unable to allocate 72.7 GiB for an array")
    message = error_message(error, "train")
    assert "72.7 GiB" in message and "data.batch_size" in message


def test_a_failed_compilation_is_an_error_of_the_input():
    error = type("InductorError", (RuntimeError,), {})("ImportError: main.so: file too short")
    message = error_message(error, "train")
    assert "main.so" in message and "compile=false" in message


@pytest.mark.parametrize(("tree", "hint"), [({"input": None}, "Type run=FOLDER 'input=a b.flac'"), ({}, "Type run=FOLDER")])
def test_an_audio_file_is_not_a_model(tmp_path, monkeypatch, tree, hint):
    monkeypatch.chdir(tmp_path)
    Path("a b.flac").touch()
    with pytest.raises(InputError) as error:
        check_paths(OmegaConf.create({"run": "a b.flac", **tree}), "separate")
    assert error.value.where == "run=a b.flac" and error.value.hint == hint


def test_inspect_names_the_file_without_a_key(error_of, tmp_path):
    file = tmp_path / "readme.txt"
    file.touch()
    error = error_of("inspect", f"file={file}")
    assert error.where == str(file) and ".ckpt" in error.expected
