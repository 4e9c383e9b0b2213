"""Measure whether timbre transfer preserves the melody of a voice and replaces its timbre.

    python scripts/bench/transfer.py [run=RUN] [voice=vocals]

RUN is the run folder of an instrument that was trained on `data=demo_leads`. Without `run`, the script first trains a tiny
instrument on a few generated tracks. This takes about a minute, and the results of this instrument are poor.

For each test track, the instrument plays the melody of the voice, as with `scripts/transfer.py`. Two results are measured:

- Melody: the pitch of the output is estimated. The error is the median distance to the requested pitch in cents, over the
  control points at which both the voice and the output have a pitch.
- Timbre: a classifier decides at each control point whether a sound is the voice or the instrument. Its feature is the spectral
  centroid in octaves above the pitch. Each of the two classes is a Gaussian that is fitted to the training tracks. The
  classifier is applied to the voice, to the instrument and to the output for each test track, and the class of most points is
  printed.

The last line of the output is one JSON object.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unbraid.data.controls import Controls
from unbraid.data.module import MultitrackData
from unbraid.data.tracks import Split
from unbraid.dsp.stft import STFT
from unbraid.inference.loading import load
from unbraid.inference.transfer import TransferOptions, listen, moved, played
from unbraid.models.instruments import Player
from unbraid.runs.config import build

OPTIONS = TransferOptions("auto", "match", 45.0, True, 0)
TRAIN = Path(__file__).parents[2] / "train.py"
TINY = [
    "model=ddsp_small", "data=demo_leads", "trainer=cpu", "data.layout.train=3", "data.layout.valid=1", "data.layout.test=1",
    "data.layout.seconds=4", "pitch.every=4", "model.net.hidden=32", "model.net.harmonics=20", "features.chunk_seconds=1",
    "data.batch_size=4", "data.chunks_per_track=4", "trainer.max_epochs=3", "optim.optimizer.lr=2e-3",
]  # fmt: skip
Sound = tuple[Tensor, Controls]
Gaussians = dict[str, tuple[float, float]]  # mean and standard deviation of the centroid by class


def main() -> None:
    """Load the instrument of the argument `run`, or train a tiny instrument, and measure its timbre transfer."""
    arguments = {"run": "", "voice": "vocals"} | dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := arguments.keys() - {"run", "voice"}:
        sys.exit(f"error: unknown argument {min(unknown)}; known: run, voice")
    if arguments["run"]:
        measure(Path(arguments["run"]), arguments["voice"])
        return
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        words = [f"data.cache_dir={folder}/cache", f"hydra.run.dir={run}"]
        print("training a tiny instrument", flush=True)
        subprocess.run([sys.executable, str(TRAIN), *TINY, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        measure(run, arguments["voice"])


def measure(run: Path, voice: str) -> None:
    """Play the voice of each test track with the instrument of a run. Print the pitch errors and the classes of timbre."""
    player: Any = load(run)
    assert isinstance(player, Player)
    data: MultitrackData = build(player.config.data)
    data.prepare_data()
    data.setup("fit")
    ((instrument,),) = player.config.targets.values()
    classes = {name: gaussian(player, sounds(player, data, "train", name)) for name in (voice, instrument)}
    for name, (mean, deviation) in classes.items():
        print(f"{name:<12} centroid {mean:.2f} octaves above the pitch, deviation {deviation:.2f}")
    pairs = zip(sounds(player, data, "test", voice), sounds(player, data, "test", instrument), strict=True)
    rows = [measure_track(player, *pair, classes) for pair in pairs]
    print(f"\n{'test track':<12}{'f0 error':>10}{'shift':>7}   class of most points, and their share")
    for number, row in enumerate(rows, start=1):
        results = ", ".join(f"{sound}: {row[sound][0]} {row[sound][1]:.2f}" for sound in ("voice", "instrument", "transferred"))
        print(f"{number:<12}{row['cents']:>5.1f} cents{row['shift']:>+6g}   {results}")
    print(json.dumps({"tracks": rows, "centroids": classes}))


def sounds(player: Player, data: MultitrackData, split: Split, source: str) -> list[Sound]:
    """Return the waveform and the control curves (pitch, loudness) of a source for each track of a split."""
    waveforms = [track.tensor([source])[0, 0] for track in data.split(split)]
    return [(waveform, player.listen(waveform, player.sample_rate)) for waveform in waveforms]


def centroids(player: Player, sound: Tensor, controls: Controls) -> Tensor:
    """Return the spectral centroid of a sound at each control point with a pitch, in octaves above the pitch. [points]."""
    power = STFT(1024, player.features.hop_length)(sound).abs().square()
    hz = torch.fft.rfftfreq(1024, 1 / player.sample_rate)
    centroid = (power * hz[:, None]).sum(0) / power.sum(0).clamp(min=1e-12)
    voiced = player.features.voiced(controls)
    return (centroid[: len(voiced)][voiced] / controls.f0[voiced]).log2()


def gaussian(player: Player, class_sounds: list[Sound]) -> tuple[float, float]:
    """Fit a Gaussian to the spectral centroids of the sounds of a class. Return its mean and standard deviation in octaves."""
    points = torch.cat([centroids(player, *sound) for sound in class_sounds])
    return float(points.mean()), float(points.std())


def classify(player: Player, sound: Tensor, controls: Controls, classes: Gaussians) -> tuple[str, float]:
    """Classify each control point of a sound as voice or instrument. Return the most frequent class and its share of points."""
    points = centroids(player, sound, controls)
    likelihoods = torch.stack(
        [-(((points - mean) / deviation) ** 2) / 2 - torch.tensor(deviation).log() for mean, deviation in classes.values()]
    )
    shares = torch.bincount(likelihoods.argmax(0), minlength=len(classes)) / max(1, len(points))
    return [*classes][int(shares.argmax())], float(shares.max())


def measure_track(player: Player, voice: Sound, instrument: Sound, classes: Gaussians) -> dict[str, Any]:
    """Play a voice with the instrument. Return the pitch error, the shift, and the classes of voice, instrument and output."""
    heard = listen(player, [voice[0].numpy()])
    target = moved(heard.controls, player.features, player.instrument.training_range, OPTIONS)
    sound = torch.cat([piece for piece, _ in played(player.instrument, target, heard, OPTIONS)])
    output = player.listen(sound, player.sample_rate)
    both = player.features.voiced(heard.controls) & player.features.voiced(output)
    return {
        "cents": float((1200 * (output.f0[both] / target.f0[both]).log2()).abs().median()),
        "shift": target.shift,
        "voice": classify(player, *voice, classes),
        "instrument": classify(player, *instrument, classes),
        "transferred": classify(player, sound, output, classes),
    }


if __name__ == "__main__":
    main()
