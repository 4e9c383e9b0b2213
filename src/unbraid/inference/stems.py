"""Separate one audio file and write its stems (separated sources) as audio files, all with the same gain.

The gain prevents clipping. It depends on the loudest sample of all stems, which is known only after the separation. The stems
are therefore first stored as floats in temporary files, in the output folder. The audio file is decoded and separated in
blocks, so the memory does not grow with the length of the file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from unbraid.audio import BLOCK, SUFFIXES, AudioInput, Bits, write_blocks, write_streams
from unbraid.inference.chunked import InferenceOptions, song_scale, streamed
from unbraid.inference.loading import Loaded
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_writes

MIXTURE, VOCALS, ACCOMPANIMENT, RESIDUAL = "mixture", "vocals", "accompaniment", "residual"
STEM_FILE = "stem.mp4"
USUAL_ORDER = (MIXTURE, "drums", "bass", "other", VOCALS)  # of the streams in stem files


@dataclass(frozen=True)
class OutputFormat:
    """Choose which stems of an audio file are written, and in which file format.

    Args:
        format: file suffix, such as `wav`, `flac` or `stem.mp4`. A `stem.mp4` file contains the mixture and all stems.
        bits: bits per sample of wav and flac files. 16 or 24: integers; 32: floats, allowed for wav only.
        residual: whether to write the residual, that is the mixture minus all sources.
        accompaniment: whether to write the accompaniment, that is the sum of all sources except the vocals.
        peaks: treatment of samples outside [-1, 1], which most formats cannot store. `scale`: all stems are divided by the
            largest absolute sample of all stems. `clip`: the samples are clipped.
        tags: whether title, artist and other tags are copied from the audio file to the stems.

    Raises:
        InputError: the format or the number of bits is invalid.
    """

    format: str
    bits: Bits
    residual: bool
    accompaniment: bool
    peaks: Literal["scale", "clip"]
    tags: bool

    def __post_init__(self) -> None:
        if self.format not in SUFFIXES:
            raise InputError("format", "unknown audio format", found=self.format, expected=f"one of {', '.join(SUFFIXES)}")
        if self.bits not in (16, 24, 32) or (self.bits == 32 and self.format == "flac"):
            hint = "32 bits are possible with format=wav only."
            problem = f"a {self.format} file cannot have this number of bits per sample"
            raise InputError("bits", problem, found=self.bits, expected="16 or 24", hint=hint)

    @property
    def together(self) -> bool:
        """True if one file contains all stems."""
        return self.format == STEM_FILE

    @property
    def unbounded(self) -> bool:
        """True if the format can store samples outside [-1, 1]."""
        return self.format == "wav" and self.bits == 32

    def names(self, targets: Sequence[str]) -> list[str]:
        """Return the names of the stems that are written.

        Args:
            targets: names of the separator's sources.

        Returns:
            The names of the stems. For `stem.mp4`, the mixture is the first name, and the order of the names is the order of
            the streams in the file.

        Raises:
            InputError: two stems would have the same name, or `accompaniment` is True and no source has the name `vocals`.
        """
        more = [name for name, wanted in ((ACCOMPANIMENT, self.accompaniment), (RESIDUAL, self.residual)) if wanted]
        for name in more:
            if name in targets:
                problem = f"the model already has a target with the name {name}, so two stems would have this name"
                raise InputError(f"{name}=true", problem, hint=f"Remove {name}=true")
        if self.accompaniment and VOCALS not in targets:
            problem, expected = "the model does not separate the vocals", "a target with the name vocals"
            raise InputError("accompaniment=true", problem, found=", ".join(targets), expected=expected)
        if not self.together:
            return [*targets, *more]
        usual = [name for name in USUAL_ORDER if name in targets]
        return [MIXTURE, *usual, *(name for name in targets if name not in usual), *more]

    def stems(self, mixture: np.ndarray, sources: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Compute all stems from the mixture and the separated sources. Residual and accompaniment are always included.

        Args:
            mixture: block of the mixture.
            sources: dictionary from the name of each source to its block, at the same position in time as the mixture block.

        Shape:
            mixture [C, n], each source [C, n] -> each stem [C, n]; C channels, n samples.

        Returns:
            Dictionary from the name of each stem to its block: the sources, the mixture, the residual and the accompaniment.
        """
        residual = mixture - np.sum([*sources.values()], axis=0)
        others = [source for name, source in sources.items() if name != VOCALS]
        accompaniment = np.sum(others, axis=0) if others else residual
        return {MIXTURE: mixture, RESIDUAL: residual, ACCOMPANIMENT: accompaniment, **sources}


class _StagedStems:
    """Store the stems of one song as floats in temporary files, one file per stem, until the common gain is known."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.paths = {name: folder / str(number) for number, name in enumerate(names)}
        self.channels, self.samples, self.peak = 0, 0, 0.0

    def fill(self, stretches: Iterator[dict[str, np.ndarray]], on_progress: Callable[[int], object]) -> None:
        """Append each block of the stems to the temporary files. Pass the number of new samples to `on_progress`."""
        with ExitStack() as stack:
            files = {name: stack.enter_context(path.open("wb")) for name, path in self.paths.items()}
            for stems in stretches:
                for name, file in files.items():
                    self.channels, new = stems[name].shape
                    if not np.isfinite(loudest := float(np.abs(stems[name]).max())):
                        hint = "The training may have diverged. If you have set precision=bf16, try precision=32."
                        raise InputError(name, "the model returned NaN or infinite samples for this stem", hint=hint)
                    self.peak = max(self.peak, loudest)
                    file.write(np.ascontiguousarray(stems[name].T, dtype=np.float32).data)
                self.samples += new
                on_progress(new)

    def blocks(self, name: str, gain: float) -> Iterator[np.ndarray]:
        """Read a stem from its temporary file. Yield its blocks [channels, samples], multiplied by `gain`."""
        with self.paths[name].open("rb") as file:
            while data := file.read(4 * self.channels * BLOCK):
                yield gain * np.frombuffer(data, np.float32).reshape(-1, self.channels).T


def write_stems(
    loaded: Loaded,
    source: AudioInput,
    outputs: Mapping[str, Path],
    output_format: OutputFormat,
    options: InferenceOptions,
    on_progress: Callable[[int, int], object],
    overwrite: bool = False,
) -> str | None:
    """Separate an audio file and write its stems. If an error occurs, no output file is written.

    An InputError is raised if the audio file cannot be decoded, if the model returns NaN, or if a stem cannot be written.

    Args:
        loaded: separator.
        source: audio file to separate, or one audio stream of a file with several audio streams.
        outputs: dictionary from the name of each stem to the path of its output file. For `stem.mp4`, all paths are equal.
        output_format: names of the stems and format of the output files.
        options: chunk length, overlap and other options of the separation.
        on_progress: function with two arguments: the sample rate in Hz, and the number of newly separated samples.
        overwrite: whether existing output files are replaced.

    Returns:
        A warning for the user, for example that all stems were made quieter; None if nothing needs a warning.
    """
    folder = next(iter(outputs.values())).parent
    with _folder(folder), TemporaryDirectory(prefix=".partial-", dir=folder) as temporary:
        staged = _StagedStems(Path(temporary), [*outputs])
        scale = None
        if loaded.model.normalisation == "song":
            with source.open() as blocks:
                scale = song_scale(loaded.model, blocks, blocks.rate)
        with source.open() as blocks:
            rate, tags = blocks.rate, blocks.tags if output_format.tags else {}
            stretches = streamed(loaded.model, blocks, rate, options, loaded.device, scale)
            named = ((mixture, dict(zip(loaded.targets, sources, strict=True))) for mixture, sources in stretches)
            staged.fill((output_format.stems(*stretch) for stretch in named), lambda samples: on_progress(rate, samples))
        gain = 1 / staged.peak if staged.peak > 1 and output_format.peaks == "scale" and not output_format.unbounded else 1.0
        _write(staged, outputs, rate, gain, output_format, tags, new=not overwrite)
    messages = [*blocks.messages]
    if gain < 1:
        messages.append(f"the loudest stem would be clipped, so all stems are {-20 * np.log10(gain):.1f} dB quieter")
    return f"{source.path}: {'; '.join(messages)}" if messages else None


def _write(
    staged: _StagedStems,
    outputs: Mapping[str, Path],
    rate: int,
    gain: float,
    output_format: OutputFormat,
    tags: dict[str, str],
    new: bool,
) -> None:
    paths = [*dict.fromkeys(outputs.values())]
    with atomic_writes(paths, new) as temporary:
        partials = dict(zip(paths, temporary, strict=True))
        if output_format.together:
            streams = [staged.blocks(name, gain) for name in outputs]
            write_streams(temporary[0], streams, [*outputs], rate, staged.channels, tags)
        else:
            for name, path in outputs.items():
                stem_tags = tags | ({"title": f"{tags['title']} ({name})"} if "title" in tags else {})
                blocks = staged.blocks(name, gain)
                write_blocks(partials[path], blocks, rate, staged.channels, staged.samples, output_format.bits, stem_tags)


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Create a folder and its missing parents for a `with` block.

    If the block fails, the created folders are removed, unless they contain files.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in new:
            if not any(path.iterdir()):
                path.rmdir()
        raise
