"""From a raw event to what a network sees: the one stage between data and methods."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxad.data.layout import PARTICLES, Layout
from jaxad.devices.batches import in_batches
from jaxad.errors import UserError
from jaxad.inputs import features, images, particle_set, particles, trigger, trigger_integer
from jaxad.inputs.stage import KINDS, Stage, as_it_is
from jaxad.storage import cache, on_disk
from jaxad.storage.digest import digest

__all__ = ["INPUTS", "KINDS", "Stage", "get_config", "prepared", "stage", "values_of"]

INPUTS: dict[str, tuple[Callable[[ConfigDict, Layout, str], Stage], tuple, tuple]] = {
    "particles": (particles.particles, ("set",), PARTICLES),
    "jet_image": (particles.image, ("image",), PARTICLES),
    "jet_observables": (particles.jet_observables, ("vector",), PARTICLES),
    "jet_features": (particles.jet_features, ("vector",), PARTICLES),
    "particle_set": (particle_set.stage, ("set",), PARTICLES),
    "trigger_event": (trigger.stage, ("vector", "set"), ("ptetaphi",)),
    "trigger_integer": (trigger_integer.stage, ("vector",), ("ptetaphi",)),
    "image": (images.stage, ("image",), ("image",)),
    "features": (features.stage, ("vector",), ("features",)),
}
"""Name -> (its stage, the kinds it gives, the formats of raw events it takes)."""


def get_config(name: str, **changes: Any) -> ConfigDict:
    """The section `inputs` of a config, with the settings of all inputs.

    So that any experiment can be given another input from the command line.

    Examples:
        >>> get_config("jet_image", n_pixels=40).n_pixels
        40
    """
    settings = {
        "name": name,
        "n_particles": 64,  # particle_set: the hardest ones that are kept
        "n_pixels": 16,  # jet_image: a side
        "half_width": 0.8,  # jet_image: half the side in eta and phi
        "align": False,  # jet_image: centred, rotated and reflected
        "smear": 0.0,  # jet_image, image: width of a Gaussian filter in pixels; 0: none
        "power": 1.0,  # jet_image, image: of each pixel, after the filter; then divided by the sum
        "max_degree": 3,  # jet_observables: of the EFPs; 0: none
        "n_taus": 0,  # jet_observables: tau_1 ... tau_n
        "efp_degree": 0,  # jet_features: of the EFPs whose logarithms join; 0: none
        "unskew": False,  # jet_features: logarithms of what they make less skewed
        "rotate": False,  # trigger_event: so that the MET points to phi = 0
        "type": "fixed<8,6,RND_CONV,SAT>",  # trigger_integer: fixed-point type of the inputs
        "pixels": "fraction",  # image: fraction | mask | masks | energy | energies | counts
        "max_energy": 2000.0,  # image: where energies are clipped
    }
    if unknown := set(changes) - set(settings):
        raise UserError(f"inputs.{unknown.pop()}: no such setting; known: {', '.join(settings)}")
    return ConfigDict(settings | changes)


def stage(config: ConfigDict, layout: Layout, kinds: tuple[str, ...], method: str) -> Stage:
    """The stage of the section `inputs` for a method that takes one of the `kinds`.

    Raises:
        UserError: no such input, one of another kind, or events that it does not take.

    Examples:
        >>> jets = Layout("ptetaphi", (30, 3))
        >>> image = stage(get_config("jet_image"), jets, kinds=("image", "vector"), method="pca")
        >>> image.kind, image.raw, image.values(np.ones((2, 5, 3), np.float32)).shape
        ('image', (None, 3), (2, 16, 16, 1))
    """
    if config.name not in INPUTS:
        raise UserError(f"inputs.name: expected one of {', '.join(INPUTS)}, found {config.name!r}")
    make, given, formats = INPUTS[config.name]
    fitting = [
        name
        for name, (_, others, taken) in INPUTS.items()
        if layout.format in taken
        and set(others) & set(kinds)
        # Of particles, trigger events alone say what their objects are.
        and (not name.startswith("trigger_") or layout.shape == trigger.SHAPE)
    ]
    mend = f"choose inputs.name among {', '.join(fitting)}" if fitting else "choose other data"
    if layout.format not in formats:
        raise UserError(
            f"inputs.name={config.name}: takes {' or '.join(formats)}, the data are "
            f"{layout.format} {layout.shape}: {mend}"
        )
    kind = next((kind for kind in kinds if kind in given), None)
    if kind is None:
        raise UserError(
            f"inputs.name={config.name}: gives a {' or '.join(given)}, {method} takes a "
            f"{' or '.join(kinds)}: {mend}"
        )
    found = make(config, layout, kind)
    return replace(found, settings={"input": config.name, **found.settings})


def prepared(
    stage: Stage, parts: Mapping[str, np.ndarray], folder: Path | None = None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What the stage learns of the first of the raw `parts`, and the network input of each.

    In bounded memory, with a progress bar. With a cache `folder` the values are kept there, under
    the digest of the rows and every setting; those of rows on disk are not.
    """
    values = {name: values_of(stage, raw, name, folder) for name, raw in parts.items()}
    learnt = stage.fit(next(iter(values.values())))
    if stage.scale is as_it_is:
        return learnt, values
    scale = partial(stage.scale, learnt)
    return learnt, {n: in_batches(scale, rows, f"scaling of {n}") for n, rows in values.items()}


def values_of(stage: Stage, raw: np.ndarray, name: str, folder: Path | None = None) -> np.ndarray:
    """Physical values (n, *shape) of raw events, see `prepared`; `name` stands at the bar."""

    def make() -> dict[str, np.ndarray]:
        def values(x: Any) -> Any:
            return stage.values(x).astype(stage.stored)

        return {"values": in_batches(values, raw, f"inputs of {name}", stage.batch)}

    if folder is None or on_disk.folder_of(raw):
        return make()["values"]
    return cache.cached(folder, "inputs", stage.key | {"events": digest({}, {"x": raw})}, make)[
        "values"
    ]
