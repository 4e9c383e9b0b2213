# %% [markdown]
# # Lesson 4: undoing convolution
#
# A convolution with stride 2 halves an image. A decoder must double it again. This lesson shows five ways to do this, number
# by number.
#
# After this lesson, you can
#
# - compute a transposed convolution by hand, for any stride and padding,
# - explain it in three equal forms: copies of the kernel, a transposed matrix, and a convolution with inserted zeros,
# - compare it with max-unpooling, bed of nails, nearest and bilinear interpolation,
# - explain checkerboard artefacts, and see and hear them.
#
# Time: 60 minutes for you, 1 to 2 minutes for the computer. You need lesson 1. Section 7 uses spectrograms as in lesson 1.
#
# A training cell can be run once. To run it again, delete its run folder first, such as `outputs/transposed`.

# %% language="bash"
# python -c "import unbraid" 2> /dev/null || pip install --quiet unbraid

# %%
from pathlib import Path

import torch
from IPython.display import Audio, Image
from torch.nn import functional

from unbraid.course import convolution_figures, fast, figures, record, trained
from unbraid.course.checks import lesson_04 as check

figures.use_style()

# %% [markdown]
# ## 1. Convolution
#
# A **convolution** layer moves a small matrix of weights, the **kernel**, over its input. At each place it multiplies the
# kernel with the input below, and adds all products. For an input $x$ of $N$ numbers and a kernel $w$ of $K$ numbers, an
# output is
#
# $$y_i = \sum_{k=0}^{K-1} w_k \, x_{s i + k - p}.$$
#
# The **stride** $s$ is the distance between two places of the kernel. The **padding** $p$ is the number of zeros that are
# added at each end of the input. The output has $\lfloor (N + 2p - K) / s \rfloor + 1$ numbers, so stride 2 halves the input.
# An image has two dimensions, and the same rules hold for rows and columns. In the tables of this lesson, larger numbers are
# darker.

# %%
x = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
kernel = torch.tensor([[1.0, 2, 1], [3, 1, 2], [2, 4, 1]])
convolved = functional.conv2d(x[None, None], kernel[None, None], stride=2, padding=1)[0, 0]
convolution_figures.tables({"input": x, "kernel": kernel, "stride 2, padding 1": convolved})

# %% [markdown]
# ## 2. Transposed convolution by hand
#
# A **transposed convolution** goes the other way: each number of the input writes one copy of the kernel, multiplied by this
# number, into the output. The stride is the distance between two copies. Where copies overlap, they are added:
#
# $$y_j = \sum_{i=0}^{N-1} x_i \, w_{j - s i + p}, \qquad w_k = 0 \text{ if } k < 0 \text{ or } k \ge K.$$
#
# Padding has the opposite effect here: it *removes* $p$ numbers at each end. The output has
#
# $$(N - 1) \, s - 2 p + K$$
#
# numbers. The function below follows this description literally.


# %%
def by_hand(x, kernel, stride, padding):
    size = len(kernel)
    rows, columns = ((n - 1) * stride + size for n in x.shape)
    output = torch.zeros(rows, columns)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            output[i * stride : i * stride + size, j * stride : j * stride + size] += x[i, j] * kernel
    return output[padding : rows - padding, padding : columns - padding]


# %% [markdown]
# The animation shows all nine copies for stride 2. In the last picture, padding 1 removes the grey border.

# %%
convolution_figures.transposed_steps(Path("transposed.gif"), x, kernel, stride=2, padding=1)
Image(filename="transposed.gif")

# %% [markdown]
# The next tables show stride 1 and 2 with padding 0, 1 and 2. Only the white and blue numbers are the output. With stride 1,
# two neighbouring copies overlap in two rows or two columns, so most outputs are sums of several products. With stride 2, they
# overlap in one row or one column.

# %%
full = {(stride, padding): by_hand(x, kernel, stride, 0) for stride in (1, 2) for padding in (0, 1, 2)}
titles = {key: f"stride {key[0]}, padding {key[1]}" for key in full}
convolution_figures.tables(
    {titles[key]: table for key, table in full.items()}, columns=3, cut={titles[key]: key[1] for key in full}
)

# %% [markdown]
# PyTorch computes the same numbers.

# %%
differences = [(by_hand(x, kernel, *key) - convolution_figures.transposed(x, kernel, *key)).abs().max() for key in full]
print("largest difference from torch:", float(max(differences)))

# %% [markdown]
# ## 3. Why is it called transposed?
#
# A convolution is linear, so a matrix $C$ with $y = C x$ exists. Each row of $C$ contains the kernel, shifted by the stride.
# The transposed convolution multiplies by the transposed matrix: $y = C^\top x$. Each *column* of $C^\top$ contains the
# kernel: these are the copies of section 2. In a network, the gradient of a convolution is computed in the same way.

# %%
w = torch.tensor([1.0, 4, 2])
C = torch.zeros(3, 7)
for i in range(3):
    C[i, 2 * i : 2 * i + 3] = w
convolution_figures.tables({"C: kernel 1 4 2, stride 2": C, "C transposed": C.T}, columns=2)

# %% [markdown]
# The name **deconvolution** is common but wrong. The transposed matrix is not the inverse matrix: it restores the *size* of
# the input, not its *values*. The network has to learn useful weights.

# %%
signal = torch.tensor([1.0, 2, 3, 4, 5, 6, 7])
print("signal:            ", signal.tolist())
print("convolved:         ", (C @ signal).tolist())
print("transposed of this:", (C.T @ (C @ signal)).tolist())

# %% [markdown]
# There is a third form. Insert $s - 1$ zeros between the inputs, add $K - 1 - p$ zeros at each end, and apply an ordinary
# convolution with stride 1 and the *reversed* kernel. In two dimensions, rows and columns are reversed. You will program this
# form in exercise 2.
#
# One question is left open. With stride 2, inputs of 7 and of 8 numbers can have convolutions of equal size. Therefore,
# layers for transposed convolutions have an option `output_padding`, which adds one more row and column at one end.

# %%
for n in (7, 8):
    halved = functional.conv1d(torch.ones(1, 1, n), torch.ones(1, 1, 3), stride=2, padding=1)
    print(f"convolution: {n} numbers -> {halved.shape[-1]} numbers")
for extra in (0, 1):
    doubled = functional.conv_transpose1d(torch.ones(1, 1, 4), torch.ones(1, 1, 3), stride=2, padding=1, output_padding=extra)
    print(f"transposed, output_padding={extra}: 4 numbers -> {doubled.shape[-1]} numbers")

# %% [markdown]
# ## 4. Ways without weights
#
# An encoder can also halve an image by **max-pooling**: it keeps the largest of each 2 × 2 numbers. Four ways to double an
# image have no weights:
#
# | way | the 2 × 2 places that replace a number |
# |---|---|
# | max-unpooling | the number at the place at which max-pooling found the maximum, and 0 at the other three places |
# | bed of nails | the number at the upper left place, and 0 at the other three places |
# | nearest | the number at all four places |
# | bilinear | at each place a weighted mean of the four nearest numbers |

# %%
from unbraid.nets.convolutional import bed_of_nails, max_unpool, widened

image = torch.tensor([[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]])
pooled, places = functional.max_pool2d(image[None, None], 2, return_indices=True)
ways = {
    "image": image[None, None],
    "max-pooling": pooled,
    "max-unpooling": max_unpool(pooled, places),
    "bed of nails": bed_of_nails(pooled),
    "nearest": widened(pooled, "nearest"),
    "bilinear": widened(pooled, "bilinear"),
}
convolution_figures.tables({name: matrix[0, 0] for name, matrix in ways.items()}, columns=3)

# %% [markdown]
# Max-unpooling restores the places of the maxima. But the decoder then needs these places in addition to the pooled numbers,
# so a code alone is not enough. A convolution follows each of these ways, and fills the zeros or smooths the blocks.
#
# A transposed convolution contains three of them as special cases. With stride 2 and the kernel `[1, 1]` it computes
# "nearest", with the kernel `[1]` and `output_padding=1` "bed of nails", and with the kernel below bilinear interpolation.

# %%
line = torch.tensor([[[5.0, 6, 2, 4]]])
triangle = torch.tensor([[[0.25, 0.75, 0.75, 0.25]]])
print("transposed:", functional.conv_transpose1d(line, triangle, stride=2, padding=1)[0, 0].tolist())
print("bilinear:  ", functional.interpolate(line, scale_factor=2, mode="linear")[0, 0].tolist(), "(equal except at both ends)")

# %% [markdown]
# ## 5. Checkerboard artefacts
#
# If the kernel size is not a multiple of the stride, some outputs are covered by more copies than others. With kernel 3 and
# stride 2, the outputs are covered 1, 2, 1, 2 … times. In an image, rows and columns do this together, and the result looks
# like a checkerboard (Odena et al., 2016).

# %%
convolution_figures.overlaps([2, 3, 4, 5], stride=2)

# %% [markdown]
# The images below come from kernels that have not been trained. The input is constant, and an ideal decoder would keep it
# constant. The first column shows a kernel of ones, so only the overlap counts. The other columns show random kernels. The last
# two rows are the usual remedies: a kernel of size 4, and interpolation before a convolution. With kernel 4, all outputs are
# covered equally often. But random weights still differ from place to place, so only the last row is smooth from the start.

# %%
torch.manual_seed(0)
constant = torch.ones(1, 1, 12, 12)


def kernels(size):
    return torch.cat([torch.ones(1, 1, 1, size, size), torch.rand(3, 1, 1, size, size)])


draws = {}
for size in (3, 5, 4):
    draws[f"transposed, kernel {size}"] = torch.cat(
        [functional.conv_transpose2d(constant, each, stride=2)[:, 0, 8:16, 8:16] / each.sum() for each in kernels(size)]
    )
draws["nearest + convolution"] = torch.cat(
    [functional.conv2d(widened(constant, "nearest"), each)[:, 0, 8:16, 8:16] / each.sum() / 4 for each in kernels(3)]
)
figures.images(draws, low=0, high=0.5, size=1.3)

# %% [markdown]
# ## 6. Convolutional autoencoders with four decoders
#
# Now we train. The commands below train four small convolutional autoencoders on handwritten digits. Their encoders are
# equal. Their decoders double the code of 4 × 7 × 7 numbers twice, each in another way. `unbraid train` prints the number of
# multiplications (MACs), the loss of each epoch, and at the end the error on test images: the sum of the squared errors of all
# pixels. The SNR is the ratio of the energy of an image to this error, in decibels.

# %% language="bash"
# unbraid train model=conv_ae data=digits model.net.up=transposed "model.net.channels=[16,4]" trainer.max_epochs=5 \
#   trainer.accelerator=cpu hydra.run.dir=outputs/transposed

# %% language="bash"
# unbraid train model=conv_ae data=digits model.net.up=bed_of_nails "model.net.channels=[16,4]" trainer.max_epochs=5 \
#   trainer.accelerator=cpu hydra.run.dir=outputs/bed_of_nails

# %% language="bash"
# unbraid train model=conv_ae data=digits model.net.up=nearest "model.net.channels=[16,4]" trainer.max_epochs=5 \
#   trainer.accelerator=cpu hydra.run.dir=outputs/nearest

# %% language="bash"
# unbraid train model=conv_ae data=digits model.net.up=bilinear "model.net.channels=[16,4]" trainer.max_epochs=5 \
#   trainer.accelerator=cpu hydra.run.dir=outputs/bilinear

# %%
pixels = trained.digits("test").pixels[:8]
shown, errors = {"original": pixels[:, 0]}, {}
for up in ("transposed", "bed_of_nails", "nearest", "bilinear"):
    shown[up.replace("_", " ")] = trained.autoencoder(f"outputs/{up}").net(pixels)[:, 0]
    errors[up] = trained.errors(f"outputs/{up}")["autoencoder"]
record(**errors)
print({up: round(error, 1) for up, error in errors.items()})
figures.images(shown, low=0, high=1)

# %% [markdown]
# The transposed convolution has the largest error after five epochs: 20.8<!-- transposed -->, and its images show a
# checkerboard. The other decoders reach 7.3<!-- bed_of_nails --> (bed of nails), 8.3<!-- nearest --> (nearest) and
# 6.4<!-- bilinear --> (bilinear). The outputs above also contain the error of PCA. It is 0, because these images were enlarged
# from 8 × 8 pixels, so 64 components describe them exactly.
#
# You can measure the pattern. The **Fourier transform** writes an image as a sum of waves. A checkerboard of period 2 is the
# wave with the highest frequency. The next cell computes the share of the energy that has this frequency in the rows or
# columns.


# %%
def checkerboard(images):
    energy = torch.fft.fft2(images).abs().square()
    middle = images.shape[-1] // 2
    highest = energy[:, middle].sum() + energy[:, :, middle].sum() - energy[:, middle, middle].sum()
    return float(highest / energy.sum())


shares = {name: checkerboard(images) for name, images in shown.items()}
record(**{f"share_{name.replace(' ', '_')}": 1e5 * share for name, share in shares.items()})
for name, share in shares.items():
    print(f"{name:14} {1e5 * share:6.1f} of 100,000 parts of the energy")

# %% [markdown]
# In the original images, 22<!-- share_original --> of 100,000 parts of the energy have this frequency. In the images of the
# transposed convolution, it is 5141<!-- share_transposed --> parts, with bed of nails 133<!-- share_bed_of_nails -->.
# Interpolation adds almost nothing.
#
# Is the overlap the cause? Look at section 3 again: a transposed convolution **is** bed of nails followed by a convolution with
# the reversed kernel. Both decoders have the same overlap. The next cell proves it: it copies the weights of one network into
# the other one, and compares the outputs.

# %%
from unbraid.nets.convolutional import ConvolutionalAutoencoder


def untrained(up):
    torch.manual_seed(0)
    return ConvolutionalAutoencoder((1, 28, 28), channels=(16, 4), up=up)


def is_kernel(name, weight):
    return name.startswith("decoder") and weight.dim() == 4


nets = {
    "bed of nails": untrained("bed_of_nails"),
    "transposed": untrained("transposed"),
    "equal start": untrained("transposed"),
}
weights = nets["bed of nails"].state_dict()
copied = {name: w.transpose(0, 1).flip(2, 3) if is_kernel(name, w) else w for name, w in weights.items()}
nets["equal start"].load_state_dict(copied)
with torch.no_grad():
    difference = (nets["equal start"].eval()(pixels) - nets["bed of nails"].eval()(pixels)).abs().max()
print("largest difference of the outputs:", float(difference))
for name, net in nets.items():
    print(f"{name:14} largest start weight of the last layer: {float(net.decoder[-1].weight.detach().abs().max()):.3f}")

# %% [markdown]
# Only the random start weights differ. In the last layer, PyTorch draws them from −1/12 to 1/12 for the convolution, but from
# −1/3 to 1/3 for the transposed convolution. We train all three networks in the same way, with a loop as in
# `unbraid train`.

# %%
train, test = trained.digits("train").pixels, trained.digits("test").pixels
started = {}
for name, net in nets.items():
    optimiser = torch.optim.Adam(net.train().parameters(), lr=1e-3)
    order = torch.Generator().manual_seed(0)
    for _ in range(fast(5, 1)):
        for batch in torch.randperm(len(train), generator=order).split(64):
            loss = (net(train[batch]) - train[batch]).square().sum(dim=(1, 2, 3)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        rebuilt = net.eval()(test)
    error, share = float((rebuilt - test).square().sum(dim=(1, 2, 3)).mean()), checkerboard(rebuilt[:8, 0])
    started[name] = error
    print(f"{name:14} error {error:5.1f}, checkerboard {1e5 * share:6.1f} of 100,000 parts")
record(**{f"loop_{name.replace(' ', '_')}": error for name, error in started.items()})

# %% [markdown]
# With the start weights of bed of nails, the transposed convolution has the error 6.8<!-- loop_equal_start -->, as bed of nails
# (6.8<!-- loop_bed_of_nails -->). With its own start weights it has 19.2<!-- loop_transposed -->. So the overlap lets a
# checkerboard arise, but the start weights decide how strong it is at the beginning. The training must then remove it.

# %% [markdown]
# ## 7. Hear the checkerboard
#
# Networks that write waveforms double them many times, and the same pattern becomes a sound (Pons et al., 2021). A waveform is
# a list of samples. The **sample rate** is the number of samples in a second. A waveform can contain frequencies up to half its
# sample rate only. We take a voice at 2048 Hz, which has frequencies up to 1024 Hz, and upsample it by a factor of 4 to 8192
# Hz. The kernel of the transposed convolution has 6 weights, which is not a multiple of 4.
#
# The figure shows spectrograms: the strength of each frequency over time (lesson 5 explains how they are computed). The first
# panel is the ideal result. It uses **sinc** interpolation, which adds nothing above 1024 Hz.

# %%
from unbraid import audio
from unbraid.data.demo_songs.song import render_song
from unbraid.dsp.stft import STFT

vocals = render_song(seed=7, seconds=fast(5.0, 2.0))["vocals"].mean(axis=0, keepdims=True) / 32768
low = audio.resample(vocals, 44100, 2048)
voice = torch.tensor(low, dtype=torch.float32)[None]
torch.manual_seed(1)
random_kernel = torch.rand(1, 1, 6)
upsampled = {
    "sinc (soxr)": torch.tensor(audio.resample(low, 2048, 8192), dtype=torch.float32)[0],
    "linear": functional.interpolate(voice, scale_factor=4, mode="linear")[0, 0],
    "nearest": functional.interpolate(voice, scale_factor=4, mode="nearest")[0, 0],
    "transposed, random 6": functional.conv_transpose1d(voice, 4 * random_kernel / random_kernel.sum(), stride=4)[0, 0],
}
figures.spectrograms(upsampled, STFT(512, 128), 8192)

# %% [markdown]
# All panels except the first contain mirrored copies of the voice above 1 kHz. They arise in every upsampling, also if all
# outputs are covered equally often: with each factor of 2, the spectrum is repeated. Linear interpolation attenuates the
# copies, and the random kernel does not.
#
# Uneven overlap adds one thing: some of each four outputs are louder, although the input is constant. A pattern that repeats
# after 4 samples at 8192 Hz is a tone of 2048 Hz. The next cell upsamples a constant, and prints four neighbouring outputs.
# Then it prints the energy of the upsampled voice near this tone, from 1.9 to 2.2 kHz, relative to the total energy.


# %%
def near_tone(waveform):
    energy = torch.fft.rfft(waveform.double()).abs().square()
    hertz = torch.arange(len(energy)) * 8192 / len(waveform)
    return float(10 * torch.log10(energy[(hertz > 1900) & (hertz < 2200)].sum() / energy.sum()))


levels = {}
for name, each in {"ones 4": torch.ones(1, 1, 4), "ones 6": torch.ones(1, 1, 6), "random 6": random_kernel}.items():
    steady = functional.conv_transpose1d(torch.ones(1, 1, 8), 4 * each / each.sum(), stride=4)[0, 0, 8:12]
    levels[name] = near_tone(functional.conv_transpose1d(voice, 4 * each / each.sum(), stride=4)[0, 0])
    print(f"{name:9} constant: {[round(float(value), 2) for value in steady]}   voice, near 2 kHz: {levels[name]:.1f} dB")
record(tone_even=levels["ones 4"], tone_uneven=levels["ones 6"], tone_random=levels["random 6"])

# %% [markdown]
# With four equal weights, the constant stays constant. With six, it becomes a tone. The voice has −26.8<!-- tone_even --> dB
# near 2 kHz with the even kernel, and −14.6<!-- tone_uneven --> dB (six ones) or −17.8<!-- tone_random --> dB (random) with
# uneven overlap. In the last panel, you see lines near 2 kHz. The panel "nearest", the kernel of four ones, is dark there.
#
# Listen to the ideal result and to the transposed convolution:

# %%
Audio(upsampled["sinc (soxr)"].numpy(), rate=8192)

# %%
Audio(upsampled["transposed, random 6"].numpy(), rate=8192)

# %% [markdown]
# ## Exercises
#
# 1. Compute by hand: the transposed convolution of the input `[2, 3]` with the kernel `[1, 4, 2]`, stride 2 and padding 1.
#    Answer with a list of numbers.

# %%
answer = ...
check.exercise_1(answer)

# %% [markdown]
# 2. Write a function `upsample(x, kernel, stride, padding)` that computes a transposed convolution by `functional.conv1d` and
#    inserted zeros, as described in section 3. `x` has the shape `[1, 1, N]`, and `kernel` has the shape `[1, 1, K]`. Do not
#    use `conv_transpose1d`.


# %%
upsample = ...
check.exercise_2(upsample)

# %% [markdown]
# 3. A decoder for audio has stride 3. Which kernel sizes from 2 to 9 cover all outputs equally often? Answer with a set.

# %%
answer = ...
check.exercise_3(answer)

# %% [markdown]
# ## What to read
#
# - V. Dumoulin and F. Visin, "A guide to convolution arithmetic for deep learning", 2016: all cases of stride and padding,
#   with animations.
# - M. D. Zeiler, D. Krishnan, G. W. Taylor and R. Fergus, "Deconvolutional networks", CVPR 2010: the origin of the name.
# - H. Noh, S. Hong and B. Han, "Learning deconvolution network for semantic segmentation", ICCV 2015: max-unpooling.
# - A. Odena, V. Dumoulin and C. Olah, "Deconvolution and checkerboard artifacts", Distill 2016.
# - J. Pons, S. Pascual, G. Cengarle and J. Serrà, "Upsampling artifacts in neural audio synthesis", ICASSP 2021.
