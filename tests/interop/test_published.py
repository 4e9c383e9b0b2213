"""Published weights: fetched once, fitted tensor by tensor, and what is said where that cannot be."""

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
def asked(tmp_path, monkeypatch):
    """Torch's cache in an empty folder, and what is fetched into it from a network that always has small weights."""
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


def test_published_files_are_fetched_once_with_their_hash(asked):
    made = separator(["drums", "vocals"])
    load_published(made, "umxhq")
    load_published(separator(["vocals"]), "umxhq")
    assert asked == [
        ("https://zenodo.org/records/3370489/files/drums-9619578f.pth", "9619578f"),
        ("https://zenodo.org/records/3370489/files/vocals-b62c91ce.pth", "b62c91ce"),
    ]
    assert same(made.nets[0], weights(1)) and same(made.nets[1], weights(2))


def test_without_a_network_it_is_said_where_to_get_the_file_and_where_to_put_it(asked, tmp_path, monkeypatch):
    def fetch(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(InputError) as caught:
        load_published(separator(), "umx")
    place, url = tmp_path / "torch/hub/checkpoints", "https://zenodo.org/records/3370486/files/vocals-c8df74a5.pth"
    assert str(caught.value) == (
        "init=umx: vocals-c8df74a5.pth cannot be fetched (Name or service not known); "
        f"get it from {url} and put it into {place}"
    )
    torch.save(weights(7), place / "vocals-c8df74a5.pth")
    made = separator()
    load_published(made, "umx")
    assert same(made.nets[0], weights(7))
    (place / "vocals-c8df74a5.pth").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"vocals-c8df74a5.pth: is damaged; remove it"):
        load_published(made, "umx")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"hidden": 6}, "fc1.weight is [8, 20], expected [6, 20]; set model.separator.net.hidden=8"),
        ({"max_bin": None}, "input_mean is [20], expected [33]; set model.separator.net.max_bin=20"),
        ({"layers": 3}, "lstm.weight_ih_l2 is not there, expected [16, 8]; set model.separator.net.layers=2"),
        ({"layers": 1}, "lstm.weight_ih_l1 is [16, 8], expected not there; set model.separator.net.layers=2"),
        ({"causal": True}, "lstm.weight_ih_l0 is [16, 8], expected [32, 8]; set model.separator.net.causal=false"),
        ({"audio_channels": 2}, "fc1.weight is [8, 20], expected [8, 40]; set model.separator.channels=1"),
        (
            {"bins": 65, "hidden": 6},
            "output_scale is [33], expected [65]; set model.separator.net.bins=33 model.separator.net.hidden=8",
        ),
    ],
)
def test_of_another_shape_the_first_tensor_is_named_and_the_keys_to_change(folder, options, sentence):
    with pytest.raises(InputError) as caught:
        load_published(separator(**options), str(folder))
    assert str(caught.value) == f"init={folder}: vocals: {sentence}"


@pytest.mark.parametrize("said", ["in the file", "beside it", "nowhere"])
def test_weights_of_another_rate_are_refused_before_any_is_taken(folder, said):
    state = weights(3) if said == "in the file" else {k: v for k, v in weights(3).items() if k != "sample_rate"}
    torch.save(state, folder / "vocals.pth")
    if said == "beside it":
        (folder / "separator.json").write_text('{"sample_rate": 44100.0, "nfft": 64}')
    load_published(separator(), str(folder))
    made = separator(rate=8192)
    if said == "nowhere":
        load_published(made, str(folder))
        assert same(made.nets[0], weights(3))
        return
    sentence = "is of 44100 Hz, found a separator of 8192; set model.separator.sample_rate=44100"
    with pytest.raises(InputError, match=sentence):
        load_published(made, str(folder))
    assert not same(made.nets[0], weights(3))


@pytest.mark.parametrize("text", ["no JSON", "[44100]", '{"nfft": 64}', '{"sample_rate": "fast"}', '{"sample_rate": null}'])
def test_a_folder_that_does_not_say_its_rate_rightly_is_said(folder, text):
    (folder / "separator.json").write_text(text)
    with pytest.raises(InputError, match=r"separator\.json: expected JSON with a number as sample_rate"):
        load_published(separator(), str(folder))


def test_published_weights_of_another_rate_are_not_fetched(asked):
    with pytest.raises(InputError, match="init=umx: is of 44100 Hz, found a separator of 48000"):
        load_published(separator(rate=48000), "umx")
    assert asked == []


def test_what_is_not_there_or_not_weights_is_said(folder):
    torch.save({"state_dict": {}}, folder / "bass.pth")
    (folder / "other.pth").write_bytes(b"")
    torch.save(torch.zeros(3), folder / "tensor.pth")
    torch.save({name: value for name, value in weights(1).items() if name != "fc2.weight"}, folder / "part.pth")
    torch.save(weights(1) | {"fc2.weight": "words"}, folder / "words.pth")
    for made, init, sentence in (
        (separator(["piano"]), "umxl", "init=umxl: has no weights of 'piano'; it has bass, drums, other, vocals"),
        (
            separator(["piano"]),
            str(folder),
            "has no piano.pth; it has weights of bass, drums, other, part, tensor, vocals, words",
        ),
        (separator(["bass"]), str(folder), "these are not the weights of an Open-Unmix network"),
        (separator(["other"]), str(folder), "other.pth: is damaged or no file of weights"),
        (
            separator(["tensor"]),
            str(folder),
            "tensor.pth: is damaged or no file of weights, found a Tensor, expected tensors by name",
        ),
        (separator(["part"]), str(folder), "part: fc2.weight is not there, expected [8, 16]; the file is not whole"),
        (separator(["words"]), str(folder), "words: fc2.weight is not there, expected [8, 16]; the file is not whole"),
        (separator(), "umxq", "init=umxq: is no folder and no published model; did you mean 'umx"),
        (
            separator(net=partial(UNet, channels=(2, 2), dropout_layers=0)),
            "umx",
            "init=umx: is of Open-Unmix; choose model=open_unmix",
        ),
    ):
        with pytest.raises(InputError) as caught:
            load_published(made, init)
        assert sentence in str(caught.value)


def test_options_are_read_from_weights():
    for options in (SMALL, SMALL | {"causal": True, "layers": 1, "audio_channels": 2}):
        assert options_of(OpenUnmix(**options).state_dict()) == options


TINY = {"audio_channels": 1, "channels": 4, "n_fft": 1024, "depth": 5}


class Bundle:
    """torchaudio's pipeline with a small network, or without a way to it."""

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
    ("made", "error", "sentence"),
    [
        (lambda: separator(), None, "is of Hybrid Demucs; choose model=hdemucs"),
        (lambda: demucs("vocals", rate=48000), None, "is of 44100 Hz, found a separator of 48000"),
        (lambda: demucs("choir"), None, "has no weights of 'choir'; it has drums, bass, other, vocals"),
        (lambda: demucs("vocals", channels=8), None, r"freq_encoder\.0\.\S+ is \[4\S.*, expected \[8"),
        (
            lambda: demucs("vocals"),
            URLError("no route"),
            r"cannot be fetched \(no route\); get it from https://\S+/hdemucs_high_musdbhq_only\.pt and put it into \S+/models",
        ),
        (lambda: demucs("vocals"), EOFError(), r"hdemucs_high_musdbhq_only\.pt: is damaged; remove it"),
    ],
)
def test_what_keeps_hybrid_demucs_from_starting_is_said(made, error, sentence, monkeypatch):
    monkeypatch.setattr(torchaudio.pipelines, "HDEMUCS_HIGH_MUSDB", Bundle(error))
    with pytest.raises(InputError, match=sentence):
        load_published(made(), "hdemucs_high_musdb")


@pytest.mark.parametrize("held", [torch.zeros(3), "abc", {3: torch.zeros(1)}, None])
def test_a_file_without_tensors_by_name_is_said(tmp_path, held):
    torch.save(held, tmp_path / "vocals.pth")
    if held is None:
        with zipfile.ZipFile(tmp_path / "vocals.pth", "w") as file:
            file.writestr("archive/data.pkl", b"\x80\x02.")  # one opcode alone, at which torch raises IndexError
            file.writestr("archive/version", "3")
    with pytest.raises(InputError, match=r"vocals\.pth: is (damaged or )?no file of weights"):
        load_published(separator(), str(tmp_path))
