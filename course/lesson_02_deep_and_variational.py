# %% [markdown]
# # Lesson 2: deep and variational autoencoders
#
# A linear autoencoder cannot be better than PCA. A deep autoencoder can: its encoder and its decoder bend the space of the
# codes. In this lesson you train deep autoencoders in three ways, walk through their codes, and let a decoder draw new digits.
#
# **After this lesson you can**
#
# - explain why a deep autoencoder needs nonlinear functions between its layers;
# - count the weights of an autoencoder, with and without tied weights;
# - train a deep network layer by layer, and compare it with a training of all layers at once;
# - explain the two terms of the loss of a variational autoencoder, and draw new images with it.
#
# **Time:** 50 minutes with the exercises. The cells run for about 2 minutes on 2 cores. You need lesson 1.

# %% language="bash"
# python -c "import unbraid" 2> /dev/null || pip install --quiet unbraid

# %%
import torch
from IPython.display import Audio, display

from unbraid.course import figures, record, trained
from unbraid.course.checks import lesson_02 as check

figures.use_style()
test = trained.digits("test")

# %% [markdown]
# ## Why depth needs a bend
#
# A **layer** computes $h = \phi(W x + b)$: a matrix $W$ and a vector $b$ of weights, and a nonlinear function $\phi$, the
# **activation function**. Without $\phi$, two layers are one matrix again:
#
# $$ W_2 (W_1 x + b_1) + b_2 = (W_2 W_1) x + (W_2 b_1 + b_2) $$
#
# So a deep network without activation functions is as limited as PCA. The deep autoencoders of this lesson use the ELU. It is
# $x$ for positive inputs and $e^x - 1$ for negative ones. The last layer uses the sigmoid $1 / (1 + e^{-x})$, because pixels
# are in $[0, 1]$.

# %%
x = torch.linspace(-4, 4, 33)
functions = {"ELU": torch.nn.functional.elu(x), "sigmoid": torch.sigmoid(x)}
figures.curves({name: (x.tolist(), y.tolist()) for name, y in functions.items()}, "input", "output")

# %%
figures.layers([784, 256, 64, 2, 64, 256, 784], {0: "image", 3: "code", 6: "reconstruction"})

# %% [markdown]
# ## A deep autoencoder with a code of 2 numbers
#
# The next command trains the network of the figure. The option `hidden` lists the layers between the image and the code.

# %% language="bash"
# unbraid train model=deep_ae data=digits model.net.code=2 'model.net.hidden=[256,64]' \
#   model.net.output=sigmoid optim=cosine optim.optimizer.lr=2e-3 data.batch_size=32 \
#   trainer.max_epochs=30 trainer.check_val_every_n_epoch=2 trainer.accelerator=cpu \
#   hydra.run.dir=outputs/deep_2 | tail -n 7

# %% [markdown]
# The reconstructions of PCA form a plane in the space of images. Those of the deep autoencoder form a curved surface, which can
# be nearer to the images.
#
# ## Tied weights
#
# In lesson 1, the decoder used the transposed matrix of the encoder. A deep autoencoder can do the same in each layer. Then
# its weights are called **tied**. It has about half as many weights, and needs less memory.

# %% language="bash"
# unbraid train model=deep_ae data=digits model.net.code=2 'model.net.hidden=[256,64]' \
#   model.net.output=sigmoid optim=cosine optim.optimizer.lr=2e-3 data.batch_size=32 \
#   trainer.max_epochs=30 trainer.check_val_every_n_epoch=2 trainer.accelerator=cpu \
#   model.net.tied=true hydra.run.dir=outputs/tied_2 | tail -n 7

# %%
runs = {"deep": "outputs/deep_2", "deep, tied": "outputs/tied_2"}
deep, tied = (trained.errors(run) for run in runs.values())
nets = [trained.autoencoder(run).net for run in runs.values()]
weights = [sum(p.numel() for p in net.parameters()) for net in nets]
record(deep_2=deep["autoencoder"], tied_2=tied["autoencoder"], pca_2=deep["PCA"])
record(weights_deep=weights[0], weights_tied=weights[1])
lines = {name: trained.losses(run) for name, run in runs.items()}
figures.curves(lines, "epoch", "squared error, validation images")

# %% [markdown]
# | model with a code of 2 numbers | weights | error on the test images |
# |---|---|---|
# | PCA | | 24.82<!-- pca_2 --> |
# | deep autoencoder | 435,858<!-- weights_deep --> | 16.1<!-- deep_2 --> |
# | deep autoencoder with tied weights | 218,642<!-- weights_tied --> | 19.7<!-- tied_2 --> |
#
# Both deep autoencoders have a smaller error than PCA. The error with tied weights is larger here, because the same matrix must
# serve the encoder and the decoder.
#
# ## A walk through the codes
#
# The decoder makes an image from every code, also from codes that belong to no image. The next cell walks over the plane of
# the codes in a grid. The grid covers the codes of most test images.


# %%
def grid(task, low, high, steps=9):
    """Decode a grid of codes between two corners of the plane."""
    rows, columns = {}, torch.linspace(low[0], high[0], steps)
    for y in torch.linspace(high[1], low[1], steps).tolist():
        codes = torch.stack([columns, torch.full((steps,), y)], dim=1)
        rows[f"{y:.1f}"] = task.net.decode(codes).view(-1, 28, 28)
    return figures.images(rows, low=0, high=1)


task = trained.autoencoder("outputs/deep_2")
codes = task.net.encode(test.pixels.flatten(start_dim=1))
figures.points(codes[:300], test.labels[:300].tolist())

# %%
grid(task, *codes.quantile(torch.tensor([0.05, 0.95]), dim=0))

# %% [markdown]
# Neighbouring codes give similar images: one digit turns into another. But some codes do not give a digit. Nothing in the
# training controls the positions of the codes, and the images between them.
#
# ## Layer by layer
#
# In 2006, deep networks were hard to train. Hinton and Salakhutdinov trained one layer after the other: each new layer learns
# to reconstruct the output of the layers before it. Only then all layers are trained together. This is called **greedy
# layer-wise pre-training**. The next two commands train a network with three hidden layers and a code of 30 numbers, without
# and with this first stage.

# %% language="bash"
# unbraid train model=deep_ae data=digits model.net.code=30 'model.net.hidden=[400,200,100]' \
#   model.net.output=sigmoid optim=cosine optim.optimizer.lr=2e-3 data.batch_size=32 \
#   trainer.max_epochs=20 trainer.check_val_every_n_epoch=2 trainer.accelerator=cpu \
#   hydra.run.dir=outputs/deep_30 | tail -n 7

# %% language="bash"
# unbraid train model=deep_ae data=digits model.net.code=30 'model.net.hidden=[400,200,100]' \
#   model.net.output=sigmoid optim=cosine optim.optimizer.lr=2e-3 data.batch_size=32 \
#   trainer.max_epochs=20 trainer.check_val_every_n_epoch=2 trainer.accelerator=cpu \
#   callbacks=pretrained callbacks.pretraining.epochs=5 \
#   hydra.run.dir=outputs/layers_30 2> /dev/null | tail -n 7

# %%
runs = {"all layers at once": "outputs/deep_30", "layer by layer first": "outputs/layers_30"}
together, layers = (trained.errors(run) for run in runs.values())
record(deep_30=together["autoencoder"], layers_30=layers["autoencoder"], pca_30=layers["PCA"])
lines = {name: trained.losses(run) for name, run in runs.items()}
figures.curves(lines, "epoch", "squared error, validation images", log_y=True)

# %% [markdown]
# | model with a code of 30 numbers | error on the test images |
# |---|---|
# | PCA | 0.80<!-- pca_30 --> |
# | deep autoencoder, all layers at once | 4.35<!-- deep_30 --> |
# | deep autoencoder, layer by layer first | 1.82<!-- layers_30 --> |
#
# The first stage gives the network a better start: its error is less than half. PCA is still better. A code of 30 numbers is
# large for these images, which were enlarged from 8 × 8 pixels, and 20 epochs are a short training. A longer training has the
# error 0.67, less than PCA (`unbraid train experiment=hinton2006 model.net.code=30`, about one minute).
#
# ## The variational autoencoder
#
# A variational autoencoder (VAE) gives the codes an order. Its encoder computes two vectors for an image: a mean $\mu$ and a
# variance $\sigma^2$. The code is drawn at random from the normal distribution with these parameters:
#
# $$ z = \mu + \sigma \epsilon, \qquad \epsilon \sim \mathcal{N}(0, 1) $$
#
# The random number $\epsilon$ does not depend on the weights. So gradients pass through $\mu$ and $\sigma$. The loss has two
# terms. The first one is the error of the reconstruction. The second one is the **Kullback-Leibler divergence**, which measures
# how far the distribution of the code is from the standard normal distribution:
#
# $$ L = \lVert x - \hat{x} \rVert^2 + \beta \cdot \frac{1}{2} \sum_{k=1}^{K} (\mu_k^2 + \sigma_k^2 - 1 - \ln \sigma_k^2) $$
#
# The weight $\beta$ (`model.kl_weight`) chooses between exact reconstructions and well ordered codes.

# %% language="bash"
# unbraid train model=vae data=digits model.net.code=2 'model.net.hidden=[256,64]' \
#   model.net.output=sigmoid optim=cosine optim.optimizer.lr=2e-3 data.batch_size=32 \
#   trainer.max_epochs=30 trainer.check_val_every_n_epoch=2 trainer.accelerator=cpu \
#   model.kl_weight=1 hydra.run.dir=outputs/vae_2 | tail -n 7

# %%
vae = trained.autoencoder("outputs/vae_2")
record(vae_2=trained.errors("outputs/vae_2")["autoencoder"])
vae_codes = vae.net.encode(test.pixels.flatten(start_dim=1))
figures.points(vae_codes[:300], test.labels[:300].tolist())

# %%
grid(vae, torch.tensor([-1.6, -1.6]), torch.tensor([1.6, 1.6]))

# %% [markdown]
# The codes of the VAE fill an area around 0 with few gaps. The error of the VAE is 17.8<!-- vae_2 -->, a little more
# than that of the deep autoencoder. In return, its decoder can draw new images. The next cell draws codes from the standard
# normal distribution, and decodes them with both networks.

# %%
random = torch.randn(10, 2, generator=torch.Generator().manual_seed(3))
models = {"VAE": vae, "deep autoencoder": task}
drawn = {name: model.net.decode(random).view(-1, 28, 28) for name, model in models.items()}
figures.images(drawn, low=0, high=1)

# %% [markdown]
# The VAE draws different digits. The deep autoencoder draws similar images, because its codes cover a much larger area.
#
# ## A walk through sounds
#
# A code can also describe a sound. We train a small deep autoencoder on 400 spectra of tones. Each tone has two
# properties: its pitch and its brightness (the strength of high overtones). The network does not know them. Its code has
# 2 numbers.

# %%
from unbraid.dsp.stft import STFT
from unbraid.nets.autoencoders import DenseAutoencoder

generator = torch.Generator().manual_seed(0)
pitch = 110 * 2 ** torch.rand(400, generator=generator)  # in Hz
bright = torch.rand(400, generator=generator)
overtones = torch.arange(1, 25)
amplitudes = overtones ** (-3 + 2.5 * bright[:, None])  # [tones, overtones]
bins = 16 * torch.arange(160)  # in Hz
peaks = torch.exp(-(((bins - pitch[:, None, None] * overtones[:, None]) / 20) ** 2))
spectra = (amplitudes[:, :, None] * peaks).amax(dim=1) ** 0.3

torch.manual_seed(0)
net = DenseAutoencoder(160, code=2, hidden=[128, 64], output="sigmoid")
optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
for _ in range(1500):
    optimizer.zero_grad()
    loss = (net(spectra) - spectra).square().sum(dim=1).mean()
    loss.backward()
    optimizer.step()
record(tones=loss.item())
print(f"squared error of a spectrum: {loss.item():.2f}")

# %% [markdown]
# Now we walk in 40 steps from the code of a low, dark tone to the code of a high, bright tone. We make a sound from each
# decoded spectrum.

# %%
start, end = (bright + pitch / 110).argmin(), (bright + pitch / 110).argmax()
codes = net.encode(spectra)
steps = torch.linspace(0, 1, 40)[:, None]
walk = net.decode(codes[start] * (1 - steps) + codes[end] * steps).detach() ** (1 / 0.3)

rate, seconds = 8000, 4
time = torch.arange(rate * seconds) / rate
levels = torch.nn.functional.interpolate(walk.T[None], size=len(time), mode="linear")[0]
phases = 2 * torch.pi * torch.rand(160, 1, generator=generator)
tone = (levels * torch.sin(2 * torch.pi * bins[:, None] * time + phases)).sum(dim=0)
figures.spectrograms({"a walk from code to code": tone}, STFT(1024, 128), rate, top=2500)

# %%
display(Audio(tone, rate=rate))

# %% [markdown]
# ## Exercises
#
# **Exercise 1.** How many weights has the deep autoencoder with tied weights of this lesson (784, 256, 64, 2)? Compute the
# number without the code above. Count matrices and vectors of encoder and decoder.

# %%
check.exercise_1(...)

# %% [markdown]
# **Exercise 2.** Write the Kullback-Leibler divergence of one code. The arguments are the vectors $\mu$ and $\ln \sigma^2$.


# %%
def divergence(mean, log_variance):
    return ...


check.exercise_2(divergence)

# %% [markdown]
# **Exercise 3.** Write the walk from code `a` to code `b` in `steps` codes. The first code is `a`, the last one is `b`, and the
# distances are equal.


# %%
def walk_between(a, b, steps):
    return ...


check.exercise_3(walk_between)

# %% [markdown]
# ## What to read
#
# - G. Hinton and R. Salakhutdinov: "Reducing the dimensionality of data with neural networks", 2006.
# - Y. Bengio et al.: "Greedy layer-wise training of deep networks", 2006.
# - D. Kingma and M. Welling: "Auto-encoding variational Bayes", 2014.
# - I. Higgins et al.: "beta-VAE: learning basic visual concepts with a constrained variational framework", 2017.
