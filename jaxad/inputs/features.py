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
    shift, scale = values.mean(0, dtype=np.float64), values.std(0, dtype=np.float64)
    require_varied(shift, scale, names)
    return {"shift": shift.astype(np.float32), "scale": scale.astype(np.float32)}


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
    """Features in units of their spread about their mean."""
    return (values - fitted["shift"]) / fitted["scale"]


def squashed(fitted: dict[str, Array], values: Array) -> Array:
    """Standardised features, each mapped to (0, 1) by the logistic function."""
    return jax.nn.sigmoid(standardised(fitted, values))
