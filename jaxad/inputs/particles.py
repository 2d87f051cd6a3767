"""Particles as they are, as jet images, and as vectors of jet observables."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad.data.layout import Layout
from jaxad.devices.batches import in_chunks
from jaxad.errors import UserError
from jaxad.inputs import features
from jaxad.inputs.images import softening
from jaxad.inputs.stage import Stage
from jaxad.observables.efp import efp_function
from jaxad.observables.graphs import Graphs, standard_graphs
from jaxad.observables.images import jet_image
from jaxad.observables.kinematics import (
    epxpypz_to_ptetaphi,
    epxpypz_to_ptyphi,
    jet_mass,
    jet_ptetaphi,
    multiplicity,
    with_principal_phi,
)
from jaxad.observables.shapes import SHAPES
from jaxad.observables.substructure import n_subjettiness

LEAST_EFP = 1e-10
"""What EFPs below it count as before their logarithm: that of one particle is 0."""
CHUNK = {True: 32, False: 1024}  # jets whose EFPs are computed together, on CPU or not


def momenta_of(layout: Layout) -> Callable[[Array], Array]:
    """Pure function raw particles -> the same with momenta in GeV, and zeros in padded slots.

    Whatever angles stand in a slot without pT are those of no particle; phi is within [-pi, pi].
    """
    in_gev = momenta_and_padding_of(layout)
    if layout.format == "epxpypz":
        return in_gev
    return lambda raw: jnp.where(raw[..., :1] > 0, with_principal_phi(in_gev(raw)), 0)


def momenta_and_padding_of(layout: Layout) -> Callable[[Array], Array]:
    """`momenta_of`, with padded slots as they stand in the files."""
    if layout.unit == 1:
        return lambda raw: raw
    scale = (layout.unit, 1.0, 1.0) if layout.format == "ptetaphi" else layout.unit
    return lambda raw: raw * jnp.asarray(scale, jnp.float32)


def invariant_mass(layout: Layout) -> Callable[[Array], Array]:
    """Pure function raw particles -> mass (n,) [TeV] of their sum."""
    in_gev = momenta_of(layout)
    return lambda raw: jet_mass(in_gev(raw)) / 1000


def coordinates(x: Array) -> Array:
    """(pT [GeV], rapidity, phi) (..., n, 3) of particles (E, px, py, pz) [GeV] (..., n, 4).

    Three columns, (pT, eta, phi) of massless particles, are returned as they are.
    """
    return epxpypz_to_ptyphi(x) if x.shape[-1] == 4 else x


def _common(layout: Layout, kind: str, **settings: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "raw": (None, layout.shape[-1]),
        "mass": invariant_mass(layout),
        "settings": {**settings, "format": layout.format, "unit": layout.unit},
    }


def particles(config: ConfigDict, layout: Layout, kind: str) -> Stage:
    """Sets (n, any, 3 or 4): the raw particles, momenta in GeV."""
    return Stage(values=momenta_of(layout), **_common(layout, kind))


def image(config: ConfigDict, layout: Layout, kind: str) -> Stage:
    """Images (n, n_pixels, n_pixels, 1) that sum to one, softened by `inputs.smear` and `power`.

    Aligned images of four-momenta are made of rapidities, as EnergyFlow's are.
    """
    settings = {name: config[name] for name in ("n_pixels", "half_width", "align")}
    soften, softened = softening(config)
    for name in ("n_pixels", "half_width"):
        if not settings[name] > 0:
            raise UserError(f"inputs.{name}: expected above 0, found {settings[name]}")
    in_gev, side = momenta_of(layout), (-config.half_width, config.half_width)

    def values(raw: Array) -> Array:
        x = in_gev(raw)
        if x.shape[-1] == 4:
            x = (epxpypz_to_ptyphi if config.align else epxpypz_to_ptetaphi)(x)
        return soften(jet_image(x, **settings)[..., None])

    labels = ("minor axis", "principal axis") if config.align else ("Δη", "Δφ")
    return Stage(
        values=values,
        unit_sum=True,
        picture={"extent": (*side, *side), "labels": labels, "unit": "fraction of the jet's pT"},
        **_common(layout, kind, **settings, **softened),
    )


def jet_observables(config: ConfigDict, layout: Layout, kind: str) -> Stage:
    """Vectors, standardised: mass, pT [GeV], multiplicity; EFPs of at most `max_degree`; tau_N.

    tau_1 ... tau_n_taus come from FastJet on the host, through a callback that has no gradient.
    """
    graphs = standard_graphs(config.max_degree, prime=True) if config.max_degree else {}
    taus = [f"tau_{n}" for n in range(1, config.n_taus + 1)]
    first = ("mass", "GeV"), ("pt", "GeV"), ("multiplicity", "")
    names = (*first, *((name, "") for name in (*graphs, *taus)))
    in_gev = momenta_of(layout)

    def values(raw: Array) -> Array:
        x = in_gev(raw)
        counts = multiplicity(x)[:, None]
        parts = [jet_mass(x)[:, None], jet_ptetaphi(x)[:, :1], counts]
        if graphs:
            parts.append(efps(graphs, x))
        if taus:
            parts.append(subjettiness(x, config.n_taus))
        return jnp.concatenate(parts, axis=1)

    return Stage(
        values=values,
        fit=partial(features.fit, names=tuple(name for name, _ in names)),
        scale=features.standardised,
        unit=features.squashed,
        names=names,
        **_common(layout, kind, max_degree=config.max_degree, n_taus=config.n_taus),
    )


def jet_features(config: ConfigDict, layout: Layout, kind: str) -> Stage:
    """Vectors, standardised: mass [GeV], multiplicity, girth, pT dispersion, share of the hardest.

    Behind them the natural logarithms of the connected EFPs of at most `efp_degree`. All of it is
    pure JAX, so that it has a gradient. With `unskew` a column is replaced by its logarithm where
    that is less skewed in the training background, see `features.fit_unskewed`. The pT of the jet,
    which is the scale of the event and not a shape, is left out.
    """
    graphs = standard_graphs(config.efp_degree, prime=True) if config.efp_degree else {}
    first = ("mass", "GeV"), ("multiplicity", ""), *((name, "") for name in SHAPES)
    names = (*first, *((f"log_{name}", "") for name in graphs))
    in_gev = momenta_of(layout)

    def values(raw: Array) -> Array:
        x = in_gev(raw)
        columns = [jet_mass(x), multiplicity(x), *(shape(x) for shape in SHAPES.values())]
        found = jnp.stack(columns, axis=1)
        if not graphs:
            return found
        logs = jnp.log(jnp.maximum(efps(graphs, x), LEAST_EFP))
        return jnp.concatenate([found, logs], axis=1)

    return Stage(
        values=values,
        fit=partial(
            features.fit_unskewed if config.unskew else features.fit,
            names=tuple(name for name, _ in names),
        ),
        scale=features.standardised,
        unit=features.squashed,
        names=names,
        **_common(layout, kind, efp_degree=config.efp_degree, unskew=config.unskew),
    )


def efps(graphs: Graphs, x: Array) -> Array:
    """Energy flow polynomials (n, graphs) of particles [GeV], in bounded memory."""
    on_cpu = jax.default_backend() == "cpu"
    return in_chunks(efp_function(graphs), coordinates(x), CHUNK[on_cpu])


def subjettiness(x: Array, n: int) -> Array:
    """tau_1 ... tau_n (n_jets, n) of particles, by FastJet on the host: kT axes, R0 = 1."""
    shape = jax.ShapeDtypeStruct((len(x), n), jnp.float32)
    return jax.pure_callback(partial(_taus, n), shape, x, vmap_method="sequential")


def _taus(n: int, x: np.ndarray) -> np.ndarray:
    """NaN of jets that no FastJet can take: who runs the program refuses them, not a callback."""
    x = np.asarray(x)
    sound = np.isfinite(x).all(axis=(1, 2)) & (x[..., 0] >= 0).all(axis=1)
    taus = np.full((len(x), n), np.nan, np.float32)
    taus[sound] = n_subjettiness(x[sound], max_n=n)
    return taus
