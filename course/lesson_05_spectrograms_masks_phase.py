# %% [markdown]
# # Lesson 5: spectrograms, masks, phase
#
# Most separators change a spectrogram and convert it back to sound. This lesson follows a song through all steps, with
# perfect masks in place of a network. So it shows how good a network can become at best, and which errors come from the
# method itself.
#
# After this lesson, you can
#
# - name the steps between a mixture and a separated source,
# - choose the window of a short-time Fourier transform,
# - define four ideal masks and compare their scores,
# - measure the cost of the mixture phase,
# - reconstruct a phase with the Griffin-Lim algorithm, iteration by iteration.
#
# Time: 60 minutes for you, 1 minute for the computer. You need no earlier lesson, but you must know complex numbers.

# %% language="bash"
# python -c "import unbraid" 2> /dev/null || pip install --quiet unbraid

# %%
from pathlib import Path

import torch
from IPython.display import Audio, Image

from unbraid import audio
from unbraid.course import animations, fast, figures, record, separation_figures
from unbraid.course.checks import lesson_05 as check
from unbraid.data.demo_songs.song import render_song
from unbraid.dsp.stft import STFT, griffin_lim, spectral_convergence
from unbraid.scoring.measures import si_sdr
from unbraid.scoring.oracles import ORACLES, phase_sensitive

figures.use_style()

# %% [markdown]
# ## 1. A song and its sources
#
# A generated song of 6 s is enough. A **mixture** is the sum of its **sources**: here a voice and the rest of the band. All
# signals are mono with 16,000 samples per second.

# %%
RATE = 16000
stems = render_song(seed=3, seconds=6.0)
mono = {
    name: torch.tensor(audio.resample(stem.mean(axis=0, keepdims=True) / 32768, 44100, RATE)).float()
    for name, stem in stems.items()
}
mixture, vocals = mono["mixture"], mono["vocals"]
band = mixture - vocals
figures.waveforms({"mixture": mixture[0], "vocals": vocals[0]}, RATE)

# %%
Audio(mixture[0].numpy(), rate=RATE)

# %% [markdown]
# ## 2. The short-time Fourier transform
#
# The **short-time Fourier transform** (STFT) cuts a signal $x$ into overlapping **frames** of $N$ samples, multiplies each
# frame with a window $w$, and computes its Fourier transform. The distance between two frames is the **hop** $H$:
#
# $$X_{f,t} = \sum_{n=0}^{N-1} w_n \, x_{tH + n} \, e^{-2 \pi i f n / N}.$$
#
# Each complex number $X_{f,t}$ is a **bin**. Its **magnitude** $|X_{f,t}|$ shows how strong the frequency $f$ is at time $t$.
# Its **phase** is the angle, the position of the wave at this moment. A **spectrogram** shows the magnitudes.
#
# The bins have a distance of $f_s / N$ for the sample rate $f_s$. A long window separates close frequencies, and a short
# window separates close times. No window does both.

# %%
separation_figures.windows(vocals[0], [256, 1024, 4096], RATE, top=4000)

# %% [markdown]
# The STFT loses nothing. Its inverse adds the overlapping frames and returns the signal:

# %%
stft = STFT(n_fft=1024, hop_length=256)
X, S = stft(mixture), stft(vocals)
returned = stft.inverse(X, mixture.shape[-1])
print("shape (channels, bins, frames):", tuple(X.shape), " largest error:", float((returned - mixture).abs().max()))

# %% [markdown]
# ## 3. Masks
#
# A **mask** has one number for each bin. The estimated source is mask times mixture, converted back by the inverse STFT:
#
# > mixture → STFT → magnitudes → **network** → mask → mask × STFT of the mixture → inverse STFT → estimate
#
# A mask is **ideal** if it is computed from the true sources. Such a method is called an **oracle**: nobody has the true
# sources of a song, but the oracle shows the limit of all networks that estimate this kind of mask. With $S$ for the source
# and $R = X - S$ for the rest, four masks are common:
#
# | name in `ORACLES` | mask | idea |
# |---|---|---|
# | `ibm`, ideal binary mask | 1 if $\lvert S\rvert > \lvert R\rvert$, else 0 | the louder source gets the bin |
# | `irm`, ideal ratio mask | $\lvert S\rvert / (\lvert S\rvert + \lvert R\rvert)$ | share of the magnitudes |
# | `irm2` | $\lvert S\rvert^2 / (\lvert S\rvert^2 + \lvert R\rvert^2)$ | share of the powers: the Wiener filter |
# | `psm`, phase-sensitive mask | $\operatorname{Re}(S / X)$, clamped to 0 … 1 | smallest error of each bin |

# %%
R = X - S
masks = {
    "ibm": (S.abs() > R.abs()).float()[0],
    "irm": (S.abs() / (S.abs() + R.abs()).clamp(min=1e-9))[0],
    "psm": phase_sensitive(S, X)[0],
}
figures.spectra(masks, stft, RATE, top=4000, low=0, high=1, unit="mask", colours="viridis")

# %% [markdown]
# The magnitudes of the sources do not add up. If two waves have opposite phases, they cancel each other, and
# $|X| < |S| + |R|$. Therefore the masks differ, and only `psm` uses the phases.
#
# The measure **SI-SDR** compares an estimate $\hat s$ with the true source $s$. It is the energy of the source divided by the
# energy of the error, in decibels:
#
# $$\text{SI-SDR} = 10 \log_{10} \frac{\lVert \alpha s \rVert^2}{\lVert \hat s - \alpha s \rVert^2}.$$
#
# The factor $\alpha = (\hat s \cdot s) / (s \cdot s)$ makes the measure independent of the volume. 0 dB means: as much error
# as source. 10 dB means: ten times less.
#
# The **uSDR** is the same ratio without the factor: $\alpha = 1$, over all samples and channels. It counts a wrong volume as an
# error. An estimate of silence therefore has the uSDR 0 dB, whereas its SI-SDR is not defined.
#
# An **improvement** is the score of the estimate minus the score of the unprocessed mixture. The improvement of the SI-SDR is
# called **SI-SDRi**, and the improvement of the uSDR **uSDRi**. If the mixture has a uSDR of −5 dB, silence has a uSDRi of 5
# dB, although it contains no voice.

# %%
sources = torch.stack([vocals, band])
estimates = {name: ORACLES[name](mixture, sources, stft)[0] for name in ("mixture", "ibm", "irm", "irm2", "psm")}
scores = {name: si_sdr(vocals, estimate) for name, estimate in estimates.items()}
record(**scores)
separation_figures.score_bars({"SI-SDR of the vocals": scores})

# %% [markdown]
# The mixture itself has −4.6<!-- mixture --> dB, because the band is louder than the voice. The binary mask reaches
# 6.2<!-- ibm --> dB, and the phase-sensitive mask 9.6<!-- psm --> dB. No network that estimates a real mask between 0 and 1
# can be much better. Listen to the binary mask, and then to the phase-sensitive mask:

# %%
Audio(estimates["ibm"][0].numpy(), rate=RATE)

# %%
Audio(estimates["psm"][0].numpy(), rate=RATE)

# %% [markdown]
# The best window is a compromise. Here, 256<!-- best_window --> ms is best for the ideal ratio mask. The curve shows the
# score of the ideal ratio mask for windows of 16 to 512 ms, always with a hop of a quarter of the window.

# %%
sizes = [256, 512, 1024, 2048, 4096, 8192]
by_window = {
    name: [si_sdr(vocals, ORACLES[name](mixture, sources, STFT(n, n // 4))[0]) for n in sizes] for name in ("ibm", "irm", "psm")
}
best = max(range(len(sizes)), key=lambda n: by_window["irm"][n])
record(best_window=1000 * sizes[best] / RATE)
window_ms = [1000 * n / RATE for n in sizes]
lines = {name: (window_ms, values) for name, values in by_window.items()}
figure = figures.curves(lines, "window (ms)", "SI-SDR of the vocals (dB)", log_x=True)
figure.axes[0].set_xticks(window_ms, [f"{ms:.0f}" for ms in window_ms])
figure.axes[0].minorticks_off()
figure

# %% [markdown]
# ## 4. The cost of the mixture phase
#
# A mask changes magnitudes only. The estimate keeps the phase of the mixture. How much does this cost? The next cell combines
# the magnitudes and the phases of the true voice and of the mixture.


# %%
def combined(magnitudes, phases):
    return stft.inverse(torch.polar(magnitudes, phases), mixture.shape[-1])


phase = {
    "true magnitudes, true phase": combined(S.abs(), S.angle()),
    "true magnitudes, mixture phase": combined(S.abs(), X.angle()),
    "mixture magnitudes, true phase": combined(X.abs(), S.angle()),
    "mixture magnitudes, mixture phase": mixture,
}
phase_scores = {name: si_sdr(vocals, estimate) for name, estimate in phase.items()}
record(
    true_magnitudes=phase_scores["true magnitudes, mixture phase"], true_phase=phase_scores["mixture magnitudes, true phase"]
)
for name, value in phase_scores.items():
    print(f"{name:35} {value:6.1f} dB")

# %% [markdown]
# A network with perfect magnitudes would reach 8.1<!-- true_magnitudes --> dB, and not more. The phase-sensitive mask is
# better, although its magnitudes are wrong: in bins with a wrong phase it makes the estimate quieter, and so reduces the
# error.
#
# The true phase alone improves the mixture, too: with the magnitudes of the mixture it has −1.1<!-- true_phase --> dB.
# Therefore, new networks estimate complex masks or waveforms.

# %% [markdown]
# ## 5. Griffin-Lim: a phase from magnitudes
#
# Frames of an STFT overlap, so neighbouring bins depend on each other. Most combinations of magnitudes and phases are not the
# STFT of any signal. The algorithm of Griffin and Lim (1984) uses this. It starts with any phase, and repeats two steps:
#
# 1. inverse STFT, then STFT: this gives the nearest spectrum that belongs to a signal,
# 2. keep its phase, and set its magnitudes to the wanted ones.
#
# The **spectral convergence** measures the distance between wanted magnitudes $M$ and the magnitudes of the signal in dB:
# $20 \log_{10} (\lVert M - |\text{STFT}(\hat s)| \rVert / \lVert M \rVert)$. The fast version (Perraudin et al., 2013) adds a
# **momentum**: it takes a larger step in the direction of the last change.

# %%
M = S.abs()[0]
counts = [1, 2, 4, 8, 16, 32, fast(64, 33)]
waves = {momentum: [griffin_lim(M, stft, mixture.shape[-1], n, momentum) for n in counts] for momentum in (0.0, 0.99)}
errors = {
    f"momentum {momentum}": (counts, [spectral_convergence(M, wave, stft) for wave in found])
    for momentum, found in waves.items()
}
record(slow=errors["momentum 0.0"][1][-1], quick=errors["momentum 0.99"][1][-1])
figure = figures.curves(errors, "iterations", "spectral convergence (dB)", log_x=True)
figure.axes[0].set_xticks(counts, counts)
figure.axes[0].minorticks_off()
figure

# %% [markdown]
# The animation shows 0.02 s of the waveform, and the error of all magnitudes, after 1, 2, 4 … 64 iterations. It starts with
# the phase 0 in all bins.

# %%
animations.gif(
    Path("griffin_lim.gif"),
    [
        separation_figures.reconstruction(wave, vocals[0], stft, RATE, f"{n} iterations", span=(2.0, 2.02))
        for n, wave in zip(counts, waves[0.99], strict=True)
    ],
    seconds=1.0,
)
Image(filename="griffin_lim.gif")

# %% [markdown]
# Listen to the result after 1 iteration and after 64 iterations.

# %%
Audio(waves[0.99][0].numpy(), rate=RATE)

# %%
Audio(waves[0.99][-1].numpy(), rate=RATE)

# %% [markdown]
# After 64 iterations, the error of the magnitudes is −29.5<!-- quick --> dB (−16.6<!-- slow --> dB without momentum). But the
# SI-SDR is low, as the next cell shows. The algorithm finds *a* signal with these magnitudes, and not *the* signal: a wave
# that starts a little later has the same magnitudes. For separation, start from the phase of the mixture.

# %%
start = X.angle()[0]
improved = griffin_lim(M, stft, mixture.shape[-1], 64, 0.99, start)
table = {
    "true magnitudes, phase 0, 64 iterations": waves[0.99][-1][None],
    "true magnitudes, mixture phase": phase["true magnitudes, mixture phase"],
    "true magnitudes, mixture phase, 64 iterations": improved[None],
}
found = {name: (si_sdr(vocals, wave), spectral_convergence(M, wave[0], stft)) for name, wave in table.items()}
record(
    from_zero=found["true magnitudes, phase 0, 64 iterations"][0],
    from_mixture=found["true magnitudes, mixture phase, 64 iterations"][0],
)
for name, (score, error) in found.items():
    print(f"{name:46} SI-SDR {score:6.1f} dB   spectral convergence {error:6.1f} dB")

# %% [markdown]
# Started from phase 0, the SI-SDR is −25.8<!-- from_zero --> dB. Started from the phase of the mixture, it is
# 10.1<!-- from_mixture --> dB, which is better than the phase of the mixture without Griffin-Lim (8.1<!-- true_magnitudes -->
# dB). This result needs true magnitudes. With the magnitudes of a network, the gain is usually small. In unbraid, the option
# `phase=griffin_lim` of a model chooses this method.
#
#
# ## Exercises
#
# 1. A signal has 8192 samples per second, and the STFT has a window of 1024 samples. How many bins does a frame have, and
#    what is the distance of two bins in Hz? Answer with a pair, such as `(100, 1.5)`. The signal is real, so only frequencies
#    from 0 to half the sample rate are stored.

# %%
answer = ...
check.exercise_1(answer)

# %% [markdown]
# 2. In one bin, the source is $S = 4$ and the rest is $R = -1$. Compute the masks `ibm`, `irm` and `psm`. Answer with a list
#    of three numbers.

# %%
answer = ...
check.exercise_2(answer)

# %% [markdown]
# 3. Write one iteration of Griffin-Lim: a function `step(spectrum, magnitudes, stft, samples)`. It returns the next spectrum:
#    the phase of the spectrum after inverse STFT and STFT, with the wanted magnitudes.

# %%
step = ...
check.exercise_3(step)

# %% [markdown]
# ## What to read
#
# - D. Griffin and J. Lim, "Signal estimation from modified short-time Fourier transform", IEEE TASSP 1984.
# - D. Wang, "On ideal binary mask as the computational goal of auditory scene analysis", 2005.
# - N. Perraudin, P. Balazs and P. Søndergaard, "A fast Griffin-Lim algorithm", WASPAA 2013.
# - H. Erdogan, J. Hershey, S. Watanabe and J. Le Roux, "Phase-sensitive and recognition-boosted speech separation using deep
#   recurrent neural networks", ICASSP 2015.
# - J. Le Roux, S. Wisdom, H. Erdogan and J. Hershey, "SDR – half-baked or well done?", ICASSP 2019: the SI-SDR.
