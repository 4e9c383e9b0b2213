"""After a power failure, each file that a command has renamed to its final name has its content."""

import pytest

from tests.commands.test_separate import song
from tests.conftest import SHORT
from tests.faults import failing
from tests.reports.sweeps import usual

pytestmark = pytest.mark.slow


def test_results_are_on_the_disk_before_they_get_their_names(cli, songs, separator, tmp_path):
    song(tmp_path / "song.wav")
    usual(tmp_path / "sweep")
    with failing() as lost:
        for script, words in {
            "train.py": ["data=musdb", f"data.root={songs}", *SHORT, "hydra.run.dir=run"],
            "scripts/evaluate.py": ["run=run", "output=scores", "trainer.accelerator=cpu"],
            "scripts/separate.py": [f"run={separator}", f"input={tmp_path / 'song.wav'}", "device=cpu"],
            "scripts/report.py": [f"sweep={tmp_path / 'sweep'}"],
        }.items():
            status, _, err = cli(*words, script=script)
            assert status == 0, (script, err)
    # Files of the store are not synced: an entry whose files lack their sizes is decoded again.
    assert [path for path in lost if "/store/" not in path] == []
