# %% [markdown]
# # Dark showers in event images
#
# If a dark sector has its own strong force, collisions may end in many soft tracks all over the
# detector (SUEP), or in jets with missing constituents (semi-visible jets, SVJ). CoDAE, an
# autoencoder with two codes, learns images of QCD events alone
# ([arXiv:2306.12955](https://arxiv.org/abs/2306.12955)). Does it see more than the number of
# tracks? [All about this system](../../docs/codae.md).

# %%
import os
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np

import jaxad
from jaxad import data, metrics, report
from jaxad.commands.evaluate import evaluate
from jaxad.commands.train import train
from jaxad.configs import codae

smoke = os.environ.get("JAXAD_GALLERY") == "smoke"  # seconds instead of minutes, for tests

# %% [markdown]
# ## The data
#
# An event is an image of 72 x 58 pixels in azimuth and pseudorapidity with three channels: inner
# tracker, electromagnetic and hadronic calorimeter. They are simulated here with Pythia 8 and a
# fast detector; `config.data.source` may be the folder of the published sample.

# %%
config = codae.get_config("smoke" if smoke else "")
config.data.n_simulated = 100 if smoke else 800
dataset = data.load(config.data)
print(data.summary(dataset))

# %%
classes = {"QCD": dataset.test, **dataset.signals}
shown = ["QCD", "SUEP_400", "SVJ_2100"]
figure, row = plt.subplots(1, 3, figsize=(11, 4.2), layout="constrained", sharey=True)
for axes, name in zip(row, shown, strict=True):
    energy = np.asarray(classes[name]["x"][0]).sum(axis=-1)
    drawn = axes.imshow(np.log10(1 + energy).T, origin="lower", cmap="magma_r", aspect="auto")
    axes.set(title=name, xlabel="pixel in φ")
row[0].set_ylabel("pixel in η")
figure.colorbar(drawn, ax=row, label="log10(1 + energy / GeV)")
plt.show()

# %% [markdown]
# ## Training
#
# A small CoDAE, since this page is made on a CPU: the paper's has 1.6 million parameters and 30
# epochs.

# %% tags=["quiet"]
if not smoke:
    config.model.features = (8, 16, 16, 32)
    config.model.latent = 16
    config.train.epochs = 6
    config.train.batch_size = 32
run = Path("runs/codae")
train(config, run)

# %% [markdown]
# ## Evaluation
#
# All scores, the errors of the reconstruction and the codes, stand beside baselines that need no
# training in `report.html` of the run. Here the reconstruction error against the number of tracks:

# %% tags=["quiet"]
found = evaluate(run)

# %%
scorer = jaxad.load(run)
scores = {name: scorer.scores(rows["x"]) for name, rows in classes.items()}
tracks = {name: rows["n_tracks"] for name, rows in classes.items()}
report.profile_figure(
    {name: tracks[name] for name in shown},
    {name: scores[name]["bce"] for name in shown},
    observable="number of tracks",
    unit="",
    score="reconstruction error (binary cross-entropy)",
)

# %% [markdown]
# ## What a note would say

# %%
rank = found["correlations"]["bce"]["n_tracks"]["spearman"]
rows, better = [], []
for name in dataset.signals:
    own = metrics.auc_with_error(scores["QCD"]["bce"], scores[name]["bce"])
    count = metrics.auc_with_error(tracks["QCD"], tracks[name])
    better += [name] if own[0] - count[0] > 2 * np.hypot(own[1], count[1]) else []
    rows.append([name, report.value_text(*own), report.value_text(*count)])
print(report.text_table(rows, ["AUC", "reconstruction error", "number of tracks"]))
print()
print(
    fill(
        "On QCD events the rank correlation of the reconstruction error with the number of tracks "
        f"is {rank:+.2f}. By more than two standard deviations it separates better than that "
        f"number alone: {', '.join(better) or 'no signal'}.",
        90,
    )
)
