"""Match file names against patterns, and assign the audio files of a track to its sources.

In a pattern, `*` matches any text and `?` matches one character. All other characters, also brackets, match themselves. Upper
and lower case are equal. A pattern with a `/` is compared with the path below the track's folder. A pattern without a `/` is
compared with the file name. The suffix of a file is optional in a pattern: `*vox` and `*vox.wav` both match `lead vox.wav`.
A pattern without a dot is only compared with the name without suffix: `*ac*` does not match `lead.flac`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unbraid.data.layouts.folders import normalised
from unbraid.data.layouts.metadata import read_metadata
from unbraid.runs.errors import InputError, unknown

CATCH_ALL = "*"
EXCLUDES = "!"
Patterns = Mapping[str, list[str] | str]
# Parts of file names that usually identify a source, for a proposal.
PARTS_OF_NAMES = {
    "vocals": ("vox", "voc", "sing"), "drums": ("drum", "kick", "snare", "overhead", "perc"), "bass": ("bass",),
    "mixture": ("mix", "master"),
}  # fmt: skip


class Pattern:
    """Match a file name or a path against one pattern.

    Args:
        text: pattern as the user typed it, such as `*vox*` or `vocals/*`.
    """

    def __init__(self, text: str) -> None:
        self.text, self.whole_path = text, "/" in text
        wildcards = {"*": "(.*)", "?": "."}
        parts = re.split(r"([*?])", normalised(text))
        self.regex = re.compile("".join(wildcards.get(part) or re.escape(part) for part in parts), re.IGNORECASE | re.DOTALL)

    def match(self, path: Path, below: Path) -> re.Match[str] | None:
        """Match a file against this pattern. Return None if the pattern does not match the file.

        Args:
            path: path of the file.
            below: folder that contains the file, directly or in a subfolder. A pattern with a `/` is compared with the path
                relative to this folder.

        Returns:
            A regular expression match, with one group for each `*` of the pattern.
        """
        inner = path.relative_to(below)
        names = (inner.with_suffix(""), inner) if self.whole_path else (inner.stem, inner.name)
        candidates = names if "." in self.text else names[:1]
        matches = (self.regex.fullmatch(normalised(Path(text).as_posix())) for text in candidates)
        return next((match for match in matches if match), None)


@dataclass(frozen=True)
class Assignment:
    """Result of the assignment of the files of one track to sources.

    Args:
        files: sorted files of each source.
        unmatched: files that match none of the patterns.
        ambiguous: files that match patterns of several sources. Each file is mapped to a dictionary from source to the pattern
            that matches the file.
    """

    files: Mapping[str, tuple[Path, ...]]
    unmatched: Sequence[Path]
    ambiguous: Mapping[Path, Mapping[str, str]]


class SourcePatterns:
    """Assign the files of a track to sources by patterns.

    Args:
        patterns: patterns of each source. A pattern that begins with `!` excludes the matching files from the source. The
            pattern `*` matches the files that do not match any other pattern.

    Raises:
        InputError: a source has only excluding patterns, or two sources have the pattern `*`.
    """

    def __init__(self, patterns: Patterns) -> None:
        self.names = sorted(patterns)
        texts = {name: [value] if isinstance(value, str) else value for name, value in patterns.items()}
        for name, source_texts in texts.items():
            if all(text.startswith(EXCLUDES) for text in source_texts):
                expected = "at least one pattern without '!', such as '*vox*'"
                raise InputError(
                    f"sources.{name}",
                    "all patterns of the source begin with '!', so they only exclude files",
                    found=source_texts,
                    expected=expected,
                )
        catch_all = [name for name in self.names if CATCH_ALL in texts[name]]
        if len(catch_all) > 1:
            expected = "one source with this pattern"
            raise InputError(
                "sources", f"several sources have the pattern '{CATCH_ALL}'", found=" and ".join(catch_all), expected=expected
            )
        self.catch_all = catch_all[0] if catch_all else None
        self.included = {
            name: [Pattern(text) for text in texts[name] if not text.startswith(EXCLUDES) and text != CATCH_ALL]
            for name in self.names
        }
        self.excluded = {
            name: [Pattern(text.removeprefix(EXCLUDES)) for text in texts[name] if text.startswith(EXCLUDES)]
            for name in self.names
        }

    def assign(self, files: Iterable[Path], folder: Path) -> Assignment:
        """Assign the audio files of a track to sources.

        Args:
            files: audio files of the track.
            folder: folder of the track.

        Returns:
            The files by source, and the files that match no source or several sources.
        """
        assigned: dict[str, list[Path]] = {name: [] for name in self.names}
        unmatched: list[Path] = []
        ambiguous: dict[Path, dict[str, str]] = {}
        for path in sorted(files):
            matches = self._matching_sources(path, folder)
            if len(matches) > 1:
                ambiguous[path] = matches
            elif matches:
                assigned[next(iter(matches))].append(path)
            else:
                unmatched.append(path)
        return Assignment({name: tuple(paths) for name, paths in assigned.items()}, unmatched, ambiguous)

    def _matching_sources(self, path: Path, folder: Path) -> dict[str, str]:
        """Find the sources whose patterns match a file. Return a dictionary from source to the first matching pattern."""
        allowed = [name for name in self.names if not any(pattern.match(path, folder) for pattern in self.excluded[name])]
        texts = {name: [pattern.text for pattern in self.included[name] if pattern.match(path, folder)] for name in allowed}
        matches = {name: matching[0] for name, matching in texts.items() if matching}
        return matches or ({self.catch_all: CATCH_ALL} if self.catch_all in allowed and self.catch_all else {})


def proposed(names: Sequence[str]) -> str:
    """Propose patterns of sources for irregular file names.

    Args:
        names: names of the files without suffix.

    Returns:
        The value of `data.layout.sources`, such as `{vocals:['*vox*'],other:['*']}`. It contains only words that occur in
        `names`. The text is empty if fewer than two sources have such a word.
    """
    folded = [normalised(name).casefold() for name in names]
    words = {
        source: [part for part in parts if any(part in name for name in folded)] for source, parts in PARTS_OF_NAMES.items()
    }
    if sum(bool(parts) for source, parts in words.items() if source != "mixture") < 2:
        return ""
    texts = {source: ",".join(f"'*{part}*'" for part in parts) for source, parts in words.items() if parts}
    return f"{{{','.join(f'{source}:[{text}]' for source, text in texts.items())},other:['{CATCH_ALL}']}}"


def read_patterns(file: Path) -> Patterns:
    """Read the file name patterns of each source from a yaml file, at the top of the file or below the key `sources`.

    Args:
        file: path of the yaml file.

    Returns:
        The patterns by source.

    Raises:
        InputError: the file is missing, is not yaml, or contains other values than patterns.
    """
    if not file.exists():
        files = sorted(path.name for path in file.parent.glob("*.y*ml"))
        problem, expected = "the pattern file is missing", "a yaml file with file name patterns for each source"
        raise InputError(file, problem, expected=expected, hint=unknown(file.name, files) if files else "")
    try:
        tree = read_metadata(file).tree
    except InputError as error:
        if error.__cause__ is None:  # valid yaml, but not a mapping
            raise
        hint = 'Put patterns with * in quotes, such as ["*vox*"]'
        raise InputError(error.where, error.problem, found=error.found, expected=error.expected, hint=hint) from error
    if not tree:
        raise InputError(file, "the file is empty", expected='lines such as vocals: ["*vox*", "*lead*"]')
    if [*tree] == ["sources"] and isinstance(tree["sources"], dict):
        tree = tree["sources"]
    for name, value in tree.items():
        texts = value if isinstance(value, list) else [value]
        if not isinstance(name, str) or not all(isinstance(text, str) for text in texts):
            raise InputError(
                f"{file}, {name}",
                "the value is not a list of file name patterns",
                found=value,
                expected='a list such as ["*vox*"]',
            )
    return tree
