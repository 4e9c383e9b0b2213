"""Whether a voice that an instrument plays keeps its melody and loses its timbre.

    python scripts/bench/transfer.py run=RUN [voice=vocals]

RUN is a run of `data=demo_leads`. Every test track's voice is transferred as `scripts/transfer.py` does it, pitch is found
again in what came out, and its distance to the pitch that was asked for is the median over the points that are voiced in both.
A classifier knows the spectral centroid of the training tracks of voice and instrument, octaves above the pitch: mean and
deviation of both, a Gaussian each. It is asked of the test tracks' voice and instrument, and of the transferred voice, point by
point; what most points say is the answer. The last line is one JSON object.
"""

import json
import sys
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

MANNER = TransferOptions("auto", "match", 45.0, True, 0)
Sound = tuple[Tensor, Controls]


def main() -> None:
    arguments = {"voice": "vocals"} | dict(word.split("=", 1) for word in sys.argv[1:])
    if "run" not in arguments or (unknown := arguments.keys() - {"run", "voice"}):
        sys.exit(
            "error: expected run=RUN and, if wanted, voice=NAME" + (f", found {min(unknown)}" if "run" in arguments else "")
        )
    player: Any = load(Path(arguments["run"]))
    assert isinstance(player, Player)
    data: MultitrackData = build(player.config.data)
    data.prepare_data()
    data.setup("fit")
    (instrument,), voice = player.config.targets.values(), arguments["voice"]
    known = {name: gaussian(player, sounds(player, data, "train", name)) for name in (voice, instrument[0])}
    for name, (mean, deviation) in known.items():
        print(f"{name:<12} centroid {mean:.2f} octaves above the pitch, deviation {deviation:.2f}")
    rows = [one(player, *pair, known) for pair in zip(
        sounds(player, data, "test", voice), sounds(player, data, "test", instrument[0]), strict=True
    )]  # fmt: skip
    print(f"\n{'test track':<12}{'f0 error':>10}{'shift':>7}   the classifier says, share of points")
    for number, row in enumerate(rows, start=1):
        said = ", ".join(f"{what}: {row[what][0]} {row[what][1]:.2f}" for what in ("voice", "instrument", "transferred"))
        print(f"{number:<12}{row['cents']:>5.1f} cents{row['shift']:>+6g}   {said}")
    print(json.dumps({"tracks": rows, "centroids": known}))


def sounds(player: Player, data: MultitrackData, split: Split, source: str) -> list[Sound]:
    found = []
    for track in data.split(split):
        sound = track.tensor([source])[0, 0]
        found.append((sound, player.listen(sound, player.sample_rate)))
    return found


def centroids(player: Player, sound: Tensor, controls: Controls) -> Tensor:
    """Of the voiced points, in octaves above their pitch. Shape: [points]."""
    power = STFT(1024, player.features.hop_length)(sound).abs().square()
    hz = torch.fft.rfftfreq(1024, 1 / player.sample_rate)
    centroid = (power * hz[:, None]).sum(0) / power.sum(0).clamp(min=1e-12)
    voiced = player.features.voiced(controls)
    return (centroid[: len(voiced)][voiced] / controls.f0[voiced]).log2()


def gaussian(player: Player, found: list[Sound]) -> tuple[float, float]:
    every = torch.cat([centroids(player, *one) for one in found])
    return float(every.mean()), float(every.std())


def classified(player: Player, sound: Tensor, controls: Controls, known: dict[str, tuple[float, float]]) -> tuple[str, float]:
    """The likeliest of the classes at most points, and the share of these."""
    points = centroids(player, sound, controls)
    likely = torch.stack(
        [-(((points - mean) / deviation) ** 2) / 2 - torch.tensor(deviation).log() for mean, deviation in known.values()]
    )
    shares = torch.bincount(likely.argmax(0), minlength=len(known)) / max(1, len(points))
    return [*known][int(shares.argmax())], float(shares.max())


def one(player: Player, voice: Sound, instrument: Sound, known: dict[str, tuple[float, float]]) -> dict[str, Any]:
    heard = listen(player, [voice[0].numpy()])
    asked = moved(heard.controls, player.features, player.instrument.training_range, MANNER)
    sound = torch.cat([piece for piece, _ in played(player.instrument, asked, heard, MANNER)])
    again = player.listen(sound, player.sample_rate)
    both = player.features.voiced(heard.controls) & player.features.voiced(again)
    return {
        "cents": float((1200 * (again.f0[both] / asked.f0[both]).log2()).abs().median()),
        "shift": asked.shift,
        "voice": classified(player, *voice, known),
        "instrument": classified(player, *instrument, known),
        "transferred": classified(player, sound, again, known),
    }


if __name__ == "__main__":
    main()
