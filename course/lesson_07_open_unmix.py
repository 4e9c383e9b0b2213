# %% [markdown]
# # Lesson 7: Open-Unmix, the Wiener filter, and BSS Eval
#
# Open-Unmix (2019) is a recurrent network that reads a spectrogram frame by frame. A Wiener filter combines the estimates of
# its networks. BSS Eval scores the result with four numbers. This lesson trains a small Open-Unmix, filters its estimates,
# and shows what each of the four numbers measures.
#
# After this lesson, you can
#
# - explain how a recurrent network estimates a mask, and how far it looks,
# - derive the Wiener filter for mono, and explain what it gains from stereo,
# - name the errors that SDR, ISR, SIR and SAR measure,
# - read a table of scores of the field.
#
# Time: 75 minutes for you, 2 to 3 minutes for the computer. You need lessons 5 and 6.

# %% language="bash"
# python -c "import unbraid" 2> /dev/null || pip install --quiet unbraid

# %%
from pathlib import Path

import torch
from IPython.display import Audio
from torch.nn import functional

import unbraid
from unbraid import audio
from unbraid.course import figures, record, separation_figures, trained
from unbraid.course.checks import lesson_07 as check
from unbraid.dsp.phase import MixturePhase, Wiener
from unbraid.scoring.bss_eval import bss_eval

figures.use_style()

# %% [markdown]
# ## 1. A recurrent mask
#
# A convolution sees a fixed neighbourhood. A **recurrent** network reads one frame after another, and keeps a state that can
# remember the beginning of the song. Open-Unmix uses a **bidirectional LSTM**: one LSTM reads from the beginning to the end,
# and another one reads backwards. For each frame $x_t$ of magnitudes, the network computes
#
# $$z_t = \tanh(W_1 \tilde x_t), \qquad h_t = \text{LSTM}(z)_t, \qquad m_t = \text{ReLU}(W_3 \, \text{ReLU}(W_2 [z_t, h_t])).$$
#
# $\tilde x_t$ is the frame after **standardisation**: from each frequency bin, the mean over the training data is subtracted,
# and the result is divided by the standard deviation. $W_1$ reduces all bins to a few numbers, $W_3$ maps them back to a mask
# value $m_t$ for each bin. (Batch normalisation and trained scales are left out of the formula.) The mask has no upper limit.
#
# Open-Unmix minimises the mean squared error of the magnitudes, $\lVert m \odot |X| - |S| \rVert^2$, with one network for
# each source.
#
# The command trains two small networks, for the vocals and for the accompaniment (the rest of the band), with 8192 samples
# per second in stereo.

# %% language="bash"
# unbraid train model=open_unmix data=demo targets=vocals_accompaniment data.layout.train=8 data.layout.test=2 \
#   data.layout.seconds=12 data.chunks_per_track=16 data.batch_size=4 model.separator.sample_rate=8192 \
#   model.separator.chunk_seconds=4 model.separator.stft.n_fft=1024 model.separator.stft.hop_length=512 \
#   model.separator.net.bins=513 model.separator.net.max_bin=null model.separator.net.hidden=128 \
#   model.separator.net.layers=2 optim.optimizer.lr=2e-3 trainer.max_epochs=12 trainer.accelerator=cpu evaluation.clips=1 \
#   hydra.run.dir=outputs/umx

# %%
figures.curves(
    {"training": trained.losses("outputs/umx", "train/loss"), "validation": trained.losses("outputs/umx")}, "epoch", "loss"
)

# %% [markdown]
# The mask of a test song, next to the spectrogram of the true voice:

# %%
RATE = 8192
model = unbraid.load("outputs/umx").model
song = next(Path("outputs/umx/audio").iterdir())


def stereo(name):
    """Read a file of the test song as a waveform [2, samples]."""
    (samples,), _ = audio.read(song / name)
    return torch.from_numpy(samples)


mixture, vocals, band = (stereo(name) for name in ("mixture.flac", "vocals-target.flac", "accompaniment-target.flac"))
with torch.no_grad():
    estimate = model(mixture[None])
figures.spectrograms({"mixture": mixture, "true voice": vocals}, model.stft, RATE, top=4000)

# %%
figures.spectra(
    {"mask of the voice": estimate.masks[0, 0].mean(dim=0)},
    model.stft,
    RATE,
    top=4000,
    low=0,
    high=1,
    unit="mask",
    colours="viridis",
)

# %% [markdown]
# In quiet frames of the mixture, the values of the mask do not matter.
#
# How far does the network look? The next cell silences one frame in the middle of the mixture, and measures how much the mask
# changes in all frames. A convolutional network with small kernels would change in the neighbourhood only. The LSTM reacts in
# both directions and seconds away, but its reaction becomes smaller with the distance.

# %%
X = model.stft(mixture)[None]
middle = X.shape[-1] // 2
changed = X.abs().clone()
changed[..., middle] = 0
with torch.no_grad():
    before, after = (model.nets[0](magnitudes) for magnitudes in (X.abs(), changed))
change = (after - before).abs().mean(dim=(0, 1, 2))
seconds = [(n - middle) * model.stft.hop_length / RATE for n in range(len(change))]
near = slice(middle - 60, middle + 61)
figures.curves(
    {"change of the mask": (seconds[near], change[near].tolist())},
    "distance from the changed frame (s)",
    "mean change",
    log_y=True,
)

# %% [markdown]
# ## 2. The Wiener filter
#
# The masks of the two networks were estimated independently, so the two estimates do not add up to the mixture. The **Wiener
# filter** repairs this. For mono, it divides each bin by the **powers** $v_j = |\hat s_j|^2$ of the estimated sources:
#
# $$\hat s_j = \frac{v_j}{\sum_k v_k} \, x.$$
#
# It is the best linear estimate if the sources are independent Gaussian noise with these powers. All shares add up to 1, so
# the estimates add up to the mixture.
#
# In stereo, $x$ is a vector of two channels, and each source has a **spatial covariance** $R_j(f)$, a 2 × 2 matrix for each
# frequency. It describes where the source is located between the loudspeakers:
#
# $$\hat s_j = v_j R_j \Bigl( \sum_k v_k R_k \Bigr)^{-1} x.$$
#
# Neither $v_j$ nor $R_j$ is known. **Expectation maximisation** repeats two steps: compute the estimates from $v_j$ and
# $R_j$, then compute $v_j$ and $R_j$ from the estimates. In unbraid, `phase=wiener` chooses the filter for a model, and
# `phase.iterations` the number of iterations.


# %%
def separated(iterations):
    """Separate the test song, with a Wiener filter of some iterations; 0: without the filter."""
    model.phase = Wiener(iterations, softmask=False, residual=False, window_frames=300) if iterations else MixturePhase()
    with torch.no_grad():
        return model(mixture[None]).sources[0]


sources = torch.stack([vocals, band])
estimates = {n: separated(n) for n in (0, 1, 2, 4)}
for n, found in estimates.items():
    missing = (mixture - found.sum(dim=0)).square().sum() / mixture.square().sum()
    print(f"{n} iterations: {100 * float(missing):6.2f} % of the energy of the mixture is in neither estimate")

# %% [markdown]
# ## 3. Four numbers for one estimate
#
# **BSS Eval** (Vincent et al., 2006) explains the error of an estimate $\hat s$ by parts:
#
# $$\hat s = s + e_\text{spatial} + e_\text{interference} + e_\text{artefacts}.$$
#
# To find the parts, it filters the true sources with short filters (512 samples). The part of the error that comes from
# filtering the source itself is $e_\text{spatial}$. The part that the *other* filtered sources explain is
# $e_\text{interference}$. The rest is in none of the sources: $e_\text{artefacts}$. Four ratios in dB follow:
#
# | measure | ratio | falls if |
# |---|---|---|
# | SDR | $s$ to all errors | anything is wrong |
# | ISR | $s$ to $e_\text{spatial}$ | level, spectrum or position of the source are wrong |
# | SIR | $s + e_\text{spatial}$ to $e_\text{interference}$ | other sources remain |
# | SAR | $s + e_\text{spatial} + e_\text{interference}$ to $e_\text{artefacts}$ | new sounds appear, such as "musical noise" |
#
# The best test of a measure is an estimate with one known error. The next cell damages the true voice in four ways. All
# values above 40 dB are drawn as 40 dB.

# %%
torch.manual_seed(0)
taps = 0.7 ** torch.arange(32.0)  # the output at a time depends on the present and 31 earlier samples
lowpass = functional.conv1d(functional.pad(vocals[:, None], (31, 0)), (taps / taps.sum()).flip(0)[None, None])[:, 0]
damaged = {
    "half the level": 0.5 * vocals,
    "dull (low-pass)": lowpass,
    "band remains": vocals + 0.2 * band,
    "white noise": vocals + 0.02 * torch.randn_like(vocals),
}


def bss(voice, rest):
    """Compute the four scores of the voice over the whole song, in dB."""
    found = bss_eval(sources, torch.stack([voice, rest]))
    return {name: float(getattr(found, name.lower())[0, 0]) for name in ("SDR", "ISR", "SIR", "SAR")}


scores = {name: bss(voice, band) for name, voice in damaged.items()}
record(half_sdr=scores["half the level"]["SDR"], band_sir=scores["band remains"]["SIR"], noise_sar=scores["white noise"]["SAR"])
separation_figures.score_bars({name: {key: min(value, 40.0) for key, value in row.items()} for name, row in scores.items()})

# %% [markdown]
# - Half the level: only ISR and SDR fall, to 6.0<!-- half_sdr --> dB. A filter can undo the error.
# - Dull sound: ISR and SDR fall again, for the same reason.
# - Band remains: SIR falls to 9.1<!-- band_sir --> dB, and SAR stays high, because the band is one of the true sources.
# - White noise: SAR falls to 11.7<!-- noise_sar --> dB. The noise is in none of the sources.
#
# Listen to two of them, the remaining band and the noise:

# %%
SIX = slice(0, 6 * RATE)
Audio(damaged["band remains"].mean(dim=0)[SIX].numpy(), rate=RATE)

# %%
Audio(damaged["white noise"].mean(dim=0)[SIX].numpy(), rate=RATE)

# %% [markdown]
# ## 4. Your Open-Unmix
#
# Now the four numbers of your networks, without and with the Wiener filter, and those of the mixture.

# %%
own = {"mixture": bss(mixture, mixture)}
own |= {f"Wiener, {n}" if n else "networks": bss(*found) for n, found in estimates.items()}
for name, short in (("networks", "networks"), ("Wiener, 1", "one"), ("Wiener, 4", "four")):
    record(**{f"{key.lower()}_{short}": value for key, value in own[name].items()})
separation_figures.score_bars({name: {key: min(value, 40.0) for key, value in row.items()} for name, row in own.items()})

# %% [markdown]
# One iteration of the Wiener filter raises the SIR from 2.7<!-- sir_networks --> dB to 6.1<!-- sir_one --> dB, and the SDR
# from 2.3<!-- sdr_networks --> dB to 3.0<!-- sdr_one --> dB. The ISR falls from 6.2<!-- isr_networks --> dB to
# 4.6<!-- isr_one --> dB, because the filter also removes parts of the voice. Four iterations raise the SIR to
# 6.8<!-- sir_four --> dB, but the SAR and the SDR fall to 5.7<!-- sar_four --> dB and 2.2<!-- sdr_four --> dB. So more
# iterations are not always better. This song is one example, and songs differ.
#
# The mixture has the highest SAR and the highest ISR, although it is not separated at all: it contains no artefacts, and the
# voice is unchanged. So never judge a separator by SAR or ISR alone.
#
# Listen to the voice, estimated by the networks, and then with one iteration of the Wiener filter.

# %%
Audio(estimates[0][0].mean(dim=0)[SIX].numpy(), rate=RATE)

# %%
Audio(estimates[1][0].mean(dim=0)[SIX].numpy(), rate=RATE)

# %% [markdown]
# The usual protocol for the data set MUSDB18 computes BSS Eval (version 4) in windows of one second, takes the median over
# the windows of each song, and then the median over the songs. In unbraid: `unbraid evaluate run=… protocol=musdb18`.
#
# ## Exercises
#
# 1. Three estimates of a voice have one error each. a: the drums are audible. b: the voice is too quiet. c: the voice sounds
#    watery. Which of ISR, SIR and SAR falls? Answer with a list of three names, in the order a, b, c.

# %%
answer = ...
check.exercise_1(answer)

# %% [markdown]
# 2. An estimate is the true source with half the amplitude. Compute its SDR in dB with pen and paper, and compare with the
#    figure of section 3.

# %%
answer = ...
check.exercise_2(answer)

# %% [markdown]
# 3. Write the Wiener filter for mono: a function `wiener(powers, mixture)`. `powers` has the shape (sources, bins, frames),
#    `mixture` is a complex spectrum (bins, frames). It returns the estimates of all sources.

# %%
wiener = ...
check.exercise_3(wiener)

# %% [markdown]
# ## What to read
#
# - E. Vincent, R. Gribonval and C. Févotte, "Performance measurement in blind audio source separation", IEEE TASLP 2006: BSS
#   Eval.
# - N. Q. K. Duong, E. Vincent and R. Gribonval, "Under-determined reverberant audio source separation using a full-rank
#   spatial covariance model", IEEE TASLP 2010.
# - A. A. Nugraha, A. Liutkus and E. Vincent, "Multichannel music separation with deep neural networks", EUSIPCO 2016:
#   networks and Wiener filter.
# - F.-R. Stöter, A. Liutkus and N. Ito, "The 2018 signal separation evaluation campaign", LVA/ICA 2018: BSS Eval version 4.
# - F.-R. Stöter, S. Uhlich, A. Liutkus and Y. Mitsufuji, "Open-Unmix: a reference implementation for music source
#   separation", JOSS 2019.
