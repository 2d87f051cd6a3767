# %% [markdown]
# # A resonance in a table of your own
#
# A table of events: an invariant mass, four features, no labels. Is there a resonance between
# 3,300 and 3,700 GeV, and how often would background alone look like that? The background is
# modelled as in [CATHODE](../../docs/cathode.md) (arXiv:2109.00546), and p-values come from
# pseudo-experiments; [what is done, and why](../../docs/search.md).

# %%
import csv
import os
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np

from jaxad import data, report
from jaxad.commands.search import search
from jaxad.configs import search as search_config
from jaxad.simulation import simulate

smoke = os.environ.get("JAXAD_GALLERY") == "smoke"  # seconds instead of minutes, for tests

# %% [markdown]
# ## The data
#
# Any table will do, as CSV, HDF5, npz, Parquet or ROOT: a row an event, a column of the mass. This
# one is made up: a mass that falls, and one event of a resonance to 400 of background.

# %%
(table,) = simulate("resonance", "table", 4_000 if smoke else 20_000, seed=0, workers=1)
with open(table, newline="", encoding="utf-8") as file:
    names = next(csv.reader(file))
columns = dict(zip(names, np.loadtxt(table, delimiter=",", skiprows=1).T, strict=True))
print(f"{len(columns['mjj']):,} events with the columns {', '.join(columns)}")

# %%
low, high = 3300, 3700  # GeV
figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
edges = np.arange(2600, 5650, 50)
counts = np.histogram(columns["mjj"], edges)[0]
axes.errorbar((edges[1:] + edges[:-1]) / 2, counts, np.sqrt(counts), fmt="k.", label="data")
axes.axvspan(low, high, color="0.9", label="window")
axes.set(xlabel=r"$m_{jj}$ [GeV]", ylabel="events / 50 GeV", yscale="log")
axes.legend()
plt.show()

# %% [markdown]
# The spectrum alone shows nothing.
#
# ## The search, blind
#
# The truth, `is_signal`, is not among the features, and no number depends on it. Linear
# discriminants are quick enough for hundreds of pseudo-experiments; without that line, a network
# or boosted trees are taken.

# %%
config = search_config.get_config("smoke" if smoke else "")
config.data = data.get_config(
    "events", source=str(table), mass="mjj", features="x1,x2,x3,x4", id="event"
)
config.search.windows = f"{low}-{high}"
config.classifier.name = "discriminant"

run, n_toys = Path("runs/search"), 40 if smoke else 1000
blind = search(config, run, n_toys)

# %% [markdown]
# While blind, the template is judged where nothing is looked for: in false windows beside the true
# one. Their counts over the expectation, less one, average to a correction, and scatter by an
# error.

# %%
report.search_results(blind)["closure"]

# %% [markdown]
# ## Unblind
#
# The template passed, so the counts may be seen. Nothing else changes.

# %%
found = search(config, run, n_toys, unblind=True)

# %%
figures = report.search_results(found)
figures["p_values"]

# %% [markdown]
# Which events are those? Cuts on the score select a part of the window; the spectra before and
# after them, with fits of the sidebands:

# %%
figures[f"spectra_{low}-{high}"]

# %% [markdown]
# ## What a note would say
#
# The global p-value counts all cuts; the limit is on events of signal that pass one cut.

# %%
whole, (window,) = found["global"], found["windows"]
one = window["cuts"]["0.01"]
bound = "below " if whole["is_bound"] else ""
limit = one["limit"]
print(
    fill(
        f"Of {window['n_data']:,} events with masses of {low:,} to {high:,} GeV, {one['n']} pass a "
        f"cut that keeps 1 % of background, where {one['b']:.1f} are expected. The global p-value "
        f"of all cuts is {bound}{whole['p']:.2g} (68 % interval {whole['low']:.1g} to "
        f"{whole['high']:.1g}, from {found['n_toys']:,} pseudo-experiments). At 95 % CLs, at most "
        f"{limit['observed']:.0f} signal events pass this cut; without a signal, "
        f"{limit['median']:.0f} are expected.",
        90,
    )
)
for text in found["cannot_claim"]:
    print(fill(f"What cannot be claimed: {text}", 90))

# %% [markdown]
# Since the table is made up, the truth can be looked up:

# %%
inside = (columns["mjj"] > low) & (columns["mjj"] < high)
print(f"{int(columns['is_signal'][inside].sum())} of the events in the window are signal.")
