"""What a search hands to others: workspaces, histograms and tables of its `search.json`.

Masses are in the user's unit. Of a search that is blinded nothing here is an observed number:
workspaces hold the expectation, and tables lack what was seen.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxad.data.table import GEV
from jaxad.report import reuse
from jaxad.report.calibration import Found, extrapolation_error, window_name
from jaxad.report.spectra import doubt

MAX_BINS = 100  # of a histogram of counts

_PHRASES = ["anomaly detection", "resonance search"]


def files(found: Found, counts: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """Path below the folder of a search -> content, of all that is JSON.

    Args:
        counts: window -> (B, cuts) events that pass in pseudo-experiments.
    """
    spaces = {f"{name}.json": json.dumps(one, indent=1) for name, one in workspaces(found).items()}
    texts = {f"workspaces/{name}": text for name, text in spaces.items()}
    texts["histograms.json"] = json.dumps(histograms(found, counts), indent=1)
    tables = hepdata(found)
    resources = {f"workspace_{name}": _about(found, name) for name in spaces}
    about = {name: entry for name, (_, entry) in tables.items()}
    texts["hepdata/submission.yaml"] = reuse.submission(_comment(found), about, resources)
    texts |= {f"hepdata/{name}": json.dumps(t, indent=1) for name, (t, _) in tables.items()}
    texts |= {f"hepdata/workspace_{name}": text for name, text in spaces.items()}
    return {name: f"{text.rstrip()}\n".encode() for name, text in texts.items()}


def _about(found: Found, name: str) -> str:
    held = "expectation in the place of the count: blinded" if found["blind"] else "observed count"
    return f"Window and cut {name.removesuffix('.json')}: {held}"


def _comment(found: Found) -> str:
    unit = found["mass"]["unit"]
    parts = [
        f"Search for a resonance in {found['mass']['name']} [{unit}], with classifiers on "
        f"{', '.join(found['features'])}.",
        f"{found['n_toys']:,} pseudo-experiments a window.",
    ]
    if found["blind"]:
        parts.append("Blinded: no observed count is in these tables.")
    elif found["global"]:
        parts.append(_global(found))
    parts += [f"Cannot claim: {text}." for text in found["cannot_claim"]]
    return " ".join(parts)


def _global(found: Found) -> str:
    whole = found["global"]
    what = "at most " if whole["is_bound"] else ""
    return f"Global p of all windows and cuts: {what}{whole['p']:.3g} ({whole['method']})."


def workspaces(found: Found) -> dict[str, dict[str, Any]]:
    """WINDOW-CUT -> its workspace. Cuts are nested, so that no fit may hold two of them."""
    spaces = {}
    for window in found["windows"]:
        for cut, one in window["cuts"].items():
            errors = {name: one["relative_errors"][name] for name in ("fit", "closure")}
            name = f"{window['name']}-{cut}"
            channel = f"window_{window['name']}_cut_{cut}"
            spaces[name] = reuse.workspace(
                *(channel, one.get("n"), one["b"], one["r"], errors),
                *(one["dispersion"], one["event_weight"]),
            )
    return spaces


def histograms(found: Found, counts: Mapping[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """Mass spectra before and after cuts, their fits, and counts of pseudo-experiments.

    The names are spectrum/WINDOW/CUT, fit/WINDOW/CUT (cut 1: before) and toys/WINDOW/CUT. Of
    weighted data spectra are sums of weights, and toys count these over the event weight.
    """
    drawn, (mass, unit) = {}, (found["mass"]["name"], found["mass"]["unit"])
    for window in found["windows"]:
        for cut, one in window.get("spectra", {}).items():
            if "reason" in one:
                continue
            edges, place = np.array(one["edges"]) / GEV[unit], f"{window['name']}/{cut}"
            drawn[f"spectrum/{place}"] = reuse.histogram(edges, one["counts"], mass, unit)
            drawn[f"fit/{place}"] = reuse.histogram(edges, one["fit"], mass, unit)
        for cut, n in zip(window["cuts"], counts[window["name"]].T, strict=True):
            if len(n):
                low, high = int(np.floor(n.min())), int(np.ceil(n.max()))
                step = 1 + (high - low) // MAX_BINS
                edges = np.arange(low, high + step + 1, step) - 0.5
                events = np.histogram(n, edges)[0]
                drawn[f"toys/{window['name']}/{cut}"] = reuse.histogram(edges, events, "events")
    return drawn


def hepdata(found: Found) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """File -> its table, and what `submission.yaml` says of it."""
    tables = {"counts.yaml": _counts(found), "limits.yaml": _limits(found)}
    if not found["blind"]:
        tables["p_values.yaml"] = _p_values(found)
    for window in found["windows"]:
        for name, make in (("spectra", _spectra), ("closure", _closure), ("coverage", _coverage)):
            if made := make(found, window):
                tables[f"{name}_{window['name']}.yaml"] = made
    return tables


def _described(name: str, description: str, observable: str) -> dict[str, Any]:
    keywords = {"observables": [observable], "phrases": _PHRASES}
    return {"name": name, "description": description, "keywords": keywords}


def _windows(found: Found) -> tuple[str, str, list[tuple[float, float]]]:
    return _masses(found, [(w["low"], w["high"]) for w in found["windows"]], "window")


def _masses(
    found: Found, edges: list[tuple[float, float]], what: str
) -> tuple[str, str, list[tuple[float, float]]]:
    unit = found["mass"]["unit"]
    bins = [(low / GEV[unit], high / GEV[unit]) for low, high in edges]
    return f"{found['mass']['name']}, {what}", unit, bins


def _columns(found: Found) -> Iterator[tuple[dict[str, Any], list[Mapping[str, Any]]]]:
    """Of every cut: its qualifiers, and its entries window by window."""
    for cut in found["windows"][0]["cuts"]:
        about = {"background efficiency": cut, "pseudo-experiments": found["n_toys"]}
        yield about, [window["cuts"][cut] for window in found["windows"]]


def _interval(one: Mapping[str, Any], value: str) -> tuple[float, float]:
    return one["high"] - one[value], one[value] - one["low"]


def _counts(found: Found) -> tuple[dict[str, Any], dict[str, Any]]:
    columns: list[dict[str, Any]] = []
    for about, cuts in _columns(found):
        errors = {
            name: [one["b"] * one["relative_errors"][name] for one in cuts]
            for name in ("template", "fit", "closure")
        }
        expected = {"name": "expected background", "values": [one["b"] for one in cuts]}
        columns.append(expected | {"qualifiers": about, "errors": errors})
        if not found["blind"]:
            seen = {"name": "observed events", "values": [one["n"] for one in cuts]}
            columns.append(seen | {"qualifiers": about})
    text = "Events that pass each cut on the classifiers' output, out of fold, in each window."
    return reuse.table(_windows(found), columns), _described("Counts", text, "N")


def _limits(found: Found) -> tuple[dict[str, Any], dict[str, Any]]:
    columns: list[dict[str, Any]] = []
    for about, cuts in _columns(found):
        limits = [one["limit"] for one in cuts]
        band = {"68 % of experiments": [_interval(one, "median") for one in limits]}
        column = {"name": "expected limit", "unit": "events", "qualifiers": about}
        columns.append(column | {"values": [one["median"] for one in limits], "errors": band})
        if not found["blind"]:
            column |= {"name": "observed limit", "values": [one["observed"] for one in limits]}
            columns.append(column)
    text = "Upper limits at 95 % CLs on signal events that pass the cut in each window."
    return reuse.table(_windows(found), columns), _described("Limits", text, "S95")


def _p_values(found: Found) -> tuple[dict[str, Any], dict[str, Any]]:
    columns: list[dict[str, Any]] = []
    for about, cuts in _columns(found):
        nominal = {"name": "nominal significance", "qualifiers": about}
        columns.append(nominal | {"values": [one["z_nominal"] for one in cuts]})
        p = [one["p_nominal"] for one in cuts]
        columns.append({"name": "nominal p", "qualifiers": about, "values": p})
        local = [one["p_local"] for one in cuts]
        if None in local:
            continue
        error = {"68 % of pseudo-experiments": [_interval(p, "p") for p in local]}
        none = {"z": None, "error": None, "fit_error": None}
        beyond = [one["extrapolated"] or none for one in cuts]
        columns += [
            {"name": "local p", "values": [p["p"] for p in local], "errors": error},
            {
                "name": "pseudo-experiments at least as extreme",
                "values": [p["exceedances"] for p in local],
            },
            {
                "name": "extrapolated significance",
                "values": [more["z"] for more in beyond],
                "errors": {"laws of the tail, and fit": [*map(extrapolation_error, beyond)]},
            },
        ]
        columns[-3:] = [column | {"qualifiers": about} for column in columns[-3:]]
    text = "Local p-values by rank among pseudo-experiments; the nominal ones are not calibrated."
    if found["global"]:
        text += f" {_global(found)}"
    return reuse.table(_windows(found), columns), _described("P-values", text, "p")


def _spectra(
    found: Found, window: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    fits = {c: s for c, s in window.get("spectra", {}).items() if "reason" not in s}
    if not fits:
        return None
    edges = next(iter(fits.values()))["edges"]
    columns = [
        {"name": name, "values": one[key], "qualifiers": {"background efficiency": cut}}
        for cut, one in fits.items()
        for name, key in (("events", "counts"), ("fit of the sidebands", "fit"))
        if key == "counts" or not doubt(window, cut)
    ]
    text = f"Mass spectra before (1) and after cuts; {window_name(found, window)} is not fitted."
    bins = _masses(found, list(itertools.pairwise(edges)), "bin")
    name = f"Spectra, {window_name(found, window)}"
    return reuse.table(bins, columns), _described(name, text, "N")


def _closure(
    found: Found, window: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    if not window["false_windows"]:
        return None
    columns = [
        {
            "name": "observed / expected - 1",
            "values": one["closure"]["delta"],
            "errors": {"stat": one["closure"]["delta_error"]},
            "qualifiers": {"background efficiency": cut},
        }
        for cut, one in window["cuts"].items()
        if one["closure"]
    ]
    aucs, errors = ([one[key] for one in window["template"]] for key in ("auc", "auc_err"))
    columns.append({"name": "AUC of data and template", "values": aucs, "errors": {"stat": errors}})
    text = "False windows in the sidebands, whose template was fitted without them."
    bins = _masses(found, [(low, high) for low, high in window["false_windows"]], "false window")
    name = f"Closure, {window_name(found, window)}"
    return reuse.table(bins, columns), _described(name, text, "N")


def _coverage(
    found: Found, window: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    drawn = {c: one["coverage"] for c, one in window["cuts"].items() if one["coverage"]}
    if not drawn:
        return None
    columns = [
        {
            "name": "share of pseudo-experiments",
            "values": one["empirical"],
            "errors": {
                "68 % of pseudo-experiments": [
                    (high - share, share - low)
                    for share, low, high in zip(
                        one["empirical"], one["low"], one["high"], strict=True
                    )
                ]
            },
            "qualifiers": {
                "background efficiency": cut,
                "pull mean": one["mean"],
                "pull width": one["width"],
            },
        }
        for cut, one in drawn.items()
    ]
    text = "Pseudo-experiments without signal at or below a nominal p-value."
    nominal = next(iter(drawn.values()))["nominal"]
    name = f"Coverage, {window_name(found, window)}"
    return reuse.table(("nominal p", "", nominal), columns), _described(name, text, "p")
