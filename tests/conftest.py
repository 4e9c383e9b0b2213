"""Fixtures that all tests share: small data sets, a browser, and the command line called in the process of the tests."""

import importlib.util
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

from tests import campaign
from unbraid.runs.config import build

PROJECT = Path(__file__).parents[1]
RATE = 44100
STEMS = ("drums", "bass", "other", "vocals")
# A network that trains quickly. It has six layers, because each halves the 512 bins and 8 must remain.
NARROW = "model.separator.net.channels=[2,2,4,4,4,4]"
SHORT = ["trainer.max_epochs=1", "data.batch_size=2", "data.chunks_per_track=2", "trainer.accelerator=cpu", NARROW]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the tests that open pages in a browser."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


def pytest_generate_tests(metafunc):
    """Run a test with the argument `attempt` once per attempt of the campaign, with another random seed each time."""
    if "attempt" in metafunc.fixturenames:
        metafunc.parametrize("attempt", campaign.seeds(metafunc.definition.nodeid))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Use a cache folder of the test session, so that tests do not use the cache of the user."""
    monkeypatch.setenv("UNBRAID_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True, scope="session")
def _own_state(tmp_path_factory):
    """Use a state folder of the test session, so that tests do not change the list of data folders of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
        yield


QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Start Chromium without network access, once for each test process. Skip the test if Chromium or Playwright is missing."""
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    folder = tmp_path_factory.mktemp("browser")
    with driver.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=program, headless=True, args=[*QUIET], accept_downloads=True
        )
        yield context
        context.close()


def wait_for(page, condition):
    """Wait until an expression is true. `wait_for_function` of Playwright needs `eval`, which the pages do not allow."""
    for _ in range(400):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not true after 20 s: {condition}")


def write_song(folder: Path, seed: int, seconds: float = 3.0, rate: int = RATE) -> dict[str, np.ndarray]:
    """Write a song of MUSDB18-HQ with tones and noise, whose mixture is the exact sum. Return its files as `[samples, 2]`."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    song = {}
    for i, stem in enumerate(STEMS):
        level = 0.9**seed  # songs differ in loudness
        tone = np.sin(2 * np.pi * (110 * (i + 1) + 5 * seed) * time)[:, None] * [0.1 * level, 0.08 * level]
        song[stem] = np.rint(32767 * (tone + 0.02 * generator.standard_normal((len(time), 2)))).astype(np.int16)
    song["mixture"] = sum(song[stem] for stem in STEMS)
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in song.items():
        soundfile.write(folder / f"{name}.wav", samples, rate, subtype="PCM_16")
    return song


def make_root(root: Path) -> Path:
    """Write a MUSDB18-HQ folder of four songs and return it."""
    for number, split in enumerate(("train", "train", "valid", "test")):
        write_song(root / split / f"song {number}", seed=number)
    return root


@pytest.fixture(scope="session")
def songs(tmp_path_factory):
    """Return a MUSDB18-HQ folder of four songs of 3 s, which tests must not change."""
    return make_root(tmp_path_factory.mktemp("songs"))


@pytest.fixture
def own_songs(tmp_path):
    """Return a MUSDB18-HQ folder of four songs that the test can change."""
    return make_root(tmp_path / "root")


def load_script(script: str):
    spec = importlib.util.spec_from_file_location(Path(script).stem, PROJECT / script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def cli(monkeypatch, capfd, tmp_path):
    """Return a function that calls `train.py` or another script in an empty folder.

    The function returns the exit status, the standard output and the standard error.
    """
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def call(*arguments: str, script: str = "train.py") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        try:
            load_script(script)()
            status = 0
        except SystemExit as error:
            status = int(error.code or 0)
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return call


def hear_ctrl_c() -> None:
    """Reset the handler of SIGINT in a child process, because background processes ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def only_run(work: Path) -> Path:
    """Return the single run folder below a working directory."""
    (run,) = work.glob("outputs/*/*")
    return run


def files_below(folder: Path) -> list[str]:
    return sorted(os.path.relpath(path, folder) for path in folder.rglob("*"))


@pytest.fixture(scope="session")
def stem_file() -> Path:
    """Return the stem file in the wheel of stempeg. Importing stempeg would need ffmpeg."""
    package = importlib.util.find_spec("stempeg").submodule_search_locations[0]
    (path,) = (Path(package) / "data").glob("*.stem.mp4")
    return path


def make_run(folder: Path, *overrides: str) -> Path:
    """Make a run folder with a config and a checkpoint of an untrained model."""
    from tests.test_configs import compose  # which imports this module

    config = compose(*overrides)
    torch.manual_seed(0)
    task = build(config.model) if "separator" in config.model else None
    (folder / "checkpoints").mkdir(parents=True)
    OmegaConf.save(config, folder / "config.yaml", resolve=True)
    torch.save({"state_dict": task.state_dict() if task else {}}, folder / "checkpoints/best.ckpt")
    return folder
