"""Train instruments (DDSP synthesizers), and measure how well they resynthesize the test tracks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from unbraid.data.controls import Controls, ControlsTable, Extraction, controls_of
from unbraid.data.module import MultitrackData
from unbraid.data.store import StoredTrack
from unbraid.data.tracks import Split
from unbraid.evaluation.resynthesis import Resyntheses, report, training_of
from unbraid.models.constant_spectrum import ConstantSpectrum
from unbraid.nets.layer_costs import layer_costs
from unbraid.runs.config import build
from unbraid.runs.errors import InputError
from unbraid.tasks.synthesis import SynthesisTask
from unbraid.training.base import THIS_RUN, Workflow, try_shortest
from unbraid.training.loggers import Media


class SynthesisWorkflow(Workflow):
    """Train an instrument (a DDSP synthesizer).

    The test resynthesizes the test tracks from their pitch and loudness, and measures the error of the resynthesis.
    """

    task: SynthesisTask
    data: MultitrackData
    features: Extraction
    resyntheses: Resyntheses
    controls: dict[Path, Controls]

    def prepare(self) -> None:
        """Check the config, decode the tracks, and measure pitch and loudness of the tracks.

        Raises:
            InputError: the data have more than one target, or the config has an augmentation or a remix of the tracks.
        """
        self.features = build(self.config.features)
        targets = self.data.targets
        if len(targets) != 1:
            raise InputError(
                "targets", "an instrument (DDSP) is trained on one target", found=", ".join(targets), expected="one target"
            )
        if self.data.augmentation or self.data.sampling.remix:
            problem = "an instrument cannot be trained on augmented or remixed tracks, because their pitch is unknown"
            raise InputError("augmentation", problem, hint="Set augmentation=none and data.sampling.remix=0.")
        self.resyntheses = build(self.config.evaluation)
        samples, hop_length = self.data.chunk_samples, self.features.hop_length

        def silent(length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            controls = torch.full((1, length // hop_length + 1), 100.0)
            return controls, -controls, torch.zeros(1, length)

        self.costs = layer_costs(self.task.net, lambda: self.task.net(*silent(samples)))
        try_shortest(self.data, lambda length: self.task.distance(*silent(length)))
        self.one_pass = f"a chunk of {self.data.chunk_seconds:.3g} s"
        self.prepare_tracks(self.data)
        self.data.check_known()
        folder, progress = self.data.cache_dir / "controls", self.trainer.is_global_zero
        of_tracks = controls_of(self.data.tracks, self.sources, self.features, folder, progress)
        self.controls = {track.entry: controls for track, controls in zip(self.data.tracks, of_tracks, strict=True)}
        self.data.add_side_info(self._controls_table)
        self.task.net.start_from(training_of([self.controls[t.entry] for t in self.data.split("train")], self.features))

    def _controls_table(self, tracks: Sequence[StoredTrack]) -> ControlsTable:
        return ControlsTable([self.controls[track.entry] for track in tracks], self.features.hop_length)

    @property
    def sources(self) -> list[str]:
        """Names of the sources whose sum is the target of the instrument."""
        (weights,) = self.data.target_weights()
        return [source for source, weight in zip(self.data.sources, weights, strict=True) if weight]

    def introduction(self) -> str:
        """Return a text about the instrument (size, target, pitch range and sample rate) and the data set."""
        pitch_range = self.task.net.training_range
        (target,) = self.data.targets
        return (
            f"model   {self.chosen['model']}: {self.size()}, {target} from MIDI pitch "
            f"{pitch_range.lowest:.0f} to {pitch_range.highest:.0f}, {self.features.sample_rate} Hz\n"
            f"{self.introduced_tracks(self.data)}"
        )

    def clips(self, media: Media) -> Callable[[Path], None]:
        """Return a function that resynthesizes validation clips with the current weights, and writes audio and pictures.

        Args:
            media: options with the number of clips and the length of a clip in seconds.

        Returns:
            Function with one argument, the folder to write to.
        """
        points = round(media.seconds * self.features.sample_rate / self.features.hop_length)
        named = zip((track.name for track in self.data.split("valid")), self._sounds("valid"), strict=True)
        clips = {
            name: (sound[: points * self.features.hop_length], Controls(*(curve[: points + 1] for curve in controls)))
            for name, (sound, controls) in islice(named, media.clips)
        }
        return partial(self.resyntheses.leave_clips, self.task.net, clips, self.features)

    def report(self, scores: Mapping[str, Any]) -> str:
        """Return a text table of the test errors: of the instrument, and of a baseline with constant spectra."""
        return report(scores, THIS_RUN)

    def test(self) -> dict[str, Any]:
        """Resynthesize the test tracks with the weights of `best.ckpt`. Only the first process of the run does so.

        Returns:
            Content of `scores.json` in the first process, an empty dictionary in the other processes.
        """
        weights, _ = self.best_weights(self.task)
        if not self.trainer.is_global_zero:
            return {}
        net, loss = self.task.net.cpu().eval(), self.task.loss.cpu()
        constant = ConstantSpectrum.of(self._sounds("train"), net.harmonics, net.bands, self.features, loss)
        named = zip((track.name for track in self.limited(self.data.split("test"))), self._sounds("test"), strict=False)
        tracks = ((name, sound, controls) for name, (sound, controls) in tqdm(named, "testing", leave=False, disable=None))
        (target,) = self.data.targets
        scores = self.resyntheses.scores(net, loss, self.features, constant, tracks, target, self.folder)
        return scores | {"checkpoint": weights}

    def _sounds(self, split: Split) -> Iterator[tuple[torch.Tensor, Controls]]:
        """Yield a pair for each track of a split: waveform of the target [samples], and its controls (pitch and loudness)."""
        for track in self.data.split(split):
            yield track.tensor(self.sources).sum(dim=0)[0], self.controls[track.entry]
