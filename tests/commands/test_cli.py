"""What Hydra's users expect, and one sentence, a non-zero exit and nothing half-made for what goes wrong."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.conftest import PROJECT, SHORT, files_below, hear_ctrl_c, only_run
from tests.data.test_store import break_length, break_rate, break_text, break_truncate
from unbraid.commands.cli import CONF

SCRIPT = [sys.executable, str(PROJECT / "train.py")]


def musdb(root, *more):
    return ["model=unet", "data=musdb", f"data.root={root}", *SHORT, *more]


def test_help_lists_the_groups(cli):
    status, out, _ = cli("--help")
    assert status == 0
    for group in (
        "data: " + ", ".join(sorted(path.stem for path in (CONF / "data").glob("*.yaml"))),
        "model: " + ", ".join(sorted(path.stem for path in (CONF / "model").glob("*.yaml"))),
        "targets: accompaniment, all, mixture, vocals",
        "trainer: auto, cpu, ddp",
    ):
        assert group in out


def test_composing_imports_nothing_heavy():
    code = f"""if True:
        import atexit, runpy, sys
        heavy = ("torch", "numpy", "matplotlib", "optuna", "wandb", "tensorboard")
        atexit.register(lambda: print("HEAVY", [name for name in heavy if name in sys.modules]))
        sys.argv = ["train.py", "--cfg", "job"]
        runpy.run_path({str(PROJECT / "train.py")!r}, run_name="__main__")
    """
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "hop_length: 768" in result.stdout and "HEAVY []" in result.stdout


def test_shell_completion_knows_the_choices(cli, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "python train.py model=")
    monkeypatch.setenv("COMP_POINT", "22")
    status, out, _ = cli("-sc", "query=bash")
    assert status == 0 and {"model=unet", "model=unet_noskip", "model=pca"} <= {*out.split()}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["model=unett"], "error: model=unett: there is no such choice; did you mean 'unet'? known: ae, bs_roformer,"),
        (["logger=[csv,wandbb]"], "error: logger=wandbb: there is no such choice; did you mean 'wandb'? known: csv, "),
        (["data=musdb18"], "error: data=musdb18: there is no such choice; did you mean 'musdb'?"),
        (["trainer.max_epoch=3"], "error: trainer.max_epoch: there is no such key; did you mean 'max_epochs'?"),
        (["modell=unet"], "error: modell: there is no such key; did you mean 'model'?"),
        (["trainerr.max_epochs=1"], "error: trainerr: there is no such key; did you mean 'trainer'?"),
        (["seed.x=1"], "error: seed.x: seed is a single value, it has no keys"),
        (["data=musdb", "data.layout.seconds=3"], "error: data.layout.seconds: there is no such key"),
        (["+trainer.max_epoch=3"], "error: trainer.max_epoch: there is no such key; did you mean 'max_epochs'?"),
        (["trainer.max_epochs=abc"], "error: trainer.max_epochs: found 'abc', expected"),
        (["model.separator.net.channels=abc"], "error: model.separator.net.channels: found 'abc', expected Sequence[int]"),
        (["data=musdb"], "error: data.root has no default and must be given: data.root=…"),
        (["data=musdb", "data.root=nowhere"], "error: data.root=nowhere: no such folder"),
        (["data.chunk_seconds=2"], "error: the chunk is too short: a U-Net of 6 layers needs at least 64 frames, found 23"),
        (["seed=-1"], "error: seed must lie in [0, 2**32 - 1], found -1"),
        (["evaluation.inference.overlap=0.9"], "error: evaluation.inference.overlap must lie in [0, 0.75], found 0.9"),
        (["data.batch_size=0"], "error: data.batch_size must be at least 1, found 0"),
        (["trainer.accelerator=tpu"], "error: trainer: "),
        (["data.sample_rate=16000"], "error: data.sample_rate: found 16000, expected what model.separator.sample_rate"),
        (["+data.targets.x=[drums]"], "error: data.targets: found {'x': ['drums']}, expected what targets says"),
        (["data.targets.vocals=[drums]"], "error: data.targets: is a link, ${targets}; set what it points to"),
        (["trainer.limit_val_batches=1"], "error: trainer.limit_val_batches: is not in the config, but may be; add it with +"),
        (["+trainer.callbacks=[]"], "error: trainer.callbacks: the program sets it itself, found []"),
        (["data.num_workers=-1"], "error: data.num_workers must be at least 0, found -1"),
        (["data.chunk_seconds=-1"], "error: data.chunk_seconds must lie in (0, 600], found -1"),
        (["model.separator.chunk_seconds=3000"], "error: model.separator.chunk_seconds must lie in (0, 600], found 3000"),
        (["model.separator.channels=3"], "error: model.separator.channels must be 1 or 2, found 3"),
        (["model.separator.stft.n_fft=0"], "error: model.separator.stft.n_fft must lie in [2, 262144], found 0"),
        (["model.separator.net.channels=[]"], "error: model.separator: a U-Net's channels must be one positive number"),
        (["model.separator.net.dropout=2"], "error: model.separator: dropout probability has to be between 0 and 1"),
        (
            ["model=unet_small", "trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1"],
            "error: trainer.gradient_clip_val: a fused optimizer cannot clip in mixed precision; set optim.optimizer.fused",
        ),
        (["~targets.vocals"], "error: model.separator.targets: none given"),
        (["trainer.accumulate_grad_batches=0"], "error: trainer.accumulate_grad_batches must be at least 1, found 0"),
        (["data.layout.train=0"], "error: data.layout.train: too small, found 0"),
        (["data.layout.seconds=0.2"], "error: data.layout.seconds: too small, found 0.2"),
        (["data=null"], "error: Config group override must be a string or a list. Got NoneType"),
        (["model.loss._target_=unbraid.models.losses.BinCrossEntropy"], "error: model.loss: is of logits, and this separator"),
        (["model.loss._target_=5"], "error: model.loss._target_: '5' may not be built"),
        (["trainer=gpu"], "error: trainer: No supported gpu backend found!"),
        (["foo"], "error: "),
    ],
)  # fmt: skip
def test_bad_words_end_in_one_sentence(cli, tmp_path, arguments, sentence):
    status, out, err = cli(*arguments)
    assert status == 1
    assert err.startswith(sentence) and len(err.strip().splitlines()) == 1 and "Traceback" not in err
    assert out == "" and files_below(tmp_path / "work") == []


def other_layout(root):
    shutil.rmtree(root)
    (root / "Wavfile").mkdir(parents=True)


BROKEN = {
    "another layout": (other_layout, "not MUSDB18, found Wavfile, expected train/ and test/"),
    "no test tracks": (lambda root: shutil.rmtree(root / "test"), "no tracks in the test split"),
    "no valid tracks": (lambda root: shutil.rmtree(root / "valid"), "no tracks in the valid split"),
    "no train tracks": (lambda root: shutil.rmtree(root / "train"), "no tracks in the train split"),
    "missing stem": (lambda root: (root / "test/song 3/vocals.wav").unlink(), "song 3/vocals.wav: "),
    "another length": (lambda root: break_length(root / "test/song 3"), "song 3/bass.wav: shorter than"),
    "another rate": (lambda root: break_rate(root / "test/song 3"), "song 3/bass.wav: shorter than"),
    "truncated": (lambda root: break_truncate(root / "test/song 3"), "song 3/bass.wav: is truncated"),
    "not audio": (lambda root: break_text(root / "test/song 3"), "song 3/bass.wav: is damaged, truncated or not audio"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_bad_data_ends_in_one_sentence(cli, own_songs, tmp_path, kind):
    break_it, sentence = BROKEN[kind]
    break_it(own_songs)
    before = files_below(own_songs)
    status, _, err = cli(*musdb(own_songs))
    message = err.replace("\r", "\n").strip().splitlines()[-1]
    assert status == 1 and message.startswith("error: ") and sentence in message and "Traceback" not in err
    assert files_below(own_songs) == before and files_below(tmp_path / "work") == []


@pytest.mark.parametrize("precision", ["16", "16-mixed", "16-true"])
def test_half_precision_that_overflows_is_refused(cli, songs, tmp_path, precision):
    """As long as a loss that is no number ends a run, a step that a scaler would skip does, too."""
    status, _, err = cli(*musdb(songs, f"trainer.precision={precision}"))
    assert status == 1 and files_below(tmp_path / "work") == []
    assert err == f"error: trainer.precision: found {precision}, in which gradients overflow; expected bf16-mixed or 32-true\n"


def test_a_diverged_run_is_said_and_marked(cli, songs, tmp_path):
    status, _, err = cli(*musdb(songs, "optim.optimizer.lr=1e30", "trainer.max_epochs=2"))
    run = only_run(tmp_path / "work")
    assert (
        status == 1 and ": training diverged, found " in err and "A lower optim.optimizer.lr" in err and "Traceback" not in err
    )
    assert not (run / "audio").exists() and '"state": "failed"' in (run / "run.json").read_text()


def test_a_monitor_that_is_never_logged_is_said(cli, songs):
    status, _, err = cli(*musdb(songs, "callbacks.best.monitor=foo"))
    assert status == 1 and "monitor='foo'" in err and "Traceback" not in err


def test_a_reader_that_goes_away_is_no_error():
    program = subprocess.Popen([*SCRIPT, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    program.stdout.close()
    assert program.stderr.read() == ""
    assert program.wait(timeout=30) == 1


def test_a_target_the_data_does_not_have_is_said(cli, songs):
    status, _, err = cli(*musdb(songs, "+targets.piano=[piano]"))
    assert status == 1 and "error: targets.piano: the data has no source 'piano'" in err


def test_a_multirun_goes_on_after_a_bad_run_and_fails_at_the_end(cli, songs, tmp_path):
    status, out, err = cli("-m", *musdb(songs), "hydra.sweep.dir=sweep", "data.batch_size=0,2")
    assert status == 1
    assert "0-unet-musdb-0 after" in out and ": data.batch_size must be at least 1, found 0" in out
    assert err == "error: did not succeed: 0-unet-musdb-0; the same command tries again\n"
    assert (tmp_path / "work/sweep/1-unet-musdb-0/scores.json").is_file()


def test_an_unwritable_output_folder_is_said(cli, songs, tmp_path):
    (tmp_path / "file").touch()
    status, _, err = cli(*musdb(songs, f"hydra.run.dir={tmp_path}/file/run"))
    assert status == 1 and err.strip() == f"error: {tmp_path}/file/run: Not a directory"


def test_a_full_disk_is_said_and_leaves_no_half_made_file(songs, tmp_path):
    """A limit on the size of files stands for the full disk: the store's entries fit, the checkpoint does not."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    words = musdb(songs, "hydra.run.dir=run", "model.separator.net.channels=[16,32,64,64,64,64]")
    result = subprocess.run([*SCRIPT, *words], cwd=tmp_path, preexec_fn=limit, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.strip().split("\n")[-1] == f"error: {tmp_path}/run: File too large"
    assert files_below(tmp_path / "run") == [".lock", "checkpoints", "config.yaml", "metrics.csv", "run.json", "tracks.json"]
    assert '"state": "failed"' in (tmp_path / "run/run.json").read_text()


def test_a_full_disk_under_the_store_is_said(songs, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    words = musdb(songs, f"data.cache_dir={tmp_path}/cache", "hydra.run.dir=run")
    result = subprocess.run([*SCRIPT, *words], cwd=tmp_path, preexec_fn=limit, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.strip().splitlines()[-1] == f"error: {tmp_path}/cache/store: cannot be written: File too large"
    assert [p for p in (tmp_path / "cache/store").iterdir() if p.name != "locks"] == [] and not (tmp_path / "run").exists()


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
    assert err.strip().split("\n")[-1] == "stopped by Ctrl-C" and "Traceback" not in err
    assert torch.load(checkpoint, weights_only=True)["global_step"] > 0
    assert '"state": "interrupted"' in (tmp_path / "run/run.json").read_text()
    assert not [path for path in files_below(tmp_path / "run") if "partial" in path or "tmp" in path]


def test_the_traceback_is_there_for_who_asks():
    result = subprocess.run(
        [*SCRIPT, "model=unett"], env=os.environ | {"HYDRA_FULL_ERROR": "1"}, capture_output=True, text=True
    )
    assert result.returncode == 1 and "Traceback" in result.stderr
