"""Match the names of audio files against patterns, and assign files to sources by them.

In a pattern `*` stands for any text and `?` for any one character. All else is literal, brackets too. Case does not matter.
A pattern with a `/` is compared with the path below the track's folder, any other pattern with the name of the file. The suffix
may be left out: `*vox*` and `*vox.wav` both match `lead vox.wav`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unbraid.data.layouts.folders import normalised
from unbraid.data.layouts.metadata import read_metadata
from unbraid.runs.errors import InputError

CATCH_ALL = "*"
EXCLUDES = "!"
Patterns = Mapping[str, list[str] | str]


class Pattern:
    """One pattern.

    Args:
        text: as the user typed it.
    """

    def __init__(self, text: str) -> None:
        self.text, self.whole_path = text, "/" in text
        wildcards = {"*": "(.*)", "?": "."}
        parts = re.split(r"([*?])", normalised(text))
        self.regex = re.compile("".join(wildcards.get(part) or re.escape(part) for part in parts), re.IGNORECASE | re.DOTALL)

    def match(self, path: Path, below: Path) -> re.Match[str] | None:
        """Return the match of a file below a folder; each `*` is a group of it."""
        inner = path.relative_to(below)
        tried = (inner.with_suffix(""), inner) if self.whole_path else (inner.stem, inner.name)
        found = (self.regex.fullmatch(normalised(Path(text).as_posix())) for text in tried)
        return next((match for match in found if match), None)


@dataclass(frozen=True)
class Assignment:
    """The files of one track by source.

    Args:
        files: files of each source, sorted.
        unmatched: files that no pattern takes.
        ambiguous: files that patterns of several sources take, with these patterns by source.
    """

    files: Mapping[str, tuple[Path, ...]]
    unmatched: Sequence[Path]
    ambiguous: Mapping[Path, Mapping[str, str]]


class SourcePatterns:
    """Patterns of all sources.

    Args:
        patterns: patterns by source. A pattern that begins with `!` excludes files from its source. The pattern `*` takes the
            files that no other pattern takes.
    """

    def __init__(self, patterns: Patterns) -> None:
        self.names = sorted(patterns)
        texts = {name: [value] if isinstance(value, str) else value for name, value in patterns.items()}
        for name, of_source in texts.items():
            if not any(not text.startswith(EXCLUDES) for text in of_source):
                raise InputError(f"sources.{name}", found=of_source, expected="at least one pattern, such as '*vox*'")
        rest = [name for name in self.names if CATCH_ALL in texts[name]]
        if len(rest) > 1:
            raise InputError("sources", f"'{CATCH_ALL}' takes all other files", found=" and ".join(rest), expected="one source")
        self.rest = rest[0] if rest else None
        self.included = {
            name: [Pattern(text) for text in texts[name] if not text.startswith(EXCLUDES) and text != CATCH_ALL]
            for name in self.names
        }
        self.excluded = {
            name: [Pattern(text.removeprefix(EXCLUDES)) for text in texts[name] if text.startswith(EXCLUDES)]
            for name in self.names
        }

    def assign(self, files: Iterable[Path], folder: Path) -> Assignment:
        """Assign the files below a track's folder."""
        assigned: dict[str, list[Path]] = {name: [] for name in self.names}
        unmatched: list[Path] = []
        ambiguous: dict[Path, dict[str, str]] = {}
        for path in sorted(files):
            found = self._sources_of(path, folder)
            if len(found) > 1:
                ambiguous[path] = found
            elif found:
                assigned[next(iter(found))].append(path)
            else:
                unmatched.append(path)
        return Assignment({name: tuple(paths) for name, paths in assigned.items()}, unmatched, ambiguous)

    def _sources_of(self, path: Path, folder: Path) -> dict[str, str]:
        """Return the pattern that takes a file, of each source that has one."""
        allowed = [name for name in self.names if not any(one.match(path, folder) for one in self.excluded[name])]
        matches = {name: [one.text for one in self.included[name] if one.match(path, folder)] for name in allowed}
        found = {name: texts[0] for name, texts in matches.items() if texts}
        return found or ({self.rest: CATCH_ALL} if self.rest in allowed and self.rest else {})


def read_patterns(file: Path) -> Patterns:
    """Read patterns by source from a yaml file.

    Raises:
        InputError: the file is missing, is not yaml, or holds something else.
    """
    tree = read_metadata(file).tree
    if not tree:
        raise InputError(file, "empty", expected='lines such as vocals: ["*vox*", "*lead*"]')
    if [*tree] == ["sources"] and isinstance(tree["sources"], dict):
        tree = tree["sources"]
    for name, value in tree.items():
        texts = value if isinstance(value, list) else [value]
        if not isinstance(name, str) or not all(isinstance(text, str) for text in texts):
            raise InputError(f"{file}, {name}", found=value, expected='a list of patterns such as ["*vox*"]')
    return tree
