"""Fuzz targets: for each kind of user file, valid files made by code, and the functions of unbraid that read such a file."""

import json
import pickle
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import torch
import yaml
from omegaconf import OmegaConf

import unbraid
from tests.conftest import make_run
from tests.interop.test_msst import CONFIG
from tests.reports.sweeps import leave_run, usual
from tests.reports.test_mushra import make, ratings_of
from unbraid import audio
from unbraid.audio import open_audio
from unbraid.data.layouts.manifest import read_recordings
from unbraid.data.layouts.metadata import read_metadata
from unbraid.data.layouts.pairs import Pairs
from unbraid.data.layouts.patterns import read_patterns
from unbraid.data.layouts.stems import Stems
from unbraid.data.training_tracks import tracks_trained_on
from unbraid.inference.description import describe
from unbraid.inference.loading import separator_builder
from unbraid.interop.published import read_weights
from unbraid.reports.making import make as make_report
from unbraid.reports.mushra_summary import summarise_test
from unbraid.reports.variants import read as read_run
from unbraid.runs.config import read_config
from unbraid.runs.documents import read_yaml
from unbraid.runs.files import below
from unbraid.runs.metrics_reader import epoch_numbers
from unbraid.runs.records import Run
from unbraid.runs.resume import records_of
from unbraid.runs.scores import read_scores
from unbraid.scoring.track_records import read_track
from unbraid.sweeps import ledger
from unbraid.sweeps.progress import main_score, progress
from unbraid.training.checkpoints import AtomicCheckpointIO

Files = dict[str, bytes]
UNET = ("model=unet_small", "model.separator.net.channels=[2,4]", "model.separator.net.dropout_layers=0")
CODECS = {"mp4": "aac", "matroska": "flac", "webm": "libopus", "adts": "aac", "wv": "wavpack", "tta": "tta", "mpegts": "mp2"}
SAMPLES = (0.3 * np.sin(np.arange(4000) / 8)).astype(np.float32)


@dataclass(frozen=True)
class Target:
    """Describe one kind of user file.

    Args:
        corpus: function that writes valid inputs below a folder, and returns them.
        mutable: patterns of the files of an input that are changed.
        readers: functions that read an input, given its folder. They return or raise an `InputError`.
    """

    corpus: Callable[[Path], Sequence[Files]]
    mutable: Sequence[str]
    readers: Sequence[Callable[[Path], Any]]

    def names(self, files: Files) -> list[str]:
        return [name for name in files if any(fnmatch(name, pattern) for pattern in self.mutable)]


class Attack:
    """Create a file with the name MARKER when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("MARKER"),)


def files_of(folder: Path) -> Files:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Audio


def audio_files(folder: Path) -> list[Files]:
    """Return tones in the containers that libsndfile and the FFmpeg of PyAV write."""
    stereo = np.stack([SAMPLES, SAMPLES[::-1]], axis=1)
    kinds = {"WAV": "PCM_16", "FLAC": "PCM_24", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III", "AIFF": "FLOAT", "CAF": "ALAC_16",
             "W64": "PCM_U8", "RF64": "PCM_32", "AU": "ULAW"}  # fmt: skip
    files = []
    for container, subtype in kinds.items():
        soundfile.write(target := BytesIO(), stereo, 8000, subtype, format=container)
        files.append({"input.bin": target.getvalue()})
    packed = np.rint(32767 * np.repeat(np.tile(SAMPLES, 3), 2)).astype(np.int16)[None]
    for container, codec in CODECS.items():
        with av.open(target := BytesIO(), "w", format=container) as output:
            stream = output.add_stream(codec, rate=48000)
            frame = av.AudioFrame.from_ndarray(packed, "s16", "stereo")
            frame.sample_rate, frame.pts = 48000, 0
            for part in (frame, None):
                output.mux(stream.encode(part))
        files.append({"input.bin": target.getvalue()})
    return files


def every_block(folder: Path) -> int:
    with open_audio(folder / "input.bin") as blocks:
        return sum(block.shape[1] for block in blocks)


# Tables of tracks and YAML


def tables(folder: Path) -> list[Files]:
    stems = {f"{name}.wav": b"" for name in ("a", "b", "mixture")}
    csv = (
        b"track,split,mixture,vocals,drums\n1,train,mixture.wav,a.wav,\n2,valid,,a.wav,b.wav\n3,test,mixture.wav,a.wav,b.wav\n"
    )
    pairs = b"track,mixture,instrumental\none,mixture.wav,a.wav\ntwo,mixture.wav,b.wav\nthree,a.wav,b.wav\n"
    rows = [{"track": str(n), "split": split, "vocals": ["a.wav", "b.wav"], "bass": "b.wav", "mixture": None}
            for n, split in enumerate(("train", "valid", "test"))]  # fmt: skip
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    recordings = b"instrum,path\nviolin,a.wav\nflute,b.wav\n"
    return [stems | {name: data} for name, data in
            {"table.csv": csv, "pairs.csv": pairs, "table.jsonl": lines, "recordings.csv": recordings}.items()]  # fmt: skip


def table(folder: Path) -> str:
    return next(path.name for path in folder.iterdir() if path.suffix in (".csv", ".jsonl"))


def stems_of_table(folder: Path) -> Any:
    return Stems("mixture", "silence", "auto", None, table(folder), 0.1, 0.1).tracks(folder)


def pairs_of_table(folder: Path) -> Any:
    return Pairs("mixture", "instrumental", table(folder), 0.3, ["one"]).tracks(folder)


def documents(folder: Path) -> list[Files]:
    run = make_run(folder / "run", *UNET)
    config, weights = (run / "config.yaml").read_bytes(), (run / "checkpoints/best.ckpt").read_bytes()
    translation = {"weights": "best.ckpt", "config": "config.yaml", "names": {"**": "**"}}
    metadata = {
        "title": "x",
        "stems": {"S01": {"filename": "a.wav", "instrument": "flute", "raw": {"R01": {"filename": "b.wav"}}}},
    }
    patterns = {"vocals": ["*voc*", "*/lead*"], "mixture": "*mix*"}
    trees = [translation, metadata, patterns]
    texts = [
        config,
        CONFIG.encode(),
        CONFIG.replace("!!python/tuple ", "").encode(),
        *(yaml.safe_dump(tree).encode() for tree in trees),
    ]
    texts.append(b"a: !!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path [MARKER]]")
    return [{"model.yaml": text, "model.ckpt": weights, "best.ckpt": weights, "config.yaml": config} for text in texts]


def separator_of_config(folder: Path) -> Any:
    return separator_builder(read_config(folder / "model.yaml"), folder)()


# Weights


def checkpoints(folder: Path) -> list[Files]:
    from safetensors.torch import save_file

    run = make_run(folder / "run", *UNET)
    config, weights = (run / "config.yaml").read_bytes(), (run / "checkpoints/best.ckpt").read_bytes()
    state = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    more = {"optimizer_states": [{"state": {0: {"step": torch.ones(())}}, "param_groups": [{"lr": 0.1, "params": [0]}]}],
            "callbacks": {"a": {"best": 1.0}}, "loops": [1, (2, None)], "epoch": 3}  # fmt: skip
    torch.save({"state_dict": state} | more, whole := BytesIO())
    torch.save(state, legacy := BytesIO(), _use_new_zipfile_serialization=False)
    torch.save({"state_dict": state, "more": Attack()}, attack := BytesIO())
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "x.safetensors")
    contents = [weights, whole.getvalue(), legacy.getvalue(), attack.getvalue(), pickle.dumps(Attack())]
    inputs = [{"config.yaml": config, "checkpoints/best.ckpt": content} for content in contents]
    return [*inputs, {"config.yaml": config, "model.safetensors": (folder / "x.safetensors").read_bytes()}]


def weights_in(folder: Path) -> Path:
    published = folder / "model.safetensors"
    return published if published.exists() else folder / "checkpoints/best.ckpt"


def lightning_state(folder: Path) -> Any:
    return AtomicCheckpointIO().load_checkpoint(weights_in(folder), None)


# ONNX


def graphs(folder: Path) -> list[Files]:
    """Return hand-made graphs: they are small, and the exporter of PyTorch takes 10 s."""
    from onnx import helper, numpy_helper

    from tests.security import test_onnx as known

    generator = np.random.default_rng(0)
    filters = [numpy_helper.from_array(generator.normal(size=size).astype(np.float32), name)
               for name, size in {"w": (4, 1, 9), "v": (1, 4, 1)}.items()]  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["mixture", "w"], ["hidden"], pads=[4, 4], kernel_shape=[9]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Conv", ["active", "v"], ["mono"]),
        known.unsqueezed("mono"),
    ]
    models = [known.plain(), known.model(nodes, [*filters, known.constant("one", [1])])]
    return [{"input.onnx": one.SerializeToString()} for one in [*models, *(make() for make in known.MODELS)]]


def separated(folder: Path) -> Any:
    return unbraid.load(folder / "input.onnx", device="cpu").separate(SAMPLES[None], 8000)


# Runs, scores and votes


def sweep(folder: Path) -> list[Files]:
    """Return a sweep of two runs. The first run is the one that a target changes."""
    runs = [leave_run(folder, number, f"net{number}", 0, [1.0, 2.0, 3.0 + number]) for number in range(2)]
    made = make_run(folder / "made", *UNET)
    for name in ("config.yaml", "checkpoints/best.ckpt"):
        (runs[0] / name).parent.mkdir(exist_ok=True)
        (made / name).replace(runs[0] / name)
    shutil.rmtree(made)
    runs[0].rename(folder / "run")
    runs[1].rename(folder / "other")
    protocol = json.loads((folder / "run/scores.json").read_text())["protocol"]
    records = {
        "run/tracks.json": {"train": {"a": "0" * 16}, "valid": {"b": "1" * 16}},
        "run/scores/x/a.json": {"protocol": protocol, "origin": "o", "samples": 100, "silent": [],
                                "targets": [{"name": "a", "frames": [{"metrics": {"SDR": 1.0, "SIR": None}}]}]},
    }  # fmt: skip
    for name, content in records.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    lines = [{"version": 1, "sweep": "s"}, {"run": "run", "state": "done", "identity": "i", "overrides": ["seed=0"]}]
    (folder / ledger.LEDGER).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return [files_of(folder)]


def report(folder: Path) -> None:
    make_report([folder / "run", folder / "other"], folder / "report", "title", songs=0)


COMPOSED = OmegaConf.create({"trainer": {"max_epochs": 3, "max_steps": -1}})  # a sweep reads no configs from the run folders


def states(folder: Path) -> Any:
    run = Run.frozen(folder / "run")
    return records_of([folder / "run/run.json"], [run.record["identity"]]), progress(folder / "run", COMPOSED)


def track_records(folder: Path) -> Any:
    return tracks_trained_on(folder / "run", []), read_track(folder / "run/scores/x/a.json", {}, "o", ("SDR",))


def votes(folder: Path) -> list[Files]:
    listening = make(usual(folder / "sweep", variants=2, songs=2, tracks=3), songs=2)
    for name in ("anna", "ben"):
        ratings_of(listening, name, lambda number: [95.0, 60.0 + number, 40.0, 20, 10], listening)
    files = {name: data for name, data in files_of(folder / "sweep").items() if name.endswith((".json", ".yaml"))}
    return [files]


def results(folder: Path) -> None:
    summarise_test(folder / "listening", [folder / "listening/anna.json", folder / "listening/ben.json"])


TARGETS = {
    "audio": Target(
        audio_files,
        ["input.bin"],
        [lambda folder: audio.read(folder / "input.bin"), every_block, lambda folder: audio.seconds(folder / "input.bin")],
    ),
    "manifest": Target(
        tables,
        ["*.csv", "*.jsonl"],
        [stems_of_table, pairs_of_table, lambda folder: read_recordings(folder / table(folder))],
    ),
    "yaml": Target(
        documents,
        ["model.yaml"],
        [
            lambda folder: read_yaml(folder / "model.yaml"), lambda folder: read_metadata(folder / "model.yaml"),
            lambda folder: read_patterns(folder / "model.yaml"), separator_of_config,
            lambda folder: unbraid.load(folder / "model.yaml", device="cpu"), lambda folder: describe(folder / "model.yaml"),
        ],
    ),
    "checkpoint": Target(
        checkpoints,
        ["*.ckpt", "*.safetensors"],
        [
            lambda folder: unbraid.load(folder, device="cpu"), lambda folder: read_weights(weights_in(folder)),
            lambda folder: describe(weights_in(folder)), lightning_state,
        ],
    ),
    "onnx": Target(graphs, ["input.onnx"], [separated, lambda folder: describe(folder / "input.onnx")]),
    "scores.json": Target(
        sweep,
        ["run/scores.json"],
        [
            lambda folder: read_scores(folder / "run/scores.json", whole=True),
            lambda folder: main_score(folder / "run"), report,
        ],
    ),
    "run folder": Target(
        sweep,
        ["run/*", "ledger.jsonl"],
        [
            lambda folder: unbraid.load(folder / "run", device="cpu"), lambda folder: describe(folder / "run"),
            lambda folder: read_run(folder / "run"), states, track_records, lambda folder: epoch_numbers(folder / "run"),
            lambda folder: ledger.read(folder), lambda folder: below(folder, "run"), report,
        ],
    ),
    "votes": Target(votes, ["listening/*.json"], [results]),
}  # fmt: skip
