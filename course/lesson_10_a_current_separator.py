# %% [markdown]
# # Lesson 10: a current separator
#
# After this lesson you can
#
# - explain why current networks divide the spectrum into bands,
# - fine-tune a trained separator on a few songs of your own,
# - show how many training steps a trained start saves, and whether the old songs get worse,
# - export the separator to ONNX, and run the file without PyTorch,
# - separate a file with the result.
#
# **Time:** 45 minutes with the exercises. The cells run for about 2 minutes on 2 cores. You need lessons 5 and 6.

# %% language="bash"
# python -c "import unbraid" 2> /dev/null || pip install --quiet unbraid

# %% language="bash"
# python -c "import onnxscript, onnxruntime" 2> /dev/null || pip install --quiet 'unbraid[export]'

# %%
import csv
import json
import math
import time
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import torch
from IPython.display import Audio, display

import unbraid
from unbraid.course import band_figures, figures, record
from unbraid.course.checks import lesson_10 as check
from unbraid.dsp.stft import STFT
from unbraid.inference.chunked import InferenceOptions
from unbraid.nets.scnet_bands import SparseBands

figures.use_style()

# %% [markdown]
# ## Bands
#
# The U-Net (lesson 6) uses the same convolution at all frequencies. But the spectrum of music is not equal at all
# frequencies. The low frequencies contain most of the energy, and single harmonics. At high frequencies, neighbouring bins
# are similar.
#
# Current separators divide the spectrum into *bands* and treat each band in its own way.
#
# | network | bands | inside the network |
# |---|---|---|
# | Band-Split RNN (2022) | about 30, narrow at low frequencies | LSTMs along time, then along the bands |
# | BS-RoFormer (2023), Mel-Band RoFormer (2023) | about 60 | attention along time, then along the bands |
# | SCNet (2024) | 3, compressed by different factors | convolutions, then LSTMs along time and along frequency |
#
# An *LSTM* is a recurrent layer: it reads a sequence step by step and keeps a state (lesson 7). *Attention* compares all
# steps of a sequence with each other. Both can connect a bin with distant bins. Convolutions need many layers for this.
#
# This lesson uses SCNet, because it trains fast. Its first layer compresses the three bands by the factors 1, 4 and 16. A
# band of $n$ bins becomes $\lceil n / f \rceil$ values, where $f$ is the factor. Three such layers follow each other.

# %%
bands = SparseBands(shares=(0.175, 0.392, 0.433), strides=(1, 4, 16), kernels=(3, 4, 16), depths=(3, 2, 1))
layers = [bands.sizes(513)]
for _ in range(3):
    layers.append(bands.compressed(sum(layers[-1])))
record(bins_after_one=sum(layers[1]), bins_after_three=sum(layers[3]))
band_figures.compression(layers, ["low", "middle", "high"])

# %% [markdown]
# The 513 bins of a spectrum with a window of 1024 samples become 155<!-- bins_after_one --> values, and
# 16<!-- bins_after_three --> after three layers. A *dual-path layer* then applies an LSTM along the frequencies of each
# frame, and an LSTM along the frames of each frequency. The decoder mirrors the encoder. SCNet returns complex spectra, so
# it also estimates the phase.

# %% [markdown]
# ## Someone else's model
#
# Suppose that somebody trained a separator on songs that you do not have. You simulate this: train a small SCNet on 8
# generated songs of one collection (`data.layout.seed=1`).

# %% language="bash"
# unbraid train model=scnet_small trainer=cpu trainer.max_epochs=6 optim.optimizer.lr=2e-3 \
#   data.layout.seed=1 data.layout.train=8 data.layout.valid=1 data.layout.test=3 data.layout.seconds=8 \
#   data.chunks_per_track=8 data.batch_size=4 data.num_workers=0 hydra.run.dir=outputs/first

# %% [markdown]
# ## Fine-tuning
#
# You have three songs of your own (`data.layout.seed=0`). *Fine-tuning* continues from trained weights with new data.
# Compare two trainings with equal settings. The first starts from random weights. The second starts from the weights of
# `outputs/first` (`init=`). Both train for the same number of steps.

# %% language="bash"
# unbraid train model=scnet_small trainer=cpu trainer.max_epochs=6 optim.optimizer.lr=1e-3 \
#   data.layout.seed=0 data.layout.train=3 data.layout.valid=2 data.layout.test=4 data.layout.seconds=8 \
#   data.chunks_per_track=8 data.batch_size=4 data.num_workers=0 hydra.run.dir=outputs/scratch

# %% language="bash"
# unbraid train model=scnet_small trainer=cpu trainer.max_epochs=6 optim.optimizer.lr=1e-3 \
#   data.layout.seed=0 data.layout.train=3 data.layout.valid=2 data.layout.test=4 data.layout.seconds=8 \
#   data.chunks_per_track=8 data.batch_size=4 data.num_workers=0 hydra.run.dir=outputs/tuned \
#   init=outputs/first


# %%
def validation(run: str) -> tuple[list[float], list[float]]:
    """Read the steps and the uSDR of the validation songs from `metrics.csv`."""
    rows = list(csv.DictReader(Path(f"outputs/{run}/metrics.csv").read_text().splitlines()))
    return [int(row["step"]) for row in rows], [float(row["valid/uSDR/vocals"]) for row in rows]


curves = {"random weights": validation("scratch"), "trained weights": validation("tuned")}
figures.curves(curves, "training step", "uSDR of the validation songs (dB)")


# %%
def score(run: str) -> float:
    """Read the median SI-SDRi of the test songs."""
    return json.loads(Path(f"outputs/{run}/scores.json").read_text())["summary"]["vocals"]["SI-SDRi"]["median"]


record(scratch=score("scratch"), tuned=score("tuned"), first_epoch_tuned=curves["trained weights"][1][0])
record(last_epoch_scratch=curves["random weights"][1][-1])
print(f"SI-SDRi of the test songs: random weights {score('scratch'):.2f} dB, trained weights {score('tuned'):.2f} dB")

# %% [markdown]
# After the first six steps, the fine-tuned network already has 1.61<!-- first_epoch_tuned --> dB. The network with random
# weights reaches 0.63<!-- last_epoch_scratch --> dB after all steps. On the test songs, the SI-SDRi is 5.43<!-- tuned -->
# dB with trained weights and 1.12<!-- scratch --> dB with random weights. Three songs are too few to learn from nothing.
#
# These are single runs. A claim needs several seeds (lesson 9).
#
# ## The old songs
#
# Fine-tuning can make a network worse on the old songs. `evaluate` scores both networks on the songs of the first training
# and compares them song by song.

# %% language="bash"
# unbraid evaluate run=outputs/tuned data=demo data.layout.seed=1 data.layout.train=8 data.layout.valid=1 data.layout.test=3 \
#   data.layout.seconds=8 'compare_with=[outputs/first]'

# %% [markdown]
# Here the three old songs do not show a difference: see the sentence below the table. If a network has become worse on the
# old songs, average the weights of both networks: `unbraid evaluate run=outputs/tuned start=outputs/first interpolate=0.5`.
# The average is often good on both kinds of songs (Wortsman et al., 2022).

# %% [markdown]
# ## Train a small part
#
# A large network has many millions of weights. *LoRA* (low-rank adaptation) keeps the weights $W$ of a layer and trains
# only a product of two small matrices:
#
# $$W' = W + \tfrac{\alpha}{r} B A, \qquad A \in \mathbb{R}^{r \times n},\; B \in \mathbb{R}^{m \times r}$$
#
# $r$ is the rank. At the start $B = 0$, so the network is unchanged. The number of trained weights falls from $m n$ to
# $r (m + n)$. In unbraid, add `lora=default` to the command (it needs `pip install 'unbraid[lora]'`).

# %%
m, n = 256, 512
for rank in (1, 4, 16, 64):
    print(f"rank {rank:2}: {100 * rank * (m + n) / (m * n):5.2f} % of the weights of a layer with {m} × {n} weights")

# %% [markdown]
# ## Export
#
# *ONNX* is a file format for networks. Programs in many languages can run it, without PyTorch and without unbraid. The file
# also contains the STFT: it maps waveforms to waveforms. The command compares the file with the original network.

# %% language="bash"
# unbraid export run=outputs/tuned

# %%
session = onnxruntime.InferenceSession("outputs/tuned/model.onnx")
facts = {name: json.loads(value) for name, value in session.get_modelmeta().custom_metadata_map.items()}
print({name: facts[name] for name in ("sample_rate", "targets", "chunk_samples", "normalisation")})

# %% [markdown]
# A program needs only these metadata. `normalisation: song` means: subtract the mean of the song, and divide by its
# standard deviation. The next cell separates a song with numpy and onnxruntime only.

# %%
track = sorted(Path("outputs/tuned/audio").iterdir())[0]
mixture, rate = soundfile.read(track / "mixture.flac", dtype="float32")
start = time.perf_counter()
mean, scale = mixture.mean(), mixture.std()
(sources,) = session.run(None, {"mixture": ((mixture - mean) / scale)[None, None].astype(np.float32)})
vocals = sources[0, 0, 0] * scale + mean
print(f"{len(mixture) / rate:.1f} s of music in {time.perf_counter() - start:.2f} s")

# %%
whole = InferenceOptions(chunk_seconds=len(mixture) / rate)
original = unbraid.load("outputs/tuned").separate(torch.from_numpy(mixture)[None], rate, whole)["vocals"][0].numpy()
error = vocals - original
print(f"difference to unbraid: {10 * math.log10((error**2).sum() / (original**2).sum()):.0f} dB")

# %%
target, _ = soundfile.read(track / "vocals-target.flac", dtype="float32")
sounds = {"mixture": mixture, "estimate": vocals, "true vocals": target}
for name, samples in sounds.items():
    print(name)
    display(Audio(samples[: 5 * rate], rate=rate))

# %%
figures.spectrograms({name: torch.from_numpy(samples) for name, samples in sounds.items()}, STFT(1024, 256), rate)

# %% [markdown]
# ## Use
#
# `separate` accepts the exported file in place of a run folder. It cuts songs of any length into overlapping chunks and
# joins the estimates. `residual=true` also writes the mixture minus the vocals: a karaoke version.

# %%
Path("songs").mkdir(exist_ok=True)
soundfile.write("songs/song.wav", mixture, rate)

# %% language="bash"
# unbraid separate run=outputs/tuned/model.onnx input=songs/song.wav output=separated residual=true overwrite=true

# %%
karaoke, _ = soundfile.read("separated/song/residual.wav")
Audio(karaoke[: 5 * rate], rate=rate)

# %% [markdown]
# A network that was trained on generated songs does not separate real music. Weights for real music exist:
# `unbraid separate run=MODEL.yaml` reads checkpoints of Music-Source-Separation-Training, for SCNet, BS-RoFormer and
# Mel-Band RoFormer. The same commands fine-tune them on a GPU.

# %% [markdown]
# ## Exercise 1: compressed bins
#
# A spectrum has 2049 bins. The three bands have 359, 803 and 887 bins and are compressed by 1, 4 and 16. How many values
# remain after the first layer?

# %%
answer = ...
check.exercise_1(answer)

# %% [markdown]
# ## Exercise 2: LoRA
#
# A dense layer has 384 inputs and 1536 outputs, without bias. How many percent of its weights does LoRA with rank 8 train?

# %%
answer = ...
check.exercise_2(answer)

# %% [markdown]
# ## Exercise 3: use the exported file
#
# Write a function that separates a waveform with the ONNX file. It gets `session` and a mono waveform (numpy array), and
# returns the vocals in the original scale. The check calls it with a session of its own, on a loud mixture with a constant
# offset.


# %%
def separate(session, mixture):
    """Return the vocals of a mixture [samples]."""
    return ...


check.exercise_3(separate)

# %% [markdown]
# ## What to read
#
# - Luo & Yu: Music source separation with band-split RNN. IEEE/ACM TASLP, 2023.
# - Lu et al.: Music source separation with band-split RoPE transformer. ICASSP 2024.
# - Tong et al.: SCNet: Sparse compression network for music source separation. ICASSP 2024.
# - Hu et al.: LoRA: Low-rank adaptation of large language models. ICLR 2022.
# - Wortsman et al.: Robust fine-tuning of zero-shot models. CVPR 2022.
