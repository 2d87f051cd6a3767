"""What every exported scorer says about itself, and what it computes beside the score.

raw input -> score -> false-positive rate -> flag. The rate is piecewise linear between knots of
held-out background; the flag is 1 where the score reaches the threshold.
"""

import re
from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxad.data.layout import COLUMNS
from jaxad.errors import UserError
from jaxad.scorer import Scorer
from jaxad.storage.digest import digest
from jaxad.storage.provenance import provenance

FORMAT = 1
RESERVED = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl concept
    const constexpr const_cast continue decltype default delete do double dynamic_cast else enum
    explicit export extern false final float for friend goto if import inline int long main module
    mutable namespace new noexcept not not_eq nullptr operator or or_eq override posix private
    protected public register reinterpret_cast requires return short signed sizeof static
    static_assert static_cast std struct switch template this thread_local throw true try typedef
    typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq
"""
"""Words of C++ that no namespace may be called."""
OUTPUTS = ("score", "fpr", "flag")
N_GOLDEN = 32
N_KNOTS = 64


def knots(background: np.ndarray, weight: np.ndarray | None = None) -> dict[str, list[float]]:
    """At most 64 scores in ascending order, and the fraction of background at or above each.

    Evenly spaced in the logarithm of the number of events, from all of them to one; beyond the
    largest score the rate of that one event stands, as its upper limit. With the weights (N,) of
    the events fractions are of their sum.

    Examples:
        >>> knots(np.array([1.0, 2.0, 3.0, 4.0]))
        {'score': [1.0, 2.0, 3.0, 4.0], 'fpr': [1.0, 0.75, 0.5, 0.25]}
    """
    order = np.argsort(background, kind="stable")[::-1]
    scores, up_to = background[order], np.arange(1, len(background) + 1) / len(background)
    if weight is not None:  # of which those below 0 take sums beyond 0, or that of all
        up_to = np.cumsum(weight[order]) / weight.sum()
        up_to = np.clip(np.maximum.accumulate(up_to), 0, 1)
    ranks = np.unique(np.geomspace(1, len(scores), N_KNOTS).round().astype(int))
    # Of tied scores the last one, so that a rate is never too small.
    found = {float(scores[rank - 1]): rank for rank in ranks}
    found = {s: int(np.searchsorted(-scores, -np.float32(s), side="right")) for s in found}
    ordered = sorted(found)
    return {
        "score": ordered,
        "fpr": [float(up_to[found[score] - 1]) for score in ordered],
    }


def function(scorer: Scorer, about: dict) -> Callable[[jax.Array], jax.Array]:
    """Pure function raw (n, *shape) -> (n, 3): score, rate and flag, parameters inside."""
    params = jax.device_put(scorer.params)
    x, y = (jnp.asarray(about["fpr"]["knots"][key], jnp.float32) for key in ("score", "fpr"))
    threshold = np.float32(about["threshold"])

    def evaluate(raw: jax.Array) -> jax.Array:
        score = scorer.plain_fn(params, raw)
        return jnp.stack([score, jnp.interp(score, x, y), score >= threshold], axis=-1)

    evaluate.__name__ = about["namespace"]
    return evaluate


def golden_events(scorer: Scorer, events: np.ndarray) -> np.ndarray:
    """32 of the raw `events`, from the least to the most anomalous."""
    order = np.argsort(scorer(events), kind="stable")
    return events[order[np.linspace(0, len(order) - 1, N_GOLDEN).round().astype(int)]]


def _features(scorer: Scorer) -> list[tuple[str, str]]:
    """Name and unit of each number of an event, in their order; of one particle for any number."""
    layout, shape = scorer.layout, scorer.shape
    if layout.columns and shape == (len(layout.columns),):
        return list(layout.columns)
    particle = COLUMNS.get(layout.format, ())
    unit = "GeV" if layout.unit == 1 else f"{layout.unit:g} GeV"
    particle = [(name, unit if of == "GeV" else of) for name, of in particle]
    if layout.objects and shape[0] == len(layout.objects):
        return [(f"{kind}.{name}", unit) for kind in layout.objects for name, unit in particle]
    if particle and shape[0] is None:
        return particle
    if particle:
        return [(f"particle[{i}].{name}", of) for i in range(shape[0]) for name, of in particle]
    return [(f"x[{','.join(map(str, index))}]", "") for index in np.ndindex(*shape)]


def _order(scorer: Scorer) -> str:
    shape = ", ".join("any" if size is None else str(size) for size in scorer.shape)
    return f"row-major ({shape}): {scorer.layout.format}"


def checked_name(name: str) -> None:
    """Refuses a name that programs in C++ and model repositories cannot hold.

    Raises:
        UserError: it is no identifier, or C++ reserves it.
    """
    plain = re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) and "__" not in name
    if not plain or name in RESERVED.split():
        raise UserError(
            f"--name: expected an identifier (letters, digits and single underscores, no word of "
            f"C++), such as jaxad_tagger, found {name!r}"
        )


def _own_name(run: str, about: dict[str, Any]) -> str:
    """A name that no other score has: that of the run, and a digest of the contract.

    Versions and devices do not count: the same score exported elsewhere keeps its name.
    """
    about = {key: value for key, value in about.items() if key != "versions"}
    plain = re.sub(r"[^A-Za-z0-9]+", "_", run).strip("_")
    return "_".join(filter(None, ("jaxad", plain, digest(about, {})[:8])))


def contract(
    scorer: Scorer, run: str, target_fpr: float, name: str | None = None
) -> dict[str, Any]:
    """The metadata of an exported scorer, ready for JSON.

    Args:
        scorer: what is exported.
        run: name of its run.
        target_fpr: false-positive rate of its threshold.
        name: what it is called in other programs; default: one of its own.

    Raises:
        UserError: too few background events for the target rate.
    """
    cut = scorer.threshold(target_fpr)
    if cut["reason"]:
        raise UserError(f"--fpr: no threshold: {cut['reason']}: ask for a larger rate")
    data = scorer.info.get("data", {})
    features = _features(scorer) if prod(s or 1 for s in scorer.shape) <= 4096 else []
    about: dict[str, Any] = {
        "format_version": FORMAT,
        "method": scorer.method,
        "namespace": "",
        "run_id": scorer.digest[:16],
        "input": {
            "name": "raw",
            "dtype": "float32",
            "shape": list(scorer.shape),
            "order": _order(scorer),
            "features": [feature for feature, _ in features],
            "units": [unit for _, unit in features],
        },
        "preprocessing": "inside; its constants are in scorer/params.npz and scorer/scorer.json",
        "score": {"name": scorer.names[0], "direction": "larger is more anomalous"},
        "threshold": cut["threshold"],
        "fpr": {
            "target": target_fpr,
            "reached": cut["fpr"],
            "error": cut["error"],
            "knots": knots(scorer.background, scorer.background_weight),
            "n_calibration": len(scorer.background),
            "calibration": f"{data.get('name')} ({data.get('source')}): {cut['sample']}",
        },
        "outputs": list(OUTPUTS),
        "golden": {"file": "golden.npz", "n": N_GOLDEN},
        "versions": provenance(),
    }
    return about | {"namespace": name or _own_name(run, about)}
