# %% [markdown]
# # Lesson 8: DDSP
#
# After this lesson you can
#
# - build a tone from harmonics and noise,
# - measure the pitch and the loudness of a recording,
# - explain what "differentiable" means for a synthesizer, and fit one to a sound by gradient descent,
# - train an instrument on half a minute of recordings,
# - let the instrument play a melody that a voice has sung.
#
# **Time:** 45 minutes with the exercises. The cells run for about 2 minutes on 2 cores. You need lessons 5 and 6.

# %% language="bash"
# python -c "import unbraid" 2> /dev/null || pip install --quiet unbraid

# %% language="bash"
# python -c "import torchcrepe, librosa" 2> /dev/null || pip install --quiet 'unbraid[pitch]'

# %%
import csv
import json
from pathlib import Path

import soundfile
import torch
from IPython.display import Audio, Image, display

import unbraid
from unbraid.course import fast, figures, record, synthesis_figures
from unbraid.course.checks import lesson_08 as check
from unbraid.dsp.stft import STFT
from unbraid.dsp.synthesis import a_weighting_db, filtered_noise, loudness, oscillators, white_noise
from unbraid.models.losses import MultiScaleSpectral

figures.use_style()
torch.manual_seed(0)
RATE, HOP = 16000, 64  # samples per second, samples between two control points

# %% [markdown]
# ## Harmonics
#
# A network that writes 16000 samples per second must learn even the simplest tone. DDSP (differentiable digital signal
# processing) takes another way. The network controls a *synthesizer*, a program that computes sound from a few curves.
#
# A sung or blown note consists of *harmonics*: sine waves at multiples of the *fundamental frequency* $f_0$. You hear $f_0$
# as the pitch. The distribution of the amplitudes $A_k$ is a part of the *timbre*, the colour of the sound:
#
# $$x(t) = \sum_{k=1}^{K} A_k(t) \sin(2 \pi k\, \varphi(t)), \qquad \varphi(t) = \int_0^t f_0(\tau)\, d\tau$$
#
# The phase $\varphi$ is an integral, because the pitch changes over time. The curves $f_0$ and $A_k$ are given 250 times
# per second, at *control points*.

# %%
points = 2 * RATE // HOP + 1
f0 = 220 * 1.5 ** torch.linspace(0, 1, points)[None]  # from 220 Hz up to 330 Hz
orders = torch.arange(1, 21)
colours = {"all harmonics": 1.0 / orders, "odd harmonics": (orders % 2) / orders}
tones = {}
for name, amplitudes in colours.items():
    sound, _ = oscillators(f0, 0.2 * amplitudes.expand(1, points, -1), HOP, RATE)
    tones[name] = sound[0]
    print(name)
    display(Audio(sound[0], rate=RATE))

# %%
figures.spectrograms(tones, STFT(1024, 256), RATE)

# %% [markdown]
# Both tones have the same pitch. The tone with odd harmonics sounds hollow, like a clarinet.
#
# ## Noise
#
# Breath and bow are not harmonic. DDSP adds white noise, whose spectrum a filter shapes. The filter has a gain for each of
# 65 frequency bands, and the gains change over time.

# %%
steps = points - 1
gains = torch.zeros(1, steps, 65)
gains[:, : steps // 2, 2:8] = 0.1  # first second: low bands
gains[:, steps // 2 :, 40:60] = 0.1  # second second: high bands
noise, _ = filtered_noise(gains, white_noise(gains, steps * HOP))
display(Audio(noise[0], rate=RATE))
figures.spectrograms(
    {"filtered noise": noise[0], "tone and noise": tones["odd harmonics"] + 0.3 * noise[0]}, STFT(1024, 256), RATE
)

# %% [markdown]
# ## Loudness
#
# The second curve of a melody is its *loudness*. Ears are less sensitive to low and very high frequencies. The
# *A-weighting* describes this. The loudness is the level of the weighted sound in dB.

# %%
hz = 31.25 * 2 ** torch.arange(9)
figures.curves({"A-weighting": (hz.tolist(), a_weighting_db(hz).tolist())}, "frequency (Hz)", "gain (dB)", log_x=True)

# %%
time = torch.arange(RATE) / RATE
for frequency in (100, 1000):
    tone = 0.1 * torch.sin(2 * torch.pi * frequency * time)
    level = float(loudness(tone, RATE, HOP)[100])
    record(**{f"loudness_{frequency}": level})
    print(f"{frequency} Hz: {level:.1f} dB")

# %% [markdown]
# Both tones have the same amplitude. Their loudness is -42.1<!-- loudness_100 --> dB and -23.0<!-- loudness_1000 --> dB.
#
# ## Differentiable
#
# The sound is a differentiable function of the amplitudes. So gradient descent can find the amplitudes of a given sound.
# The loss compares the magnitudes of spectra with several window lengths, because phases do not matter for the ear here:
#
# $$L = \sum_{n} \lVert S_n - \hat S_n \rVert_1 + \lVert \log S_n - \log \hat S_n \rVert_1$$
#
# $S_n$ is the magnitude spectrogram with a window of $n$ samples. The next cell knows the pitch of the tone with odd
# harmonics, but not its amplitudes. It starts with equal amplitudes.

# %%
loss = MultiScaleSpectral([2048, 1024, 512, 256], alpha=1.0)
target, pitch = tones["odd harmonics"][None, :RATE], f0[:, : RATE // HOP + 1]
raw = torch.full((20,), -4.0, requires_grad=True)
optimizer = torch.optim.Adam([raw], lr=0.1)
history = []
for _ in range(fast(100, 3)):
    estimate, _ = oscillators(pitch, raw.exp().expand(1, pitch.shape[1], -1), HOP, RATE)
    value = loss(estimate, target)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    history.append(value.item())
record(first_loss=history[0], last_loss=history[-1])
figures.curves({"loss": (range(1, len(history) + 1), history)}, "step", "loss", log_y=True)

# %%
found = {"true": 0.2 * colours["odd harmonics"], "found": raw.exp().detach()}
figures.curves({name: (orders.tolist(), values.tolist()) for name, values in found.items()}, "harmonic", "amplitude")

# %% [markdown]
# The loss falls from 8.97<!-- first_loss --> to 0.71<!-- last_loss -->, and the amplitudes agree.
#
# ## An instrument
#
# Now a network computes the amplitudes and the gains of the noise from pitch and loudness. It learns from recordings of one
# instrument. `experiment=ddsp_demo` trains on generated recordings of a reed: here 6 recordings of 6 seconds. Before the
# training, the pitch detector CREPE (a small network) measures the pitch of each recording.

# %% language="bash"
# unbraid train experiment=ddsp_demo trainer.max_epochs=8 trainer.check_val_every_n_epoch=2 optim.optimizer.lr=3e-3 \
#   data.root=data data.layout.train=6 data.layout.valid=1 data.layout.test=2 data.layout.seconds=6 \
#   data.chunks_per_track=16 data.batch_size=4 data.num_workers=0 hydra.run.dir=outputs/reed

# %%
rows = list(csv.DictReader(Path("outputs/reed/metrics.csv").read_text().splitlines()))
train = [float(row["train/loss"]) for row in rows]
figures.curves({"training": (range(1, len(train) + 1), train)}, "epoch", "loss")

# %%
summary = json.loads(Path("outputs/reed/scores.json").read_text())
trained, constant = (summary[key]["reed"]["loss"]["median"] for key in ("summary", "constant"))
record(instrument_loss=trained, constant_loss=constant)
print(f"loss of the instrument {trained:.2f}, of constant spectra {constant:.2f}")

# %% [markdown]
# The instrument plays the test recordings from their curves of pitch and loudness. Its loss is
# 3.35<!-- instrument_loss -->. A baseline plays the same curves with one constant spectrum. Its loss is
# 5.12<!-- constant_loss -->.

# %%
track = sorted(Path("outputs/reed/audio").iterdir())[0]
played = {}
for name in ("input", "resynthesis", "constant spectrum"):
    samples, rate = soundfile.read(track / f"{name}.flac", dtype="float32")
    played[name] = torch.from_numpy(samples)
    print(name)
    display(Audio(samples[: 4 * rate], rate=rate))

# %%
figures.spectrograms(played, STFT(1024, 256), RATE)

# %% [markdown]
# ## Pitch
#
# `listen` measures the curves of any sound. The *periodicity* is between 0 and 1. Small values mean that the pitch is not
# clear, as in a pause or in a consonant.

# %%
reed = unbraid.load("outputs/reed")
voice_file = sorted(Path("data").glob("v1-*/test/*/vocals.wav"))[0]
heard = reed.listen(torch.from_numpy(soundfile.read(track / "input.flac", dtype="float32")[0]), RATE)
panels = {"pitch (Hz)": heard.f0, "loudness (dB)": heard.loudness, "periodicity": heard.periodicity}
synthesis_figures.over_time(panels, RATE / HOP)

# %% [markdown]
# ## Timbre transfer
#
# A voice has a pitch and a loudness, too. Give its curves to the reed: the reed plays the melody of the voice. The command
# also moves the melody by octaves into the range of the instrument, and adapts the loudness.

# %% language="bash"
# unbraid transfer run=outputs/reed "input=data/v1-seed0-6+1+2x6s/test/song 08/vocals.wav" output=reed.wav

# %%
for file in (voice_file, Path("reed.wav")):
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    mono = torch.from_numpy(samples.mean(axis=1))[: 5 * rate]
    print(file.stem)
    display(Audio(mono[::2] if rate > 22050 else mono, rate=rate // 2 if rate > 22050 else rate))

# %%
Image(filename="reed.png", width=800)

# %% [markdown]
# The panels show the curves that went into the network, and the harmonics and the noise that it has chosen.
#
# ## Play by hand
#
# The curves need not come from a recording. The next cell writes a scale.

# %%
notes = torch.tensor([60, 62, 64, 65, 67, 69, 71, 72.0])  # MIDI numbers: 69 is 440 Hz
hertz = 440 * 2 ** ((notes - 69) / 12)
per_note = int(0.5 * RATE / HOP)
melody = hertz.repeat_interleave(per_note)
shape = torch.sin(torch.linspace(0, torch.pi, per_note)).clamp(min=0.01).log10() * 10
level = (shape - 25).repeat(len(notes))
Audio(reed.synthesise(melody, level), rate=RATE)

# %% [markdown]
# ## Exercise 1: how many harmonics?
#
# The sample rate is 16000 Hz and $f_0$ is 440 Hz. How many harmonics are below half the sample rate? Higher ones cannot be
# represented, so the synthesizer leaves them out.

# %%
answer = ...
check.exercise_1(answer)

# %% [markdown]
# ## Exercise 2: cents
#
# An octave (a factor of 2 in frequency) has 1200 cents, and equal factors are equal numbers of cents. An instrument plays
# 446 Hz in place of 440 Hz. How many cents is it too high?

# %%
answer = ...
check.exercise_2(answer)

# %% [markdown]
# ## Exercise 3: a changing pitch
#
# Write a function that returns one sine wave of amplitude 1, whose frequency in Hz is given for each sample.


# %%
def sine(f0, rate):
    """Return sin(2 π φ) for the frequency f0 [samples] in Hz."""
    return ...


check.exercise_3(sine)

# %% [markdown]
# ## What to read
#
# - Engel, Hantrakul, Gu & Roberts: DDSP: Differentiable digital signal processing. ICLR 2020.
# - Kim, Salamon, Li & Bello: CREPE: A convolutional representation for pitch estimation. ICASSP 2018.
# - Serra & Smith: Spectral modeling synthesis. Computer Music Journal, 1990.
# - Hayes et al.: A review of differentiable digital signal processing for music and speech synthesis. Frontiers in Signal
#   Processing, 2024.
