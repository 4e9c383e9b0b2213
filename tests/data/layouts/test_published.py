"""Test all layouts of published data sets: a training batch, folders of other data sets, and fetching."""

import pytest
import torch

from tests.data import twins
from tests.data.test_module import batches, module
from unbraid.data.layouts.dnr import DivideAndRemaster
from unbraid.data.layouts.ikala import KaraokeChannels
from unbraid.data.layouts.medleydb import MedleyDB
from unbraid.data.layouts.moisesdb import MoisesDB
from unbraid.data.layouts.msst import MSST
from unbraid.data.layouts.pairs import Pairs
from unbraid.data.layouts.singles import Singles
from unbraid.data.layouts.slakh import Slakh2100
from unbraid.data.layouts.stems import Stems
from unbraid.data.layouts.urmp import URMP
from unbraid.data.sampler import Sampling
from unbraid.runs.errors import InputError

CHUNK = 200  # samples; the files of the twins have 400


def msst(type_, remix, train):
    return MSST(type_, remix, [train], ["valid"], 0.5, None, "error")


LAYOUTS = {
    "moisesdb": (MoisesDB(["vocals", "drums"], "keep", 0.25, 0.25), twins.moisesdb, "vocals", 0.0),
    "slakh": (Slakh2100(["bass", "guitar"], "leave_out", 0.1, 0.1), twins.slakh, "bass", 0.0),
    "baby slakh": (Slakh2100(None, "leave_out", 0.25, 0.25), twins.baby_slakh, "guitar", 0.0),
    "dnr": (DivideAndRemaster(), twins.dnr, "speech", 0.0),
    "dnr 3": (DivideAndRemaster(), twins.dnr3, "effects", 0.0),
    "urmp": (URMP(None, 0.25, 0.25), twins.urmp, "violin", 0.0),
    "msst 1": (msst(1, 1.0, "train"), twins.msst, "vocals", 1.0),
    "msst 2": (msst(2, 1.0, "train2"), twins.msst, "vocals", 1.0),
    "msst 3": (msst(3, 1.0, "tables/train3.csv"), twins.msst, "vocals", 1.0),
    "msst 4": (msst(4, 0.0, "train"), twins.msst, "vocals", 0.0),
}


@pytest.mark.parametrize(("layout", "twin", "target", "remix"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_data_set_becomes_a_batch(tmp_path, layout, twin, target, remix):
    root = twin(tmp_path / "root")
    data = module(
        root, tmp_path / "cache", layout=layout, targets={target: [target], "rest": [f"-{target}"]},
        sample_rate=twins.RATE, chunk_seconds=CHUNK / twins.RATE, sampling=Sampling("tracks", remix, None, 0.1),
    )  # fmt: skip
    (batch, *_) = batches(data, 1)
    assert batch.mixture.shape == (4, 1, CHUNK) and batch.sources.shape == (4, 2, 1, CHUNK)
    assert batch.mixture.isfinite().all() and batch.sources.abs().amax() > 0
    if not any(track.mixture for track in layout.tracks(root).tracks if track.split == "train"):
        assert torch.allclose(batch.mixture, batch.sources.sum(1), atol=1e-4)
    assert {track.split for track in data.tracks} == {"train", "valid", "test"}


@pytest.mark.parametrize(("layout", "twin", "target", "remix"), LAYOUTS.values(), ids=LAYOUTS)
def test_another_data_set_is_named_with_its_files(tmp_path, layout, twin, target, remix):
    twins.ikala(tmp_path)
    with pytest.raises(InputError) as caught:
        layout.tracks(tmp_path)
    assert caught.value.where in (str(tmp_path), "train") and caught.value.found == "Wavfile" and caught.value.expected


NOT_DOWNLOADED = {name: (layout, twin) for name, (layout, twin, _, _) in LAYOUTS.items()} | {
    "ikala": (KaraokeChannels(1, 0.1, 0.1), twins.ikala),
    "medleydb": (MedleyDB("leave_out", 0.3, 0.3), twins.medleydb),
    "pairs": (Pairs("mixture", "instrumental", None, 0.0, 0.0), twins.pairs),
    "singles": (Singles(0.1, 0.1), twins.singles),
    "stems": (Stems("mixture", "error", "auto", None, None, 0.0, 0.0), twins.stems),
}


@pytest.mark.parametrize(("layout", "twin"), NOT_DOWNLOADED.values(), ids=NOT_DOWNLOADED)
def test_fetch_accepts_files_and_refuses_an_empty_root(tmp_path, layout, twin):
    layout.fetch(twin(tmp_path / "root"))
    with pytest.raises(InputError) as caught:
        layout.fetch(tmp_path / "none")
    assert caught.value.where == "data.download=true"
    assert str(tmp_path / "none") in caught.value.hint and not (tmp_path / "none").exists()


@pytest.mark.parametrize("type_", [1, 4])
def test_type_4_of_msst_uses_one_song(tmp_path, type_):
    twins.msst_songs(twins.msst(tmp_path / "root") / "train", songs=[f"Song {i}" for i in range(3, 9)])
    remix = 1.0 if type_ == 1 else 0.0
    data = module(
        tmp_path / "root", tmp_path / "cache", layout=msst(type_, remix, "train"), batch_size=12, sample_rate=twins.RATE,
        chunk_seconds=CHUNK / twins.RATE, sampling=Sampling("tracks", remix, None, 0.1),
    )  # fmt: skip
    songs, starts = data.sampler().draw(0)
    aligned = (songs == songs[:, :1]).all() and (starts == starts[:, :1]).all()
    assert aligned == (type_ == 4)
