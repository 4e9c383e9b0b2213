"""Published weights are downloaded once and loaded by target, and weights that do not fit are named."""

import zipfile
from functools import partial
from pathlib import Path
from urllib.error import URLError

import openunmix
import pytest
import torch
import torchaudio

from unbraid.dsp.phase import MixturePhase
from unbraid.dsp.stft import STFT
from unbraid.interop.published import HDEMUCS_FILE, HDEMUCS_SOURCES, PUBLISHED, RATE, RECORDS, load_published
from unbraid.models.separators.masking import Masking
from unbraid.models.separators.waveform import WaveformSeparator
from unbraid.nets.adapters import HDemucs
from unbraid.nets.open_unmix import OpenUnmix, options_of
from unbraid.nets.unet import UNet
from unbraid.runs.errors import InputError

SMALL = {"bins": 33, "audio_channels": 1, "max_bin": 20, "hidden": 8, "layers": 2, "causal": False}
MORE = {"stft.window": torch.ones(64), "transform.0.window": torch.ones(64), "sample_rate": torch.tensor(44100.0)}


def separator(targets=("vocals",), net=OpenUnmix, rate=44100, **options):
    made = partial(net, **(SMALL | options)) if net is OpenUnmix else net
    return Masking(made, STFT(64, 16), targets, rate, 1, 1.0, MixturePhase(), "none")


def weights(seed, **options):
    torch.manual_seed(seed)
    return OpenUnmix(**(SMALL | options)).state_dict() | MORE


@pytest.fixture
def folder(tmp_path):
    torch.save(weights(1), tmp_path / "vocals.pth")
    torch.save(weights(2), tmp_path / "drums-0123abcd.pth")
    return tmp_path


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """Return the downloads so far. The cache of torch is empty, and every download gives small weights."""
    fetched = []

    def fetch(url, path, hash_prefix=None, progress=True):
        fetched.append((url, hash_prefix))
        torch.save(weights(len(fetched)), path)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    return fetched


def same(net, state):
    return all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_files_of_a_folder_by_target_with_or_without_a_hash(folder):
    made = separator(["drums", "vocals"])
    load_published(made, str(folder))
    assert same(made.nets[0], weights(2)) and same(made.nets[1], weights(1)) and not same(made.nets[0], weights(1))


def test_published_files_are_those_of_the_package():
    source = Path(openunmix.__file__).read_text()
    urls = [RECORDS.format(record, f"{stem}.pth") for record, stems in PUBLISHED.values() for stem in stems]
    assert len(urls) == 12 and all(f'"{url}"' in source for url in urls)


def test_published_files_are_downloaded_once_with_their_hash(downloads):
    made = separator(["drums", "vocals"])
    load_published(made, "umxhq")
    load_published(separator(["vocals"]), "umxhq")
    assert downloads == [
        ("https://zenodo.org/records/3370489/files/drums-9619578f.pth", "9619578f"),
        ("https://zenodo.org/records/3370489/files/vocals-b62c91ce.pth", "b62c91ce"),
    ]
    assert same(made.nets[0], weights(1)) and same(made.nets[1], weights(2))


def test_a_failed_download_names_url_and_folder(downloads, tmp_path, monkeypatch):
    def fetch(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(InputError) as caught:
        load_published(separator(), "umx")
    place, url = tmp_path / "torch/hub/checkpoints", "https://zenodo.org/records/3370486/files/vocals-c8df74a5.pth"
    assert caught.value.where == "init=umx" and "Name or service not known" in caught.value.problem
    assert url in caught.value.hint and str(place) in caught.value.hint
    torch.save(weights(7), place / "vocals-c8df74a5.pth")
    made = separator()
    load_published(made, "umx")
    assert same(made.nets[0], weights(7))
    (place / "vocals-c8df74a5.pth").write_bytes(b"no weights")
    with pytest.raises(InputError) as caught:
        load_published(made, "umx")
    assert caught.value.where == str(place / "vocals-c8df74a5.pth")


@pytest.mark.parametrize(
    ("options", "tensor", "found", "expected", "keys"),
    [
        ({"hidden": 6}, "fc1.weight", "[8, 20]", "[6, 20]", "model.separator.net.hidden=8"),
        ({"max_bin": None}, "input_mean", "[20]", "[33]", "model.separator.net.max_bin=20"),
        ({"layers": 3}, "lstm.weight_ih_l2", "no tensor", "[16, 8]", "model.separator.net.layers=2"),
        ({"layers": 1}, "lstm.weight_ih_l1", "[16, 8]", "no tensor", "model.separator.net.layers=2"),
        ({"causal": True}, "lstm.weight_ih_l0", "[16, 8]", "[32, 8]", "model.separator.net.causal=false"),
        ({"audio_channels": 2}, "fc1.weight", "[8, 20]", "[8, 40]", "model.separator.channels=1"),
        (
            {"bins": 65, "hidden": 6}, "output_scale", "[33]", "[65]",
            "model.separator.net.bins=33 model.separator.net.hidden=8",
        ),
    ],
)  # fmt: skip
def test_another_size_names_tensor_and_keys(folder, options, tensor, found, expected, keys):
    with pytest.raises(InputError) as caught:
        load_published(separator(**options), str(folder))
    error = caught.value
    assert (error.where, error.found, error.expected) == (f"init={folder}: vocals: {tensor}", found, expected)
    assert error.hint.endswith(f" {keys}")


@pytest.mark.parametrize("place", ["weights", "separator.json", "neither"])
def test_weights_of_another_rate_are_refused(folder, place):
    state = weights(3) if place == "weights" else {k: v for k, v in weights(3).items() if k != "sample_rate"}
    torch.save(state, folder / "vocals.pth")
    if place == "separator.json":
        (folder / "separator.json").write_text('{"sample_rate": 44100.0, "nfft": 64}')
    load_published(separator(), str(folder))
    made = separator(rate=8192)
    if place == "neither":
        load_published(made, str(folder))
        assert same(made.nets[0], weights(3))
        return
    with pytest.raises(InputError) as caught:
        load_published(made, str(folder))
    assert (caught.value.found, caught.value.expected) == ("8192 Hz", "44100 Hz")
    assert "model.separator.sample_rate=44100" in caught.value.hint
    assert not same(made.nets[0], weights(3))


@pytest.mark.parametrize("text", ["no JSON", "[44100]", '{"nfft": 64}', '{"sample_rate": "fast"}', '{"sample_rate": null}'])
def test_an_invalid_rate_of_a_folder_is_refused(folder, text):
    (folder / "separator.json").write_text(text)
    with pytest.raises(InputError) as caught:
        load_published(separator(), str(folder))
    assert caught.value.where == str(folder / "separator.json")


def test_published_weights_of_another_rate_are_not_downloaded(downloads):
    with pytest.raises(InputError) as caught:
        load_published(separator(rate=48000), "umx")
    assert (caught.value.where, caught.value.found) == ("init=umx", "48000 Hz") and downloads == []


def test_missing_targets_and_other_files_are_refused(folder):
    torch.save({"state_dict": {}}, folder / "bass.pth")
    (folder / "other.pth").write_bytes(b"")
    torch.save(torch.zeros(3), folder / "tensor.pth")
    torch.save({name: value for name, value in weights(1).items() if name != "fc2.weight"}, folder / "part.pth")
    torch.save(weights(1) | {"fc2.weight": "words"}, folder / "words.pth")
    unet = separator(net=partial(UNet, channels=(2, 2), dropout_layers=0))
    for made, init, where, found in (
        (separator(["piano"]), "umxl", "init=umxl", "piano"),
        (separator(["piano"]), str(folder), str(folder / "piano.pth"), None),
        (separator(["bass"]), str(folder), f"init={folder}: bass: ", "no tensor"),
        (separator(["other"]), str(folder), str(folder / "other.pth"), None),
        (separator(["tensor"]), str(folder), str(folder / "tensor.pth"), "a Tensor"),
        (separator(["part"]), str(folder), f"init={folder}: part: fc2.weight", "no tensor"),
        (separator(["words"]), str(folder), f"init={folder}: words: fc2.weight", "no tensor"),
        (separator(), "umxq", "init=umxq", None),
        (unet, "umx", "init=umx", None),
    ):
        with pytest.raises(InputError) as caught:
            load_published(made, init)
        assert caught.value.where.startswith(where) and (found is None or str(caught.value.found) == found)


def test_options_are_read_from_weights():
    for options in (SMALL, SMALL | {"causal": True, "layers": 1, "audio_channels": 2}):
        assert options_of(OpenUnmix(**options).state_dict()) == options


TINY = {"audio_channels": 1, "channels": 4, "n_fft": 1024, "depth": 5}


class Bundle:
    """Replace torchaudio's pipeline by one with a small network, or by one that raises an error."""

    def __init__(self, error=None):
        torch.manual_seed(0)
        self.error, self.net = error, HDemucs(4, **TINY).net.eval()

    def get_model(self):
        if self.error:
            raise self.error
        return self.net


def demucs(*targets, rate=44100, **options):
    return WaveformSeparator(partial(HDemucs, **(TINY | options)), targets, rate, 1, 1.0).eval()


def test_torchaudios_file_sources_and_rate_are_those_of_its_pipeline():
    bundle = torchaudio.pipelines.HDEMUCS_HIGH_MUSDB
    assert bundle._model_path == HDEMUCS_FILE and bundle.sample_rate == RATE
    assert tuple(bundle._model_factory_func.keywords["sources"]) == HDEMUCS_SOURCES


@pytest.mark.parametrize("targets", [["vocals"], ["vocals", "drums"], ["drums", "bass", "other", "vocals"]])
def test_hybrid_demucs_keeps_the_targets_in_their_order(targets, monkeypatch):
    bundle = Bundle()
    monkeypatch.setattr(torchaudio.pipelines, "HDEMUCS_HIGH_MUSDB", bundle)
    made = demucs(*targets)
    load_published(made, "hdemucs_high_musdb")
    mixture = torch.randn(1, 1, 4096)
    with torch.inference_mode():
        numbers = [("drums", "bass", "other", "vocals").index(target) for target in targets]
        torch.testing.assert_close(made(mixture).sources, bundle.net(mixture)[:, numbers], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("made", "error", "names"),
    [
        (lambda: separator(), None, "init=hdemucs_high_musdb model=hdemucs"),
        (lambda: demucs("vocals", rate=48000), None, "init=hdemucs_high_musdb 44100 48000"),
        (lambda: demucs("choir"), None, "init=hdemucs_high_musdb choir drums"),
        (lambda: demucs("vocals", channels=8), None, "init=hdemucs_high_musdb freq_encoder.0. [4, [8,"),
        (lambda: demucs("vocals"), URLError("no route"), "init=hdemucs_high_musdb hdemucs_high_musdbhq_only.pt route https://"),
        (lambda: demucs("vocals"), EOFError(), "models/hdemucs_high_musdbhq_only.pt https://"),
    ],
)
def test_weights_that_hybrid_demucs_cannot_use_are_refused(made, error, names, monkeypatch):
    monkeypatch.setattr(torchaudio.pipelines, "HDEMUCS_HIGH_MUSDB", Bundle(error))
    with pytest.raises(InputError) as caught:
        load_published(made(), "hdemucs_high_musdb")
    assert all(name in str(caught.value) for name in names.split())


@pytest.mark.parametrize("held", [torch.zeros(3), "abc", {3: torch.zeros(1)}, None])
def test_a_file_without_tensors_by_name_is_refused(tmp_path, held):
    torch.save(held, tmp_path / "vocals.pth")
    if held is None:
        with zipfile.ZipFile(tmp_path / "vocals.pth", "w") as file:
            file.writestr("archive/data.pkl", b"\x80\x02.")  # one opcode alone, at which torch raises IndexError
            file.writestr("archive/version", "3")
    with pytest.raises(InputError) as caught:
        load_published(separator(), str(tmp_path))
    assert caught.value.where == str(tmp_path / "vocals.pth")
