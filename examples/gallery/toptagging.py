# %% [markdown]
# # Top jets without labels
#
# An autoencoder learns to compress images of QCD jets. Top jets, which it has never seen, come out
# worse: their reconstruction error is an anomaly score
# ([arXiv:1808.08992](https://arxiv.org/abs/1808.08992),
# [arXiv:1808.08979](https://arxiv.org/abs/1808.08979)). How good is it, and is it more than a
# disguise of the jet mass? [All about this system](../../docs/toptagging.md).

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
from jaxad.configs import toptagging_ae
from jaxad.metrics.sculpting import mass_sculpting
from jaxad.observables.images import jet_image
from jaxad.observables.kinematics import epxpypz_to_ptetaphi

smoke = os.environ.get("JAXAD_GALLERY") == "smoke"  # seconds instead of minutes, for tests

# %% [markdown]
# ## The data
#
# Jets of 550 to 650 GeV, simulated here with Pythia 8 and FastJet. With `config.data.source =
# "download"` they are those of the Top Tagging Reference Dataset; a folder of its files, or [jets
# of your own](../../docs/data.md#your-own-events), do as well.

# %%
config = toptagging_ae.get_config("smoke" if smoke else "")
config.data.n_simulated = 200 if smoke else 3000
dataset = data.load(config.data)
print(data.summary(dataset))

# %%
jets = {"QCD": dataset.test, "top": dataset.signals["top"]}
colors = report.class_colors(jets)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, rows in jets.items():
    style = {"density": True, "histtype": "step", "color": colors[name], "label": name}
    left.hist(rows["mass"], np.arange(0, 265, 10), **style)
    right.hist(rows["multiplicity"], np.arange(0, 165, 5), **style)
left.set(xlabel="jet mass [GeV]", ylabel="fraction of jets / GeV")
right.set(xlabel="number of constituents", ylabel="fraction of jets / constituent")
left.legend()
plt.show()

# %% [markdown]
# What the network sees: pixels of 0.1 x 0.1 in pseudorapidity and azimuth, weighted by transverse
# momentum, the jet's axis in the middle.

# %%
images = {name: jet_image(epxpypz_to_ptetaphi(rows["x"][:500])) for name, rows in jets.items()}
report.average_image_figure(
    images, extent=(-0.8, 0.8, -0.8, 0.8), labels=("Δη", "Δφ"), unit="fraction of the jet's pT"
)

# %% [markdown]
# ## Training
#
# On QCD jets alone; the epoch of the lowest validation loss is kept. The same call goes on where
# it was stopped.

# %% tags=["quiet"]
if not smoke:
    config.model.width = 64
    config.train.epochs = 8
run = Path("runs/toptagging")
train(config, run)

# %% [markdown]
# ## Evaluation
#
# One table of everything, with statistical errors, and beneath it what it does not hold; the same,
# with all figures, is written to `report.html`.

# %%
found = evaluate(run)

# %% [markdown]
# ## Scores in your own hands
#
# A trained run is one function from raw jets to scores.

# %%
scorer = jaxad.load(run)
scores = {name: scorer(rows["x"]) for name, rows in jets.items()}
report.roc_figure(
    {
        "autoencoder": (scores["QCD"], scores["top"]),
        "jet mass": (jets["QCD"]["mass"], jets["top"]["mass"]),
    },
    dashed=["jet mass"],
)

# %% [markdown]
# Is the score a disguise of the mass? Cuts on it change the mass spectrum of QCD jets:

# %%
carved = mass_sculpting(
    jets["QCD"]["mass"], scores["QCD"], efficiencies=(0.5, 0.1), edges=np.arange(0, 265, 20)
)
report.sculpting_figure(carved, observable="jet mass")

# %% [markdown]
# ## What a note would say

# %%
fpr = 0.3 if smoke else 0.1
observable = {name: rows["mass"] for name, rows in jets.items()}
for name, values in (("autoencoder", scores), ("jet mass", observable)):
    area = report.value_text(*metrics.auc_with_error(values["QCD"], values["top"]))
    point = metrics.tpr_at_fpr(values["QCD"], values["top"], fpr)
    kept = report.value_text(100 * point["value"], 100 * point["error"])
    print(f"{name}: AUC {area}; {kept} % of top jets pass where {100 * fpr:.0f} % of QCD jets do")
rank = found["correlations"]["mse"]["mass"]["spearman"]
print()
print(
    fill(
        f"On QCD jets the rank correlation of the score with the jet mass is {rank:+.2f}. A cut on "
        "the score is in part a cut on the mass: a background estimate from the mass spectrum has "
        "to be checked as above, or the score decorrelated.",
        90,
    )
)
