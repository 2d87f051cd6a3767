# %% [markdown]
# # What has the autoencoder learnt?
#
# A network on jet images flags anomalous jets and does not say why. A small network of a few
# observables is trained to order jets as it does, and so names what it looks at
# ([arXiv:2203.01343](https://arxiv.org/abs/2203.01343)). The observables are mass, pT and energy
# flow polynomials, chosen one by one. [All about this system](../../docs/interpretable.md).

# %%
import os
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import rankdata as ranks

import jaxad
from jaxad import data, report
from jaxad.commands.evaluate import evaluate
from jaxad.commands.train import train
from jaxad.configs import interpretable_hln
from jaxad.evaluation.mimickers import teacher
from jaxad.report.mimickers import graphs_figure, selection_figure

smoke = os.environ.get("JAXAD_GALLERY") == "smoke"  # seconds instead of minutes, for tests

# %% [markdown]
# ## The data
#
# QCD jets, and eight kinds of jets with two to four prongs, which nothing is trained on; simulated
# here with Pythia 8. [Jets of your own](../../docs/data.md#your-own-events) do as well.

# %%
config = interpretable_hln.get_config("smoke" if smoke else "")
config.data.n_simulated = 100 if smoke else 3000
dataset = data.load(config.data)
print(data.summary(dataset))

# %%
classes = {"QCD": dataset.test, **dataset.signals}
colors = report.class_colors(classes)
figure, axes = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
for name, rows in classes.items():
    style = {"density": True, "histtype": "step", "color": colors[name], "label": name}
    axes.hist(rows["mass"], np.arange(0, 260, 10), **style)
axes.set(xlabel="jet mass [GeV]", ylabel="fraction of jets / GeV")
axes.legend(fontsize="small")
plt.show()

# %% [markdown]
# ## Teacher and mimicker
#
# One run trains the autoencoder on images of QCD jets, then a mimicker for each observable that
# joins: the polynomial that orders best those pairs of jets that the mimicker so far orders
# otherwise.

# %% tags=["quiet"]
if not smoke:
    config.method.passes = 3
    config.method.max_degree = 4
    config.teacher.inputs.n_pixels = 20
    config.teacher.train.epochs, config.teacher.train.batch_size = 40, 64
    config.train.epochs, config.train.batch_size = 100, 64
run = Path("runs/mimicker")
train(config, run)

# %% tags=["quiet"]
found = evaluate(run)

# %% [markdown]
# The average decision ordering (ADO) is the fraction of pairs of QCD jets that both order alike,
# 0.5 by chance.

# %%
passes = found["selection"]
rows = [
    [str(one["k"]), one["observable"], report.value_text(one["ado"], one["ado_err"])]
    for one in passes
]
print(report.text_table(rows, ["pass", "observable that joins", "ADO"]))

# %%
selection_figure(passes, found["teacher"], colors, name="mimicker")

# %% [markdown]
# The chosen polynomials: a point for every particle that is summed over, weighted by its share z
# of the momentum, a line for every distance θ of two of them.

# %%
graphs_figure(passes[1:])

# %% [markdown]
# ## A scorer of a few numbers
#
# The mimicker is a scorer as every other: raw jets in, masses and polynomials computed inside.

# %%
mimicker = jaxad.load(run)
autoencoder = teacher(mimicker)
scores = {"mimicker": mimicker(dataset.test["x"]), "autoencoder": autoencoder(dataset.test["x"])}
figure, axes = plt.subplots(figsize=(5.6, 4.6), layout="constrained")
drawn = axes.scatter(*map(ranks, scores.values()), c=dataset.test["mass"], s=8, cmap="viridis")
axes.set(xlabel="rank of the mimicker's score", ylabel="rank of the autoencoder's score")
figure.colorbar(drawn, label="jet mass [GeV]")
plt.show()

# %% [markdown]
# ## What a note would say

# %%
first, last = passes[0], passes[-1]
joined = ", ".join(one["observable"] for one in passes[1:])
print(
    fill(
        f"Mass and pT alone order {first['ado']:.1%} of the pairs of QCD jets as the autoencoder "
        f"does; with {joined} it is {last['ado']:.1%}, ± {100 * last['ado_err']:.1f} %.",
        90,
    )
)
print()
for name in dataset.signals:
    one = last["signals"][name]
    print(
        f"{name}: AUC of the mimicker {report.value_text(one['auc'], one['auc_err'])}, of the "
        f"autoencoder {found['teacher'][name]['auc']:.3f}"
    )
