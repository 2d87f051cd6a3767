"""Trigger events as sets and vectors: MET, 4 electrons or photons, 4 muons and 10 jets.

Events are (n, 19, 3) = (pT [GeV], eta, phi), zero padded (arXiv:2107.02157). An object is there
where its raw pT is above 0; whatever else stands in a padded slot is ignored.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.layout import COLUMNS, Layout
from jaxad.errors import UserError
from jaxad.inputs.particles import invariant_mass, momenta_and_padding_of
from jaxad.inputs.stage import Stage
from jaxad.observables.kinematics import with_principal_phi, wrap_phi
from jaxad.observables.trigger import CLASS, ETA_LIMIT, N_OBJECTS, object_names

SHAPE = (N_OBJECTS, 3)
N_INPUTS = 3 * N_OBJECTS
PT_SCALE = 1000.0
MIN_OBJECTS = 10  # objects in a slot from which its own mean and spread are taken


def stage(config: ConfigDict, layout: Layout, kind: str) -> Stage:
    """Sets (n, 19, 3), or vectors (n, 57) of fixed scales: see `clean` and `features`."""
    require_trigger("trigger_event", layout)
    in_gev = momenta_and_padding_of(layout)
    prepare = partial(clean, rotate=config.rotate)
    common = {
        "kind": kind,
        "raw": SHAPE,
        "mass": invariant_mass(layout),
        "settings": {"rotate": config.rotate, "unit": layout.unit},
    }
    if kind == "set":
        return Stage(values=lambda raw: prepare(in_gev(raw)), fit=pt_scale, **common)
    return Stage(
        values=lambda raw: features(prepare(in_gev(raw))),
        unit=_unit,
        names=event_names(),
        **common,
    )


def require_trigger(name: str, layout: Layout) -> None:
    """Refuses events that are none of a trigger for the input `name`."""
    if layout.format != "ptetaphi" or layout.shape != SHAPE:
        raise UserError(
            f"inputs.name={name}: takes events ({N_OBJECTS}, 3) of (pT, eta, phi), found "
            f"{layout.shape} of {layout.format}: choose another inputs.name"
        )


def event_names() -> tuple[tuple[str, str], ...]:
    """Name and unit of the 57 components of a vector, none with a unit."""
    columns = [column for column, _ in COLUMNS["ptetaphi"]]
    return tuple((f"{name}.{column}", "") for name in object_names() for column in columns)


def mask(x: Array) -> Array:
    """(..., 19, 3) events to (..., 19) bool: which of the objects there are (pT > 0)."""
    return x[..., 0] > 0


def clean(raw: Array, rotate: bool = False) -> Array:
    """Raw (n, 19, 3) -> the same with zeros in padded slots, and phi within [-pi, pi].

    With `rotate` the event is turned so that the MET points to phi = 0.
    """
    there = mask(raw)
    x = jnp.where(there[..., None], raw, 0.0)
    if not rotate:
        return with_principal_phi(x)
    phi = wrap_phi(x[..., 2] - x[:, :1, 2])
    return x.at[..., 2].set(jnp.where(there, phi, 0.0))


def features(x: Array) -> Array:
    """Clean events (n, 19, 3) -> (n, 57): log pT, eta and phi, of the order of one.

    log(1 + pT / GeV) / log(1001), eta over its limit, phi / pi; 0 in padded slots. The scales are
    fixed: standard deviations of slots that are nearly always empty would be tiny.
    """
    limits = np.where(ETA_LIMIT > 0, ETA_LIMIT, 1.0)
    pt, eta, phi = jnp.moveaxis(x, -1, 0)
    scaled = (jnp.log1p(pt) / np.log1p(PT_SCALE), eta / limits, phi / np.pi)
    return jnp.stack(scaled, -1).reshape(-1, N_INPUTS)


def _unit(fitted: dict[str, Array], vectors: Array) -> Array:
    """`features` (n, 57) in [0, 1]: angles mapped to (1 + a) / 2; 0 in padded slots."""
    x = vectors.reshape(-1, N_OBJECTS, 3)
    x = x.at[..., 1:].set((1 + x[..., 1:]) / 2) * mask(x)[..., None]
    return jnp.clip(x, 0.0, 1.0).reshape(-1, N_INPUTS)


def pt_scale(x: np.ndarray) -> dict[str, np.ndarray]:
    """ "mean" and "std" (19,) [GeV] of the pT of the objects in each slot.

    A slot with fewer than 10 objects takes those of its kind (all electrons, muons or jets), and a
    kind that is missing altogether 0 and 1.
    """
    there, pt = mask(x), x[..., 0].astype(np.float64)
    mean, std = np.zeros(N_OBJECTS, np.float32), np.ones(N_OBJECTS, np.float32)
    for slot in range(N_OBJECTS):
        values = pt[:, slot][there[:, slot]]
        if len(values) < MIN_OBJECTS:
            kind = CLASS[slot] == CLASS
            values = pt[:, kind][there[:, kind]]
        if len(values) and values.std() > 0:
            mean[slot], std[slot] = values.mean(), values.std()
    return {"mean": mean, "std": std}
