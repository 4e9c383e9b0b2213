"""Score a separator on whole tracks, and leave something to hear and see."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from unbraid import audio, pictures
from unbraid.data.store import StoredTrack
from unbraid.dsp import STFT
from unbraid.errors import InputError
from unbraid.runs import versions, write_json
from unbraid.scoring.measures import MEASURES, score, summarise
from unbraid.scoring.oracles import ideal_ratio_mask
from unbraid.separators import Masking, Separator

Scores = dict[str, dict[str, float | None]]  # target: measure: value

Rows = dict[str, dict[str, Scores]]  # estimate, mixture or irm: track: scores


class Evaluation:
    """Separates every track whole, scores it beside the untouched mixture and the ideal ratio mask.

    Args:
        overlap: share of a chunk that is cross-faded with the next, in [0, 0.5].
        batch_size: chunks at once.
        clips: how many tracks, from the first on, leave audio and pictures.
    """

    def __init__(self, overlap: float, batch_size: int, clips: int) -> None:
        if not 0 <= overlap <= 0.5:
            raise InputError(f"overlap must lie in [0, 0.5], found {overlap}")
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, found {batch_size}")
        if clips < 0:
            raise InputError(f"clips must be at least 0, found {clips}")
        self.overlap, self.batch_size, self.clips = overlap, batch_size, clips

    def __call__(self, separator: Separator, tracks: Sequence[StoredTrack], targets: Tensor, folder: Path | None) -> Rows:
        """Score tracks, all of a data set or the share of one process.

        Args:
            separator: on the device where it shall run.
            tracks: to score.
            targets: weights over the tracks' sources [targets, sources].
            folder: where the first tracks leave audio and pictures; None: nowhere.
        """
        separator.eval()
        device = next(separator.parameters()).device
        stft = _stft(separator).to(device)
        rows: Rows = {"estimate": {}, "mixture": {}, "irm": {}}
        for number, track in enumerate(tqdm(tracks, "scoring", unit="track", leave=False, disable=folder is None)):
            samples = track.tensor().to(device)
            mixture, sources = samples[0], torch.einsum("sr,rcn->scn", targets.to(device), samples[1:])
            estimates = separator.separate(mixture, self.overlap, self.batch_size)
            if not estimates.isfinite().all():
                raise InputError(f"{track.name}: the estimates are not numbers; training diverged, try a lower learning rate")
            candidates = {
                "estimate": estimates,
                "mixture": mixture.expand_as(sources),
                "irm": ideal_ratio_mask(mixture, sources, stft),
            }
            for kind, candidate in candidates.items():
                rows[kind][track.name] = {
                    target: score(sources[s], candidate[s], mixture) for s, target in enumerate(separator.targets)
                }
            if folder is not None and number < self.clips:
                _write_audio(folder / "audio" / track.name, separator, mixture, sources, estimates)
                _draw(folder / "pictures", track.name, separator, stft, mixture, sources)
        return rows

    def record(self, separator: Separator, rows: Rows, checkpoint: str, folder: Path) -> dict[str, Any]:
        """Write `scores.json` into the run folder; `checkpoint` names the weights."""
        scores = {
            "protocol": self._protocol(separator, _stft(separator), rows["estimate"]),
            "checkpoint": checkpoint,
            "summary": _summary(rows["estimate"], separator.targets),
            "mixture": _summary(rows["mixture"], separator.targets),
            "oracle": {"irm": _summary(rows["irm"], separator.targets)},
            "tracks": rows["estimate"],
        }
        write_json(folder / "scores.json", scores)
        return scores

    def _protocol(self, separator: Separator, stft: STFT, tracks: dict[str, Scores]) -> dict[str, Any]:
        return {
            "name": "energy_ratios",
            "measures": {
                "uSDR": "10 log10 of reference energy over error energy, whole track, all channels",
                "SI-SDR": "the same after scaling the reference to the estimate, one scale for all channels",
                "i": "a measure minus the same measure of the untouched mixture",
            },
            "targets": separator.targets,
            "sample_rate": separator.sample_rate,
            "channels": separator.channels,
            "window": "whole track",
            "aggregation": "mean, median and standard deviation over the tracks where the measure is defined",
            "undefined": {
                target: {m: sum(track[target][m] is None for track in tracks.values()) / len(tracks) for m in MEASURES}
                for target in separator.targets
            },
            "irm": {"n_fft": stft.n_fft, "hop_length": stft.hop_length},
            "overlap": self.overlap,
            "versions": versions(),
        }


def merged(parts: Sequence[Rows], tracks: Sequence[StoredTrack]) -> Rows:
    """The scores of all processes, in the order of the tracks."""
    return {
        kind: {track.name: part[kind][track.name] for track in tracks for part in parts if track.name in part[kind]}
        for kind in parts[0]
    }


def _stft(separator: Separator) -> STFT:
    return separator.stft if isinstance(separator, Masking) else STFT(2048, 512)


def _summary(tracks: dict[str, Scores], targets: Sequence[str]) -> dict[str, Any]:
    return {target: summarise([track[target] for track in tracks.values()]) for target in targets}


def _write_audio(folder: Path, separator: Separator, mixture: Tensor, sources: Tensor, estimates: Tensor) -> None:
    """All files of a track share one gain, so that nothing clips and levels can be compared by ear."""
    files = {"mixture": mixture, "residual": mixture - estimates.sum(dim=0)}
    for s, target in enumerate(separator.targets):
        files |= {f"{target}-estimate": estimates[s], f"{target}-target": sources[s]}
    gain = 1 / max(1.0, *(float(samples.abs().max()) for samples in files.values()))
    folder.mkdir(parents=True, exist_ok=True)
    for name, samples in files.items():
        audio.write(folder / f"{name}.flac", (gain * samples).cpu().numpy(), separator.sample_rate)


@torch.inference_mode()
def _draw(folder: Path, name: str, separator: Separator, stft: STFT, mixture: Tensor, sources: Tensor) -> None:
    """One picture per target, of the chunk in which the target is loudest."""
    chunk = separator.chunk_samples
    for s, target in enumerate(separator.targets):
        energies = [float(piece.square().sum()) for piece in sources[s].split(chunk, dim=-1)]
        start = chunk * energies.index(max(energies))
        piece, truth = mixture[:, start : start + chunk], sources[s, :, start : start + chunk]
        length = piece.shape[-1]
        padded = torch.nn.functional.pad(piece, (0, chunk - length))
        estimate = separator(padded[None], mixture.abs().max()[None])
        masks = estimate.masks
        pictures.spectrograms(
            folder / f"{name}-{target}.png", f"{name}: {target}",
            {"mixture": piece, "estimate": estimate.sources[0, s, :, :length], "target": truth},
            None if masks is None else masks[0, s, ..., : stft.frames(length)].mean(dim=0),
            stft, separator.sample_rate,
        )  # fmt: skip


def table(scores: dict[str, Any], measures: Sequence[str] = tuple(MEASURES)) -> str:
    """Scores beside those of the mixture and of the ideal ratio mask, medians over tracks in dB."""
    rows = {"this run": scores["summary"], "mixture": scores["mixture"], "ideal ratio mask": scores["oracle"]["irm"]}
    columns = [column for measure in measures for column in (measure, f"{measure}i")]
    lines = []
    for target in scores["summary"]:
        count = scores["summary"][target][columns[0]]["n"]
        lines.append(f"{target + f' (median of {count} test tracks, dB)':<42}" + "".join(f"{c:>10}" for c in columns))
        for row, summary in rows.items():
            lines.append(f"  {row:<40}" + "".join(_cell(summary[target][column]["median"]) for column in columns))
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return f"{'undefined' if value is None else f'{value:.2f}':>10}"
