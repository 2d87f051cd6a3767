"""The figures of one evaluated run, from its scores, test rows and reconstructions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxad.report.curves import roc_figure
from jaxad.report.distributions import (
    feature_error_figure,
    latent_figure,
    profile_figure,
    score_figure,
)
from jaxad.report.images import average_image_figure, reconstruction_figure
from jaxad.report.training import training_figure

N_SHOWN = 4
BASELINE = "baseline "

Table = Mapping[str, Mapping[str, np.ndarray]]  # class -> score -> (n,) or (members, n)
Outputs = Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]  # method, class, name -> (n, ...)


def run_figures(
    table: Table,
    default: Mapping[str, np.ndarray],
    rows: Mapping[str, Mapping[str, np.ndarray]],
    history: Sequence[Mapping[str, Any]],
    observables: Mapping[str, tuple[str, str]],
    colors: Mapping[str, str],
    weights: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Figure]:
    """ROC curves, distribution of the default score, its profiles over observables, training.

    Args:
        table: class -> score -> (n,) or (members, n), the background first, baselines named
            "baseline NAME".
        default: class -> default score (n,).
        rows: class -> observable -> (n,).
        observables: name -> (text, unit), those to draw.
        weights: class -> (n,), of its events, where these differ.
    """
    background, *signals = table
    weights = weights or {}
    score = next(name for name in table[background] if not name.startswith(BASELINE))
    curves = {name: (table[background][score], table[name][score]) for name in signals}
    figures = _roc_figures(table, curves, colors, weights) | {
        "scores": score_figure(
            table[background][score],
            {name: table[name][score] for name in signals},
            score=score,
            background_name=background,
            colors=colors,
            weights=weights,
        )
    }
    if history:
        figures["training"] = training_figure(history)
    for name, (text, unit) in observables.items():
        figures[f"profile_{name}"] = profile_figure(
            {label: rows[label][name] for label in table},
            default,
            observable=text,
            unit=unit,
            score=score,
            colors=colors,
        )
    return figures


def output_figures(
    outputs: Outputs,
    default: Mapping[str, np.ndarray],
    score: str,
    names: Mapping[str, str],
    picture: Mapping[str, Any],
    components: Sequence[str],
) -> dict[str, Figure]:
    """Latent spaces, average images and reconstructions, or errors of features.

    Args:
        outputs: of methods that have them; "method" is the run's own.
        default: class -> default score (n,), called `score`.
        names: of the methods, for people.
        picture: how images are drawn, see `jaxad.inputs.Stage`.
        components: names of the components of vectors.
    """
    figures: dict[str, Figure] = {}
    latents = {
        names[method]: {name: values["latent"] for name, values in found.items()}
        for method, found in outputs.items()
        if all(v["latent"].shape[-1] == 2 for v in found.values())
    }
    if latents:
        figures["latent"] = latent_figure(latents)
    if "method" not in outputs:
        return figures
    own = outputs["method"]
    if next(iter(own.values()))["input"].ndim == 2:
        errors = {n: np.square(v["input"] - v["reconstruction"]) for n, v in own.items()}
        return figures | {"feature_errors": feature_error_figure(errors, names=components)}
    figures["average_images"] = average_image_figure(
        {name: values["input"] for name, values in own.items()}, **picture
    )
    figures["reconstructions"] = reconstruction_figure(
        {name: values["input"][:N_SHOWN] for name, values in own.items()},
        {name: values["reconstruction"][:N_SHOWN] for name, values in own.items()},
        {name: default[name][:N_SHOWN] for name in own},
        score=score,
        n_events=N_SHOWN,
        **picture,
    )
    return figures


def _roc_figures(
    table: Table,
    curves: Mapping[str, tuple],
    colors: Mapping[str, str],
    weights: Mapping[str, np.ndarray],
) -> dict[str, Figure]:
    """One figure a signal with all its scores and baselines; with several, one of all signals."""
    background, *signals = table
    pairs = {name: (weights.get(background), weights.get(name)) for name in signals}
    figures = {}
    if len(signals) > 1:
        figures["roc"] = roc_figure(curves, colors=colors, weights=pairs)
    for name in signals:
        columns = {c.removeprefix(BASELINE): c for c in table[name]}
        figures[f"roc_{name}" if len(signals) > 1 else "roc"] = roc_figure(
            {label: (table[background][c], table[name][c]) for label, c in columns.items()},
            dashed=[label for label, c in columns.items() if c != label],
            title=name,
            weights=dict.fromkeys(columns, pairs[name]),
        )
    return figures
