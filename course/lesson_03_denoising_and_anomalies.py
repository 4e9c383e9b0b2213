# %% [markdown]
# # Lesson 3: denoising and anomalies
#
# An autoencoder that has learned what clean data look like can do two things. It can repair a damaged input, and it can find
# an input that does not look like the training data. In this lesson you do both, with images and with sound.
#
# **After this lesson you can**
#
# - train a denoising autoencoder, and explain how its loss differs from that of an autoencoder;
# - explain why a denoiser removes only the kind of damage that it was trained with;
# - find anomalies by the error of an autoencoder, and choose a limit from normal data;
# - read an area under the ROC curve.
#
# **Time:** 45 minutes with the exercises. The cells run for about 2 minutes on 2 cores. You need lessons 1 and 2.

# %% language="bash"
# python -c "import unbraid" 2> /dev/null || pip install --quiet unbraid

# %%
from pathlib import Path

import torch
from IPython.display import Audio, Image

from unbraid.course import figures, record, trained
from unbraid.course.checks import lesson_03 as check

figures.use_style()
test = trained.digits("test")

# %% [markdown]
# ## The idea of denoising
#
# A **corruption** $C$ damages an image $x$. A denoising autoencoder gets the damaged image $\tilde{x} = C(x)$, but its output
# is compared with the clean image:
#
# $$ L = \lVert x - g(f(\tilde{x})) \rVert^2 , \qquad \tilde{x} = C(x) $$
#
# The corruption is drawn anew in each step. So the network never sees the same damage twice, and cannot learn it by heart.
# We use three corruptions: noise (a random number is added to each pixel), masking (random pixels are set to 0), and strokes
# (a cross is drawn over the image).

# %%
from unbraid.models.corruptions import Gaussian, Strokes, ZeroMasking

corruptions = {"noise": Gaussian(0.5), "masking": ZeroMasking(0.5), "strokes": Strokes(1, 2)}
generator = torch.Generator().manual_seed(0)
damaged = {name: corrupt(test.pixels, generator) for name, corrupt in corruptions.items()}
shown = {name: images[:10, 0] for name, images in damaged.items()}
figures.images({"clean": test.pixels[:10, 0]} | shown)

# %% [markdown]
# ## Three denoising autoencoders
#
# The next three commands differ only in the corruption. The last lines of each command compare the network with PCA, which
# gets the same damaged images, and with the damaged images themselves.

# %% language="bash"
# unbraid train model=deep_ae data=digits model.net.code=30 'model.net.hidden=[256]' \
#   model.net.output=sigmoid optim=cosine optim.optimizer.lr=2e-3 data.batch_size=32 \
#   trainer.max_epochs=20 trainer.check_val_every_n_epoch=2 trainer.accelerator=cpu \
#   corruption=gaussian corruption.deviation=0.5 hydra.run.dir=outputs/noise | tail -n 8

# %% language="bash"
# unbraid train model=deep_ae data=digits model.net.code=30 'model.net.hidden=[256]' \
#   model.net.output=sigmoid optim=cosine optim.optimizer.lr=2e-3 data.batch_size=32 \
#   trainer.max_epochs=20 trainer.check_val_every_n_epoch=2 trainer.accelerator=cpu \
#   corruption=masking corruption.share=0.5 hydra.run.dir=outputs/masking | tail -n 8

# %% language="bash"
# unbraid train model=deep_ae data=digits model.net.code=30 'model.net.hidden=[256]' \
#   model.net.output=sigmoid optim=cosine optim.optimizer.lr=2e-3 data.batch_size=32 \
#   trainer.max_epochs=20 trainer.check_val_every_n_epoch=2 trainer.accelerator=cpu \
#   corruption=strokes hydra.run.dir=outputs/strokes | tail -n 8

# %%
found = {name: trained.errors(f"outputs/{name}") for name in corruptions}
for name, errors in found.items():
    record(**{f"{name}_network": errors["autoencoder"], f"{name}_pca": errors["PCA"], f"{name}_input": errors["input"]})
lines = {name: trained.losses(f"outputs/{name}") for name in corruptions}
figures.curves(lines, "epoch", "squared error, validation images")

# %% [markdown]
# | squared error of a test image | noise | masking | strokes |
# |---|---|---|---|
# | damaged image | 195.7<!-- noise_input --> | 76.7<!-- masking_input --> | 63.1<!-- strokes_input --> |
# | PCA with 30 numbers | 8.23<!-- noise_pca --> | 41.1<!-- masking_pca --> | 19.8<!-- strokes_pca --> |
# | denoising autoencoder | 5.29<!-- noise_network --> | 5.13<!-- masking_network --> | 4.68<!-- strokes_network --> |
#
# PCA removes most of the noise, because noise is spread over all 784 directions, and PCA keeps only 30. Against masking and
# strokes, PCA helps less: it does not know which pixels are damaged. The networks have learned it.

# %%
tasks = {name: trained.autoencoder(f"outputs/{name}") for name in corruptions}
rows = {}
for name, task in tasks.items():
    images = damaged[name][:10]
    rows |= {name: images[:, 0], f"{name}, repaired": task.rebuild(images)[:, 0]}
figures.images({"clean": test.pixels[:10, 0]} | rows)

# %% [markdown]
# ## A denoiser knows one kind of damage
#
# What does a network do with damage that it has never seen? Each row of the next table is a network, and each column is a
# corruption. The numbers are errors on the test images.


# %%
def error(task, images):
    """Return the squared error between repaired and clean test images."""
    return float((task.rebuild(images) - test.pixels).square().sum(dim=(1, 2, 3)).mean())


table = {row: {column: error(task, damaged[column]) for column in damaged} for row, task in tasks.items()}
record(noise_on_strokes=table["noise"]["strokes"], strokes_on_strokes=table["strokes"]["strokes"])
print("trained on  " + "".join(f"{column:>10}" for column in damaged))
for row, values in table.items():
    print(f"{row:<12}" + "".join(f"{value:10.1f}" for value in values.values()))

# %% [markdown]
# Each network is best for its own corruption. The network for noise has the error 12.9<!-- noise_on_strokes --> on strokes, and
# the network for strokes has 4.77<!-- strokes_on_strokes -->. Later lessons use the same rule for source separation: a network
# learns to remove the sounds that its training data contain.
#
# ## Anomalies: normal and abnormal waveforms
#
# Now we turn the idea around. An autoencoder learns **normal** data only. Its error is small for normal data, and large for all
# other data. So the error is a score for **anomalies**, although the network has never seen one.
#
# Our normal data are waveforms like heart beats. Each beat has three waves with small random changes. In an abnormal beat, the
# last wave is upside down, or the first wave is missing.


# %%
def beats(n, generator, abnormal=False):
    """Return n waveforms of 128 samples."""
    t, random = torch.linspace(0, 1, 128), torch.rand(n, 6, generator=generator)
    sizes = torch.tensor([0.25, 1.0, 0.35]) * (0.8 + 0.4 * random[:, :3])
    if abnormal:
        upside_down = random[:, 5] < 0.5
        sizes[upside_down, 2] *= -1  # the last wave
        sizes[~upside_down, 0] = 0  # the first wave
    centres = torch.tensor([0.3, 0.5, 0.72]) + 0.06 * (random[:, 3:4] - 0.5)
    widths = torch.tensor([0.04, 0.02, 0.06]) * (0.8 + 0.4 * random[:, 4:5])
    waves = sizes[:, :, None] * torch.exp(-(((t - centres[:, :, None]) / widths[:, :, None]) ** 2))
    return waves.sum(dim=1) + 0.1 * torch.randn(n, 128, generator=generator)


generator = torch.Generator().manual_seed(1)
normal, valid = beats(800, generator), beats(400, generator)
new, abnormal = beats(200, generator), beats(200, generator, abnormal=True)
figures.waveforms({"normal": normal[:4].flatten(), "abnormal": abnormal[:4].flatten()}, 128)

# %% [markdown]
# The autoencoder of the next cell has a code of 4 numbers. It is trained on the 800 normal beats.

# %%
from unbraid.nets.autoencoders import DenseAutoencoder

torch.manual_seed(0)
net = DenseAutoencoder(128, code=4, hidden=[64])
optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
for _ in range(800):
    optimizer.zero_grad()
    (net(normal) - normal).square().sum(dim=1).mean().backward()
    optimizer.step()


def scores(waves):
    """Return the error of each waveform."""
    return (net(waves) - waves).square().sum(dim=1).detach()


figures.histogram({"normal": scores(new), "abnormal": scores(abnormal)}, "squared error of a beat")

# %% [markdown]
# Most abnormal beats have a larger error. To decide, we need a limit. We choose it from normal data only: 95 % of them shall be
# below the limit. The other 5 % are **false alarms**. We use beats that were not in the training, because the network knows the
# training beats better than new ones.
#
# The **area under the ROC curve** (AUROC) describes a score without a limit. It is the probability that an abnormal beat has a
# higher score than a normal one: 0.5 is chance, and 1 is perfect.

# %%
from unbraid.evaluation.anomalies import auroc

limit = scores(valid).quantile(0.95)
values = torch.cat([scores(new), scores(abnormal)]).numpy()
labels = torch.cat([torch.zeros(200), torch.ones(200)]).bool().numpy()
area, alarms = auroc(values, labels), float((scores(new) > limit).float().mean())
hits = float((scores(abnormal) > limit).float().mean())
record(beats_area=area, beats_alarms=100 * alarms, beats_hits=100 * hits)
print(f"AUROC {area:.3f}, false alarms {alarms:.1%}, found anomalies {hits:.1%}")

# %% [markdown]
# The AUROC is 0.956<!-- beats_area -->. With our limit, the detector finds 84.0<!-- beats_hits --> % of the abnormal beats, and
# raises an alarm for 7.5<!-- beats_alarms --> % of the new normal ones. This is more than 5 %, because 200 beats are a small
# sample.
#
# ## Anomalies in songs
#
# The same works for music. We fit PCA to the spectrograms of normal songs. Then the command `unbraid anomaly` adds four
# faults to each test song: clicks, a dropout (a gap), a hum of 50 Hz, and an instrument that no training song contains. It
# compares the error of each frame, octave by octave, with the errors of normal frames.

# %% language="bash"
# unbraid train model=pca data=demo targets=mixture model.net.code=32 \
#   data.layout.train=12 data.layout.valid=2 data.layout.test=2 data.layout.seconds=12 \
#   trainer.accelerator=cpu evaluation.clips=0 hydra.run.dir=outputs/normal 2> /dev/null | tail -n 6

# %% language="bash"
# unbraid anomaly run=outputs/normal split=test 'inject=[clicks,dropout,hum,wrong_instrument]' \
#   | tee anomalies.txt

# %%
song = Path("outputs/normal/anomalies/song 15-mixture.png")
lines = Path("anomalies.txt").read_text().splitlines()
record(songs_area=float(next(line for line in lines if line.startswith("all")).split()[-1]))
Image(filename=song)

# %%
faulty, rate = trained.sound("outputs/normal/anomalies/song 15-mixture-planted.flac")
stft = trained.autoencoder("outputs/normal").features.stft
figures.spectrograms({"song with faults": faulty}, stft, rate)

# %%
Audio(faulty[: 6 * rate], rate=rate)

# %% [markdown]
# The AUROC over both songs is 0.978<!-- songs_area -->. All four faults of the first song are found. The short interval
# near 5 s is a false alarm. The detector has never seen a click or a hum. It only knows which errors are normal.
#
# ## Exercises
#
# **Exercise 1.** Write a function that returns the limit for a given share of false alarms. `errors` are the errors of normal
# data, and `share` is a number such as 0.05.


# %%
def threshold(errors, share):
    return ...


check.exercise_1(threshold)

# %% [markdown]
# **Exercise 2.** Write the corruption "masking": each pixel of each image is set to 0 with the probability `share`,
# independently of all others. Do not change the argument `images`.


# %%
def mask(images, share):
    return ...


check.exercise_2(mask)

# %% [markdown]
# **Exercise 3.** Compute the AUROC from its definition: the share of all pairs of a normal and an abnormal value in which the
# abnormal value is higher. The arguments are two vectors.


# %%
def area_under_roc(normal, abnormal):
    return ...


check.exercise_3(area_under_roc)

# %% [markdown]
# ## What to read
#
# - P. Vincent et al.: "Stacked denoising autoencoders: learning useful representations in a deep network with a local
#   denoising criterion", 2010.
# - M. Sakurada and T. Yairi: "Anomaly detection using autoencoders with nonlinear dimensionality reduction", 2014.
# - T. Fawcett: "An introduction to ROC analysis", 2006.
