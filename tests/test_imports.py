"""The import table of docs/design.md: who may import what."""

import ast
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
SOURCE = PROJECT / "src" / "unbraid"
ANY_UNBRAID = {"unbraid"}
TABLE = {
    "errors": set(),
    "files": {"unbraid.errors"},
    "documents": {"yaml", "unbraid.errors"},
    "scores": {"unbraid.documents", "unbraid.errors", "unbraid.files"},
    "memory": {"numpy"},
    "text": set(),
    "audio": {"av", "numpy", "soundfile", "soxr", "unbraid.audio", "unbraid.errors", "unbraid.files", "unbraid.memory"},
    "dsp": {"torch", "torchaudio"},
    "features": {"torch", "unbraid.dsp", "unbraid.errors"},
    "corruptions": {"torch", "unbraid.errors"},
    "losses": {"torch", "unbraid.errors"},
    "synthesis": {"torch", "torchaudio"},
    "pitch": {"torch", "numpy", "torchcrepe", "librosa", "unbraid.audio", "unbraid.errors"},
    "controls": {
        "torch", "numpy", "tqdm", "unbraid.data.parallel", "unbraid.data.store", "unbraid.errors", "unbraid.files",
        "unbraid.pitch", "unbraid.synthesis",
    },
    "instruments": {
        "torch", "omegaconf", "unbraid.controls", "unbraid.errors", "unbraid.nets.ddsp", "unbraid.pitch", "unbraid.runs",
        "unbraid.weights",
    },
    "transfer": {
        "torch", "numpy", "unbraid.controls", "unbraid.errors", "unbraid.instruments", "unbraid.nets.ddsp",
        "unbraid.synthesis",
    },
    "training_tracks": {"unbraid.documents", "unbraid.data.store", "unbraid.errors", "unbraid.files"},
    "constant_spectrum": {"torch", "unbraid.controls", "unbraid.dsp", "unbraid.synthesis"},
    "resyntheses": {
        "torch", "unbraid.audio", "unbraid.constant_spectrum", "unbraid.controls", "unbraid.dsp", "unbraid.errors",
        "unbraid.nets.ddsp", "unbraid.pictures",
        "unbraid.runs", "unbraid.scoring.tables",
    },
    "pictures": {"matplotlib", "PIL", "torch", "unbraid.dsp", "unbraid.errors", "unbraid.files"},
    "separators": {"torch", "sklearn", "unbraid.dsp", "unbraid.errors", "unbraid.phases"},
    "torch_files": {"torch", "unbraid.errors"},
    "weights": {"torch", "unbraid.errors", "unbraid.torch_files"},
    "foreign": {
        "unbraid.documents", "torch", "omegaconf", "unbraid.dsp", "unbraid.errors", "unbraid.nets.open_unmix", "unbraid.phases",
        "unbraid.pretrained", "unbraid.runs", "unbraid.separators", "unbraid.weights",
    },
    "pretrained": {
        "unbraid.documents",
        "safetensors", "torch", "torchaudio", "unbraid.errors", "unbraid.nets.adapters", "unbraid.nets.open_unmix",
        "unbraid.separators", "unbraid.torch_files",
    },
    "nets": {"torch", "torchaudio", "einops", "bs_roformer", "unbraid.dsp", "unbraid.errors", "unbraid.nets"},
    "nets.ddsp": {"torch", "unbraid.synthesis"},
    "phases": {"torch", "unbraid.dsp", "unbraid.errors", "unbraid.wiener"},
    "wiener": {"torch", "unbraid.dsp"},
    "data": {
        "unbraid.documents",
        "torch", "numpy", "filelock", "tqdm", "psutil", "musdb", "unbraid.audio", "unbraid.dsp", "unbraid.data",
        "unbraid.errors", "unbraid.files", "unbraid.memory",
    },
    "data.stretch": {"numpy", "python_stretch", "unbraid.audio", "unbraid.errors"},
    "data.module": {"torch", "numpy", "pytorch_lightning", "unbraid.audio", "unbraid.data", "unbraid.errors"},
    "data.digits": {"torch", "numpy", "pytorch_lightning", "sklearn", "unbraid.data", "unbraid.errors"},
    "scoring.significance": {"numpy", "scipy"},
    "scoring.power": {"numpy", "scipy", "unbraid.scoring.significance"},
    "scoring": {"unbraid.documents", "torch", "numpy", "unbraid.dsp", "unbraid.errors", "unbraid.files", "unbraid.scoring"},
    "tasks": {
        "torch", "torchmetrics", "pytorch_lightning", "unbraid.errors", "unbraid.files", "unbraid.scoring",
        "unbraid.separators", "unbraid.tasks", "unbraid.torch_files",
    },
    "tasks.pretraining": {"pytorch_lightning", "torch", "tqdm", "unbraid.errors", "unbraid.nets.autoencoders"},
    "tasks.reconstruction": {
        "torch", "torchmetrics", "pytorch_lightning", "unbraid.errors", "unbraid.features", "unbraid.nets.autoencoders",
        "unbraid.nets.pca", "unbraid.tasks", "tqdm",
    },
    "tasks.synthesis": {"torch", "torchmetrics", "unbraid.errors", "unbraid.nets.ddsp", "unbraid.tasks"},
    "loggers": {"torch", "unbraid.errors", "unbraid.loggers", "unbraid.records"},
    "loggers.telling": {
        "torch", "pytorch_lightning", "unbraid.loggers", "unbraid.tasks.callbacks", "unbraid.tasks.task",
    },
    "loggers.tensorboard_events": {
        "torch", "tensorboard", "numpy", "matplotlib", "unbraid.audio", "unbraid.loggers", "unbraid.records",
    },
    "loggers.wandb_page": {"wandb", "unbraid.errors", "unbraid.loggers", "unbraid.records"},
    "launchers.ray": {"ray", "unbraid.data.parallel", "unbraid.errors", "unbraid.launchers", "unbraid.records"},
    "reference": {"unbraid.errors"},
    "runs": {
        "unbraid.documents", "omegaconf", "hydra.errors", "hydra.utils", "typeguard", "unbraid.errors", "unbraid.files",
    },
    "estimates": {"numpy", "unbraid.audio", "unbraid.data.layouts.folders", "unbraid.errors"},
    "subjects": {
        "torch", "numpy", "unbraid.audio", "unbraid.data.store", "unbraid.data.tracks", "unbraid.dsp", "unbraid.errors",
        "unbraid.estimates", "unbraid.scoring", "unbraid.separators",
    },
    "evaluation": {
        "unbraid.files", "unbraid.scores",
        "torch", "filelock", "unbraid.audio", "unbraid.pictures", "unbraid.data.store", "unbraid.dsp", "unbraid.errors",
        "unbraid.runs", "unbraid.scoring", "unbraid.separators", "unbraid.subjects",
    },
    "anomalies": {
        "torch", "numpy", "unbraid.errors", "unbraid.features", "unbraid.nets.pca", "unbraid.tasks.reconstruction",
    },
    "stems": {
        "numpy", "unbraid.errors", "unbraid.files", "unbraid.audio", "unbraid.loading", "unbraid.separation",
    },
    "separation": {"torch", "numpy", "unbraid.audio", "unbraid.errors"},
    "loading": {
        "unbraid.files", "torch", "numpy", "omegaconf", "unbraid.audio", "unbraid.errors", "unbraid.exports.onnx_file",
        "unbraid.foreign", "unbraid.instruments",
        "unbraid.pretrained", "unbraid.runs", "unbraid.separation", "unbraid.separators", "unbraid.weights",
    },
    "web": {
        "starlette", "unbraid.audio", "unbraid.errors", "unbraid.loading", "unbraid.separation", "unbraid.stems", "unbraid.web",
    },
    "commands.app": {"omegaconf", "uvicorn", *ANY_UNBRAID},
    "exports": {
        "torch", "numpy", "omegaconf", "typeguard", "onnxruntime", "unbraid.dsp", "unbraid.errors", "unbraid.exports",
        "unbraid.nets", "unbraid.phases", "unbraid.runs", "unbraid.separators",
    },
    "reporting": {
        "unbraid.files", "unbraid.scores",
        "numpy", "unbraid.errors", "unbraid.evaluation", "unbraid.records", "unbraid.reporting", "unbraid.scoring",
    },
    "reporting.arms": {
        "unbraid.files", "unbraid.runs", "unbraid.scores",
        "numpy", "unbraid.errors", "unbraid.records", "unbraid.scoring.tables",
    },
    "reporting.page": {"unbraid.documents", "numpy", "jinja2", "plotly", "unbraid.errors", "unbraid.reporting", "unbraid.runs"},
    "reporting.listening": {
        "unbraid.files",
        "torch", "numpy", "unbraid.audio", "unbraid.dsp", "unbraid.errors", "unbraid.pictures", "unbraid.reporting",
    },
    "records": {"unbraid.documents", "omegaconf", "unbraid.errors", "unbraid.files", "unbraid.runs"},
    "ledger": {"unbraid.documents", "unbraid.errors", "unbraid.files"},
    "launchers": {"unbraid.data.parallel", "unbraid.errors", "unbraid.launchers", "unbraid.records"},
    "commands.plan": {
        "rich", "unbraid.errors", "unbraid.launchers.processes", "unbraid.records", "unbraid.reporting.power",
    },
    "commands.board": {"unbraid.scores", "omegaconf", "rich", "unbraid.launchers", "unbraid.ledger", "unbraid.records"},
    "search": {
        "unbraid.scores", "unbraid.documents",
        "optuna", "hydra", "omegaconf", "filelock", "unbraid.errors", "unbraid.files", "unbraid.records", "unbraid.search",
    },
    "search.options": {"omegaconf.MISSING", "unbraid.errors"},  # Hydra reads it at every start
    "tasks.pruning": {
        "pytorch_lightning", "optuna", "unbraid.errors", "unbraid.search.options", "unbraid.search.storage", "unbraid.tasks",
    },
    "commands.encode": {"torch", "numpy", "omegaconf", "pyarrow", *ANY_UNBRAID},
    "reconstructions": {
        "torch", "tqdm", "unbraid.audio", "unbraid.pictures", "unbraid.dsp", "unbraid.errors", "unbraid.features",
        "unbraid.nets.autoencoders", "unbraid.nets.pca", "unbraid.runs", "unbraid.scoring.tables",
        "unbraid.tasks.reconstruction",
    },
    "commands": {"torch", "numpy", "psutil", "pytorch_lightning", "hydra", "omegaconf", "tqdm", "yaml", *ANY_UNBRAID},
    "commands.dashboard": {"omegaconf", "wandb", "wandb_workspaces", *ANY_UNBRAID},
    "commands.console": {"omegaconf", "unbraid.commands.door", "unbraid.errors"},
    "commands.door": {
        "hydra", "omegaconf", "unbraid.commands.layouts", "unbraid.commands.overrides", "unbraid.errors", "unbraid.runs",
    },
    "commands.overrides": {"hydra", "omegaconf", "unbraid.errors"},
}  # fmt: skip


def imported(file: Path) -> set[str]:
    """Every name a file imports, `from a import b` as a.b, wherever in the file the import stands."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def allowed_for(module: str) -> set[str]:
    """Return what a module may import; the escaping of printed text is free to all."""
    while module not in TABLE:
        module, _, _ = module.rpartition(".")
        assert module, "every file of src/unbraid needs a row in the table"
    return TABLE[module] | {"unbraid.text"}


def is_allowed(name: str, allowed: set[str]) -> bool:
    return name.split(".")[0] in sys.stdlib_module_names or any(name == a or name.startswith(f"{a}.") for a in allowed)


FILES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_only_what_the_table_allows(file):
    module = ".".join(file.relative_to(SOURCE).with_suffix("").parts)
    assert {name for name in imported(file) if not is_allowed(name, allowed_for(module))} == set()


GROUND = ("door", "overrides", "layouts", "experiment", "trained", "courses", "board", "plan")


def test_commands_do_not_import_each_other():
    for file in (SOURCE / "commands").glob("*.py"):
        others = {name for name in imported(file) if name.startswith("unbraid.commands") and name.split(".")[2] not in GROUND}
        assert others == set(), file.name


def test_the_sweeper_is_a_thin_plugin():
    """Of Hydra: that it brings nothing heavy to every start is seen in tests/commands/test_door.py."""
    names = imported(SOURCE.parent / "hydra_plugins/unbraid_optuna.py")
    allowed = {"hydra", "omegaconf", "unbraid.commands", "unbraid.errors", "unbraid.records", "unbraid.search"}
    assert {name for name in names if not is_allowed(name, allowed)} == set()
    names = imported(SOURCE.parent / "hydra_plugins/unbraid_words.py")
    assert {name for name in names if not is_allowed(name, {"hydra", "omegaconf"})} == set()
    names = imported(SOURCE.parent / "hydra_plugins/unbraid_sources.py")
    allowed = {"hydra", "omegaconf", "unbraid.commands.door", "unbraid.errors"}
    assert {name for name in names if not is_allowed(name, allowed)} == set()


def test_doors_are_short_and_import_only_hydra_and_commands():
    for file in [PROJECT / "train.py", *(PROJECT / "scripts").glob("*.py")]:
        assert len(file.read_text().splitlines()) <= 25
        assert {n for n in imported(file) if not is_allowed(n, {"hydra", "omegaconf", "unbraid.commands"})} == set()
