"""Write the folders of sweeps without training, with scores that the tests choose."""

import json
from pathlib import Path

import numpy as np
import soundfile
import yaml

RATE = 8000
TRACKS = [f"song {number}" for number in range(8)]
PROTOCOL = {"name": "ikala_nsdr", "tracks": "mean", "frames": "mean", "window_seconds": None, "rest": None}


def leave_run(
    sweep, number, model, seed, scores, *, state="done", error=None, targets=("vocals",), words=(), protocol=PROTOCOL, lr=1e-3
) -> Path:
    """Write a run folder whose tracks have `scores` as NSDR, 3 dB more as SIR, and no SAR; None: without scores."""
    run = Path(sweep) / f"{number}-{model}-demo-{seed}"
    run.mkdir(parents=True)
    record = {"identity": f"{number}", "overrides": [f"model={model}", f"seed={seed}", *words], "state": state}
    record |= {"choices": {"model": model, "data": "demo"}} | ({} if error is None else {"error": error})
    (run / "run.json").write_text(json.dumps(record))
    config = {"seed": seed, "name": run.name, "model": {"separator": {"net": {"kind": model}}}, "optim": {"lr": lr}}
    config["data"] = {"root": f"/data/{number}", "seed": seed}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    lines = [f"{epoch},{epoch + 1},2.5,{1 / (epoch + 1 + seed / 10)}" for epoch in range(3)]
    (run / "metrics.csv").write_text("\n".join(["epoch,step,seconds,valid/loss", *lines]) + "\n")
    if scores is not None:
        (run / "scores.json").write_text(json.dumps(_scores(scores, targets, protocol)))
    return run


def _scores(values, targets, protocol):
    tracks = {
        track: {target: {"NSDR": value, "SIR": value + 3, "SAR": None} for target in targets}
        for track, value in zip(TRACKS, values, strict=False)
    }
    summary = {"NSDR": _figures(values), "SIR": _figures([value + 3 for value in values]), "SAR": _figures([])}
    zero = {"NSDR": _figures([0.0]), "SIR": _figures([-1.0])}
    return {
        "protocol": protocol, "checkpoint": "x", "tracks": tracks,
        "summary": dict.fromkeys(targets, summary), "mixture": dict.fromkeys(targets, zero),
        "oracle": {"irm": {target: {"NSDR": _figures([20.0])} for target in targets}},
        "cost": {"parameters": 2_000_000, "memory": 2**30, "device": "cpu", "devices": 1},
    }  # fmt: skip


def _figures(values):
    return {"mean": float(np.mean(values)) if len(values) else None, "median": None, "n": len(values)}


def leave_audio(run, track, gain=1.0, seconds=4.0, targets=("vocals",), noise=0.01):
    """Write the audio of a track: the target is a tone, an octave above the other source. All files have one gain."""
    time = np.arange(int(seconds * RATE)) / RATE
    rest, target = 0.3 * np.sin(2 * np.pi * 220 * time), 0.3 * np.sin(2 * np.pi * 440 * time)
    estimate = target + noise * np.random.default_rng(0).standard_normal(len(time))
    files = {"mixture": rest + target, "residual": rest + target - estimate}
    for name in targets:
        files |= {f"{name}-target": target, f"{name}-estimate": estimate}
    folder = run / "audio" / track
    folder.mkdir(parents=True)
    for name, samples in files.items():
        soundfile.write(folder / f"{name}.flac", gain * samples, RATE, subtype="PCM_24")
    return folder


def usual(sweep, variants=3, songs=2, tracks=8):
    """Write a sweep of variants with two seeds each. Each variant is 1 dB worse than the one before. Some songs have audio."""
    generator = np.random.default_rng(1)
    song_scores = generator.normal(0, 2, tracks)
    for variant in range(variants):
        for seed in range(2):
            scores = 8 - variant + song_scores + generator.normal(0, 0.3, tracks)
            run = leave_run(sweep, 2 * variant + seed, f"net{variant}", seed, scores.tolist())
            for track in TRACKS[:songs]:
                leave_audio(run, track, gain=1 / (1 + variant), noise=0.01 * (1 + variant))
    return sweep
