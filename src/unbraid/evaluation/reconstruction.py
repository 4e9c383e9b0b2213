"""Test autoencoders: measure the errors of reconstructed test data, and write pictures and audio.

The baseline is a principal component analysis (PCA), which also reconstructs the test data.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from unbraid import audio
from unbraid.dsp.stft import griffin_lim
from unbraid.evaluation import pictures
from unbraid.evaluation.reconstruction_scores import Unit, scores_of, units_of
from unbraid.models.features import Spectra
from unbraid.nets.autoencoders import VariationalAutoencoder
from unbraid.nets.pca import LARGEST, PCA
from unbraid.runs.errors import InputError
from unbraid.tasks.reconstruction import ReconstructionTask, fit

TEST = 2**31 + 2**30  # first step number of the corruption of test data, see ReconstructionTask.corrupt
LARGEST_SCATTER = 1000  # largest number of points in a picture of codes
SAMPLES = 24  # number of patches that are drawn from a variational autoencoder


class Data(Protocol):
    """Interface of a data set with which an autoencoder can be tested."""

    def in_order(self, split: Literal["train", "valid", "test"]) -> DataLoader[Any]:
        """Return a loader of all batches of a split. The order of the batches is the same at each call."""

    def labels(self) -> list[str]:
        """Return the names of the classes (images) or of the sources (audio). Class or source n has the name at index n."""


@dataclass
class Gathered:
    """Collect the patches and the codes for the pictures of a test. A patch is an image or a part of a spectrogram.

    Args:
        columns: largest number of patches in a row of a picture.
        rows: dictionary from the name of each row, such as `original` or `rebuilt`, to the patches in this row.
        codes: codes of all patches, one tensor per batch.
        labels: label of each code, one tensor per batch. A label is the index of a class (images) or of a source (audio).
    """

    columns: int
    rows: dict[str, list[Tensor]] = field(default_factory=dict)
    codes: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)

    def add(self, versions: Mapping[str, Tensor]) -> None:
        """Append patches to the rows of the picture. Each row keeps at most `columns` patches.

        `versions` is a dictionary from the name of each row to its new patches.
        """
        for row, patches in versions.items():
            first = self.rows.setdefault(row, [])
            first.extend(patches[: max(0, self.columns - len(first))].cpu())

    def add_codes(self, task: ReconstructionTask, clean: Tensor, labels: Tensor) -> None:
        """Encode clean patches, and store the codes and the labels of the patches.

        Args:
            task: autoencoder.
            clean: clean patches, [N, C, H, W].
            labels: label of each patch, [N]. A label is the index of a class (images) or of a source (audio).
        """
        code = task.net.encode(task.as_items(clean)).flatten(start_dim=1)
        self.codes.append(code.cpu())
        self.labels.append(labels.repeat_interleave(len(code) // len(labels)).cpu())


class Reconstructions:
    """Test an autoencoder by the errors of its reconstructions, and write pictures and audio of the reconstructions.

    Sources of the phase estimation: Griffin & Lim, IEEE Trans. ASSP 1984; Perraudin, Balazs & Søndergaard, WASPAA 2013
    (momentum).

    Args:
        examples: number of spectrogram patches or images that a picture shows, at least 1.
        clips: number of tracks whose audio is written. The first tracks are used.
        phase: origin of the phase of the written audio; the autoencoder reconstructs only magnitudes. `input`: the phase of the
            input is used; `griffin_lim`: the phase is estimated from the reconstructed magnitudes.
        iterations: number of Griffin-Lim iterations, at least 1.
        momentum: momentum of Griffin-Lim, in [0, 1).

    Raises:
        InputError: a value is out of range.
    """

    def __init__(
        self, examples: int, clips: int, phase: Literal["input", "griffin_lim"], iterations: int, momentum: float
    ) -> None:
        for name, value, least in (("examples", examples, 1), ("clips", clips, 0), ("iterations", iterations, 1)):
            if value < least:
                raise InputError(name, found=value, expected=f"at least {least}")
        if not 0 <= momentum < 1:
            raise InputError("momentum", found=momentum, expected="a number in [0, 1)")
        self.examples, self.clips, self.phase = examples, clips, phase
        self.iterations, self.momentum = iterations, momentum

    @torch.inference_mode()
    def scores(
        self, task: ReconstructionTask, data: Data, folder: Path, limit: Callable[[Sequence[Any]], Sequence[Any]]
    ) -> dict[str, Any]:
        """Reconstruct the test data, measure the errors, and write pictures and audio.

        Args:
            task: autoencoder with the weights to test.
            data: data set.
            folder: run folder.
            limit: function from a list of all test batches to the list of the batches to use, see `trainer.limit_test_batches`.

        Returns:
            Content of `scores.json`.

        Raises:
            InputError: the reconstructions contain NaN or infinite values.
        """
        linear = fitted_pca(task, data)
        rows = ["rebuilt", *(["pca"] if linear else []), *(["corrupted"] if is_corrupting(task) else [])]
        units: list[Unit] = []
        gathered = Gathered(self.examples)
        loader: Any = data.in_order("test")
        names = [track.name for track in getattr(loader.dataset, "tracks", ())]
        count = len(limit(range(len(loader))))
        for index, batch in enumerate(tqdm(islice(loader, count), "testing", total=count, leave=False, disable=None)):
            moved = on_device(batch, task.device)
            clean, labels = task.features.items(moved)
            corrupted = task.corrupt(clean, TEST + index)
            patches = {"rebuilt": task.rebuild(corrupted), "corrupted": corrupted}
            if not patches["rebuilt"].isfinite().all():
                problem, hint = (
                    "reconstructions contain NaN or infinite values",
                    "Training has diverged. A lower optim.optimizer.lr may help.",
                )
                raise InputError("test data", problem, hint=hint)
            if linear:
                patches["pca"] = task.features.patches(linear(task.features.vectors(corrupted)))
            patches = {row: patches[row] for row in rows}
            track = names[index] if names else None
            units += units_of(task.features, track, clean, patches, labels, data.labels())
            first = {"original": clean, "corrupted": corrupted} if "corrupted" in patches else {"original": clean}
            gathered.add(first | patches)
            gathered.add_codes(task, clean, labels)
            if index < self.clips and track is not None:
                self._write_audio(folder / "audio" / track, task, moved, data.labels())
        self._draw(folder / "pictures", task, gathered, data.labels())
        return scores_of(task, units, rows, linear.code_size if linear else None)

    @torch.inference_mode()
    def leave_batches(self, task: ReconstructionTask, batches: Mapping[str, Any], labels: Sequence[str], folder: Path) -> None:
        """Reconstruct batches of data, and write pictures of reconstructions and codes. For audio, also write the sound.

        Args:
            task: autoencoder with its current weights.
            batches: dictionary from the name of each batch to the batch.
            labels: names of the classes (images) or of the sources (audio). Class or source n has the name at index n.
            folder: folder to which all files are written.
        """
        gathered = Gathered(self.examples)
        for index, (name, batch) in enumerate(batches.items()):
            moved = on_device(batch, task.device)
            clean, numbers = task.features.items(moved)
            corrupted = task.corrupt(clean, TEST + index)
            first = {"original": clean} if torch.equal(corrupted, clean) else {"original": clean, "corrupted": corrupted}
            gathered.add(first | {"rebuilt": task.rebuild(corrupted)})
            gathered.add_codes(task, clean, numbers)
            if task.features.kind == "audio":
                self._write_audio(folder / name, task, moved, labels)
        if batches:
            self._draw(folder / "all", task, gathered, labels)

    def _write_audio(self, folder: Path, task: ReconstructionTask, batch: Any, labels: Sequence[str]) -> None:
        sample_rate = spectra_of(task).sample_rate
        folder.mkdir(parents=True, exist_ok=True)
        for label, source in zip(labels, batch.sources[0], strict=True):
            rebuilt = self._waveform(task, source)
            gain = 1 / max(1.0, float(rebuilt.abs().max()))
            for name, samples in {"input": source, "rebuilt": rebuilt}.items():
                audio.write(folder / f"{label}-{name}.flac", (gain * samples).cpu().numpy(), sample_rate)

    def _waveform(self, task: ReconstructionTask, waveform: Tensor) -> Tensor:
        """Reconstruct a waveform with an autoencoder of spectrograms. Shape: [C, samples] -> [C, samples]."""
        features = spectra_of(task)
        magnitudes = features.magnitudes(rebuilt_spectrum(task, features.analyse(waveform[None])))
        samples = waveform.shape[-1]
        if self.phase == "griffin_lim":
            return griffin_lim(magnitudes, features.stft, samples, self.iterations, self.momentum)
        spectrum = features.stft(waveform)
        return features.stft.inverse(torch.polar(magnitudes, spectrum.angle()), samples)

    def _draw(self, folder: Path, task: ReconstructionTask, gathered: Gathered, labels: Sequence[str]) -> None:
        images = task.features.kind == "images"
        rows = {row.replace("pca", "PCA"): torch.stack(patches)[:, 0] for row, patches in gathered.rows.items()}
        look = ("gray_r", None) if images else ("magma", ("frame", "bin"))
        pictures.rows(folder / "reconstructions.png", rows, *look)
        codes, numbers = torch.cat(gathered.codes), torch.cat(gathered.labels)
        shown = torch.linspace(0, len(codes) - 1, min(len(codes), LARGEST_SCATTER)).long()
        points, axes = flattened(codes[shown])
        pictures.scatter(folder / "codes.png", points, [labels[n] for n in numbers[shown].tolist()], labels, axes)
        if isinstance(task.net, VariationalAutoencoder):
            drawn = torch.randn(
                SAMPLES * task.features.vectors_per_patch, task.net.code_size, generator=torch.Generator().manual_seed(0)
            )
            patches = task.features.patches(task.net.decode(drawn.to(task.device))).cpu()[:, 0]
            half = SAMPLES // 2  # the first row sets the colour scale
            samples = {f"samples 1-{half}": patches[:half], f"samples {half + 1}-{SAMPLES}": patches[half:]}
            pictures.rows(folder / "samples.png", {"test data": rows["original"][:half]} | samples, *look)


def spectra_of(task: ReconstructionTask) -> Spectra:
    """Return the `Spectra` of an autoencoder, the object that converts waveforms to spectrograms and back.

    Args:
        task: the trained autoencoder.

    Returns:
        The `Spectra`, the value of `task.features`.

    Raises:
        InputError: the autoencoder was trained on images.
    """
    if not isinstance(task.features, Spectra):
        problem = "to process audio, the autoencoder must have been trained on spectrograms"
        raise InputError("features", problem, found=task.features.kind, expected="features=spectra")
    return task.features


def rebuilt_spectrum(task: ReconstructionTask, spectrum: Tensor) -> Tensor:
    """Reconstruct a spectrogram of any length. The spectrogram is cut into patches, and the reconstructed patches are joined.

    Args:
        task: autoencoder of spectrograms.
        spectrum: spectrogram in the scale of the autoencoder's features, for example in a logarithmic scale.

    Returns:
        Reconstructed spectrogram in the same scale.

    Shape:
        [1, C, bins, frames] -> [C, bins, frames].
    """
    features = spectra_of(task)
    return features.join(task.rebuild(features.cut(spectrum)), spectrum.shape[-1])


def on_device(batch: Any, device: torch.device) -> Any:
    """Return a copy of a batch (a named tuple). The tensors of the copy are on the given device."""
    return type(batch)(*(part.to(device) if isinstance(part, Tensor) else part for part in batch))


def is_corrupting(task: ReconstructionTask) -> bool:
    """Return True if an autoencoder corrupts a random patch before it encodes the patch."""
    probe = torch.rand(1, *task.features.shape, device=task.device)
    return not torch.equal(task.corrupt(probe, TEST), probe)


def fitted_pca(task: ReconstructionTask, data: Data) -> PCA | None:
    """Fit a PCA to the vectors of the training data, as a baseline for an autoencoder.

    A vector is one spectrogram frame, or all pixels of an image. The PCA encodes a vector with as many numbers as the
    autoencoder does.

    Args:
        task: autoencoder that is compared with the PCA.
        data: data set of the run.

    Returns:
        The PCA; None if the model is itself a PCA, or if the vectors are too large for a PCA.
    """
    size = task.features.vector_size
    if isinstance(task.net, PCA) or size > LARGEST:
        return None
    share = task.net.code_size / (1 if task.net.takes == "vectors" else task.features.vectors_per_patch)
    linear = PCA(size, max(1, min(size, round(share)))).to(task.device)
    fit(linear, task.features, data.in_order("train"), lambda batch: on_device(batch, task.device))
    return linear


def flattened(codes: Tensor) -> tuple[Tensor, tuple[str, str]]:
    """Convert codes to points in a plane for a scatter plot. Codes of more than two values are projected by PCA.

    Args:
        codes: codes from the autoencoder.

    Returns:
        Points in the plane, and the names of both axes.

    Shape:
        codes [n, D] -> points [n, 2], for n codes of D values.
    """
    if codes.shape[1] == 1:
        return torch.stack([codes[:, 0], torch.zeros(len(codes))], dim=1), ("value of the code", "")
    if codes.shape[1] == 2:
        return codes, ("first value of the code", "second value of the code")
    centred = codes - codes.mean(dim=0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    return (left * values)[:, :2], ("first principal component of the code", "second principal component of the code")
