"""`plan=fit` chooses the fastest setting that fits into memory, and keeps the effective batch."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from unbraid.commands import memory_plan as module
from unbraid.runs.errors import InputError
from unbraid.runs.records import Run

FIXED, PER_CHUNK = 1e9, 5e8  # bytes


def measured(config):
    """Return what a trial of the config would measure: memory and time are linear in the batch and in the chunk length."""
    batch, separator = config.data.batch_size, config.model.separator
    activations = PER_CHUNK * batch * separator.chunk_seconds / 8 * (0.25 if separator.net.gradient_checkpointing else 1)
    seconds = (0.1 + 0.05 * batch) * (1.5 if separator.net.gradient_checkpointing else 1)
    assert config.trainer.accumulate_grad_batches == 1 and config.data.chunk_seconds == separator.chunk_seconds
    return {"memory": FIXED + activations, "steps_per_second": 1 / seconds, "chunks": 160, "batch_norm": True}


@pytest.fixture
def fitted(monkeypatch, capsys):
    def run(memory, batch=16, accumulate=1, checkpointing=False, chunk=8.0, fails=lambda config: False):
        tried = []

        def trial(run):
            tried.append(run.config)
            return {"error": "out of memory"} if fails(run.config) else measured(run.config)

        monkeypatch.setattr(module, "trial", trial)
        separator = {"chunk_seconds": chunk, "net": {"gradient_checkpointing": checkpointing}}
        config = OmegaConf.create({
            "seed": 0, "memory": memory, "model": {"separator": separator},
            "data": {"batch_size": batch, "chunk_seconds": "${model.separator.chunk_seconds}"},
            "trainer": {"accelerator": "cpu", "precision": "32-true", "accumulate_grad_batches": accumulate},
        })  # fmt: skip
        module.fit_memory(Run(Path("run"), config, ["model=unet", f"data.batch_size={batch}"], {}))
        return capsys.readouterr().out, tried

    return run


def test_the_given_setting_is_kept_if_it_fits(fitted):
    out, _ = fitted("24GB")
    assert out.splitlines()[-1] == "command unbraid train model=unet data.batch_size=16"
    assert "predicted 9.0 GB, measured 9.0 GB (+0.0%)" in out and "note" not in out


def test_the_fastest_setting_that_fits_keeps_the_effective_batch(fitted):
    # A batch of 8 without checkpointing takes 5 GB and 0.0625 s for a chunk. With checkpointing, 16 take 3 GB and 0.084 s.
    out, _ = fitted("5.5GB")
    assert out.splitlines()[-1] == "command unbraid train model=unet data.batch_size=8 trainer.accumulate_grad_batches=2"
    assert "note    batch normalisation" in out
    # 4 take 3 GB and 0.075 s, 16 with checkpointing 3 GB and 0.084 s.
    assert "data.batch_size=4 trainer.accumulate_grad_batches=4" in fitted("3.2GB")[0].splitlines()[-1]
    # 2 take 2 GB and 0.1 s, 8 with checkpointing 2 GB and 0.094 s.
    last = fitted("2.2GB")[0].splitlines()[-1]
    assert "data.batch_size=8 trainer.accumulate_grad_batches=2" in last and f"{module.CHECKPOINTING}=true" in last


def test_accumulation_of_the_command_counts(fitted):
    out, _ = fitted("24GB", batch=4, accumulate=4)
    assert out.splitlines()[-1] == "command unbraid train model=unet data.batch_size=16 trainer.accumulate_grad_batches=1"


def test_chunks_are_shortened_only_if_nothing_else_fits(fitted):
    out, tried = fitted("1.15GB", checkpointing=True)
    assert "model.separator.chunk_seconds=4.0" in out.splitlines()[-1] and "note    chunks of 8 s do not fit" in out
    assert {config.model.separator.chunk_seconds for config in tried} == {8.0, 4.0}


def test_chunks_that_the_network_refuses_are_not_tried_further(fitted):
    with pytest.raises(InputError) as error:
        fitted("1.15GB", checkpointing=True, fails=lambda config: config.model.separator.chunk_seconds < 8)
    assert (error.value.where, error.value.found) == ("memory", "1.1 GB")


def test_a_setting_whose_measured_memory_is_too_large_is_not_chosen(fitted):
    out, _ = fitted(
        "5.5GB", fails=lambda config: config.data.batch_size == 8 and not config.model.separator.net.gradient_checkpointing
    )
    assert "data.batch_size=4" in out.splitlines()[-1]


def test_a_second_trial_without_memory_leaves_the_smallest_batch(fitted):
    out, _ = fitted("1.8GB", checkpointing=True, fails=lambda config: config.data.batch_size > 1)
    assert "data.batch_size=1 trainer.accumulate_grad_batches=16" in out.splitlines()[-1]


@pytest.mark.parametrize(
    ("memory", "options", "where", "found"),
    [
        ("much", {}, "memory", "much"),
        ("0GB", {}, "memory", "0GB"),
        ("24", {}, "memory", "24"),
        ("0.5GB", {}, "memory", "500.0 MB"),
        ("8GB", {"fails": lambda config: True}, "plan=fit", "out of memory"),
    ],
)
def test_what_cannot_be_planned_is_one_error(fitted, memory, options, where, found):
    with pytest.raises(InputError) as error:
        fitted(memory, **options)
    assert (error.value.where, error.value.found) == (where, found)


@pytest.mark.parametrize(("text", "expected"), [("24GB", 24e9), ("1.5 GiB", 1.5 * 2**30), ("800MB", 8e8)])
def test_units_of_memory(text, expected):
    assert module.memory_limit(text, "cpu") == expected


@pytest.mark.parametrize(
    "words", [["memory=24GB"], ["plan=true", "memory=24GB"], ["-m", "plan=fit", "seed=0,1"], ["plan=fitt"]]
)
def test_wrong_words_are_one_error(cli, words):
    status, _, error = cli(*words, "model=unet_small")
    assert (
        status == 1 and error.startswith("error: ") and ("memory" if "memory=24GB" in words else "plan") in error.split(":")[1]
    )


def test_a_real_run_is_planned(cli):
    words = ["model=unet_small", "data.layout.train=1", "data.layout.seconds=6", "data.chunks_per_track=4", "data.batch_size=4"]
    status, out, error = cli(*words, "trainer=cpu", "plan=fit", "memory=8GB")
    assert status == 0, error
    assert out.splitlines()[-1].startswith("command unbraid train model=unet_small") and "chosen" in out
