"""Measure how well a separator separates a quiet verse before a loud chorus, for three ways to scale the network's input.

    python scripts/bench/input_scaling.py [run=RUN] [songs=2]

RUN is the folder of a run whose separator has `scaling: patch`. Without `run`, the script first trains `unet_small` on demo
songs for 48 steps. Each test song is a generated demo song of 96 s. Its first 48 s are the verse, which is attenuated by 0, 6,
12 or 20 dB.

The three scalings are the rows of the printed table:

- `chunk`: each chunk is divided by its largest magnitude, as in training, scoring and `scripts/separate.py`.
- `song`: each chunk is divided by the largest magnitude of the whole song, as in versions before 0.2.
- `smoothed`: each frame is divided by the largest magnitude within 0.9 s, smoothed over 0.9 s.

A cell is the uSDR of the first target in the verse in dB, averaged over the songs, minus the uSDR of the scaling `chunk` at
0 dB. The last line of the output is one JSON object with the same values.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from unbraid.data.demo_songs.song import render_song
from unbraid.dsp.stft import magnitudes_of
from unbraid.inference.chunked import InferenceOptions, at_rate, separated
from unbraid.inference.loading import load_separator
from unbraid.models.separators.masking import Masking
from unbraid.scoring.measures import usdr

RATE, SECONDS, VERSE_SECONDS, FADE_SECONDS = 44100, 96, 48, 0.05
FIRST_SEED = 777_000
LEVELS = (0, -6, -12, -20)  # dB
RADIUS = 10  # frames, 0.9 s for the U-Net
TRAIN = Path(__file__).parents[2] / "train.py"
Scale = Callable[[Tensor], Tensor]


def song_scale(model: Masking, mixture: Tensor) -> Scale:
    """Return a function that scales all chunks of a mixture by 1 / (largest magnitude of the mixture).

    Shape: mixture [C, T]; argument and result of the function [B, C, F, frames] -> [B, 1, 1, 1].
    """
    factor = 1 / magnitudes_of(model.stft(mixture)).amax()
    return lambda magnitudes: factor.expand(len(magnitudes), 1, 1, 1)


def smoothed_scale(magnitudes: Tensor) -> Tensor:
    """Return a factor for each frame: 1 / (largest magnitude within 0.9 s, smoothed over 0.9 s).

    Shape: [B, C, F, frames] -> [B, 1, 1, frames].
    """
    largest = functional.max_pool1d(magnitudes.amax(dim=(1, 2)).unsqueeze(1), 2 * RADIUS + 1, 1, RADIUS)
    padded = functional.pad(largest, (RADIUS, RADIUS), mode="replicate")
    return 1 / functional.avg_pool1d(padded, 2 * RADIUS + 1, 1).clamp(min=1e-5).unsqueeze(1)


def songs(model: Masking, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Generate demo songs. Yield the mixture and the first target of each song. Shape: [C, T] each."""
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        stems = render_song(seed, SECONDS)
        yield _at_rate(model, stems["mixture"]), _at_rate(model, stems[model.targets[0]])


def _at_rate(model: Masking, samples: np.ndarray) -> Tensor:
    return torch.cat([*at_rate(model, [samples.astype(np.float32) / 32768], RATE)], dim=-1)


def verse_score(model: Masking, mixture: Tensor, target: Tensor, level: float, scaling: str) -> float:
    """Attenuate the verse of a song to a level in dB, separate the song with a scaling, and return the verse's uSDR in dB."""
    verse, fade = VERSE_SECONDS * model.sample_rate, round(FADE_SECONDS * model.sample_rate)
    gain = torch.ones(mixture.shape[-1])
    gain[:verse] = 10 ** (level / 20)
    gain[verse - fade : verse] = torch.linspace(10 ** (level / 20), 1, fade)
    scales: dict[str, Scale] = {"chunk": model.scale_of, "song": song_scale(model, gain * mixture), "smoothed": smoothed_scale}
    with patch.object(model, "scale_of", scales[scaling]):
        estimate = torch.cat([*separated(model, [gain * mixture], InferenceOptions(), torch.device("cpu"))], dim=-1)[0]
    score = usdr((gain * target)[:, :verse], estimate[:, :verse])
    if score is None:
        raise ValueError(f"verse: the uSDR is undefined because the target {model.targets[0]} is silent in the verse")
    return score


def compare(run: str, count: int) -> dict[str, list[list[float]]]:
    """Measure the uSDR of the verse in dB. Return for each scaling a table with a row per song and a column per level."""
    model = load_separator(run).model
    if not isinstance(model, Masking) or model.scaling != "patch":
        sys.exit(f"error: run={run}: the separator does not scale its input, expected a separator with scaling: patch")
    scores: dict[str, list[list[float]]] = {scaling: [] for scaling in ("chunk", "song", "smoothed")}
    for mixture, target in songs(model, count):
        for scaling, rows in scores.items():
            rows.append([verse_score(model, mixture, target, level, scaling) for level in LEVELS])
    return scores


def main(options: dict[str, str]) -> None:
    """Compare the three scalings, and print a table and one JSON line."""
    with TemporaryDirectory() as folder:
        if "run" not in options:
            words = ("model=unet_small", "data=demo", "trainer=cpu", "trainer.max_steps=48", f"hydra.run.dir={folder}")
            subprocess.run([sys.executable, str(TRAIN), *words], check=True)
        scores = compare(options.get("run", folder), int(options.get("songs", 2)))
    reference = np.mean(scores["chunk"], axis=0)[0]
    gains = {scaling: (np.mean(rows, axis=0) - reference).round(2).tolist() for scaling, rows in scores.items()}
    print(f"verse at{'':8}" + "".join(f"{level:7} dB" for level in LEVELS))
    for scaling, row in gains.items():
        print(f"{scaling:16}" + "".join(f"{gain:+10.2f}" for gain in row))
    print(json.dumps(gains | {"usdr": round(float(reference), 2), "largest_loss": -min(gains["chunk"])}))


if __name__ == "__main__":
    main(dict(word.split("=", 1) for word in sys.argv[1:]))
