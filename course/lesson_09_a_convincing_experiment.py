# %% [markdown]
# # Lesson 9: a convincing experiment
#
# After this lesson you can
#
# - train two variants of a model with several seeds by one command,
# - show why the interval of a comparison of single runs is too short,
# - compute a 95 % interval for the difference of two variants by hand, and read it in a report,
# - plan how many seeds and test songs an experiment needs,
# - make a blind listening test, and store an experiment for Weights & Biases without a network.
#
# **Time:** 45 minutes with the exercises. The cells run for about 2 minutes on 2 cores. You need lessons 5 and 6.

# %% language="bash"
# python -c "import unbraid" 2> /dev/null || pip install --quiet unbraid

# %%
import json
import random
from pathlib import Path

import numpy as np
import soundfile
import torch
from IPython.display import Audio, display

from unbraid.course import experiment_figures, fast, figures, record
from unbraid.course.checks import lesson_09 as check
from unbraid.course.listeners import simulate
from unbraid.dsp.stft import STFT
from unbraid.reports.variants import runs_of, variants_of
from unbraid.scoring.power import Deviations, smallest_difference
from unbraid.scoring.significance import difference, holm

figures.use_style()

# %% [markdown]
# ## The question
#
# A U-Net has skip connections: the decoder also receives the outputs of the encoder (lesson 6). Do they help to separate
# vocals?
#
# A *variant* is one configuration of the model. Here there are two variants: with skips and without skips. A *run* is one
# training of a variant. Its *seed* is the number from which all its random values follow: the initial weights, and the
# order of the training data. Another seed gives another network and other scores.
#
# The score of variant $a$, trained with seed $s$, on the test song $i$ is
#
# $$y_{a,s,i} = \mu_a + t_i + u_{a,i} + g_{a,s} + e_{a,s,i}$$
#
# | term | meaning |
# |---|---|
# | $\mu_a$ | mean of the variant over all songs and all seeds. $a = 0$: with skips; $a = 1$: without skips |
# | $t_i$ | effect of the song: some songs are easy for every network |
# | $u_{a,i}$ | some songs suit one variant better than the other |
# | $g_{a,s}$ | effect of the seed |
# | $e_{a,s,i}$ | rest |
#
# The question is about $\mu_1 - \mu_0$. All terms except $\mu_a$ are random. An experiment is convincing if the measured
# difference is large compared with them.

# %% [markdown]
# ## A sweep
#
# A *sweep* trains all combinations of several values. The option `-m` starts it. The next command trains two models with
# three seeds each, scores all runs on 8 test songs, and writes a report. The songs are generated on this machine.

# %% language="bash"
# unbraid train -m model=unet_small,unet_noskip_small seed=0,1,2 trainer=cpu trainer.max_epochs=6 \
#   model.separator.chunk_seconds=5.90625 optim.optimizer.lr=2e-3 \
#   data.layout.train=6 data.layout.valid=1 data.layout.test=8 data.layout.seconds=8 \
#   data.chunks_per_track=12 data.batch_size=4 data.num_workers=0 evaluation.clips=3 \
#   hydra.sweep.dir=outputs/skips

# %% [markdown]
# The printed table has one row per variant. For each seed, it takes the median over the songs. Then it prints the mean and
# the standard deviation of these medians over the seeds. Below the table, one sentence compares the variants. This sentence
# and the next cells use means over the songs, so that their difference is not exactly the difference of the rows. You compute
# the numbers of this sentence in this lesson.
#
# Each run folder contains a file `scores.json` with the scores of each song. The next cell reads them as arrays of 3 seeds
# and 8 songs. The measure is the SI-SDRi, in dB: the SI-SDR (lesson 5) of the estimate minus the SI-SDR of the mixture.

# %%
with_skips, without = variants_of(runs_of(Path("outputs/skips")))
songs = list(with_skips.first.scores["tracks"])
baseline = with_skips.of_tracks("vocals", "SI-SDRi", songs)
variant = without.of_tracks("vocals", "SI-SDRi", songs)
print("mean of each seed with skips   ", baseline.mean(axis=1).round(2))
print("mean of each seed without skips", variant.mean(axis=1).round(2))

# %%
experiment_figures.scores({"with skips": baseline, "without skips": variant}, "SI-SDRi of the vocals (dB)")

# %% [markdown]
# Each column of points shows how far seeds differ. The lines go up and down together, because a hard song is hard for both
# variants. So the two variants are compared song by song. This is called a *paired* comparison.

# %% [markdown]
# ## One seed is not enough
#
# Suppose you had trained each variant once. There are $3 \times 3 = 9$ such pairs of runs, and each is an experiment that
# someone could publish. The interval of each row covers the choice of the songs only.

# %%
single = {f"seeds {s} and {r}": difference(variant[s : s + 1], baseline[r : r + 1]) for s in range(3) for r in range(3)}
together = difference(variant, baseline)
sizes = [abs(row.mean) for row in single.values()]
record(lowest_single_size=min(sizes), highest_single_size=max(sizes))
record(mean=together.mean, low=together.low, high=together.high, p=together.p)
experiment_figures.intervals({**single, "all seeds": together}, "SI-SDRi without skips minus SI-SDRi with skips (dB)")

# %% [markdown]
# `seeds 1 and 0` means: seed 1 without skips, and seed 0 with skips. The dashed line is 0, no difference.
#
# All nine experiments agree that skips help, but not how much: without skips, the score is between
# 1.57<!-- lowest_single_size --> dB and 3.46<!-- highest_single_size --> dB lower. None of the nine intervals contains 0, so
# each experiment would claim a clear result. But each interval is too short, because it leaves out the seeds. It is valid for
# these two networks only.
#
# The last row uses all seeds. Its interval also covers other seeds. It is from -4.57<!-- low --> to 0.09<!-- high --> dB, so
# it contains 0.
#
# ## The interval by hand
#
# The difference of song $i$, averaged over the seeds, is $d_i = \bar y_{1,\cdot,i} - \bar y_{0,\cdot,i}$. The estimate of
# $\mu_1 - \mu_0$ is the mean of $d_i$ over the $n$ songs. The effect $t_i$ is equal in both variants, so $d_i$ does not contain
# it. Two sources of chance change the mean. Below, var is the sample variance.
#
# - other songs, through the effects $u_{a,i}$, with variance $V_u = \mathrm{var}(d) / n$,
# - other seeds, with variance $V_s = \mathrm{var}(m_0) / k + \mathrm{var}(m_1) / k$. Here $m_a$ contains the mean over the
#   songs of each of the $k$ seeds.
#
# The 95 % interval is
#
# $$\bar d \pm \sqrt{q_t^2\, V_u + q_s^2\, V_s}$$
#
# The 97.5 % quantiles $q$ of Student's t-distribution make the interval longer if there are few songs or seeds. For 7 degrees
# of freedom $q = 2.36$, and for 2 degrees of freedom $q = 4.30$. For many, $q = 1.96$. The degrees of freedom are $n - 1$ for
# the songs. For the seeds they are between $k - 1$ and $2(k - 1)$ (Welch, 1947).

# %%
from scipy.special import stdtrit

d = variant.mean(axis=0) - baseline.mean(axis=0)
V_u = d.var(ddof=1) / len(d)
V_0, V_1 = (runs.mean(axis=1).var(ddof=1) / len(runs) for runs in (baseline, variant))
freedom = (len(variant) - 1) * (V_0 + V_1) ** 2 / (V_0**2 + V_1**2)
half = np.sqrt(stdtrit(len(d) - 1, 0.975) ** 2 * V_u + stdtrit(freedom, 0.975) ** 2 * (V_0 + V_1))
print(f"mean {d.mean():.2f} dB, songs {V_u**0.5:.2f} dB, seeds {(V_0 + V_1) ** 0.5:.2f} dB")
print(f"by hand {d.mean() - half:.2f} to {d.mean() + half:.2f} dB, unbraid {together.low:.2f} to {together.high:.2f} dB")
record(songs_part=V_u**0.5, seeds_part=(V_0 + V_1) ** 0.5)

# %% [markdown]
# Songs and seeds contribute about equally: the standard deviations $\sqrt{V_u}$ and $\sqrt{V_s}$ are
# 0.54<!-- songs_part --> dB and 0.50<!-- seeds_part --> dB. But the quantile of the seeds is larger, because three seeds
# are few.
#
# ## The report
#
# The sweep has already written a report. The command `report` writes it again, here with other names for the variants.

# %% language="bash"
# unbraid report sweep=outputs/skips 'labels=[with skips,without skips]'

# %% [markdown]
# Read the sentence below the table:
#
# - The *p-value* is the probability of a difference at least as large as the measured one, if the variants were equal.
# - p is below 0.05 exactly if the 95 % interval does not contain 0. The report then writes `hardly luck`.
# - Here p is 0.055<!-- p -->, so the report writes `it may be luck`. This does not mean that the variants are equal. The
#   skips probably help, as the mean difference of -2.24<!-- mean --> dB suggests. But this experiment is too small to show
#   it.
#
# Open `outputs/skips/report/index.html` with a browser for tables in LaTeX and Markdown, plots of each song, and learning
# curves.
#
# ## How many seeds and songs?
#
# Three standard deviations can be estimated from a finished sweep: `tracks` of $u_{1,i} - u_{0,i}$, `seeds` of $g_{a,s}$, and
# `rest` of $e_{a,s,i}$. They give the smallest true difference that a larger sweep would detect with a probability of 80 %.

# %%
deviations = Deviations.of([baseline, variant])
print(deviations)
seeds = range(2, fast(11, 4))
lines = {f"{n} songs": (list(seeds), [smallest_difference(deviations, k, n) for k in seeds]) for n in (8, 50)}
record(three_seeds=smallest_difference(deviations, 3, 8), five_seeds=smallest_difference(deviations, 5, 8))
record(two_seeds=smallest_difference(deviations, 2, 8), two_seeds_50=smallest_difference(deviations, 2, 50))
record(four_seeds_50=smallest_difference(deviations, 4, 50), ten_seeds=smallest_difference(deviations, 10, 8))
figures.curves(lines, "seeds per variant", "smallest detected difference (dB)")

# %% [markdown]
# With 3 seeds and 8 songs, this experiment detects differences from 2.72<!-- three_seeds --> dB. With 5 seeds it would
# detect 2.08<!-- five_seeds --> dB. The curve falls fast at first. With 2 seeds and 8 songs, the smallest difference is
# 6.59<!-- two_seeds --> dB. 42 more songs reduce it only to 5.72<!-- two_seeds_50 --> dB, so a third seed helps more. Later,
# songs help more: 4 seeds and 50 songs detect 1.49<!-- four_seeds_50 --> dB, but 10 seeds and 8 songs detect only
# 1.80<!-- ten_seeds --> dB.
#
# `unbraid train -m … plan=true power=1` prints such a table before you start a sweep, together with its time and memory.
#
# ## Many comparisons
#
# Compare 20 equal variants with a baseline. On average one of them has p < 0.05, by luck alone. Holm's method prevents
# this. Sort the $m$ p-values. Multiply the smallest by $m$, the next by $m - 1$, and so on. No corrected value may be
# smaller than the one before it. The report uses this method if a sweep has more than two variants.

# %%
print([round(p, 3) for p in holm([0.010, 0.020, 0.040])])

# %% [markdown]
# ## Listen without knowing
#
# A score does not replace listening. Listen to the same song from both variants, in an order that you do not know. Write down
# which one you prefer. The section "Which one was A?" contains the answer.

# %%
folder = Path("audio") / songs[0]
target = with_skips.first.folder / folder / "vocals-target.flac"
estimates = {
    "with skips": with_skips.first.folder / folder / "vocals-estimate.flac",
    "without skips": without.first.folder / folder / "vocals-estimate.flac",
}
order = random.Random(9).sample(list(estimates), 2)


def sound(file: Path) -> Audio:
    """Load the first 6 seconds of a file, as mono."""
    samples, rate = soundfile.read(file, always_2d=True)
    return Audio(samples[: 6 * rate].mean(axis=1), rate=rate)


for letter, name in zip("AB", order, strict=True):
    print(letter)
    display(sound(estimates[name]))

# %% [markdown]
# One listener and one song prove nothing. A *MUSHRA* test (ITU-R BS.1534-3) lets several listeners rate several songs. The
# page also contains the true vocals without a label, the *hidden reference*. A listener who gives it a low rating is
# excluded. Two *anchors* show the low end of the scale.

# %% language="bash"
# unbraid listening sweep=outputs/skips songs=3 seconds=5 target=vocals 'labels=[with skips,without skips]'

# %% [markdown]
# Give the folder `outputs/skips/listening/page` to the listeners. Each listener returns a file with ratings. To see the
# result now, the next cell simulates four listeners: three follow the uSDR, and one rates at random.

# %%
for seed in range(3):
    simulate(Path("outputs/skips/listening"), Path(f"listener{seed}.json"), seed)
simulate(Path("outputs/skips/listening"), Path("listener3.json"), seed=3, attentive=False)

# %% language="bash"
# unbraid listening sweep=outputs/skips 'results=[listener0.json,listener1.json,listener2.json,listener3.json]'

# %% [markdown]
# The random listener is excluded. The last table compares the measures with the ratings. *Somers' D* looks at all pairs of
# estimates of a song. It is the share of pairs that measure and listeners put in the same order, minus the share of the other
# pairs. D = 1 is full agreement. Here it is 1 for all measures, because the simulated listeners follow the uSDR, and the other
# measures order these estimates in the same way. With real listeners, the measures can differ.

# %% [markdown]
# ### Which one was A?
#
# The next cell prints the names of the two estimates that you compared, and plays the true vocals.

# %%
print(f"A is {order[0]}, B is {order[1]}. The true vocals:")
sound(target)

# %%
files = {**estimates, "true vocals": target}
waves = {name: torch.from_numpy(soundfile.read(file, dtype="float32")[0]) for name, file in files.items()}
figures.spectrograms(waves, STFT(1024, 256), 8192)

# %% [markdown]
# Both estimates contain a part of the band while the voice is silent, from 4 to 5.5 s. The spectrograms do not show which
# estimate sounds better.
#
# ## Weights & Biases without a network
#
# Weights & Biases (W&B) is a web service that stores curves, sounds and settings of runs. With `mode=offline` a run writes
# the data for W&B to its own folder. Upload them later with `wandb sync`. The next command repeats the first epoch of the
# first run.

# %% language="bash"
# unbraid train model=unet_small seed=0 trainer=cpu trainer.max_epochs=1 \
#   model.separator.chunk_seconds=5.90625 optim.optimizer.lr=2e-3 \
#   data.layout.train=6 data.layout.valid=1 data.layout.test=8 data.layout.seconds=8 \
#   data.chunks_per_track=12 data.batch_size=4 data.num_workers=0 test=false \
#   'logger=[csv,wandb]' logger.wandb.mode=offline hydra.run.dir=outputs/wandb


# %%
def first_loss(run: Path) -> float:
    """Read the training loss of the first epoch from `metrics.csv`."""
    names, values = (line.split(",") for line in (run / "metrics.csv").read_text().splitlines()[:2])
    return float(values[names.index("train/loss")])


print("with W&B", first_loss(Path("outputs/wandb")), "without W&B", first_loss(with_skips.first.folder))
print([file.name for file in Path("outputs/wandb/wandb").glob("offline-run-*/*.wandb")])
facts = json.loads(Path("outputs/wandb/run.json").read_text())
print("command:", " ".join(facts["overrides"]))
print("versions:", facts["versions"])
print("code:", facts["commit"], facts["code"])

# %% [markdown]
# Both losses are equal, because a logger does not change the training. Another person needs three facts to repeat the run: the
# options of the command, the versions of the packages, and the state of the code. The file `run.json` contains them.

# %% [markdown]
# ## Exercise 1: a paired difference
#
# Two variants were trained with two seeds and scored on three songs. Compute the difference *without skips minus with
# skips* for each song.

# %%
skips = np.array([[5.0, 3.0, 8.0], [6.0, 4.0, 7.0]])  # [seeds, songs], in dB
no_skips = np.array([[4.0, 3.5, 6.0], [5.0, 2.5, 6.0]])
answer = ...
check.exercise_1(answer)

# %% [markdown]
# ## Exercise 2: four comparisons
#
# Four variants are compared with a baseline. The p-values are 0.006, 0.015, 0.030 and 0.045. Give the four p-values after
# Holm's correction, in this order. Do it by hand, or with the library.

# %%
answer = ...
check.exercise_2(answer)

# %% [markdown]
# ## Exercise 3: plan an experiment
#
# The standard deviations of an earlier sweep are 0.6 dB (songs), 0.3 dB (seeds) and 0.3 dB (rest). You have 20 test songs.
# What is the smallest number of seeds per variant that detects a difference of 0.9 dB? Start with
# `Deviations(tracks=0.6, seeds=0.3, rest=0.3)`, and use `smallest_difference(deviations, seeds, tracks)`.

# %%
answer = ...
check.exercise_3(answer)

# %% [markdown]
# ## What to read
#
# - Bouthillier et al.: Accounting for variance in machine learning benchmarks. MLSys 2021.
# - Holm: A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics, 1979.
# - Welch: The generalization of "Student's" problem when several different population variances are involved. Biometrika,
#   1947.
# - ITU-R BS.1534-3: Method for the subjective assessment of intermediate quality level of audio systems. 2015.
# - Le Roux et al.: SDR – half-baked or well done? ICASSP 2019.
