# %% [markdown]
# # Lesson 6: the U-Net
#
# The U-Net was invented to segment medical images. A spectrogram is an image, too. This lesson first lets a U-Net decide for
# each bin of a spectrogram whether it belongs to a voice. Then it trains the singing-voice U-Net of Jansson et al. (2017),
# with and without skip connections.
#
# After this lesson, you can
#
# - draw a U-Net and compute the size of each feature map,
# - explain segmentation, accuracy and IoU,
# - explain how a network estimates a mask, and which loss it minimises,
# - measure and hear what skip connections do,
# - read the results table of a paper, and say why your numbers differ.
#
# Time: 75 minutes for you, 2 to 3 minutes for the computer. You need lesson 5.

# %% language="bash"
# python -c "import unbraid" 2> /dev/null || pip install --quiet unbraid

# %%
import json
from pathlib import Path

import torch
from IPython.display import Audio

import unbraid
from unbraid.course import figures, record, separation_figures, trained
from unbraid.course.checks import lesson_06 as check

figures.use_style()

# %% [markdown]
# ## 1. The network
#
# The network is a convolutional autoencoder with one addition. The **encoder** halves the spectrogram in time and frequency,
# again and again, and computes more channels each time. After some layers, one number depends on a large part of the
# spectrogram. The **decoder** doubles the result until it has the size of the input. At the narrowest place, the
# **bottleneck**, the network knows *what* is in the spectrogram, but not exactly *where*.
#
# **Skip connections** solve this problem. They concatenate each feature map of the encoder with the map of equal size in the
# decoder. The decoder then has both: the coarse knowledge from below, and the fine details from the left. The drawing of the
# network looks like a U.
#
# The figure shows the network of Jansson et al. (2017). The numbers are channels × bins × frames. Dashed arrows are skip
# connections.

# %%
from unbraid.nets.unet import UNet

separation_figures.unet_levels(UNet(), bins=513, frames=128)

# %% [markdown]
# ## 2. Segmentation: which bins belong to the voice?
#
# **Segmentation** assigns a class to each pixel. Here, a pixel is a time-frequency bin of the short-time Fourier transform
# (STFT). There are two classes, *voice* and *band*. A bin belongs to the class *voice* if the voice is louder than all
# instruments together. The network computes one number $z_c$ (a **logit**) for each class $c$. Training minimises the
# **cross-entropy** of the true class $c^*$:
#
# $$-\log \frac{\exp z_{c^*}}{\sum_c \exp z_c}$$
#
# The command trains a small U-Net of Ronneberger et al. (2015) on generated songs of 12 s. 8 songs are used for the training,
# 2 for the validation, and 2 for the test.

# %% language="bash"
# unbraid train model=unet_segmentation "model.separator.net.channels=[8,16,32,64]" data=demo data.layout.train=8 \
#   data.layout.test=2 data.layout.seconds=12 data.chunks_per_track=16 data.batch_size=4 \
#   model.separator.chunk_seconds=5.90625 \
#   optim.optimizer.lr=2e-3 trainer.max_epochs=4 trainer.accelerator=cpu evaluation.clips=1 \
#   hydra.run.dir=outputs/segmentation

# %% [markdown]
# Two measures are common. The **accuracy** is the share of correct bins. The **IoU** (intersection over union) of a class is
#
# $$\text{IoU} = \frac{\text{correct}}{\text{correct} + \text{missed} + \text{wrongly estimated}}$$
#
# The mean over the classes is called **mIoU**. The command above has printed both measures, as means over the two test songs:
# `accuracy 0.754, mean IoU 0.505`.
#
# Most bins belong to the band. Therefore, the answer "never a voice" has a high accuracy, but its IoU of the class *voice* is
# 0. The next cell compares this answer with the network on one test song.


# %%
def summary(run, part="summary"):
    return json.loads(Path(f"outputs/{run}/scores.json").read_text())[part]


model = unbraid.load("outputs/segmentation").model
song = next(Path("outputs/segmentation/audio").iterdir())
mixture, _ = trained.sound(song / "mixture.flac")
vocals, _ = trained.sound(song / "vocals-target.flac")
spectrum, voice = model.stft(mixture), model.stft(vocals)
truth = (voice.abs() > (spectrum - voice).abs()).float()
with torch.no_grad():
    estimated = model(mixture[None, None]).masks[0, 0, 0]
figures.spectrograms({"mixture": mixture, "true voice": vocals}, model.stft, 8192)

# %%


def segmentation_scores(classes):
    correct = (classes == truth).float().mean().item()
    ious = [((classes == c) & (truth == c)).sum() / ((classes == c) | (truth == c)).sum() for c in (0, 1)]
    return correct, torch.stack(ious).mean().item()


accuracy, mean_iou = segmentation_scores(estimated)
never_accuracy, never_iou = segmentation_scores(torch.zeros_like(truth))
record(accuracy=accuracy, mean_iou=mean_iou, never_accuracy=never_accuracy, never_iou=never_iou)
print(f"network:       accuracy {accuracy:.3f}, mIoU {mean_iou:.3f}")
print(f"never a voice: accuracy {never_accuracy:.3f}, mIoU {never_iou:.3f}")

# %%
panels = {"true class: voice": truth, "estimated class: voice": estimated}
figures.spectra(panels, model.stft, 8192, low=0, high=1, unit="mask", colours="viridis")

# %% [markdown]
# On this song, "never a voice" has an accuracy of 0.863<!-- never_accuracy -->, and the network only
# 0.737<!-- accuracy -->. By this measure, the network is worse than an answer that finds nothing. The mIoU shows that the
# network has learned something: 0.466<!-- mean_iou --> instead of 0.431<!-- never_iou -->.
#
# The estimated class is a **binary mask**: 1 keeps a bin, 0 removes it. It is multiplied with the spectrogram of the mixture,
# as the ideal binary mask of lesson 5. This separates the voice a little: section 4 measures how much.
#
# ## 3. Soft masks and the loss of the paper
#
# A bin can contain voice *and* guitar. A binary mask cannot share it. Jansson et al. let the network estimate a **soft mask**
# $M$ with values from 0 to 1. For the magnitudes $X$ of the mixture and $Y$ of the true voice, they minimise
#
# $$L(X, Y; M) = \lVert M \odot X - Y \rVert_{1,1},$$
#
# the sum of the absolute errors of all bins ($\odot$ multiplies each bin with its mask). The network never sees a true mask.
# It finds the mask that makes the *result* right. The next command trains such a network with half the channels of the paper.

# %% language="bash"
# unbraid train model=unet_small data=demo data.layout.train=8 data.layout.test=2 data.layout.seconds=12 \
#   data.chunks_per_track=16 data.batch_size=4 model.separator.chunk_seconds=5.90625 optim.optimizer.lr=2e-3 \
#   trainer.max_epochs=8 \
#   trainer.accelerator=cpu evaluation.clips=1 hydra.run.dir=outputs/unet

# %% [markdown]
# The paper compares this network with a baseline: the same network without skip connections.

# %% language="bash"
# unbraid train model=unet_noskip_small data=demo data.layout.train=8 data.layout.test=2 data.layout.seconds=12 \
#   data.chunks_per_track=16 data.batch_size=4 model.separator.chunk_seconds=5.90625 optim.optimizer.lr=2e-3 \
#   trainer.max_epochs=8 \
#   trainer.accelerator=cpu evaluation.clips=1 hydra.run.dir=outputs/noskip

# %% [markdown]
# ## 4. Skips on and off
#
# The file `metrics.csv` of a run folder contains the losses of all epochs. The validation loss is computed on songs that were
# not used for the training.


# %%
figures.curves(
    {"with skips": trained.losses("outputs/unet"), "without skips": trained.losses("outputs/noskip")},
    "epoch",
    "validation loss",
)

# %% [markdown]
# The masks show the reason. Without skips, the mask is smooth. It is about 0.5 between 0.5 and 0.85 kHz during the whole song,
# also while nobody sings. The network knows the frequency range of voices, but it cannot draw single harmonics, because their
# places are lost in the bottleneck.
#
# The next figure compares the scores of the test songs. The **uSDR** is the energy of the true voice $y$ divided by the energy
# of the error of the estimate $\hat y$, in dB:
#
# $$\text{uSDR} = 10 \log_{10} \frac{\lVert y \rVert^2}{\lVert \hat y - y \rVert^2}$$
#
# The SI-SDR (lesson 5) first scales the true voice. The uSDR does not. The letter i at the end of a name means
# *improvement*: the uSDRi is the uSDR of the estimate minus the uSDR of the mixture.

# %%
masks = {}
for name, run in (("with skips", "unet"), ("without skips", "noskip")):
    model = unbraid.load(f"outputs/{run}").model
    with torch.no_grad():
        masks[name] = model(mixture[None, None]).masks[0, 0, 0]
ideal = (voice.abs() / spectrum.abs().clamp(min=1e-6)).clamp(max=1)
figures.spectra(
    {"ideal mask |Y| / |X|": ideal, **masks}, model.stft, 8192, top=2000, low=0, high=1, unit="mask", colours="viridis"
)

# %%
scores = {
    name: {measure: summary(run, part)["vocals"][measure]["median"] for measure in ("uSDR", "SI-SDR")}
    for name, run, part in (
        ("mixture", "unet", "mixture"),
        ("segmentation", "segmentation", "summary"),
        ("without skips", "noskip", "summary"),
        ("with skips", "unet", "summary"),
    )
}
record(**{f"{name.split()[0]}_si_sdr": values["SI-SDR"] for name, values in scores.items()})
record(si_sdr_gain=scores["with skips"]["SI-SDR"] - scores["without skips"]["SI-SDR"])
record(usdr_gain=scores["with skips"]["uSDR"] - scores["without skips"]["uSDR"])
separation_figures.score_bars(scores)

# %% [markdown]
# The U-Net with skips has a median SI-SDR of 1.1<!-- with_si_sdr --> dB, the one without skips −3.4<!-- without_si_sdr -->
# dB, and the segmentation −2.5<!-- segmentation_si_sdr --> dB. The mixture itself has −5.3<!-- mixture_si_sdr --> dB. So
# the segmentation separates the voice, but only a little.
#
# The skips improve the SI-SDR by 4.5<!-- si_sdr_gain --> dB, but the uSDR by only 1.5<!-- usdr_gain --> dB. The reason is the
# volume of the estimates. If an estimate contains much of the band, a lower volume makes its error smaller. The uSDR rewards
# this, and the SI-SDR does not. Even silence has a uSDR of 0 dB, because its error is the voice itself. Therefore the row
# `silence` of the printed tables contains a uSDRi of 5.07 dB: the uSDR of the mixture is -5.07 dB. Compare the uSDRi of a
# network with the uSDRi of silence, not with 0.
#
# Listen to the first 6 seconds of a test song: the mixture, the estimate without skips, the estimate with skips, and the true
# voice.


# %%
def play(path):
    return Audio(trained.sound(path)[0][: 6 * 8192].numpy(), rate=8192)


play(song / "mixture.flac")

# %%
play(f"outputs/noskip/audio/{song.name}/vocals-estimate.flac")

# %%
play(f"outputs/unet/audio/{song.name}/vocals-estimate.flac")

# %%
play(song / "vocals-target.flac")

# %% [markdown]
# ## 5. The table of the paper, and yours
#
# The paper reports three scores of **BSS Eval** (version 3): NSDR, the improvement of the SDR over the mixture; SIR, which
# counts the remaining band as error; and SAR, which counts artefacts. Lesson 7 explains them. The songs of the paper are
# those of the data set iKala. The next commands compute the same scores for your runs.

# %% language="bash"
# unbraid evaluate run=outputs/unet protocol=ikala_nsdr

# %% language="bash"
# unbraid evaluate run=outputs/noskip protocol=ikala_nsdr

# %%
import yaml

from unbraid.commands.choices import CONF

paper = yaml.safe_load((CONF / "experiment/jansson2017_ikala.yaml").read_text())["published"]["figures"]


def own(run):
    scores = json.loads(Path(f"outputs/{run}/scores/ikala_nsdr/scores.json").read_text())["summary"]["vocals"]
    return {name: scores[name]["mean"] for name in ("NSDR", "SIR", "SAR")}


rows = {
    "paper, U-Net": paper["unet"]["vocals"],
    "paper, without skips": paper["unet_noskip"]["vocals"],
    "yours, U-Net": own("unet"),
    "yours, without skips": own("noskip"),
}
record(
    nsdr_unet=rows["yours, U-Net"]["NSDR"],
    nsdr_noskip=rows["yours, without skips"]["NSDR"],
    gain=rows["yours, U-Net"]["NSDR"] - rows["yours, without skips"]["NSDR"],
)
print(f"{'vocals (mean, dB)':22}   NSDR    SIR    SAR")
for name, row in rows.items():
    print(f"{name:22} {row['NSDR']:6.2f} {row['SIR']:6.2f} {row['SAR']:6.2f}")

# %% [markdown]
# Your U-Net reaches an NSDR of 7.3<!-- nsdr_unet --> dB, and the paper reports 11.09 dB. These two numbers must not be
# compared, because almost everything differs:
#
# | | paper | here |
# |---|---|---|
# | training songs | about 20,000 real songs | 8 generated songs of 12 s |
# | test songs | 252 real clips | 2 generated songs |
# | channels of the network | 16 to 512 | 8 to 256 |
# | steps of the training | the paper does not state them | 256 (8 epochs of 32 steps) |
#
# But you can compare *differences*, which were measured under equal conditions. In the paper, skip connections improve the
# NSDR of the vocals by 2.55 dB. Here, the gain is 1.3<!-- gain --> dB. It is smaller than the gain of the SI-SDR, because BSS
# Eval does not count it as an error if the estimate is a filtered copy of the true voice. With 2 songs and one seed, this
# gain is only a first hint. Lesson 9 shows the parts of a convincing comparison.
#
# ## Exercises
#
# 1. Another U-Net has five encoder layers with stride 2 and 16, 32, 64, 128 and 256 output channels. Its input has 1024 bins
#    and 256 frames. Which size has the bottleneck? Answer with (channels, bins, frames).

# %%
answer = ...
check.exercise_1(answer)

# %% [markdown]
# 2. A network classifies 100 bins. Of 60 bins of the band, it finds 50 and takes 10 for voice. Of 40 bins of the voice, it
#    finds 35 and takes 5 for band. Compute the mIoU as a share between 0 and 1, with three decimals.

# %%
answer = ...
check.exercise_2(answer)

# %% [markdown]
# 3. Write the loss of section 3 as a function `loss(mask, mixture, target)` of three tensors of magnitudes. Use the mean over
#    all bins in place of the sum.

# %%
loss = ...
check.exercise_3(loss)

# %% [markdown]
# ## What to read
#
# - O. Ronneberger, P. Fischer and T. Brox, "U-Net: convolutional networks for biomedical image segmentation", MICCAI 2015.
# - A. Jansson, E. Humphrey, N. Montecchio, R. Bittner, A. Kumar and T. Weyde, "Singing voice separation with deep U-Net
#   convolutional networks", ISMIR 2017.
# - J. Long, E. Shelhamer and T. Darrell, "Fully convolutional networks for semantic segmentation", CVPR 2015: the mean IoU.
# - T.-S. Chan et al., "Vocal activity informed singing voice separation with the iKala dataset", ICASSP 2015: the test songs
#   of the paper.
