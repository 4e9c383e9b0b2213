"""Each augmentation with a seeded random generator: range, distribution and effect on known signals."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from unbraid.commands.cli import CONF
from unbraid.data.augmentation import ChannelSwap, Equalizer, Gain, LowPass, MixUp, Noise, Polarity, Remix, TimeShift
from unbraid.runs.config import build
from unbraid.runs.errors import InputError

RATE = 8000
ALL = {
    "gain": Gain(0.25, 1.25),
    "polarity": Polarity(0.5),
    "swap": ChannelSwap(0.5),
    "remix": Remix(0.7, None),
    "mixup": MixUp(0.5, 0.25, 1),
    "shift": TimeShift(0.05),
    "equalizer": Equalizer(0.5, 6, 6),
    "low_pass": LowPass(0.5, 1000),
    "noise": Noise(-40, -20),
}
NOTHING = {
    "gain": Gain(1, 1),
    "polarity": Polarity(0),
    "swap": ChannelSwap(0),
    "remix": Remix(0, None),
    "mixup": MixUp(0, 0.25, 1),
    "shift": TimeShift(0),
    "equalizer": Equalizer(0, 6, 6),
    "low_pass": LowPass(0, 1000),
}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


def generator(seed=0):
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, 0, 7]))


def batch(b=6, s=3, c=2, n=2000, seed=0):
    return torch.randn(b, s, c, n, generator=torch.Generator().manual_seed(seed)) * 0.1


def tone(hertz, n=8000):
    return torch.sin(2 * torch.pi * hertz * torch.arange(n) / RATE).expand(1, 1, 1, n)


def rms(signal):
    return signal.square().mean((-1, -2)).sqrt()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(6, 3, 2, 2000), (6, 3, 1, 2000), (6, 1, 2, 2000), (1, 3, 2, 2000), (2, 2, 1, 1)])
def test_shape_dtype_and_input_are_preserved(name, shape):
    sources = batch(*shape)
    before = sources.clone()
    first, second = (ALL[name](sources, RATE, generator()) for _ in range(2))
    assert first.shape == sources.shape and first.dtype == torch.float32
    assert torch.equal(first, second)
    assert torch.equal(sources, before)


@pytest.mark.parametrize("name", ALL)
def test_another_draw_gives_another_result(name):
    sources = batch()
    assert not torch.equal(ALL[name](sources, RATE, generator(0)), ALL[name](sources, RATE, generator(1)))


@pytest.mark.parametrize("name", ALL)
def test_silence_stays_silent(name):
    assert not ALL[name](torch.zeros(4, 3, 2, 2000), RATE, generator()).any()


@pytest.mark.parametrize("name", NOTHING)
def test_zero_probability_changes_nothing(name):
    sources = batch()
    assert torch.equal(NOTHING[name](sources, RATE, generator()), sources)


@pytest.mark.parametrize("name", ALL)
def test_views_give_the_same_result(name):
    larger = batch(6, 4, 2, 4000)
    view = larger[:, 1:, :, 500:2500]
    torch.testing.assert_close(ALL[name](view, RATE, generator()), ALL[name](view.contiguous(), RATE, generator()))


@pytest.mark.parametrize("name", [name for name in ALL if name != "noise"])
@pytest.mark.parametrize("device", DEVICES)
def test_same_result_on_every_device(name, device):
    augmented = ALL[name](batch().to(device), RATE, generator())
    assert augmented.device.type == device
    torch.testing.assert_close(augmented.cpu(), ALL[name](batch(), RATE, generator()), atol=1e-5, rtol=1e-4)


def test_gain_is_one_factor_per_source():
    sources = batch(200, 3, 2, 4)
    ratios = Gain(0.25, 1.25)(sources, RATE, generator()) / sources
    torch.testing.assert_close(ratios, ratios[:, :, :1, :1].expand_as(ratios))
    drawn = ratios[:, :, 0, 0]
    assert 0.25 <= drawn.min() < 0.27 and 1.23 < drawn.max() <= 1.25
    assert drawn.mean() == pytest.approx(0.75, abs=0.05) and len(drawn.unique()) > 590


def test_polarity_inverts_half_of_the_sources():
    sources = batch(200, 3, 2, 4)
    turned = Polarity(0.5)(sources, RATE, generator())
    assert torch.equal(turned.square(), sources.square())
    signs = (turned / sources)[:, :, 0, 0]
    assert (signs < 0).float().mean() == pytest.approx(0.5, abs=0.08)


def test_swap_exchanges_channels_of_half_the_sources():
    sources = batch(200, 3, 2, 4)
    swapped = ChannelSwap(0.5)(sources, RATE, generator())
    kept = (swapped == sources).all(3).all(2)
    assert torch.equal(swapped[kept], sources[kept])
    assert torch.equal(swapped[~kept], sources[~kept].flip(1))
    assert kept.float().mean() == pytest.approx(0.5, abs=0.08)
    assert torch.equal(ChannelSwap(1)(sources, RATE, generator()), sources.flip(2))


def test_swap_keeps_mono():
    assert torch.equal(ChannelSwap(1)(batch(c=1), RATE, generator()), batch(c=1))


def origins(sources, remixed):
    """Return the example that each source comes from. Shape: [B, S]."""
    same = (remixed[:, None] == sources[None]).all(-1).all(-1)
    assert (same.sum(1) == 1).all(), "each source is a source of the batch"
    return same.int().argmax(1)


def test_remix_permutes_each_source_over_the_examples():
    sources = batch(40, 3, 2, 4)
    found = origins(sources, Remix(0.5, None)(sources, RATE, generator()))
    here = torch.arange(40)
    for permutation in found.T:
        assert torch.equal(permutation.sort().values, here)
        assert 0.2 < (permutation != here).float().mean() < 0.8
    assert not torch.equal(found[:, 0], found[:, 1])


def test_remix_with_probability_1_moves_all():
    sources = batch(5, 4, 1, 4)
    found = origins(sources, Remix(1, None)(sources, RATE, generator()))
    assert (found != torch.arange(5)[:, None]).all()


def test_remix_exchanges_only_within_a_group():
    sources = batch(10, 3, 1, 4)
    found = origins(sources, Remix(1, 4)(sources, RATE, generator()))
    groups = torch.arange(10)[:, None] // 4
    assert torch.equal(found // 4, groups.expand(10, 3))
    assert (found != torch.arange(10)[:, None]).all()


@pytest.mark.parametrize("alone", [Remix(1, None), MixUp(1, 0.5, 1)])
def test_batch_of_one_is_not_mixed(alone):
    assert torch.equal(alone(batch(b=1), RATE, generator()), batch(b=1))


def test_mixup_adds_same_source_of_another_example():
    examples, count = 8, 3
    # Each source is a different unit vector, so the coordinates of the result are the weights.
    sources = torch.eye(examples * count).view(examples, count, 1, -1)
    mixed = MixUp(0.5, 0.25, 0.75)(sources, RATE, generator()).view(examples, count, examples, count)
    seen = []
    for b in range(examples):
        for s in range(count):
            weights = mixed[b, s]
            assert weights[b, s] == 1
            others = weights[:, s].clone()
            others[b] = 0
            assert weights.sum() == pytest.approx(1 + float(others.sum())), "only the same source is added"
            assert (others > 0).sum() in (0, 1)
            seen.append(float(others.sum()))
    added = [weight for weight in seen if weight]
    assert 0.25 <= min(added) < max(added) <= 0.75
    assert 0.2 < len(added) / len(seen) < 0.8


def test_shift_is_circular_by_the_drawn_amount():
    impulses = torch.zeros(30, 3, 2, 1000)
    impulses[..., 100] = 1
    moved = TimeShift(0.05)(impulses, RATE, generator())
    expected = generator().integers(-400, 401, (30, 3))
    assert np.array_equal(moved.argmax(-1)[:, :, 0], (100 + expected) % 1000)
    assert torch.equal(moved[:, :, 0], moved[:, :, 1]), "both channels move together"
    assert torch.equal(moved.sum(-1), torch.ones(30, 3, 2))
    assert expected.min() < -350 and expected.max() > 350


def test_flat_equalizer_changes_nothing():
    torch.testing.assert_close(Equalizer(1, 0, 6)(batch(), RATE, generator()), batch(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("point", [0, 1, 2, 3])
def test_equalizer_applies_drawn_gain_at_each_point(point):
    drawing = generator()
    drawing.random((1, 1))
    decibels = drawing.uniform(-12, 12, (1, 1, 4))[0, 0]
    hertz = 50 * (RATE / 2 / 50) ** (point / 3) * (0.99 if point == 3 else 1)
    filtered = Equalizer(1, 12, 4)(tone(hertz, 32000), RATE, generator())[..., 8000:-8000]
    gained = 20 * torch.log10(rms(filtered) / rms(tone(hertz, 32000)[..., 8000:-8000]))
    assert float(gained) == pytest.approx(decibels[point], abs=0.1)


def test_equalizer_is_smooth_without_delay_or_wrapping():
    impulse = torch.zeros(20, 1, 1, 8000)
    impulse[..., 0] = 1
    rung = Equalizer(1, 12, 16)(impulse, RATE, generator())
    assert (rung[..., 0, :].abs().argmax(-1) == 0).all()
    assert rung[..., 4000:].abs().max() < 1e-4
    curves = 20 * torch.log10(torch.fft.rfft(torch.cat([rung[..., 1:].flip(-1), rung], -1)).abs())
    assert curves.abs().max() < 12.1
    assert curves[..., 200:].diff(dim=-1).abs().max() < 1


def test_low_pass_response_at_and_around_cutoff():
    drawing = generator(1)
    drawing.random((1, 1))
    cutoff = float(np.exp(drawing.uniform(np.log(500), np.log(4000), (1, 1))[0, 0]))
    for hertz, level in ((cutoff / 2, 1), (cutoff, 0.5**0.5), (2 * cutoff, 0)):
        middle = LowPass(1, 500)(tone(hertz), RATE, generator(1))[..., 2000:-2000]
        torch.testing.assert_close(middle, level * tone(hertz)[..., 2000:-2000], atol=0.01, rtol=0)


def test_low_pass_covers_its_range_of_cutoffs():
    impulse = torch.zeros(100, 1, 1, 2000)
    impulse[..., 1000] = 1
    spectra = torch.fft.rfft(LowPass(1, 500)(impulse, RATE, generator())).abs()
    cutoffs = (spectra > 0.5**0.5).sum(-1) * (RATE / 2000)
    assert 490 <= cutoffs.min() < 600 and 3500 < cutoffs.max() <= 4004


@pytest.mark.parametrize("filtering", [Equalizer(0.5, 6, 6), LowPass(0.5, 500)])
def test_probability_half_filters_half_the_sources(filtering):
    sources = batch(100, 2, 2, 50)
    kept = (filtering(sources, RATE, generator()) == sources).all(3).all(2).float().mean()
    assert kept == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("filtering", [Equalizer(1, 6, 6), LowPass(1, 500)])
def test_filters_compute_in_float32_under_autocast(filtering):
    plain = filtering(batch(), RATE, generator())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(filtering(batch(), RATE, generator()), plain)


def test_noise_has_the_drawn_relative_level():
    levels = torch.tensor([1e-3, 1, 30]).view(1, 3, 1, 1)
    sources = batch(50, 3, 2, 4000) * levels
    noise = Noise(-40, -20)(sources, RATE, generator()) - sources
    decibels = 20 * torch.log10(rms(noise) / rms(sources))
    expected = torch.from_numpy(generator().uniform(-40, -20, (50, 3))).float()
    torch.testing.assert_close(decibels, expected, atol=0.2, rtol=0)


def test_noise_is_white_and_uncorrelated():
    noise = Noise(0, 0)(sources := torch.ones(2, 2, 2, 20000), RATE, generator()) - sources
    flat = noise.flatten(0, 2)
    torch.testing.assert_close(torch.corrcoef(flat), torch.eye(8), atol=0.04, rtol=0)
    low, high = torch.fft.rfft(flat).abs().square()[:, 1:].chunk(2, dim=1)
    torch.testing.assert_close(low.mean(), high.mean(), rtol=0.05, atol=0)


@pytest.mark.parametrize(
    ("make", "where", "found"),
    [
        (lambda: Gain(0.5, 0.25), "low", 0.5),
        (lambda: Gain(-1, 1), "low", -1),
        (lambda: Gain(0, float("inf")), "high", float("inf")),
        (lambda: Remix(0.5, 1), "group_size", 1),
        (lambda: MixUp(0.5, 2, 1), "low", 2),
        (lambda: MixUp(0.5, 0, 11), "high", 11),
        (lambda: Noise(-20, -40), "decibels_low", -20),
        (lambda: Noise(-20, 1), "decibels_high", 1),
        (lambda: TimeShift(-0.1), "seconds", -0.1),
        (lambda: Equalizer(0.5, -1, 6), "decibels", -1),
        (lambda: Equalizer(0.5, 6, 1), "bands", 1),
        (lambda: LowPass(0.5, 10), "lowest_hz", 10),
        (lambda: LowPass(0.5, 5000)(batch(), RATE, generator()), "lowest_hz", "5000 Hz"),
    ],
)
def test_arguments_out_of_range_are_refused(make, where, found):
    with pytest.raises(InputError) as error:
        make()
    assert (error.value.where, error.value.found) == (where, found)


@pytest.mark.parametrize(
    "make",
    [
        Polarity, ChannelSwap, lambda p: Remix(p, None),
        lambda p: MixUp(p, 0, 1), lambda p: Equalizer(p, 6, 6), lambda p: LowPass(p, 1000),
    ],
)  # fmt: skip
@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_probabilities_out_of_range_are_refused(make, probability):
    with pytest.raises(InputError) as error:
        make(probability)
    assert error.value.where == "probability" and "[0, 1]" in error.value.expected


@pytest.mark.parametrize("file", sorted((CONF / "augmentation").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_yaml_augments_a_batch(file):
    built = build(OmegaConf.load(file))
    assert {name: type(part) for name, part in built.items()} == {
        "none": {},
        "gain_swap": {"gain": Gain, "swap": ChannelSwap},
        "all": {name: type(part) for name, part in ALL.items()},
        "demucs": {"shift": TimeShift, "swap": ChannelSwap, "polarity": Polarity, "gain": Gain, "remix": Remix},
    }[file.stem]
    sources = batch()
    for augmentation in built.values():
        sources = augmentation(sources, RATE, generator())
    assert sources.shape == batch().shape and sources.isfinite().all()
    assert torch.equal(sources, batch()) == (file.stem == "none")
