"""Figures of a resonant search: template, mass spectra after cuts, scans."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxad.report.distributions import sculpting_figure
from jaxad.report.style import new_figure, styled

_QUANTITIES = {
    "signal_over_background": "S/B in the window",
    "n_signal": "injected signal events",
    "window": "window [TeV]",
}


def search_figures(
    numbers: Mapping[str, Any], window: Sequence[float], names: Sequence[str], mass: str
) -> dict[str, Figure]:
    """All figures of the `numbers` of `jaxad.evaluation.resonant.measure`.

    Args:
        window: the signal region [TeV].
        names: of the features, with units.
        mass: what the resonant mass is called.
    """
    figures = {}
    if "discovery" in numbers:
        figures["discovery"] = discovery_figure(numbers["discovery"]["sideband"], window, mass)
    if "template" in numbers:
        figures["template"] = template_figure(numbers["template"], names)
    if "sculpting" in numbers:
        figures["sculpting"] = sculpting_figure(numbers["sculpting"], observable=mass, unit="GeV")
    return figures


@styled
def template_figure(quality: Mapping[str, Any], names: Sequence[str]) -> Figure:
    """Samples and true background of every feature, with the pulls below."""
    features = quality["features"]
    figure = new_figure(3.2 * len(features), 4.4)
    axes = figure.subplots(
        2, len(features), sharex="col", squeeze=False, gridspec_kw={"height_ratios": (3, 1)}
    )
    for i, (name, f) in enumerate(features.items()):
        edges = np.array(f["edges"])
        width = np.diff(edges)
        axes[0, i].stairs(
            np.array(f["counts"]) / width, edges, label="background", fill=True, alpha=0.3
        )
        axes[0, i].stairs(np.array(f["expected"]) / width, edges, label="samples")
        axes[1, i].stairs(f["pulls"], edges)
        axes[1, i].axhline(0, color="black", linewidth=0.8)
        axes[1, i].set(ylim=(-4, 4), xlabel=names[i])
        chi2, ndof = quality["chi2"][name], quality["ndof"][name]
        axes[0, i].set_title(f"$\\chi^2$/ndof {chi2:.0f}/{ndof}", fontsize="medium")
    axes[0, 0].set_ylabel("events / bin width")
    axes[1, 0].set_ylabel("pull")
    auc = "{auc:.3f} ± {auc_err:.3f}".format(**quality) if quality["auc"] else "of too few events"
    axes[0, 0].legend(title=f"AUC {auc}")
    return figure


@styled
def discovery_figure(fits: dict[str, dict[str, Any]], window: Sequence[float], mass: str) -> Figure:
    """Mass spectra of held-out data after cuts, with their sideband fits."""
    figure = new_figure(6.4, 5.2)
    axes = figure.subplots()
    for i, (name, fit) in enumerate(fits.items()):
        if fit.get("reason"):
            continue
        edges, counts = np.array(fit["edges"]), np.array(fit["counts"])
        centres = (edges[1:] + edges[:-1]) / 2
        label = f"efficiency {name}: {fit['significance']:.1f}σ"
        axes.errorbar(centres, counts, np.sqrt(counts), fmt="o", ms=3, color=f"C{i}", label=label)
        axes.plot(centres, fit["fit"], color=f"C{i}")
    if all(fit.get("reason") for fit in fits.values()):
        axes.axis("off")
        axes.text(0.5, 0.5, fits["1"]["reason"], ha="center", va="center", wrap=True)
        return figure
    axes.axvspan(*window, color="black", alpha=0.08, linewidth=0)
    axes.set(xlabel=f"{mass} [TeV]", ylabel="events", yscale="log", ylim=(0.3, None))
    axes.legend()
    return figure


@styled
def scan_figure(results: list[dict[str, Any]], what: str) -> Figure:
    """Median and 68 % band over seeds and runs of the figures of merit against the value.

    What could not be made, None, is a cross.
    """
    values = list(dict.fromkeys(r["value"] for r in results))
    panels = {
        "max_sic": "maximal SIC",
        "sic": "SIC at FPR 1e-2",
        "significance": "significance [σ] at 1 %",
    }
    figure = new_figure(4.2 * len(panels), 4.0)
    for axes, (key, label) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
        found = [[x for r in results if r["value"] == v for x in r[key]] for v in values]
        places = [i for i, f in enumerate(found) if None not in f]
        if places:
            bands = [np.quantile(found[i], (0.5, 0.16, 0.84)) for i in places]
            median, low, high = np.transpose(bands)
            axes.plot(places, median, "o-")
            axes.fill_between(places, low, high, alpha=0.25, linewidth=0)
        if refused := [i for i in range(len(values)) if i not in places]:
            bottom = axes.get_xaxis_transform()
            why = "none: scan.json says why"
            axes.plot(refused, np.full(len(refused), 0.04), "x", transform=bottom, label=why)
            axes.legend()
        if key != "significance":
            axes.set_ylim(0, 1.1 * max(1, axes.dataLim.y1))
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.set_xticks(range(len(values)), values)
        axes.set(xlabel=_QUANTITIES.get(what, what), ylabel=label)
    return figure
