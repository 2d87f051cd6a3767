# %% [markdown]
# # New physics at 40 MHz
#
# A trigger keeps one event in 100,000, and what it is not told to look for is lost. An autoencoder
# learns the Standard Model as the trigger sees it, and keeps what does not look like it (ADC2021,
# [arXiv:2107.02157](https://arxiv.org/abs/2107.02157)). Which detector is the better one, and what
# does it accept at a given rate? [All about this system](../../docs/adc2021.md).

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import jaxad
from jaxad import data, metrics, report
from jaxad.commands.compare import compare
from jaxad.commands.evaluate import evaluate
from jaxad.commands.train import train
from jaxad.configs import adc2021_shallow, adc2021_vae

smoke = os.environ.get("JAXAD_GALLERY") == "smoke"  # seconds instead of minutes, for tests

# %% [markdown]
# ## The data
#
# An event is the missing transverse momentum and up to 4 electrons or photons, 4 muons and 10
# jets, each as (pT, η, φ). Background is a cocktail of W, QCD, Z and top pairs; the signals are A
# → 4ℓ, LQ → bτ, h⁰ → ττ and h± → τν. All are simulated here with Pythia 8; with
# `config.data.source = "download"` they are the published events.

# %%
config = adc2021_vae.get_config("smoke" if smoke else "")
config.data.n_simulated = 100 if smoke else 5000
dataset = data.load(config.data)
print(data.summary(dataset))

# %%
classes = {"background": dataset.test, **dataset.signals}
colors = report.class_colors(classes)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for name, rows in classes.items():
    style = {"density": True, "histtype": "step", "color": colors[name], "label": name}
    left.hist(rows["ht"], np.arange(0, 420, 20), **style)
    right.hist(rows["met"], np.arange(0, 210, 10), **style)
left.set(xlabel="HT, sum of the jets' pT [GeV]", ylabel="fraction of events / GeV", yscale="log")
right.set(xlabel="missing pT [GeV]", ylabel="fraction of events / GeV", yscale="log")
left.legend()
plt.show()

# %% [markdown]
# ## Two detectors
#
# A variational autoencoder of [arXiv:2108.03986](https://arxiv.org/abs/2108.03986), and an
# isolation forest, which needs no training to speak of. Of the first, `kl`, `r_z` and `mu2` need
# the encoder alone, which is what a trigger would deploy; `mse` needs both halves.

# %% tags=["quiet"]
forest = adc2021_shallow.get_config("smoke" if smoke else "")
forest.data = config.data
if not smoke:
    config.train.epochs = 60
runs = [Path("runs/vae"), Path("runs/isolation_forest")]
for one, run in zip((config, forest), runs, strict=True):
    train(one, run)
    found = evaluate(run)

# %% [markdown]
# `jaxad compare` sets them side by side, here as text; with a folder for its second argument it
# writes a page of sortable tables and ROC curves, too.

# %%
compare(runs, out=None)

# %% [markdown]
# The names in brackets are single observables, which a detector should beat: a sum of momenta
# finds leptoquarks, a count of leptons four of them.
#
# ## A working point
#
# A threshold is set on test background, and has a statistical error as everything else.

# %%
scorer = jaxad.load(runs[0])
scores = {name: scorer.scores(rows["x"])["mse"] for name, rows in classes.items()}
background = scores.pop("background")
report.score_figure(background, scores, score="reconstruction error", colors=colors)

# %%
fpr = 0.5 if smoke else 0.02
rows = []
for name, values in scores.items():
    own = metrics.tpr_at_fpr(background, values, fpr)
    sums = classes["background"]["sum_pt"], classes[name]["sum_pt"]
    other = metrics.tpr_at_fpr(*sums, fpr)
    rows.append([name, *(report.value_text(p["value"], p["error"]) for p in (own, other))])
print(f"Signal efficiency at a background efficiency of {fpr:.0%}\n")
print(report.text_table(rows, ["signal", "reconstruction error", "sum of pT"]))

# %% [markdown]
# What a trigger could afford is a background efficiency of 1e-5: 400 Hz of 40 MHz. That needs a
# million test events, and jaxad refuses to quote it from fewer:

# %%
print(metrics.tpr_at_fpr(background, scores["A4l"], 1e-5)["reason"])

# %% [markdown]
# ## What a note would say

# %%
for name, values in scores.items():
    own = metrics.auc_with_error(background, values)
    baselines = found["signals"][name]["baselines"]
    best = max(baselines, key=lambda key: baselines[key]["auc"])
    other = baselines[best]["auc"], baselines[best]["auc_err"]
    word = "better" if own[0] > other[0] + 2 * np.hypot(own[1], other[1]) else "no better"
    print(
        f"{name}: AUC {report.value_text(*own)}, {word} than the best single observable, "
        f"{best} with {report.value_text(*other)}"
    )
print(
    "\nErrors are statistical. The events are preselected, so that only ratios of rates mean\n"
    "something, and efficiencies below those shown are not known from this many events."
)
