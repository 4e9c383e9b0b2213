"""Test that demo songs are rendered into a folder of their own."""

import pytest

from tests.conftest import files_below
from tests.data import twins
from unbraid.data.layouts.demo import DemoLeads, DemoSongs
from unbraid.runs.errors import InputError

LAYOUTS = [DemoSongs(1, 1, 1, 1.0, 0), DemoLeads(1, 1, 1, 1.0, 0)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=["songs", "leads"])
@pytest.mark.parametrize("use", ["fetch", "tracks"])
def test_a_folder_of_other_files_is_refused(tmp_path, layout, use):
    root = twins.stems(tmp_path / "root")
    before = files_below(root)
    with pytest.raises(InputError) as caught:
        getattr(layout, use)(root)
    assert caught.value.where == str(root) and caught.value.found == "test, train, valid"
    assert files_below(root) == before


@pytest.mark.slow
def test_songs_of_other_options_share_a_root(tmp_path):
    for layout in (DemoLeads(1, 1, 1, 1.0, 0), DemoLeads(1, 1, 1, 1.0, 1), DemoLeads(1, 1, 1, 1.5, 0)):
        layout.fetch(tmp_path / "new")
        assert len(layout.tracks(tmp_path / "new").tracks) == 3
    songs = layout._songs(tmp_path / "new")
    songs.with_name(f"{songs.name}.partial").mkdir()  # of a command that was killed
    (tmp_path / "new/.DS_Store").touch()
    layout.fetch(tmp_path / "new")


def test_number_of_generated_songs_is_printed_once(tmp_path, capsys):
    for _ in range(2):
        LAYOUTS[0].fetch(tmp_path / "songs")
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("generating 3 songs") == 1 and str(tmp_path / "songs") in captured.err
