"""One audio file taken apart into files: decoded, separated and staged as it comes, then written with one gain for all.

Only when all is separated is it known how loud the loudest stem is. So stems wait on the disk as floats, below the folder that
they will be in, and nothing is held in memory.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np

from unbraid.audio import BLOCK, SUFFIXES, AudioInput, Bits, write_blocks, write_streams
from unbraid.inference.chunked import InferenceOptions, streamed
from unbraid.inference.loading import Loaded
from unbraid.runs.errors import InputError
from unbraid.runs.files import atomic_write

MIXTURE, VOCALS, ACCOMPANIMENT, RESIDUAL = "mixture", "vocals", "accompaniment", "residual"
STEM_FILE = "stem.mp4"
USUAL_ORDER = (MIXTURE, "drums", "bass", "other", VOCALS)  # of the streams of stem files


@dataclass(frozen=True)
class OutputFormat:
    """What is written.

    Args:
        format: one of `SUFFIXES`; `stem.mp4` has all stems in one file, the mixture first.
        bits: of a sample of wav and flac; 32: floats, in wav.
        residual: what the sources leave of the mixture, too.
        accompaniment: the sum of all that is not vocals, too.
        peaks: louder than the format can hold: `scale`: all stems of a file are made quieter; `clip`: they are clipped.
        tags: title, artist and so on are copied.
    """

    format: str
    bits: Bits
    residual: bool
    accompaniment: bool
    peaks: Literal["scale", "clip"]
    tags: bool

    def __post_init__(self) -> None:
        if self.format not in SUFFIXES:
            raise InputError(f"format={self.format}: expected one of {', '.join(SUFFIXES)}")
        if self.bits not in (16, 24, 32) or (self.bits == 32 and self.format == "flac"):
            raise InputError(f"bits={self.bits}: expected 16 or 24, or 32 of wav")

    @property
    def together(self) -> bool:
        """In one file."""
        return self.format == STEM_FILE

    @property
    def unbounded(self) -> bool:
        """Samples may lie outside [-1, 1]."""
        return self.format == "wav" and self.bits == 32

    def names(self, targets: Sequence[str]) -> list[str]:
        """Of the stems of a model with these targets; InputError where one of them would have two meanings."""
        more = [name for name, wanted in ((ACCOMPANIMENT, self.accompaniment), (RESIDUAL, self.residual)) if wanted]
        for name in more:
            if name in targets:
                raise InputError(f"{name}=true: the model has a target of that name already")
        if self.accompaniment and VOCALS not in targets:
            raise InputError(f"accompaniment=true: is all but vocals, and the model's targets are {', '.join(targets)}")
        if not self.together:
            return [*targets, *more]
        usual = [name for name in USUAL_ORDER if name in targets]
        return [MIXTURE, *usual, *(name for name in targets if name not in usual), *more]

    def stems(self, mixture: np.ndarray, sources: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All that may be asked for by name. Shape: [C, n], [C, n] each -> [C, n] each."""
        residual = mixture - np.sum([*sources.values()], axis=0)
        others = [source for name, source in sources.items() if name != VOCALS]
        rest = np.sum(others, axis=0) if others else residual
        return {MIXTURE: mixture, RESIDUAL: residual, ACCOMPANIMENT: rest, **sources}


class _Staged:
    """Stems on the disk, as floats."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.paths = {name: folder / str(number) for number, name in enumerate(names)}
        self.channels, self.samples, self.peak = 0, 0, 0.0

    def fill(self, stretches: Iterator[dict[str, np.ndarray]], heard: Callable[[int], None]) -> None:
        """`heard` is told how many samples more have come."""
        with ExitStack() as stack:
            files = {name: stack.enter_context(path.open("wb")) for name, path in self.paths.items()}
            for stems in stretches:
                for name, file in files.items():
                    self.channels, new = stems[name].shape
                    if not np.isfinite(loudest := float(np.abs(stems[name]).max())):
                        raise InputError(f"{name}: the estimates are not numbers; training diverged, or precision is too low")
                    self.peak = max(self.peak, loudest)
                    file.write(np.ascontiguousarray(stems[name].T, dtype=np.float32).data)
                self.samples += new
                heard(new)

    def blocks(self, name: str, gain: float) -> Iterator[np.ndarray]:
        """Shape: [C, n] each."""
        with self.paths[name].open("rb") as file:
            while data := file.read(4 * self.channels * BLOCK):
                yield gain * np.frombuffer(data, np.float32).reshape(-1, self.channels).T


def write_stems(
    loaded: Loaded,
    source: AudioInput,
    outputs: Mapping[str, Path],
    output_format: OutputFormat,
    options: InferenceOptions,
    heard: Callable[[int, int], None],
    overwrite: bool = False,
) -> str | None:
    """Take a file apart.

    Args:
        loaded: by what.
        source: the audio stream to separate.
        outputs: where the stems go, by name; of a stem file the same place for all. Written whole or not at all.
        output_format: what is written.
        options: how it is separated.
        heard: is told the rate in Hz, and how many samples more are done.
        overwrite: files that are there already are replaced.

    Returns:
        What the user should know of it.

    Raises:
        InputError: see `unbraid.audio`.
    """
    folder = next(iter(outputs.values())).parent
    with _made(folder), TemporaryDirectory(prefix=".partial-", dir=folder) as place:
        staged = _Staged(Path(place), [*outputs])
        with source.open() as blocks:
            rate, tags = blocks.rate, blocks.tags if output_format.tags else {}
            stretches = streamed(loaded.model, blocks, rate, options, loaded.device)
            named = ((mixture, dict(zip(loaded.targets, sources, strict=True))) for mixture, sources in stretches)
            staged.fill((output_format.stems(*stretch) for stretch in named), lambda samples: heard(rate, samples))
        gain = 1 / staged.peak if staged.peak > 1 and output_format.peaks == "scale" and not output_format.unbounded else 1.0
        _write(staged, outputs, rate, gain, output_format, tags, new=not overwrite)
    return _message(source.path, blocks.messages, gain)


def _write(
    staged: _Staged,
    outputs: Mapping[str, Path],
    rate: int,
    gain: float,
    output_format: OutputFormat,
    tags: dict[str, str],
    new: bool,
) -> None:
    with ExitStack() as stack:
        partials = {target: stack.enter_context(atomic_write(target, new)) for target in dict.fromkeys(outputs.values())}
        if output_format.together:
            (partial,) = partials.values()
            streams = [staged.blocks(name, gain) for name in outputs]
            write_streams(partial, streams, [*outputs], rate, staged.channels, tags)
        else:
            for name, target in outputs.items():
                of_stem = tags | ({"title": f"{tags['title']} ({name})"} if "title" in tags else {})
                blocks = staged.blocks(name, gain)
                write_blocks(partials[target], blocks, rate, staged.channels, staged.samples, output_format.bits, of_stem)


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """A folder that is there; where the block fails, what was made of it is removed again."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in new:
            if not any(path.iterdir()):
                path.rmdir()
        raise


def _message(path: Path, of_reader: Sequence[str], gain: float) -> str | None:
    messages = [*of_reader]
    if gain < 1:
        messages.append(f"its loudest stem would be clipped; all its stems are {-20 * np.log10(gain):.1f} dB quieter")
    return f"{path}: {'; '.join(messages)}" if messages else None
