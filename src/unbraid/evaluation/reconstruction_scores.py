"""Measure the errors of reconstructed test data: squared error and signal-to-noise ratio of feature vectors."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unbraid.models.features import Features
from unbraid.runs.source_version import versions
from unbraid.scoring.tables import interval_lines, statistics_of
from unbraid.tasks.reconstruction import ReconstructionTask

MEASURES = ("error", "SNR")


@dataclass
class Unit:
    """Store feature vectors: for audio, all vectors of one source in one track; for images, the vector of one image.

    A feature vector is one spectrogram frame, or all pixels of an image.

    Args:
        track: name of the track; None for images.
        label: name of the source, or class of the image.
        clean: true vectors [M, D]: M vectors of D values.
        versions: dictionary from the name of a version (`rebuilt`, `pca` or `corrupted`) to its vectors [M, D]. These vectors
            are compared with the true vectors.
    """

    track: str | None
    label: str
    clean: Tensor
    versions: Mapping[str, Tensor]

    def measures(self, row: str) -> dict[str, float | None]:
        """Compute the error and the signal-to-noise ratio of one version of the vectors. The true vectors are the reference.

        Args:
            row: name of the version: `rebuilt`, `pca` or `corrupted`.

        Returns:
            `error`: squared error of a vector, averaged over all vectors. `SNR`: signal-to-noise ratio in dB; None if all true
            vectors are 0.
        """
        clean = self.clean.double()
        error = (self.versions[row].double() - clean).square().sum()
        signal = float(clean.square().sum())
        snr = 10 * math.log10(signal / max(float(error), signal * 1e-12)) if signal else None
        return {"error": float(error) / len(clean), "SNR": snr}


def units_of(
    features: Features, track: str | None, clean: Tensor, patches: Mapping[str, Tensor], labels: Tensor, names: Sequence[str]
) -> Iterator[Unit]:
    """Divide the patches of a batch into units. For audio, a `Unit` is one source of the track; for images, one image.

    Args:
        features: features of the autoencoder, which convert patches to vectors.
        track: name of the track; None for images.
        clean: true patches of the batch.
        patches: dictionary from the name of a version (`rebuilt`, `pca` or `corrupted`) to the patches of this version.
        labels: label of each patch. A label is the index of a class (images) or of a source (audio).
        names: names of the classes (images) or of the sources (audio). Class or source n has the name at index n.

    Yields:
        One `Unit` for each source or image, with its vectors.

    Shape:
        clean [N, C, H, W] for N patches of C channels, patches [N, C, H, W] each, labels [N].
    """
    groups = [labels == n for n in labels.unique()] if track is not None else [torch.tensor([i]) for i in range(len(labels))]
    for group in groups:
        label = names[int(labels[group][0])]
        yield Unit(
            track, label, features.vectors(clean[group]).cpu(),
            {row: features.vectors(version[group]).cpu() for row, version in patches.items()},
        )  # fmt: skip


def scores_of(
    task: ReconstructionTask, units: Sequence[Unit], rows: Sequence[str], pca_components: int | None
) -> dict[str, Any]:
    """Compute the content of `scores.json` from the reconstructed test data.

    Args:
        task: tested autoencoder.
        units: all units of the test data. For audio, a `Unit` is one source of one track; for images, one image.
        rows: names of the versions that are scored. Possible versions: `rebuilt`, `pca` and `corrupted`.
        pca_components: number of components of the PCA; None for a test without PCA.

    Returns:
        Dictionary with the statistics of the errors of each version, and the errors of each track.
    """
    measured = {row: [unit.measures(row) for unit in units] for row in rows}
    images = task.features.kind == "images"
    names = ["images"] if images else sorted({unit.label for unit in units})
    members = {name: [n for n, unit in enumerate(units) if images or unit.label == name] for name in names}
    summaries = {
        row: {name: {m: statistics_of([values[n][m] for n in members[name]]) for m in MEASURES} for name in names}
        for row, values in measured.items()
    }
    tracks: dict[str, dict[str, Any]] = {}
    for unit, measures in zip(units, measured["rebuilt"], strict=True):
        if unit.track is not None:
            tracks.setdefault(unit.track, {})[unit.label] = measures
    return {
        "protocol": {
            "name": "reconstruction",
            "vectors": f"{task.features.kind} of {task.features.vector_size} numbers",
            "corruption": repr(task.corruption),
            "pca_components": pca_components,
        },
        "code_size": task.net.code_size,
        "summary": summaries.pop("rebuilt"),
        **summaries,
        "tracks": tracks,
        "versions": versions(),
    }


def report(scores: Mapping[str, Any], label: str) -> str:
    """Format a table with the errors of an autoencoder and of its baselines (PCA and the corrupted input).

    Args:
        scores: content of `scores.json`.
        label: label of the autoencoder's row.

    Returns:
        Table as text.
    """
    corrupted, components = scores.get("corrupted"), scores["protocol"]["pca_components"]
    rows = {label: scores["summary"]}
    rows |= {f"PCA, {components} components": scores["pca"]} if "pca" in scores else {}
    rows |= {"the corrupted input": corrupted} if corrupted else {}
    lines = []
    item = "an image" if scores["protocol"]["vectors"].startswith("images") else "a frame"
    for name in scores["summary"]:
        n = scores["summary"][name]["error"]["n"]
        lines.append(f"{f'{name} (mean of {n}, squared error of {item})':<52}{'error':>10}{'SNR (dB)':>10}")
        for row, summary in rows.items():
            error, snr = (summary[name][measure]["mean"] for measure in MEASURES)
            lines.append(f"  {row:<50}{error:>10.3f}{'–' if snr is None else f'{snr:.2f}':>10}")
            lines += interval_lines(summary[name], MEASURES, 52, 10, 3) if row == label else []
    return "\n".join(lines)
