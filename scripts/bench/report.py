"""Measure how long it takes to write the report of a large sweep, and how fast a browser shows the pages of the report.

    python scripts/bench/report.py [variants=40] [seeds=2] [tracks=50] [clips=5]

The sweep is written without training. It has random scores of two targets and four measures, learning curves of 100 epochs, and
the config of `model=unet_small`. The first 12 variants have audio of `clips` songs: 20 s of mono noise at 8192 Hz, because
noise gives the largest files. The results are times in seconds, except for `folder_MB`:

- `report_s`: time of `scripts/report.py songs=0` (without a listening page), not counting imports.
- `report_with_songs_s`: time of `scripts/report.py songs=5`, not counting imports.
- `folder_MB`: size of the folder of the report with 5 songs in megabytes.
- `page_s`, `plots_s`: time until the page `index.html` is loaded, and until all its plots are drawn.
- `longest_pause_s`: longest time between two frames of the browser after another measure is selected.
- `player_s`: time until the page `listen.html` can play.

The results of the last three lines are measured only if chromium and playwright are installed. The last line of the output is
one JSON object.
"""

import contextlib
import io
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import soundfile
from omegaconf import OmegaConf

from unbraid.commands.cli import CONF
from unbraid.reports.making import SONGS, make
from unbraid.reports.variants import runs_of

RATE, SONG_SECONDS, VARIANTS_WITH_AUDIO, EPOCHS = 8192, 20, 12, 100
TARGETS, MEASURES = ("vocals", "accompaniment"), ("NSDR", "SDR", "SIR", "SAR")
PLOTS = ("boxes", "heat", "curves", "parameters", "seconds")
DEFAULTS = {"variants": "40", "seeds": "2", "tracks": "50", "clips": "5"}
PROTOCOL = {"name": "ikala_nsdr", "tracks": "mean", "frames": "mean", "window_seconds": None, "rest": None}


def main() -> None:
    """Write a large sweep with the sizes of the command line, measure its report, and print the results."""
    arguments = DEFAULTS | dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := arguments.keys() - DEFAULTS.keys():
        sys.exit(f"error: unknown argument {min(unknown)}; known: {', '.join(DEFAULTS)}")
    variants, seeds, tracks, clips = (int(arguments[key]) for key in DEFAULTS)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    with_audio = min(VARIANTS_WITH_AUDIO, variants)
    print(f"{variants} variants with {seeds} seeds, {tracks} tracks; {clips} songs with audio of {with_audio} variants\n")
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "sweep"
        write_sweep(sweep, variants, seeds, tracks, clips)
        figures = time_making(sweep) | time_pages(sweep / "report")
    for name, value in figures.items():
        print(f"{name:<28}{value:>10.2f}")
    print(json.dumps(figures))


def time_making(sweep: Path) -> dict[str, float]:
    """Write the report of a sweep without and with songs. Return both times in seconds and the size of the folder in MB."""

    def once(songs: int) -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            return timed(lambda: make(runs_of(sweep), sweep / "report", "bench", songs=songs))

    without_songs, with_songs = once(0), once(SONGS)
    size = sum(path.stat().st_size for path in (sweep / "report").rglob("*") if path.is_file())
    return {"report_s": without_songs, "report_with_songs_s": with_songs, "folder_MB": size / 1e6}


def time_pages(folder: Path) -> dict[str, float]:
    """Return the loading times of both pages of a report in chromium; an empty dictionary if chromium is not installed."""
    program = shutil.which("chromium")
    if program is None:
        print("chromium is not installed: the times of the pages are not measured")
        return {}
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        page = context.new_page()
        ready = timed(lambda: page.goto((folder / "index.html").as_uri()))
        drawn = timed(lambda: draw(page))
        pause = page.evaluate(PAUSE)
        player = timed(lambda: open_player(page, folder / "listen.html"))
        context.close()
    return {"page_s": ready, "plots_s": drawn, "longest_pause_s": pause / 1000, "player_s": player}


# JavaScript that selects another measure and returns the longest time between two frames in milliseconds.
PAUSE = """() => new Promise((resolve) => {
    let last = performance.now(), longest = 0;
    const end = last + 2000;
    const frame = (now) => {
        [longest, last] = [Math.max(longest, now - last), now];
        if (now < end) requestAnimationFrame(frame); else resolve(longest);
    };
    requestAnimationFrame(frame);
    setTimeout(() => {
        const measure = document.getElementById("measure");
        measure.value = "SIR";
        measure.dispatchEvent(new Event("change"));
    }, 200);
})"""


def draw(page: Any) -> None:
    """Scroll to each plot of the report page, and wait until the plot is drawn."""
    for plot in PLOTS:
        page.locator(f"#{plot}").scroll_into_view_if_needed()
        page.locator(f"#{plot} .main-svg").first.wait_for()


def open_player(page: Any, path: Path) -> None:
    """Open the listening page, and wait until its first audio file can be played."""
    page.goto(path.as_uri())
    while not page.evaluate(
        "deck.current.readyState >= 3"
    ):  # Playwright's `wait_for_function` needs `eval`, which the page forbids
        page.wait_for_timeout(5)


def write_sweep(sweep: Path, variants: int, seeds: int, tracks: int, clips: int) -> None:
    """Write the run folders of a sweep with random scores, learning curves and audio, without training."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(hydra.compose("train", ["model=unet_small", "name=x"]), resolve=True)
    generator = np.random.default_rng(0)
    names = [f"song {number}" for number in range(tracks)]
    songs = generator.normal(0, 3, tracks)
    for variant in range(variants):
        for seed in range(seeds):
            run = sweep / f"{variant * seeds + seed}-run"
            run.mkdir(parents=True)
            overrides = [f"optim.optimizer.lr={(variant + 1) / 1e4:g}", f"seed={seed}"]
            record = {
                "identity": run.name,
                "overrides": overrides,
                "state": "done",
                "choices": {"model": "unet", "data": "demo"},
            }
            (run / "run.json").write_text(json.dumps(record))
            run_config = OmegaConf.create(config)
            run_config.seed = run_config.data.seed = seed
            run_config.optim.optimizer.lr = (variant + 1) / 1e4
            (run / "config.yaml").write_text(OmegaConf.to_yaml(run_config))
            (run / "scores.json").write_text(json.dumps(scores(generator, names, songs + variant / 10)))
            write_curves(run / "metrics.csv", generator)
            for name in names[: clips if seed == 0 and variant < VARIANTS_WITH_AUDIO else 0]:
                write_audio(run / "audio" / name, generator)


def scores(generator: np.random.Generator, names: list[str], values: np.ndarray) -> dict[str, Any]:
    """Return the content of `scores.json` for a run: each score is the value of its track plus random noise."""

    def noises() -> dict[str, float]:
        return dict(zip(MEASURES, generator.normal(0, 1, len(MEASURES)), strict=True))

    tracks = {
        name: {target: {measure: float(value + noise) for measure, noise in noises().items()} for target in TARGETS}
        for name, value in zip(names, values, strict=True)
    }
    summary = {
        target: {
            measure: {"mean": float(np.mean([track[target][measure] for track in tracks.values()]))} for measure in MEASURES
        }
        for target in TARGETS
    }
    cost = {"parameters": 2_000_000, "memory": 2**30, "device": "cpu", "devices": 1}
    fixed = {target: {measure: {"mean": 0.0} for measure in MEASURES} for target in TARGETS}
    return {
        "protocol": PROTOCOL, "summary": summary, "mixture": fixed, "oracle": {"irm": fixed}, "tracks": tracks, "cost": cost
    }  # fmt: skip


def write_curves(path: Path, generator: np.random.Generator) -> None:
    """Write a file `metrics.csv` with random learning curves of 100 epochs."""
    rows = [f"{e},{e},1.5,{1 / (e + 1) + 0.01 * generator.random()},{1 / (e + 1)}" for e in range(EPOCHS)]
    path.write_text("\n".join(["epoch,step,seconds,valid/loss,train/loss", *rows]) + "\n")


def write_audio(folder: Path, generator: np.random.Generator) -> None:
    """Write the audio files of a test track (mixture, residual, targets and estimates) as noise."""
    folder.mkdir(parents=True)
    for name in ("mixture", "residual", *(f"{target}-{kind}" for target in TARGETS for kind in ("target", "estimate"))):
        samples = 0.2 * generator.standard_normal(SONG_SECONDS * RATE)
        soundfile.write(folder / f"{name}.flac", samples, RATE, subtype="PCM_24")


def timed(function: Callable[[], object]) -> float:
    """Call a function without arguments, and return the duration in seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
