# %% [markdown]
# # Odd events in a table of your own
#
# From one CSV file to a scorer and a report. Without a network: the score is an event's distance
# from the others, in units of their spread. What does it find, and what can such a score not find?
# [The same with your file](../../docs/formats.md), of any format.

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
from jaxad.configs import features_ae
from jaxad.simulation import simulate

smoke = os.environ.get("JAXAD_GALLERY") == "smoke"  # seconds instead of minutes, for tests

# %% [markdown]
# ## The data
#
# A line of names, then a line an event. This table is made up: four features and a label, 1 for
# one event in 400. Names may be globs; `data.features` says what an event is, `data.label` what is
# background (0) and what a signal is called. Signals are tested, and train nothing.

# %%
(table,) = simulate("resonance", "table", 4_000 if smoke else 80_000, seed=0, workers=1)
print("".join(table.open(encoding="utf-8").readlines()[:3]))

config = features_ae.get_config("smoke" if smoke else "")
config.data = data.get_config(
    "events", source=str(table), features="x*", label="is_signal", signals="resonance=1"
)
dataset = data.load(config.data)
print(data.summary(dataset))

# %%
classes = {"background": dataset.test, **dataset.signals}
colors = report.class_colors(classes)
figure, panels = plt.subplots(2, 2, figsize=(7.2, 5.6), layout="constrained", sharey=True)
for place, axes in enumerate(panels.flat):
    for name, rows in classes.items():
        style = {"density": True, "histtype": "step", "color": colors[name], "label": name}
        axes.hist(rows["x"][:, place], np.linspace(-4, 4, 33), **style)
    axes.set(xlabel=f"x{place + 1}", ylabel="density")
panels[0, 0].legend(fontsize="small")
plt.show()

# %% [markdown]
# ## Training and evaluation
#
# A method is one setting: an autoencoder, an isolation forest or neighbours are other words for
# `method.name`. The report, with all figures, is `runs/table/eval/report.html`.

# %% tags=["quiet"]
config.method.update({"name": "mahalanobis", "n_fit": 10_000})
config.baselines = ()
run = Path("runs/table")
train(config, run)

# %%
found = evaluate(run)

# %% [markdown]
# ## Scores in your own hands
#
# A trained run is one function from rows of the table to scores.

# %%
scorer = jaxad.load(run)
scores = {name: scorer(rows["x"]) for name, rows in classes.items()}
report.score_figure(
    scores["background"], {"resonance": scores["resonance"]}, score="distance", colors=colors
)

# %% [markdown]
# ## What a note would say
#
# The signal is made of many events in one place: [a search](../../docs/search.md) in the mass of
# the same table looks for that, and finds it.

# %%
area = report.value_text(*metrics.auc_with_error(scores["background"], scores["resonance"]))
print(f"AUC of the distance: {area}")
for fpr in (0.3, 0.1, 0.03):
    point = metrics.tpr_at_fpr(scores["background"], scores["resonance"], fpr)
    kept = report.value_text(100 * point["value"], 100 * point["error"])
    print(f"{kept} % of the signal pass where {100 * fpr:.0f} % of the background do")
beyond = np.mean(scores["background"] > np.quantile(scores["resonance"], 0.95))
print()
print(
    fill(
        f"{beyond:.0%} of the background lie farther out than 95 % of the signal, which is off the "
        "middle and yet within the bulk. A score of rareness ranks it and cannot isolate it: hard "
        "cuts lose it.",
        90,
    )
)
