"""Rows of features as vectors, standardised by the training background."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.layout import Layout
from jaxad.errors import UserError
from jaxad.inputs.stage import Stage
from jaxad.observables.derived import DERIVED
from jaxad.storage import on_disk


def stage(config: ConfigDict, layout: Layout, kind: str) -> Stage:
    """Vectors of the columns, or of what is derived of them, without the mass."""
    compute, columns = lambda x: x, layout.columns
    if layout.derived:
        settings = {key: value for key, value in layout.derived.items() if key != "name"}
        function, names = DERIVED[layout.derived["name"]]
        compute, columns = partial(function, **settings), names(**settings)
    position = [name for name, _ in columns].index(layout.mass) if layout.mass else None

    def values(raw: Array) -> Array:
        found = compute(raw)
        if position is None:
            return found
        parts = found[:, :position], found[:, position + 1 :]
        return jnp.concatenate([part for part in parts if part.shape[1]], axis=1)

    def mass(raw: Array) -> Array:
        in_tev = {"TeV": 1.0, "GeV": 1e-3, "MeV": 1e-6}[columns[position][1]]
        found = compute(raw)[:, position]
        return found if in_tev == 1 else found * in_tev

    return Stage(
        kind=kind,
        raw=layout.shape,
        values=values,
        fit=partial(fit, names=tuple(name for name, _ in columns if name != layout.mass)),
        scale=standardised,
        unit=squashed,
        mass=None if position is None else mass,
        names=tuple(column for column in columns if column[0] != layout.mass),
        settings={"layout": layout.to_dict()},
    )


def fit(values: np.ndarray, names: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Mean and spread (d,) of features.

    Raises:
        UserError: a feature is constant.
    """
    n = len(values)
    shift = sum(block.sum(0, dtype=np.float64) for (block,) in on_disk.blocks(values)) / n
    square = sum(((block - shift) ** 2).sum(0) for (block,) in on_disk.blocks(values)) / n
    scale = np.sqrt(square)
    require_varied(shift, scale, names)
    return {"shift": shift.astype(np.float32), "scale": scale.astype(np.float32)}


def fit_unskewed(values: np.ndarray, names: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """As `fit`, of features (n, d) or, where that is less skewed, of their logarithm.

    Distances between standardised features mean most where these are nearly symmetric. A feature
    that is never below 0 is compared with its natural logarithm; what lies below a thousandth of
    the median counts as that. "logarithm" (d,) says which were taken, "least" (d,) is that bound,
    0 without.

    Raises:
        UserError: a feature is constant.
    """
    x = values.astype(np.float64)
    require_varied(x.mean(0), x.std(0), names)
    least = np.where((x >= 0).all(axis=0), 1e-3 * np.median(x, axis=0), 0.0)
    logarithms = np.log(np.maximum(x, np.where(least > 0, least, 1.0)))
    with np.errstate(invalid="ignore"):  # of columns without a logarithm all are 0
        smaller = np.abs(_skewness(logarithms)) < np.abs(_skewness(x))
    taken = (least > 0) & smaller
    learnt = fit(np.where(taken, logarithms, x), names)
    return learnt | {"logarithm": taken, "least": np.where(taken, least, 0).astype(np.float32)}


def _skewness(x: np.ndarray) -> np.ndarray:
    """Third standardised moment (d,) of rows (n, d)."""
    centred = x - x.mean(axis=0)
    return (centred**3).mean(axis=0) / centred.std(axis=0) ** 3


def require_varied(shift: np.ndarray, scale: np.ndarray, names: tuple[str, ...] = ()) -> None:
    """Refuses features, of mean `shift` (d,) and spread `scale` (d,), that are constant."""
    if (constant := np.flatnonzero(scale <= 1e-6 * np.abs(shift))).size:
        column = int(constant[0])
        name = f" ({names[column]})" if column < len(names) else ""
        raise UserError(
            f"features: column {column}{name} is constant in the training events, "
            f"{shift[column]:g}: leave it out"
        )


def standardised(fitted: dict[str, Array], values: Array) -> Array:
    """Features, or those of `fit_unskewed`, in units of their spread about their mean."""
    if "logarithm" in fitted:
        least = jnp.where(fitted["logarithm"], fitted["least"], 1)
        logarithms = jnp.log(jnp.maximum(values, least))
        values = jnp.where(fitted["logarithm"], logarithms, values)
    return (values - fitted["shift"]) / fitted["scale"]


def squashed(fitted: dict[str, Array], values: Array) -> Array:
    """Standardised features, each mapped to (0, 1) by the logistic function."""
    return jax.nn.sigmoid(standardised(fitted, values))
