"""What a resonant search is judged by, beyond the ROC: template, sculpting, discovery.

After Hallin et al., arXiv:2109.00546, section VI, and arXiv:2210.14924.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxad import metrics
from jaxad.data.dataset import Dataset, take
from jaxad.data.window import held_out_data
from jaxad.devices.cores import side_by_side
from jaxad.errors import UserError
from jaxad.evaluation import closure
from jaxad.methods.stages import atoms, density, weak
from jaxad.metrics import resonance, spectrum
from jaxad.metrics.sculpting import mass_sculpting
from jaxad.scorer import Scorer

EFFICIENCIES = (0.2, 0.05, 0.01, 0.001)
N_BINS = 30
MIN_OF_FOLD = 4
N_BINS_INSIDE = 4  # of the mass spectrum, in the window


def two_sample_auc(
    a: np.ndarray, b: np.ndarray, seed: int = 0, folds: int = 5
) -> dict[str, float | None]:
    """AUC of boosted trees between two samples (N, F), out of fold; 0.5: indistinguishable.

    The error is that of the mean over folds; None of fewer than `MIN_OF_FOLD` events a fold.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier  # half a second, for this alone
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    if min(len(a), len(b)) < MIN_OF_FOLD * folds:
        return {"auc": None, "auc_err": None}
    x, y = np.concatenate([a, b]), np.repeat([0, 1], [len(a), len(b)])
    weight = weak.balanced(y, {0: 0.5, 1: 0.5})

    def out_of_fold(rows: tuple[np.ndarray, np.ndarray]) -> float:
        kept, held_out = rows
        model = HistGradientBoostingClassifier(
            learning_rate=0.05, early_stopping=True, validation_fraction=0.3, random_state=seed
        )
        model.fit(x[kept], y[kept], sample_weight=weight[kept])
        return roc_auc_score(y[held_out], model.predict_proba(x[held_out])[:, 1])

    split = StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y)
    found = side_by_side(out_of_fold, list(split), "two-sample AUC", "fold")
    return {"auc": float(np.mean(found)), "auc_err": float(np.std(found) / np.sqrt(folds))}


def pulls(sample: np.ndarray, truth: np.ndarray) -> dict[str, list[float]]:
    """Histograms of one feature, the sample scaled to the truth, and (truth - sample) / error.

    Raises:
        UserError: a truth of one value, or no sample in its range.
    """
    edges = np.quantile(truth, np.linspace(0, 1, N_BINS + 1))
    edges = np.unique(edges)
    if len(edges) < 2 or not ((sample >= edges[0]) & (sample <= edges[-1])).any():
        raise UserError(
            f"template: {len(truth)} events of true background are too few to compare with samples"
        )
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
    truth = weak.events(config, dataset, dataset.test)
    masses = np.tile(truth["m"], 4)
    drawn = density.sample(config, background, "template quality", masses)
    x, true = (atoms.put_back(background, values) for values in (drawn, truth["x"]))
    features = {f"feature_{i}": pulls(x[:, i], true[:, i]) for i in range(x.shape[1])}
    chi2 = {name: float(np.square(f["pulls"]).sum()) for name, f in features.items()}
    return two_sample_auc(x, true, config.seed) | {
        "features": features,
        "chi2": chi2,
        "ndof": {name: len(f["pulls"]) - 1 for name, f in features.items()},
    }


def discovery(config: ConfigDict, scorer: Scorer, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Excess in the window of held-out data before and after cuts, estimated in two ways.

    "sideband": a smooth fit of the mass spectrum outside the window, before ("1") and after cuts
    of a given efficiency in the sidebands; "template" (CATHODE, ANODE, R-ANODE): background samples
    above the same cut, normalised by the sideband fit before it. The score of a density ratio says
    nothing outside the window: its cuts are of a given efficiency of the samples, and no fit is
    made after them. "true_background" counts what of "observed" is labelled so. A quarter of the
    window is a bin of the fits; where the spectrum cannot be fitted, {"reason": why}.

    The error of the normalisation is in that of the template's counts. What false windows said of
    the template (`closure.measure`, in the scorer's info) is taken off and added to the error:
    "closure", by cut, of as large a share of the samples; None where that was not measured.
    "errors" says in words what they hold.

    Raises:
        UserError: the data set holds no data that were held out.
    """
    rows = held_out_data(dataset)
    mass, window = rows["mass"] / 1000, tuple(dataset.info["window"])
    inside = (mass > window[0]) & (mass < window[1])
    score, width = scorer(rows["x"]), (window[1] - window[0]) / N_BINS_INSIDE
    options = {"span": spectrum.fit_span(mass, width), "width": width}
    everywhere = config.method.name not in closure.DENSITY_RATIOS
    efficiencies = EFFICIENCIES if everywhere else ()
    fits = resonance.sideband_fits(mass, score, window, efficiencies, **options)
    found = {"sideband": fits}
    if config.method.name not in ("cathode", *closure.DENSITY_RATIOS):
        return found
    expected, why = fits["1"].get("expected"), fits["1"].get("reason")
    if inside.sum() < density.MIN_MASSES:
        why = f"{int(inside.sum())} events of held-out data in the window"
    if why:
        found["template"] = {f"{e:g}": {"reason": why} for e in EFFICIENCIES}
        return found
    template = closure.template_scores(scorer, mass[inside], "discovery")
    reference = score[~inside] if everywhere else template
    background, measured = score[inside & (rows["label"] == 0)], scorer.info.get("closure", {})
    found |= {"closure": {}, "template": {}}
    for efficiency in EFFICIENCIES:
        cut, name = np.quantile(reference, 1 - efficiency), f"{efficiency:g}"
        tested = closure.summary(measured, (template >= cut).mean())
        counted = resonance.count_above(
            score[inside], template, cut, expected, fits["1"]["error"], tested
        )
        truth = {"true_background": int((background >= cut).sum())}
        found["template"][name], found["closure"][name] = counted | truth, tested
    return found | {"errors": closure.said(found["closure"])}


def measure(scorer: Scorer, dataset: Dataset) -> dict[str, Any]:
    """The numbers of a resonant run, JSON-able; "left_out" says why what is missing is so."""
    config, found, left_out = scorer.config, {}, {}
    wanted: dict[str, Callable[[], dict]] = {}
    wanted["discovery"] = lambda: discovery(config, scorer, dataset)
    if any(len(np.unique(rows["weight"])) > 1 for rows in [dataset.test] if "weight" in rows):
        wanted["discovery"] = _refuse_weights
    if "background" in scorer.params:
        background = scorer.params["background"]
        wanted["template"] = lambda: template_quality(config, background, dataset)
    if config.method.name not in closure.DENSITY_RATIOS:
        wanted["sculpting"] = lambda: sculpting(scorer, dataset)
    for name, make in wanted.items():
        try:
            found[name] = make()
        except UserError as error:
            left_out[name] = str(error)
    return found | {"left_out": left_out}


def _refuse_weights() -> dict[str, Any]:
    raise UserError("its counts are of events, and these have weights: jaxad search counts them")


def sculpting(scorer: Scorer, dataset: Dataset) -> dict[str, Any]:
    """`mass_sculpting` of the background among the held-out data.

    Raises:
        UserError: the data set holds no data that were held out.
    """
    rows = held_out_data(dataset)
    background = take(rows, rows["label"] == 0)
    return mass_sculpting(background["mass"], scorer(background["x"]), efficiencies=EFFICIENCIES)


def names_of(scorer: Scorer) -> list[str]:
    """Names of the features, with their units."""
    names = weak.vectors(scorer.config, scorer.layout).names
    return [f"{name} [{unit}]" if unit else name for name, unit in names]


def summary(scorer: Scorer, dataset: Dataset, found: dict[str, Any]) -> dict[str, Any]:
    """SIC and maximal SIC of every run, and the significance after the 1 % cut.

    Of a SIC at FPR 1e-2 and a significance that are None, "reasons" says why.
    """
    first = lambda scores: next(iter(scores.values()))  # noqa: E731
    rows = dataset.test, next(iter(dataset.signals.values()))
    background, signal = (first(scorer.member_scores(part["x"])) for part in rows)
    weights = tuple(part.get("weight") for part in rows)
    sics, maxima, reasons = [], [], {}
    for b, s in zip(background, signal, strict=True):
        one = metrics.summarise(b, s, fprs=(1e-2,), weights=weights)
        sics.append(one["sic_at_fpr"]["1e-2"]["value"])
        maxima.append(one["max_sic"])
        if sics[-1] is None:
            reasons["SIC at FPR 1e-2"] = one["sic_at_fpr"]["1e-2"]["reason"]
    way = "template" if scorer.method in closure.DENSITY_RATIOS else "sideband"
    after = found.get("discovery", {}).get(way, {}).get("0.01", {})
    if after.get("significance") is None:
        reasons["significance"] = after.get("reason") or found["left_out"].get("discovery")
    significance = [after.get("significance")]
    return {"sic": sics, "max_sic": maxima, "significance": significance, "reasons": reasons}
