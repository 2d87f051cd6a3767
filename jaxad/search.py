"""What a resonant search is judged by, beyond the ROC: template, sculpting, discovery, scans.

    python -m jaxad.search --workdir=runs/cathode
    python -m jaxad.search --config=configs/cathode.py --workdir=runs/scan --seeds=3 \\
        --scan=signal_over_background=0.001,0.003,0.01
    python -m jaxad.search --config=configs/cathode.py --workdir=runs/windows \\
        --scan=window=3.1-3.5,3.3-3.7,3.5-3.9

The first adds to a trained run; the others train a run for every value and seed (again: resume)
and draw one figure. After Hallin et al., arXiv:2109.00546, section VI, and arXiv:2210.14924.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from matplotlib.figure import Figure
from ml_collections import ConfigDict, config_flags
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from jaxad import cli, data, metrics, report, resonance, run, workdir
from jaxad.data.dataset import Dataset, concatenate, take
from jaxad.errors import UserError
from jaxad.methods import cathode, density, weak
from jaxad.report.style import new_figure, styled
from jaxad.scorer import Scorer, load
from jaxad.sculpting import mass_sculpting

EFFICIENCIES = (0.2, 0.05, 0.01, 0.001)
DENSITY_RATIOS = ("anode", "ranode")
NAMES = ("$m_{J1}$ [TeV]", "$\\Delta m_J$ [TeV]", "$\\tau_{21}^{J1}$", "$\\tau_{21}^{J2}$")
N_BINS = 30
_QUANTITIES = {
    "signal_over_background": "S/B in the window",
    "n_signal": "injected signal events",
    "window": "window [TeV]",
}


def two_sample_auc(a: np.ndarray, b: np.ndarray, seed: int = 0, folds: int = 5) -> dict[str, float]:
    """AUC of boosted trees between two samples (N, F), out of fold; 0.5: indistinguishable.

    The error is that of the mean over folds.
    """
    x, y = np.concatenate([a, b]), np.repeat([0, 1], [len(a), len(b)])
    weight = weak.balanced(y, {0: 0.5, 1: 0.5})
    found = []
    for kept, held_out in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y):
        model = HistGradientBoostingClassifier(
            learning_rate=0.05, early_stopping=True, validation_fraction=0.3, random_state=seed
        )
        model.fit(x[kept], y[kept], sample_weight=weight[kept])
        found.append(roc_auc_score(y[held_out], model.predict_proba(x[held_out])[:, 1]))
    return {"auc": float(np.mean(found)), "auc_err": float(np.std(found) / np.sqrt(folds))}


def pulls(sample: np.ndarray, truth: np.ndarray) -> dict[str, list[float]]:
    """Histograms of one feature, the sample scaled to the truth, and (truth - sample) / error."""
    edges = np.quantile(truth, np.linspace(0, 1, N_BINS + 1))
    edges = np.unique(edges)
    counts, drawn = (np.histogram(v, edges)[0] for v in (truth, sample))
    scale = counts.sum() / drawn.sum()
    error = np.sqrt(np.maximum(counts + scale**2 * drawn, 1))
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "expected": (scale * drawn).tolist(),
        "pulls": ((counts - scale * drawn) / error).tolist(),
    }


def template_quality(config: ConfigDict, background: dict, dataset: Dataset) -> dict[str, Any]:
    """Samples of the density at the masses of the true test background, against that background."""
    truth = weak.events(config, dataset.test)
    masses = np.tile(truth["m"], 4)
    x = density.sample(config, background, config.seed + 1, masses)
    features = {f"feature_{i}": pulls(x[:, i], truth["x"][:, i]) for i in range(x.shape[1])}
    chi2 = {name: float(np.square(f["pulls"]).sum()) for name, f in features.items()}
    return two_sample_auc(x, truth["x"], config.seed) | {
        "features": features,
        "chi2": chi2,
        "ndof": {name: len(f["pulls"]) - 1 for name, f in features.items()},
    }


def held_out_data(dataset: Dataset) -> dict[str, np.ndarray]:
    """What the detector would have seen: test background with its share of the injected signal."""
    injected = dataset.info["injected_in_window"]["test"]
    signal = next(iter(dataset.signals.values()))
    region = concatenate([dataset.test, take(signal, slice(0, injected))])
    return concatenate([region, dataset.extra["sideband"]]) if dataset.extra else region


def fit_span(mass: np.ndarray) -> tuple[float, float]:
    """Range [TeV] where the spectrum of `mass` (N,) falls smoothly: clear of the trigger's turn-on.

    From 0.2 TeV above the fullest bin of 0.1 TeV to the 99.9 % quantile.
    """
    counts, edges = np.histogram(mass, np.arange(mass.min(), mass.max() + 0.1, 0.1))
    return float(edges[counts.argmax() + 1] + 0.2), float(np.quantile(mass, 0.999))


def discovery(config: ConfigDict, scorer: Scorer, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Excess in the window of held-out data before and after cuts, estimated in two ways.

    "sideband": a smooth fit of the mass spectrum outside the window, before ("1") and after cuts
    of a given efficiency in the sidebands; "template" (CATHODE, ANODE, R-ANODE): background samples
    above the same cut, normalised by the sideband fit before it. The score of a density ratio says
    nothing outside the window: its cuts are of a given efficiency of the samples, and no fit is
    made after them. "true_background" counts what of "observed" is labelled so.
    """
    rows = held_out_data(dataset)
    mass, window = rows["mass"] / 1000, tuple(dataset.info["window"])
    inside = (mass > window[0]) & (mass < window[1])
    score, span = scorer(rows["x"]), fit_span(mass)
    everywhere = config.method.name not in DENSITY_RATIOS
    if everywhere:
        fits = resonance.sideband_fits(mass, score, window, EFFICIENCIES, span=span)
    else:
        fits = {"1": resonance.sideband_fit(mass, window, span=span)}
    found = {"sideband": fits}
    if config.method.name in ("cathode", *DENSITY_RATIOS):
        # Not the samples that the classifiers were trained on, nor those that are tested.
        seed = config.seed + 2
        samples = cathode.template(config, scorer.params["background"], mass[inside], seed)
        # Features, whatever the rows of the run are.
        sampled = np.column_stack([samples["m"], samples["x"]])
        template = dataclasses.replace(scorer, shape=sampled.shape[1:])(sampled)
        reference, expected = score[~inside] if everywhere else template, fits["1"]["expected"]
        background = score[inside & (rows["label"] == 0)]
        found["template"] = {}
        for efficiency in EFFICIENCIES:
            cut = np.quantile(reference, 1 - efficiency)
            counted = resonance.count_above(score[inside], template, cut, expected)
            truth = {"true_background": int((background >= cut).sum())}
            found["template"][f"{efficiency:g}"] = counted | truth
    return found


def measure(scorer: Scorer, dataset: Dataset) -> tuple[dict[str, Any], dict[str, Figure]]:
    """The numbers and figures of a resonant run, JSON-able."""
    config, found, figures = scorer.config, {}, {}
    if "background" in scorer.params:
        found["template"] = template_quality(config, scorer.params["background"], dataset)
        figures["template"] = template_figure(found["template"])
    if config.method.name not in DENSITY_RATIOS:
        background = concatenate([dataset.test, dataset.extra["sideband"]])
        found["sculpting"] = mass_sculpting(
            background["mass"], scorer(background["x"]), efficiencies=EFFICIENCIES
        )
        figures["sculpting"] = report.sculpting_figure(
            found["sculpting"], observable="dijet mass", unit="GeV"
        )
    found["discovery"] = discovery(config, scorer, dataset)
    figures["discovery"] = discovery_figure(found["discovery"]["sideband"], dataset.info["window"])
    return found, figures


@styled
def template_figure(quality: dict[str, Any]) -> Figure:
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
        axes[1, i].set(ylim=(-4, 4), xlabel=NAMES[i] if i < len(NAMES) else name)
        chi2, ndof = quality["chi2"][name], quality["ndof"][name]
        axes[0, i].set_title(f"$\\chi^2$/ndof {chi2:.0f}/{ndof}", fontsize="medium")
    axes[0, 0].set_ylabel("events / bin width")
    axes[1, 0].set_ylabel("pull")
    axes[0, 0].legend(title=f"AUC {quality['auc']:.3f} ± {quality['auc_err']:.3f}")
    return figure


@styled
def discovery_figure(fits: dict[str, dict[str, Any]], window: list[float]) -> Figure:
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
    axes.axvspan(*window, color="black", alpha=0.08, linewidth=0)
    axes.set(xlabel="dijet mass [TeV]", ylabel="events", yscale="log", ylim=(0.3, None))
    axes.legend()
    return figure


@styled
def scan_figure(results: list[dict[str, Any]], what: str) -> Figure:
    """Median and 68 % band over seeds and runs of the figures of merit against the value.

    What was refused for want of background events, None, is a cross.
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
            few = "refused: too few events"
            axes.plot(refused, np.full(len(refused), 0.04), "x", transform=bottom, label=few)
            axes.legend()
        if key != "significance":
            axes.set_ylim(0, 1.1 * max(1, axes.dataLim.y1))
        axes.set_xlim(-0.5, len(values) - 0.5)
        axes.set_xticks(range(len(values)), values)
        axes.set(xlabel=_QUANTITIES.get(what, what), ylabel=label)
    return figure


def _summary(scorer: Scorer, dataset: Dataset, found: dict[str, Any]) -> dict[str, Any]:
    first = lambda scores: next(iter(scores.values()))  # noqa: E731
    background = first(scorer.member_scores(dataset.test["x"]))
    signal = first(scorer.member_scores(next(iter(dataset.signals.values()))["x"]))
    sics, maxima = [], []
    for b, s in zip(background, signal, strict=True):
        one = metrics.summarise(b, s, fprs=(1e-2,))
        sics.append(one["sic_at_fpr"]["1e-2"]["value"])
        maxima.append(one["max_sic"])
    way = "template" if scorer.method in DENSITY_RATIOS else "sideband"
    after = found["discovery"][way]["0.01"].get("significance")
    return {"sic": sics, "max_sic": maxima, "significance": [after]}


def evaluate(directory: Path, config: ConfigDict | None = None) -> dict[str, Any]:
    """Write `eval/search.json` and the figures of a trained run; returns the summary."""
    scorer = load(directory)
    dataset = data.load((config or scorer.config).data)
    if "window" not in dataset.info:
        raise UserError(f"{directory}: not a resonant search: its data have no mass window")
    found, figures = measure(scorer, dataset)
    summary = _summary(scorer, dataset, found)
    folder = directory / "eval"
    folder.mkdir(exist_ok=True)
    report.save_figures({f"search_{name}": f for name, f in figures.items()}, folder)
    workdir.write_text(folder / "search.json", json.dumps(found | {"summary": summary}, indent=2))
    return summary


def scan(config: ConfigDict, directory: Path, what: str, values: list[str], seeds: int) -> None:
    """Train and evaluate a run for every value of `data.what` and every seed; one figure.

    Stopped, the same call goes on: runs that have been evaluated are not repeated.
    """
    results = []
    for value in values:
        for seed in range(seeds):
            one = config.copy_and_resolve_references()
            one.seed = one.data.seed = seed
            if what == "window":
                low, _, high = value.partition("-")
                one.data.window_low, one.data.window_high = float(low), float(high)
            elif what in one.data:
                one.data[what] = type(one.data[what])(value)
            else:
                raise UserError(f"--scan: data has no setting {what!r}")
            folder = directory / f"{what}-{value}-seed{seed}"
            run.train(one, folder)
            done = folder / "eval" / "search.json"
            summary = json.loads(done.read_text())["summary"] if done.exists() else evaluate(folder)
            results.append({"value": value, "seed": seed, **summary})
            workdir.write_text(directory / "scan.json", json.dumps(results, indent=2))
    if what == "window":
        strongest = [
            np.median([s or 0.0 for r in results if r["value"] == v for s in r["significance"]])
            for v in values
        ]
        summary = {"runs": results, "look_elsewhere": resonance.look_elsewhere(strongest)}
        workdir.write_text(directory / "scan.json", json.dumps(summary, indent=2))
    report.save_figures({"scan": scan_figure(results, what)}, directory)
    print(f"scan: {directory / 'scan.png'}")


def main() -> None:
    """Command line."""
    directory = Path(_WORKDIR.value)
    if not _SCAN.value:
        print(json.dumps(evaluate(directory), indent=2))
        return
    if _CONFIG.value is None:
        raise UserError("--scan needs --config, the experiment to repeat")
    what, _, values = _SCAN.value.partition("=")
    scan(_CONFIG.value, directory, what, values.split(","), _SEEDS.value)


if __name__ == "__main__":
    _CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment, for a scan.")
    _WORKDIR = flags.DEFINE_string("workdir", None, "A trained run, or where a scan lives.")
    _SCAN = flags.DEFINE_string("scan", "", "SETTING=V1,V2,... of data, or window=LOW-HIGH,...")
    _SEEDS = flags.DEFINE_integer("seeds", 1, "Seeds for every value of a scan.")
    flags.mark_flag_as_required("workdir")
    cli.run(main)
