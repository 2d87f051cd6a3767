"""What others read of a search: HistFactory workspaces, histograms, tables for HEPData; all JSON.

A workspace is of pyhf's schema 1.0.0 (HistFactory, CERN-OPEN-2012-016), histograms of the Unified
Histogram Interface (UHI schema 1), a submission of HEPData's schema 1.1 (JSON is YAML).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_BOUND = 10.0  # of mu, in events observed or expected


def workspace(
    name: str,
    n: float | None,
    b: float,
    r: float,
    relative: Mapping[str, float],
    dispersion: float = 1.0,
    event_weight: float = 1.0,
) -> dict[str, Any]:
    """One cut's Poisson(n; mu + b g prod_j K_j^a_j) Poisson(r; r g) prod_j N(a_j; 0, 1).

    Args:
        name: of the channel.
        n, b: events observed and expected. n None: the expectation stands in the place of the
            observation (Asimov), and the measurement is called "asimov" instead of "observed".
        r: template rows above the cut, whose Poisson error is that of b.
        relative: name -> sigma_j of what scales b by K_j = 1 + sigma_j, log-normal.
        dispersion: d, variance over mean of the count. Observation, both samples and r are divided
            by it, which gives a Poisson likelihood the count's own variance; mu is left in events.
        event_weight: of weighted events sum(w^2) / sum(w): n, b and mu are sums of weights, and the
            likelihood's counts these over it.

    Returns:
        A HistFactory workspace, mu being the number of signal events that pass, bounded by ten
        times n (pyhf's own bound of 10 would cut a significance short).
    """
    unit = dispersion * event_weight
    error = b / event_weight / np.sqrt(r * dispersion)
    modifiers: list[dict[str, Any]] = [
        {"name": f"template_{name}", "type": "shapesys", "data": [error]}
    ]
    modifiers += [
        {"name": key, "type": "normsys", "data": {"hi": 1 + sigma, "lo": 1 / (1 + sigma)}}
        for key, sigma in relative.items()
        if sigma
    ]
    signal = {"name": "mu", "type": "normfactor", "data": None}
    samples = [
        {"name": "signal", "data": [1 / unit], "modifiers": [signal]},
        {"name": "background", "data": [b / unit], "modifiers": modifiers},
    ]
    seen, measured = (b, "asimov") if n is None else (float(n), "observed")
    poi = {"name": "mu", "inits": [1.0], "bounds": [[0.0, _BOUND * max(seen, b, event_weight)]]}
    return {
        "version": "1.0.0",
        "channels": [{"name": name, "samples": samples}],
        "observations": [{"name": name, "data": [seen / unit]}],
        "measurements": [{"name": measured, "config": {"poi": "mu", "parameters": [poi]}}],
    }


def histogram(edges: ArrayLike, values: ArrayLike, name: str, unit: str = "") -> dict[str, Any]:
    """A histogram of K bins by the Unified Histogram Interface, without flow bins.

    Stored as "double": uproot writes no ROOT histogram of 64-bit integers.

    Args:
        edges: (K + 1,); values: (K,) counts, or what is expected; name, unit: of the axis.
    """
    axis = {
        "type": "variable",
        "edges": np.asarray(edges, float).tolist(),
        "underflow": False,
        "overflow": False,
        "circular": False,
        "metadata": {"name": name, "unit": unit, "label": f"{name} [{unit}]" if unit else name},
    }
    storage = {"type": "double", "values": np.asarray(values, float).tolist()}
    return {"uhi_schema": 1, "axes": [axis], "storage": storage}


def table(
    independent: tuple[str, str, Sequence[Any]], dependent: Sequence[Mapping[str, Any]]
) -> dict[str, list]:
    """A data file of HEPData.

    Args:
        independent: name, unit, values: numbers, or (low, high) of bins.
        dependent: columns with "name", "unit", "values" (None: there is none), and perhaps
            "qualifiers" (name -> value) and "errors", label -> one number a value or (plus, minus).
    """
    name, unit, values = independent
    points = [
        {"low": v[0], "high": v[1]} if isinstance(v, tuple | list) else {"value": v} for v in values
    ]
    return {
        "independent_variables": [{"header": _header(name, unit), "values": points}],
        "dependent_variables": [
            {
                "header": _header(column["name"], column.get("unit", "")),
                "qualifiers": [
                    {"name": key, "value": value}
                    for key, value in column.get("qualifiers", {}).items()
                ],
                "values": [
                    _value(v, {label: each[i] for label, each in column.get("errors", {}).items()})
                    for i, v in enumerate(column["values"])
                ],
            }
            for column in dependent
        ],
    }


def _header(name: str, unit: str) -> dict[str, str]:
    return {"name": name} | ({"units": unit} if unit else {})


def _value(value: float | None, errors: Mapping[str, Any]) -> dict[str, Any]:
    found = []
    for label, error in errors.items():
        if isinstance(error, tuple | list):
            found.append({"label": label, "asymerror": {"plus": error[0], "minus": -abs(error[1])}})
        else:
            found.append({"label": label, "symerror": error})
    if value is None:
        return {"value": "-"}
    return {"value": value} | ({"errors": found} if found else {})


def submission(
    comment: str, tables: Mapping[str, Mapping[str, Any]], resources: Mapping[str, str]
) -> str:
    """The text of submission.yaml: documents of JSON, which is YAML.

    Args:
        tables: file name -> {"name", "description", "keywords": {name: [values]}}.
        resources: file name -> what it is, of HistFactory workspaces.
    """
    more = [
        {"location": file, "description": text, "type": "HistFactory"}
        for file, text in resources.items()
    ]
    documents = [{"comment": comment, "additional_resources": more}]
    for file, about in tables.items():
        keywords = [{"name": key, "values": list(v)} for key, v in about["keywords"].items()]
        documents.append(
            {
                "name": about["name"],
                "description": about["description"],
                "keywords": keywords,
                "data_file": file,
            }
        )
    return "".join(f"---\n{json.dumps(document, indent=1)}\n" for document in documents)
