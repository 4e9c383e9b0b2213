"""How long the report of a large sweep takes, and whether its page stays responsive.

    python scripts/bench/report.py [arms=40] [seeds=2] [tracks=50] [clips=5]

The sweep was never run: scores are drawn at random, of two targets and four measures, with learning curves of 100 epochs and
the config of `model=unet_small`; of the first 12 arms there are `clips` songs of 20 s to hear, in mono at 8192 Hz, of noise,
which compresses worst. `report_s` is all that `scripts/report.py songs=0` does after its imports, `report_with_songs_s` the
same with 5 songs.

Where there are chromium and playwright: until the page can be used, until all plots are drawn, the longest pause of the page
when another measure is chosen, and until the listening page can play. The last line is one JSON object.
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

RATE, SONG_SECONDS, HEARD, EPOCHS = 8192, 20, 12, 100
TARGETS, MEASURES = ("vocals", "accompaniment"), ("NSDR", "SDR", "SIR", "SAR")
PLOTS = ("boxes", "heat", "curves", "parameters", "seconds")
PROTOCOL = {"name": "ikala_nsdr", "tracks": "mean", "frames": "mean", "window_seconds": None, "rest": None}


def main() -> None:
    arguments = {"arms": "40", "seeds": "2", "tracks": "50", "clips": "5"} | dict(word.split("=", 1) for word in sys.argv[1:])
    if unknown := arguments.keys() - {"arms", "seeds", "tracks", "clips"}:
        sys.exit(f"error: unknown argument {min(unknown)}; known: arms, clips, seeds, tracks")
    arms, seeds, tracks, clips = (int(arguments[key]) for key in ("arms", "seeds", "tracks", "clips"))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    print(f"{arms} arms of {seeds} seeds, {tracks} tracks; {clips} songs to hear of {min(HEARD, arms)} arms\n")
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "sweep"
        leave_sweep(sweep, arms, seeds, tracks, clips)
        figures = time_making(sweep) | time_pages(sweep / "report")
    for name, value in figures.items():
        print(f"{name:<28}{value:>10.2f}")
    print(json.dumps(figures))


def time_making(sweep: Path) -> dict[str, float]:
    def once(songs: int) -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            return timed(lambda: make(runs_of(sweep), sweep / "report", "bench", songs=songs))

    silent, whole = once(0), once(SONGS)
    size = sum(path.stat().st_size for path in (sweep / "report").rglob("*") if path.is_file())
    return {"report_s": silent, "report_with_songs_s": whole, "folder_MB": size / 1e6}


def time_pages(folder: Path) -> dict[str, float]:
    program = shutil.which("chromium")
    if program is None:
        print("no chromium: the pages are not opened")
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
        heard = timed(lambda: open_player(page, folder / "listen.html"))
        context.close()
    return {"page_s": ready, "plots_s": drawn, "longest_pause_s": pause / 1000, "player_s": heard}


# The longest time between two frames while another measure is chosen.
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
    for plot in PLOTS:
        page.locator(f"#{plot}").scroll_into_view_if_needed()
        page.locator(f"#{plot} .main-svg").first.wait_for()


def open_player(page: Any, path: Path) -> None:
    page.goto(path.as_uri())
    while not page.evaluate("deck.current.readyState >= 3"):  # `wait_for_function` needs `eval`, which the page forbids
        page.wait_for_timeout(5)


def leave_sweep(sweep: Path, arms: int, seeds: int, tracks: int, clips: int) -> None:
    """Folders with what runs leave."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(hydra.compose("train", ["model=unet_small", "name=x"]), resolve=True)
    generator = np.random.default_rng(0)
    names = [f"song {number}" for number in range(tracks)]
    songs = generator.normal(0, 3, tracks)
    for arm in range(arms):
        for seed in range(seeds):
            run = sweep / f"{arm * seeds + seed}-run"
            run.mkdir(parents=True)
            typed = [f"optim.optimizer.lr={(arm + 1) / 1e4:g}", f"seed={seed}"]
            record = {"identity": run.name, "overrides": typed, "state": "done", "choices": {"model": "unet", "data": "demo"}}
            (run / "run.json").write_text(json.dumps(record))
            own = OmegaConf.create(config)
            own.seed = own.data.seed = seed
            own.optim.optimizer.lr = (arm + 1) / 1e4
            (run / "config.yaml").write_text(OmegaConf.to_yaml(own))
            (run / "scores.json").write_text(json.dumps(scores(generator, names, songs + arm / 10)))
            write_curves(run / "metrics.csv", generator)
            for name in names[: clips if seed == 0 and arm < HEARD else 0]:
                write_audio(run / "audio" / name, generator)


def scores(generator: np.random.Generator, names: list[str], values: np.ndarray) -> dict[str, Any]:
    def one() -> dict[str, float]:
        return dict(zip(MEASURES, generator.normal(0, 1, len(MEASURES)), strict=True))

    tracks = {
        name: {target: {measure: float(value + noise) for measure, noise in one().items()} for target in TARGETS}
        for name, value in zip(names, values, strict=True)
    }
    summary = {
        target: {measure: {"mean": float(np.mean([own[target][measure] for own in tracks.values()]))} for measure in MEASURES}
        for target in TARGETS
    }
    cost = {"parameters": 2_000_000, "memory": 2**30, "device": "cpu", "devices": 1}
    fixed = {target: {measure: {"mean": 0.0} for measure in MEASURES} for target in TARGETS}
    return {
        "protocol": PROTOCOL, "summary": summary, "mixture": fixed, "oracle": {"irm": fixed}, "tracks": tracks, "cost": cost
    }  # fmt: skip


def write_curves(path: Path, generator: np.random.Generator) -> None:
    rows = [f"{e},{e},1.5,{1 / (e + 1) + 0.01 * generator.random()},{1 / (e + 1)}" for e in range(EPOCHS)]
    path.write_text("\n".join(["epoch,step,seconds,valid/loss,train/loss", *rows]) + "\n")


def write_audio(folder: Path, generator: np.random.Generator) -> None:
    folder.mkdir(parents=True)
    for name in ("mixture", "residual", *(f"{target}-{kind}" for target in TARGETS for kind in ("target", "estimate"))):
        samples = 0.2 * generator.standard_normal(SONG_SECONDS * RATE)
        soundfile.write(folder / f"{name}.flac", samples, RATE, subtype="PCM_24")


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
