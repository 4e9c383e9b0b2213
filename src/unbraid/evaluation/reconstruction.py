"""Test data rebuilt by an autoencoder: scores, pictures and audio, and PCA with a code of the same size beside them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from unbraid import audio
from unbraid.dsp.stft import griffin_lim
from unbraid.evaluation import pictures
from unbraid.models.features import Features, Spectra
from unbraid.nets.autoencoders import VariationalAutoencoder
from unbraid.nets.pca import LARGEST, PCA
from unbraid.runs.config import versions
from unbraid.runs.errors import InputError
from unbraid.scoring.tables import statistics_of
from unbraid.tasks.reconstruction import ReconstructionTask, fit

TEST = 2**31 + 2**30  # what corruption does to test data is its own, see ReconstructionTask.corrupt
MEASURES = ("error", "SNR")
LARGEST_SCATTER = 1000  # points that a picture of codes shows
SAMPLES = 24


class Data(Protocol):
    """What is read of a data set."""

    def in_order(self, split: Literal["train", "valid", "test"]) -> DataLoader[Any]:
        """All of a split, in the same order every time."""

    def labels(self) -> list[str]:
        """Of items, by their numbers."""


@dataclass
class Unit:
    """What is scored by itself: one source of one track, or one image. Shape: vectors [M, D] each."""

    track: str | None
    label: str
    clean: Tensor
    versions: Mapping[str, Tensor]

    def measures(self, row: str) -> dict[str, float | None]:
        """`error`: squared error of a vector, the mean of all; `SNR`: of the features, in dB, undefined for silence."""
        clean = self.clean.double()
        error = (self.versions[row].double() - clean).square().sum()
        signal = float(clean.square().sum())
        snr = 10 * math.log10(signal / max(float(error), signal * 1e-12)) if signal else None
        return {"error": float(error) / len(clean), "SNR": snr}


@dataclass
class Gathered:
    """What pictures need of the test data, the first of it as far as it is shown."""

    columns: int
    rows: dict[str, list[Tensor]] = field(default_factory=dict)
    codes: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)

    def add(self, versions: Mapping[str, Tensor]) -> None:
        for row, patches in versions.items():
            shown = self.rows.setdefault(row, [])
            shown.extend(patches[: max(0, self.columns - len(shown))].cpu())

    def add_codes(self, task: ReconstructionTask, clean: Tensor, labels: Tensor) -> None:
        code = task.net.encode(task.as_items(clean)).flatten(start_dim=1)
        self.codes.append(code.cpu())
        self.labels.append(labels.repeat_interleave(len(code) // len(labels)).cpu())


class Reconstructions:
    """How an autoencoder is tested.

    Args:
        examples: how many patches or images the picture shows.
        clips: how many tracks, from the first on, leave audio.
        phase: of that audio: the input's, or found by Griffin & Lim, IEEE Trans. ASSP 1984.
        iterations: of Griffin-Lim.
        momentum: of Griffin-Lim, in [0, 1) (Perraudin, Balazs & Søndergaard, WASPAA 2013).
    """

    def __init__(
        self, examples: int, clips: int, phase: Literal["input", "griffin_lim"], iterations: int, momentum: float
    ) -> None:
        for name, value, least in (("examples", examples, 1), ("clips", clips, 0), ("iterations", iterations, 1)):
            if value < least:
                raise InputError(f"{name} must be at least {least}, found {value}")
        if not 0 <= momentum < 1:
            raise InputError(f"momentum must lie in [0, 1), found {momentum}")
        self.examples, self.clips, self.phase = examples, clips, phase
        self.iterations, self.momentum = iterations, momentum

    @torch.inference_mode()
    def scores(self, task: ReconstructionTask, data: Data, folder: Path) -> dict[str, Any]:
        """What `scores.json` holds; pictures and audio are left in the folder."""
        linear = fitted_pca(task, data)
        rows = ["rebuilt", *(["pca"] if linear else []), *(["corrupted"] if is_corrupting(task) else [])]
        units: list[Unit] = []
        gathered = Gathered(self.examples)
        loader: Any = data.in_order("test")
        names = [track.name for track in getattr(loader.dataset, "tracks", ())]
        for index, batch in enumerate(tqdm(loader, "testing", leave=False)):
            moved = on_device(batch, task.device)
            clean, labels = task.features.items(moved)
            spoilt = task.corrupt(clean, TEST + index)
            made = {"rebuilt": task.rebuild(spoilt), "corrupted": spoilt}
            if not made["rebuilt"].isfinite().all():
                raise InputError("the network rebuilds test data as what are no numbers: its training has diverged")
            if linear:
                made["pca"] = task.features.patches(linear(task.features.vectors(spoilt)))
            made = {row: made[row] for row in rows}
            track = names[index] if names else None
            units += _units(task.features, track, clean, made, labels, data.labels())
            gathered.add({"input": clean, **made} if "corrupted" not in made else {"input": clean, "corrupted": spoilt, **made})
            gathered.add_codes(task, clean, labels)
            if index < self.clips and track is not None:
                self._write_audio(folder / "audio" / track, task, moved, data.labels())
        self._draw(folder / "pictures", task, gathered, data.labels())
        return _scores(task, units, rows, linear)

    @torch.inference_mode()
    def leave_batches(self, task: ReconstructionTask, batches: Mapping[str, Any], labels: Sequence[str], folder: Path) -> None:
        """Pictures of what becomes of some data and of its codes, and audio where it is sound.

        Args:
            task: as it is now.
            batches: of the data set, by name.
            labels: of items, by their numbers.
            folder: of them all.
        """
        gathered = Gathered(self.examples)
        for index, (name, batch) in enumerate(batches.items()):
            moved = on_device(batch, task.device)
            clean, numbers = task.features.items(moved)
            spoilt = task.corrupt(clean, TEST + index)
            corrupted = {} if torch.equal(spoilt, clean) else {"corrupted": spoilt}
            gathered.add({"input": clean, **corrupted, "rebuilt": task.rebuild(spoilt)})
            gathered.add_codes(task, clean, numbers)
            if task.features.kind == "audio":
                self._write_audio(folder / name, task, moved, labels)
        if batches:
            self._draw(folder / "all", task, gathered, labels)

    def _write_audio(self, folder: Path, task: ReconstructionTask, batch: Any, labels: Sequence[str]) -> None:
        sample_rate = spectra_of(task).sample_rate
        folder.mkdir(parents=True, exist_ok=True)
        for label, source in zip(labels, batch.sources[0], strict=True):
            rebuilt = self.heard(task, source)
            gain = 1 / max(1.0, float(rebuilt.abs().max()))
            for name, samples in {"input": source, "rebuilt": rebuilt}.items():
                audio.write(folder / f"{label}-{name}.flac", (gain * samples).cpu().numpy(), sample_rate)

    def heard(self, task: ReconstructionTask, waveform: Tensor) -> Tensor:
        """A waveform rebuilt. Shape: [C, samples] -> the same."""
        features = spectra_of(task)
        magnitudes = features.magnitudes(rebuilt_spectrum(task, features.analyse(waveform[None])))
        samples = waveform.shape[-1]
        if self.phase == "griffin_lim":
            return griffin_lim(magnitudes, features.stft, samples, self.iterations, self.momentum)
        spectrum = features.stft(waveform)
        return features.stft.inverse(torch.polar(magnitudes, spectrum.angle()), samples)

    def _draw(self, folder: Path, task: ReconstructionTask, gathered: Gathered, labels: Sequence[str]) -> None:
        images = task.features.kind == "images"
        rows = {row: torch.stack(shown)[:, 0] for row, shown in gathered.rows.items()}
        pictures.rows(folder / "reconstructions.png", rows, "gray_r" if images else "magma")
        codes, numbers = torch.cat(gathered.codes), torch.cat(gathered.labels)
        some = torch.linspace(0, len(codes) - 1, min(len(codes), LARGEST_SCATTER)).long()
        plane, axes = flattened(codes[some])
        pictures.scatter(folder / "codes.png", plane, [labels[n] for n in numbers[some].tolist()], labels, axes)
        if isinstance(task.net, VariationalAutoencoder):
            drawn = torch.randn(
                SAMPLES * task.features.vectors_per_patch, task.net.code_size, generator=torch.Generator().manual_seed(0)
            )
            patches = task.features.patches(task.net.decode(drawn.to(task.device))).cpu()[:, 0]
            pictures.rows(folder / "samples.png", {"": patches[:12], " ": patches[12:]}, "gray_r" if images else "magma")


def spectra_of(task: ReconstructionTask) -> Spectra:
    """Return the features of an autoencoder that is trained on spectrograms.

    Args:
        task: the trained autoencoder.

    Returns:
        `task.features`.

    Raises:
        InputError: the autoencoder is trained on images.
    """
    if not isinstance(task.features, Spectra):
        raise InputError("features", "audio needs spectrograms", found=task.features.kind, expected="features=spectra")
    return task.features


def rebuilt_spectrum(task: ReconstructionTask, spectrum: Tensor) -> Tensor:
    """Of any length. Shape: [1, C, bins, T] -> [C, bins, T]."""
    features = spectra_of(task)
    return features.join(task.rebuild(features.cut(spectrum)), spectrum.shape[-1])


def on_device(batch: Any, device: torch.device) -> Any:
    """A batch, which is a named tuple, with its tensors moved."""
    return type(batch)(*(part.to(device) if isinstance(part, Tensor) else part for part in batch))


def is_corrupting(task: ReconstructionTask) -> bool:
    probe = torch.rand(1, *task.features.shape, device=task.device)
    return not torch.equal(task.corrupt(probe, TEST), probe)


def fitted_pca(task: ReconstructionTask, data: Data) -> PCA | None:
    """PCA of the training data with as many numbers for each vector as the code has; None where the network is one itself."""
    size = task.features.vector_size
    if isinstance(task.net, PCA) or size > LARGEST:
        return None
    share = task.net.code_size / (1 if task.net.takes == "vectors" else task.features.vectors_per_patch)
    linear = PCA(size, max(1, min(size, round(share)))).to(task.device)
    fit(linear, task.features, data.in_order("train"), lambda batch: on_device(batch, task.device))
    return linear


def flattened(codes: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """Codes as points of a plane, and the names of its axes: the code itself where it has two numbers, else its PCA."""
    if codes.shape[1] == 1:
        return torch.stack([codes[:, 0], torch.zeros(len(codes))], dim=1), ("code", "")
    if codes.shape[1] == 2:
        return codes, ("first number of the code", "second number")
    centred = codes - codes.mean(dim=0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    return (left * values)[:, :2], ("first principal component of the code", "second")


def _units(
    features: Features, track: str | None, clean: Tensor, made: Mapping[str, Tensor], labels: Tensor, names: Sequence[str]
) -> Iterable[Unit]:
    """One for each source of a track, one for each image."""
    groups = [labels == n for n in labels.unique()] if track is not None else [torch.tensor([i]) for i in range(len(labels))]
    for group in groups:
        label = names[int(labels[group][0])]
        yield Unit(
            track, label, features.vectors(clean[group]).cpu(),
            {row: features.vectors(patches[group]).cpu() for row, patches in made.items()},
        )  # fmt: skip


def _scores(task: ReconstructionTask, units: Sequence[Unit], rows: Sequence[str], linear: PCA | None) -> dict[str, Any]:
    found = {row: [unit.measures(row) for unit in units] for row in rows}
    images = task.features.kind == "images"
    names = ["images"] if images else sorted({unit.label for unit in units})
    summaries = {
        row: {
            name: {
                m: statistics_of([one[m] for one, unit in zip(all_, units, strict=True) if images or unit.label == name])
                for m in MEASURES
            }
            for name in names
        }
        for row, all_ in found.items()
    }
    tracks: dict[str, dict[str, Any]] = {}
    for unit, measures in zip(units, found["rebuilt"], strict=True):
        if unit.track is not None:
            tracks.setdefault(unit.track, {})[unit.label] = measures
    return {
        "protocol": {
            "name": "reconstruction",
            "vectors": f"{task.features.kind} of {task.features.vector_size} numbers",
            "corruption": repr(task.corruption),
            "pca_components": linear.code_size if linear else None,
        },
        "code_size": task.net.code_size,
        "summary": summaries.pop("rebuilt"),
        **summaries,
        "tracks": tracks,
        "versions": versions(),
    }


def report(scores: Mapping[str, Any], label: str) -> str:
    """Scores as a table."""
    corrupted, components = scores.get("corrupted"), scores["protocol"]["pca_components"]
    rows = {label: scores["summary"]}
    rows |= {f"PCA, {components} components": scores["pca"]} if "pca" in scores else {}
    rows |= {"the corrupted input": corrupted} if corrupted else {}
    lines = []
    for name in scores["summary"]:
        n = scores["summary"][name]["error"]["n"]
        lines.append(f"{f'{name} (mean of {n}, squared error of a vector)':<52}{'error':>10}{'SNR (dB)':>10}")
        for row, summary in rows.items():
            error, snr = (summary[name][measure]["mean"] for measure in MEASURES)
            lines.append(f"  {row:<50}{error:>10.3f}{'–' if snr is None else f'{snr:.2f}':>10}")
    return "\n".join(lines)
