# %% [markdown]
# # Lesson 1: autoencoder and PCA
#
# An autoencoder is a network that learns to describe its input by a few numbers. The oldest autoencoder is principal
# component analysis (PCA). In this lesson you compute PCA by hand, and train an autoencoder that does the same. You use both to
# compress images and sound.
#
# **After this lesson you can**
#
# - explain the words code, encoder, decoder and reconstruction error;
# - compute PCA from the covariance of the data, and explain why it is an autoencoder;
# - train a linear autoencoder with one command, and compare it with PCA;
# - choose the size of a code from a curve of errors.
#
# **Time:** 45 minutes with the exercises. The cells run for about 2 minutes on 2 cores. You need Python and the first ideas of
# linear algebra (vectors, matrices, eigenvectors). You need no other lesson.
#
# The first cell installs unbraid, if your notebook service does not have it yet.

# %% language="bash"
# python -c "import unbraid" 2> /dev/null || pip install --quiet unbraid

# %%
import torch
from IPython.display import Audio, display

from unbraid.course import figures, record, trained
from unbraid.course.checks import lesson_01 as check

figures.use_style()

# %% [markdown]
# ## The data
#
# The data are grey images of handwritten digits with 28 × 28 pixels. A pixel is a number from 0 (black) to 1 (white).
# We write all pixels of an image one after the other. So an image is a vector $x$ of $28 \cdot 28 = 784$ numbers.
#
# The images are divided into three parts. A model is fitted to the **training** images. The **validation** images show during
# training how well it works. The **test** images are used once, at the end. A model has never seen them before.

# %%
train, test = trained.digits("train"), trained.digits("test")
figures.images({"training": train.pixels[:10, 0], "test": test.pixels[:10, 0]})

# %% [markdown]
# ## The idea
#
# An autoencoder has two parts. The **encoder** $f$ computes a short vector $z$ from the image. This vector is called
# the **code**. The **decoder** $g$ computes an image $\hat{x}$ from the code:
#
# $$ z = f(x), \qquad \hat{x} = g(z) $$
#
# The image $\hat{x}$ is called the **reconstruction**. The **error** of an autoencoder is the squared distance between image
# and reconstruction, averaged over $N$ images:
#
# $$ E = \frac{1}{N} \sum_{n=1}^{N} \lVert x_n - \hat{x}_n \rVert^2 $$
#
# The code is smaller than the image, so the autoencoder cannot copy its input. It must find out which images are likely.
# The next figure shows the number of values in each layer.

# %%
figures.layers([784, 2, 784], {0: "image", 1: "code", 2: "reconstruction"})

# %% [markdown]
# ## PCA by hand
#
# PCA is an autoencoder whose two parts are matrix products. Let $\mu$ be the mean of all training images. Let the rows of the
# matrix $W$ be $K$ vectors of length 1 that are perpendicular to each other, the **components**. Then
#
# $$ z = W (x - \mu), \qquad \hat{x} = W^T z + \mu . $$
#
# Which components give the smallest error on the training images? The answer has been known since 1901: the $K$ eigenvectors of
# the covariance matrix that have the largest eigenvalues. An eigenvalue is the variance of the images along its eigenvector.

# %%
vectors = train.pixels.flatten(start_dim=1)
mean = vectors.mean(dim=0)
covariance = (vectors - mean).T @ (vectors - mean) / len(vectors)

variances, columns = torch.linalg.eigh(covariance.double())  # from the smallest to the largest
variances, components = variances.flip(0), columns.T.flip(0).float()  # component k is components[k]
figures.images({"components": components[:10].view(-1, 28, 28)})

# %% [markdown]
# The components are images, too. The first ones are smooth. A component separates digits whose codes differ: the next cell
# prints the mean of the first code value for each digit.

# %%
first = (vectors - mean) @ components[0]
means = [float(first[train.labels == digit].mean()) for digit in range(10)]
record(code_4=means[4], code_6=means[6], code_3=means[3], code_9=means[9])
print({digit: round(value, 1) for digit, value in enumerate(means)})

# %% [markdown]
# The first component separates 4 and 6 (means −3.7<!-- code_4 --> and −3.0<!-- code_6 -->) from 3 and 9 (3.4<!-- code_3 --> and
# 2.7<!-- code_9 -->). The sign has no meaning: if $w$ is an eigenvector, $-w$ is one, too. Now we encode and decode the test
# images with 2 and with 30 components.


# %%
def rebuild(images, size):
    """Encode images with the first components, and decode the codes."""
    codes = (images.flatten(start_dim=1) - mean) @ components[:size].T
    return (codes @ components[:size] + mean).view(-1, 28, 28)


digits = test.pixels[:10]
figures.images({"original": digits[:, 0], "2 numbers": rebuild(digits, 2), "30 numbers": rebuild(digits, 30)})

# %% [markdown]
# With 30 numbers instead of 784, the digits can hardly be distinguished from the originals. This is less surprising than it
# looks: the images were enlarged from 8 × 8 pixels, so 64 numbers describe them exactly. With 2 numbers, many digits look
# alike. The next cell computes the error for several sizes of the code.


# %%
def error(images, size):
    """Return the squared error of an image, averaged over the images."""
    return float((images[:, 0] - rebuild(images, size)).square().sum(dim=(1, 2)).mean())


sizes = [1, 2, 4, 8, 16, 30, 60]
by_hand = [error(test.pixels, size) for size in sizes]
record(by_hand_2=by_hand[1], by_hand_30=by_hand[5])
figures.curves({"PCA": (sizes, by_hand)}, "values in the code", "squared error, test images", log_x=True)

# %% [markdown]
# The error of PCA is 24.82<!-- by_hand_2 --> with 2 numbers, and 0.80<!-- by_hand_30 --> with 30 numbers.
#
# Such a curve shows which size to choose. Decide on the largest error that you accept, and take the smallest size with a
# smaller error. If you have no limit, take a size after which a larger code reduces the error only a little.
#
# ## PCA with one command
#
# unbraid trains and scores models with commands of the form `unbraid train KEY=VALUE …`. In a copy of the repository,
# `python train.py …` is the same command. The next command fits PCA with a code of 2 numbers to the same images. The key
# `hydra.run.dir` names the **run folder**, into which the command writes all results. PCA needs no training in steps, but the
# command prints one line for "epoch 1", as for a network.
#
# A training cell can be run once. To run it again, delete its run folder first, such as `outputs/pca_2`.

# %% language="bash"
# unbraid train model=pca data=digits model.net.code=2 trainer.accelerator=cpu \
#   hydra.run.dir=outputs/pca_2

# %%
pca_2 = trained.errors("outputs/pca_2")["autoencoder"]
record(pca_2=pca_2)
print(f"by hand: {by_hand[1]:.4f}, command: {pca_2:.4f}")

# %% [markdown]
# Both errors are equal: your cells and the command compute the same.
#
# ## A linear autoencoder
#
# A network learns differently. It starts from random weights, and changes them in many small **steps**. Each step reduces
# the error on a few training images, a **batch**. One pass through all training images is an **epoch**. The method is called
# gradient descent.
#
# The model `ae` is a network with the layers of the figure above. All its functions are linear, so it can compute the same
# as PCA. The option `tied=true` uses the transposed matrix of the encoder in the decoder, as PCA does. The learning rate
# (`lr`) is the size of the steps. With `optim=cosine`, it falls in each epoch, and reaches 0 at the end of the last epoch.

# %% language="bash"
# unbraid train model=ae data=digits model.net.code=2 model.net.tied=true \
#   optim=cosine optim.optimizer.lr=1e-2 data.batch_size=16 trainer.max_epochs=40 \
#   trainer.accelerator=cpu hydra.run.dir=outputs/ae_2 | tail -n 8

# %% language="bash"
# unbraid train model=ae data=digits model.net.code=30 model.net.tied=true \
#   optim=cosine optim.optimizer.lr=3e-3 data.batch_size=16 trainer.max_epochs=40 \
#   trainer.accelerator=cpu hydra.run.dir=outputs/ae_30 | tail -n 8

# %%
small, large = trained.errors("outputs/ae_2"), trained.errors("outputs/ae_30")
record(ae_2=small["autoencoder"], ae_30=large["autoencoder"], pca_30=large["PCA"])
lines = {f"code of {n}": trained.losses(f"outputs/ae_{n}") for n in (2, 30)}
figures.curves(lines, "epoch", "squared error, validation images", log_y=True)

# %% [markdown]
# | values in the code | linear autoencoder | PCA |
# |---|---|---|
# | 2 | 24.87<!-- ae_2 --> | 24.82<!-- pca_2 --> |
# | 30 | 0.81<!-- ae_30 --> | 0.80<!-- pca_30 --> |
#
# The errors on the test images are almost equal. No linear autoencoder has a smaller error than PCA on the training
# images (Baldi and Hornik, 1989). So why train a network? Because a network can be more than linear. Lesson 2 shows it.
#
# ## A map of the digits
#
# A code of 2 numbers is a point on a plane. The next figures show the codes of 300 test images, first of PCA, then of the
# autoencoder.

# %%
shown, labels = test.pixels[:300].flatten(start_dim=1), test.labels[:300].tolist()
figures.points((shown - mean) @ components[:2].T, labels, "PCA code 1", "PCA code 2")

# %%
task = trained.autoencoder("outputs/ae_2")
figures.points(task.net.encode(shown), labels, "autoencoder code 1", "autoencoder code 2")

# %% [markdown]
# Some digits form groups, such as 0, 4, 6 and 7, although no model has seen a label. Others are spread over the map, such as 1,
# 2 and 5: two numbers are too few for them.
#
# The two maps are almost equal here, but only because of the random start of this training. With other seeds, the map of the
# autoencoder is rotated or mirrored. It shows the same plane, and every rotation of the code gives the same error.
#
# ## The same for sound
#
# A sound can be described by a **spectrogram**: the strength of each frequency in each short interval, a **frame**. Lesson 5
# explains spectrograms. Here a frame is a vector of 256 numbers. The next command fits PCA with a code of 12 numbers to
# generated songs. It also writes a test song before and after the compression. A spectrogram without the **phases** of its
# waves is not yet a sound, so the rebuilt song uses the phases of the original song.

# %% language="bash"
# unbraid train model=pca data=demo targets=mixture model.net.code=12 \
#   data.layout.train=6 data.layout.valid=1 data.layout.test=1 data.layout.seconds=8 \
#   trainer.accelerator=cpu hydra.run.dir=outputs/song_12 2> /dev/null | tail -n 8

# %%
original, rate = trained.sound("outputs/song_12/audio/song 08/mixture-input.flac")
rebuilt, rate = trained.sound("outputs/song_12/audio/song 08/mixture-rebuilt.flac")
stft = trained.autoencoder("outputs/song_12").features.stft
figures.spectrograms({"original": original, "from codes of 12 numbers": rebuilt}, stft, rate)

# %%
display(Audio(original[: 5 * rate], rate=rate))
display(Audio(rebuilt[: 5 * rate], rate=rate))

# %% [markdown]
# The song can be recognised, but it sounds blurred: 12 numbers describe the rough shape of a spectrum, not each tone.
#
# ## Exercises
#
# Replace `...` by your answer, and run the cell. The check explains mistakes. The folder `course/solutions` contains
# the answers.
#
# **Exercise 1.** Which share of the variance of the training images do the first two components have? Use `variances`.

# %%
check.exercise_1(...)


# %% [markdown]
# **Exercise 2.** Write the encoder and the decoder of PCA in one function. `images` has one image per row, and `components` one
# component per row.


# %%
def reconstruct(images, mean, components):
    return ...


check.exercise_2(reconstruct)

# %% [markdown]
# **Exercise 3.** How many components does PCA need at least for an error below 5 on the test images? Use `error`.

# %%
check.exercise_3(...)

# %% [markdown]
# ## What to read
#
# - K. Pearson: "On lines and planes of closest fit to systems of points in space", 1901. The first paper on PCA.
# - P. Baldi and K. Hornik: "Neural networks and principal component analysis: learning from examples without local
#   minima", 1989.
# - G. Hinton and R. Salakhutdinov: "Reducing the dimensionality of data with neural networks", 2006. The topic of lesson 2.
