"""Test the import table of docs/explanation/architecture.md: one row per package, imports in one direction only."""

import ast
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
SOURCE = PROJECT / "src" / "unbraid"
# Each package may import `runs` and the packages in its row, which all have later rows.
PACKAGES = {
    "commands": {
        "reports", "sweeps", "training", "evaluation", "inference", "interop", "tasks", "models", "nets", "data", "scoring",
        "dsp", "audio",
    },
    "course": {"reports", "evaluation", "inference", "tasks", "models", "nets", "data", "scoring", "dsp", "audio"},
    "reports": {"evaluation", "scoring", "dsp", "audio"},
    "sweeps": {"training", "data"},
    "training": {"evaluation", "interop", "tasks", "models", "nets", "data", "scoring", "audio"},
    "evaluation": {"inference", "tasks", "models", "nets", "data", "scoring", "dsp", "audio"},
    "inference": {"interop", "models", "nets", "data", "dsp", "audio"},
    "interop": {"models", "nets", "dsp"},
    "tasks": {"models", "nets", "scoring"},
    "models": {"nets", "data", "dsp", "audio"},
    "nets": {"dsp"},
    "data": {"dsp", "audio"},
    "scoring": {"dsp"},
    "dsp": {"audio"},
    "audio": set(),
    "runs": set(),
}  # fmt: skip
# Libraries that every module of a package may import.
LIBRARIES = {
    "commands": {"torch", "numpy", "psutil", "pytorch_lightning", "hydra", "omegaconf", "tqdm", "yaml"},
    "course": {"torch", "numpy", "matplotlib"},
    "reports": {"numpy"},
    "sweeps": set(),
    "training": {"torch", "pytorch_lightning", "omegaconf", "hydra", "tqdm", "psutil"},
    "evaluation": {"torch", "numpy", "tqdm"},
    "inference": {"torch", "numpy", "omegaconf", "typeguard"},
    "interop": {"torch", "omegaconf", "safetensors"},
    "tasks": {"torch", "torchmetrics", "pytorch_lightning", "tqdm"},
    "models": {"torch", "omegaconf"},
    "nets": {"torch"},
    "data": {"torch", "numpy", "tqdm", "psutil"},
    "scoring": {"torch", "numpy"},
    "dsp": {"torch"},
    "audio": {"numpy"},
    "runs": set(),
}
# Modules that may import more libraries.
MORE = {
    "commands/app": {"uvicorn"},
    "commands/dashboard": {"wandb", "wandb_workspaces"},
    "commands/encode": {"pyarrow"},
    "commands/memory_plan": {"psutil", "rich", "torch"},
    "commands/plan": {"rich"},
    "reports/code_sizes": {"hydra", "omegaconf"},
    "reports/listening": {"torch"},
    "reports/page": {"plotly"},
    "reports/web": {"jinja2"},
    "sweeps/launchers/gpu_faults": {"torch"},
    "sweeps/launchers/ray": {"ray"},
    "sweeps/progress": {"omegaconf", "rich"},
    "sweeps/search/objective": {"optuna"},
    "sweeps/search/options": {"omegaconf"},
    "sweeps/search/pruning": {"optuna", "pytorch_lightning"},
    "sweeps/search/space": {"optuna", "hydra"},
    "sweeps/search/storage": {"optuna"},
    "sweeps/search/study": {"optuna"},
    "sweeps/search/summary": {"optuna"},
    "sweeps/search/trials": {"optuna", "hydra", "omegaconf"},
    "training/callbacks/reference_curve": {"numpy"},
    "training/loggers/tensorboard_events": {"numpy", "tensorboard", "matplotlib"},
    "training/loggers/wandb_page": {"wandb"},
    "course/animations": {"PIL"},
    "course/figures": {"cycler"},
    "evaluation/pictures": {"matplotlib", "PIL"},
    "inference/export/onnx_file": {"onnxruntime"},
    "inference/web/server": {"starlette"},
    "models/separators/clustering": {"sklearn"},
    "nets/libraries": {"torchaudio"},
    "data/digits": {"pytorch_lightning", "sklearn"},
    "data/layouts/musdb": {"musdb"},
    "data/module": {"pytorch_lightning"},
    "data/effects": {"pedalboard"},
    "data/stretch": {"python_stretch"},
    "tasks/lora": {"peft"},
    "scoring/power": {"scipy"},
    "scoring/significance": {"scipy"},
    "dsp/pitch": {"numpy", "torchcrepe", "librosa"},
    "audio/decoder": {"av"},
    "audio/reader": {"av"},
    "audio/resampling": {"soxr"},
    "audio/writer": {"av", "soundfile"},
    "runs/config": {"hydra", "omegaconf", "typeguard"},
    "runs/documents": {"yaml"},
    "runs/records": {"omegaconf"},
    "runs/resume": {"omegaconf"},
    "runs/pickle_check": {"torch"},
    "runs/torch_files": {"torch"},
    "runs/weights": {"torch"},
}
# Modules that must be fast to import. They may import only these libraries.
LIGHT = {
    "commands/cli": {"hydra", "omegaconf"},
    "commands/choices": {"hydra", "omegaconf"},
    "commands/verbs": {"omegaconf"},
    "commands/overrides": {"hydra", "omegaconf"},
    "commands/report_callback": {"hydra", "omegaconf"},
    "commands/layouts": {"hydra", "omegaconf"},
    "inference/chunked": {"torch", "numpy"},
    "inference/web/server": {"starlette"},
    "inference/web/songs": set(),
}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE)


def imported(file: Path) -> set[str]:
    """Return every name that a file imports, at any place; `from a import b` as `a.b`."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(file: Path) -> set[str]:
    """Return the packages of unbraid that a file imports."""
    return {name.split(".")[1] for name in imported(file) if name.startswith("unbraid.")}


def libraries(file: Path) -> set[str]:
    """Return the libraries that a file imports, without the standard library."""
    return {name.split(".")[0] for name in imported(file)} - {*sys.stdlib_module_names, "unbraid"}


def test_packages_import_only_later_rows():
    assert {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file()} == {*PACKAGES} == {*LIBRARIES}
    order = [*PACKAGES]
    for package, below in PACKAGES.items():
        assert below <= {*order[order.index(package) + 1 :]}, package


def test_the_package_has_few_entries():
    assert len([path for path in SOURCE.iterdir() if path.name not in ("__pycache__", "conf", "py.typed")]) <= 17


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_modules_import_only_allowed_names(file):
    name = str(file.relative_to(SOURCE).with_suffix(""))
    package = name.split("/")[0]
    assert packages(file) <= PACKAGES[package] | {package, "runs"}
    allowed = LIGHT[name] if name in LIGHT else LIBRARIES[package] | MORE.get(name, set())
    assert libraries(file) <= allowed


SHARED_COMMANDS = (
    "compose",
    "sweep_folder",
    "cli",
    "memory_plan",
    "trial",
    "choices",
    "data_sets",
    "help",
    "keys",
    "overrides",
    "layouts",
    "experiment",
    "trained_run",
    "scoring_session",
    "run_config",
    "unknown_keys",
    "other_scores",
    "plan",
)


def test_commands_do_not_import_each_other():
    for file in (SOURCE / "commands").glob("*.py"):
        others = {
            name for name in imported(file) if name.startswith("unbraid.commands") and name.split(".")[2] not in SHARED_COMMANDS
        }
        assert others == set(), file.name


def test_hydra_plugins_are_thin():
    """`tests/commands/test_cli.py` tests that they do not import large libraries at the start."""
    plugins = SOURCE.parent / "hydra_plugins"
    for file in plugins.glob("*.py"):
        assert libraries(file) <= {"hydra", "omegaconf"}, file.name
        assert packages(file) <= {"commands", "runs", "sweeps"}, file.name


def test_scripts_are_short_and_import_only_hydra_and_commands():
    for file in [PROJECT / "train.py", *(PROJECT / "scripts").glob("*.py")]:
        assert len(file.read_text().splitlines()) <= 25
        assert libraries(file) <= {"hydra", "omegaconf"} and packages(file) <= {"commands"}


def test_no_class_name_is_defined_twice():
    seen: dict[str, str] = {}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                assert node.name not in seen, f"{node.name}: {file.name} and {seen[node.name]}"
                seen[node.name] = file.name


def test_no_function_is_longer_than_fifty_lines():
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 50, f"{file.name}: {node.name}"


def test_no_file_is_longer_than_350_lines():
    assert [file.name for file in FILES if len(file.read_text().splitlines()) > 350] == []
