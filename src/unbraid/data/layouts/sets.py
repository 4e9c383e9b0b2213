"""List the tracks of several data sets as one data set, with common names of the sources.

Each data set has its own layout and folder. Rules such as `vocals: [lead, backing]` sum sources of one data set, so that all
data sets use the same names. If a data set lacks a source that another data set has, this source is unknown in its tracks: for
example, the source `other` of one data set may contain the guitar of another. Losses and scores leave out unknown targets.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from unbraid.data.targets import ALL
from unbraid.data.tracks import Layout, Listing, Track, few
from unbraid.runs.errors import InputError, check_counts, unknown
from unbraid.runs.files import check_folder


@dataclass(frozen=True)
class DataSet:
    """Describe one of several data sets.

    Args:
        layout: layout of the data set.
        root: folder of the data set, absolute or relative to `data.root`.
        weight: number of chunks from a training track for each chunk from a track of weight 1, an integer of at least 1.
        rules: dictionary from a common name of a source to the sources of this data set that are summed. `*` stands for all
            sources that no rule lists. A source that no rule lists keeps its name. None: all sources keep their names.

    Raises:
        InputError: `weight` is below 1.
    """

    layout: Layout
    root: str
    weight: int = 1
    rules: Mapping[str, list[str]] | None = None

    def __post_init__(self) -> None:
        check_counts(weight=self.weight)


@dataclass(frozen=True)
class DataSets:
    """List the tracks of several data sets. The name of a track consists of the name of its data set and its own name.

    Args:
        sets: data sets by name.

    Raises:
        InputError: `sets` is empty.
    """

    sets: Mapping[str, DataSet]

    def __post_init__(self) -> None:
        if not self.sets:
            raise InputError("sets", "no data set is listed", expected="at least one data set")

    def tracks(self, root: Path) -> Listing:
        """List the tracks of all data sets.

        InputError is raised if a folder is missing, a rule lists a source that its data set lacks, or a data set contains a
        target that is the difference of two recordings.

        Args:
            root: folder to which relative folders of data sets are relative.

        Returns:
            The tracks, excluded tracks, messages and errors of all data sets.
        """
        listings = {name: self._listing(name, root) for name in self.sets}
        tracks = {name: self._renamed(name, listing) for name, listing in listings.items()}
        names = {key: {source for track in listed for source in _names(track)} for key, listed in tracks.items()}
        every = set[str]().union(*names.values())
        return Listing(
            [_with_unknown(track, every - names[key]) for key, listed in tracks.items() for track in listed],
            {f"{key} - {name}": why for key, listed in listings.items() for name, why in listed.left_out.items()},
            [f"{key}: {message}" for key, listed in listings.items() for message in listed.messages],
            [self._error(key, error, root) for key, listed in listings.items() for error in listed.refused],
            all(listed.own_splits for listed in listings.values()),
        )

    def fetch(self, root: Path) -> None:
        """Download or render all data sets that can be downloaded or rendered."""
        for name, data_set in self.sets.items():
            data_set.layout.fetch(self._folder(name, root))

    def _folder(self, name: str, root: Path) -> Path:
        return root / Path(self.sets[name].root).expanduser()

    def _listing(self, name: str, root: Path) -> Listing:
        folder = self._folder(name, root)
        check_folder(f"sets.{name}.root={folder}", folder)
        try:
            return self.sets[name].layout.tracks(folder)
        except InputError as error:
            raise self._error(name, error, root) from error

    def _error(self, name: str, error: InputError, root: Path) -> InputError:
        """Add the key of a data set to an error about an option of its layout, or about its folder."""
        where = error.where
        if where == str(self._folder(name, root)):
            where = f"sets.{name}.root={where}"
        elif where.partition(".")[0] in vars(self.sets[name].layout):
            where = f"sets.{name}.layout.{where}"
        return InputError(where, error.problem, found=error.found, expected=error.expected, hint=error.hint)

    def _renamed(self, name: str, listing: Listing) -> list[Track]:
        """Apply the rules of a data set to its tracks."""
        sources = sorted({source for track in listing.tracks for source in _names(track)})
        rules = _complete(self.sets[name].rules or {}, sources, f"sets.{name}.rules")
        if residual := next((track for track in listing.tracks if track.residual), None):
            problem = f"the source '{residual.residual}' is the difference of two recordings"
            raise InputError(f"sets.{name}", problem, expected="a data set with a recording of each source")
        weight = self.sets[name].weight
        return [replace(_summed(track, rules), name=f"{name} - {track.name}", weight=weight) for track in listing.tracks]


def _names(track: Track) -> set[str]:
    return {*track.source_names, *track.unknown}


def _complete(rules: Mapping[str, list[str]], sources: list[str], where: str) -> dict[str, list[str]]:
    """Replace `*` in rules, and add a rule for each source that no rule lists. Check that each source is listed once."""
    listed = [source for parts in rules.values() for source in parts if source != ALL]
    for source in listed:
        if source not in sources:
            raise InputError(where, f"the data set lacks the source '{source}'", hint=unknown(source, sources))
    others = [source for source in sources if source not in listed]
    full = {name: [source for part in parts for source in (others if part == ALL else [part])] for name, parts in rules.items()}
    if not any(ALL in parts for parts in rules.values()):
        if both := [source for source in others if source in rules]:
            problem = "a rule has the name of a source that no rule lists"
            raise InputError(where, problem, found=few(both), expected="this source in a rule")
        full |= {source: [source] for source in others}
    if twice := [source for source in sources if sum(parts.count(source) for parts in full.values()) > 1]:
        raise InputError(where, "several rules list the same source", found=few(twice), expected="each source in one rule")
    return full


def _summed(track: Track, rules: Mapping[str, list[str]]) -> Track:
    """Sum the sources of a track. A sum is unknown if one of its sources is unknown."""
    unknown = {name for name, parts in rules.items() if {*parts} & {*track.unknown}}
    held = {name: parts for name, parts in rules.items() if name not in unknown and {*parts} & {*track.sources}}
    sources = {name: tuple(stream for part in parts for stream in track.sources.get(part, ())) for name, parts in held.items()}
    return replace(track, sources=sources, unknown=tuple(sorted(unknown)))


def _with_unknown(track: Track, names: set[str]) -> Track:
    return replace(track, unknown=tuple(sorted({*track.unknown, *names})))
