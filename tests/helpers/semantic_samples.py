"""Physical samples in their plainest form, float32 in GeV, as which each variant is scored."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from lhco_events import fake_events
from random_jets import random_jets
from random_scorers import PREPARED, TRIGGER, trigger_data

from jaxad.data.layout import Layout
from jaxad.observables.derived import dijet

N, N_SIGNAL = 16, 4
SIGNAL = np.arange(N) >= N - N_SIGNAL
SAME = 1e-5
"""Tolerance of scores, relative to themselves and the spread of all: of the same numbers."""
REORDERED = 1e-4
"""Of sums in another order."""
ROUNDED = 3e-3
"""Of numbers that float32 rounds: 1000 times as large, turned by 2 pi, or E and p that cancel."""


class Written(NamedTuple):
    """One sample in one variant.

    Attributes:
        settings: of the reader.
        files: as `jaxad score` is given them.
        x: raw events (n, ...) of these files, in their order, and in some type and order.
        signal: which of them are signal.
        sample: name in `SAMPLES`.
        method: name in `INPUTS`.
        tolerance: of the scores.
        index: number of the sample's event that each row is; None: in their order.
        all_read: whether all events are in the data set.
        branches: of ROOT files, for `jaxad score --branches`.
    """

    settings: dict[str, Any]
    files: list[str]
    x: np.ndarray
    signal: np.ndarray
    sample: str
    method: str
    tolerance: float = SAME
    index: np.ndarray | None = None
    all_read: bool = True
    branches: str = ""


# Samples ----------------------------------------------------------------------------------------


def halved(x: np.ndarray) -> np.ndarray:
    """Particles whose numbers float16 holds: pT of half a GeV, angles of 1/256."""
    there, steps = x[..., :1] > 0, np.float32((0.5, 1 / 256, 1 / 256))
    x = np.round(x / steps)
    x[..., 0] = np.maximum(x[..., 0], 1)
    return np.where(there, x * steps, 0).astype(np.float32)


@cache
def jet_sample() -> np.ndarray:
    """Jets (N, 14, 3), one of a single particle."""
    x = halved(random_jets(3, N, 14))
    x[5, 1:] = 0
    return x


@cache
def trigger_sample() -> np.ndarray:
    """Events (N, 19, 3) of MET, 4 electrons or photons, 4 muons and 10 jets."""
    return halved(trigger_data(N, 5))


def one_empty(x: np.ndarray) -> np.ndarray:
    """The events, one of them without any particle, as published sets never have."""
    return np.where(np.arange(N)[:, None, None] == 2, 0, x)


@cache
def image_sample() -> np.ndarray:
    return np.random.default_rng(1).poisson(2, (N, 9, 7)).astype(np.float32)


@cache
def hit_sample() -> np.ndarray:
    return (image_sample() > 2).astype(np.float32)


@cache
def detector_sample() -> np.ndarray:
    rng = np.random.default_rng(2)
    hit = rng.random((N, 72, 58, 3)) < 0.02
    return (rng.poisson(9, hit.shape) * hit).astype(np.float32)


@cache
def dijet_sample() -> np.ndarray:
    """Jets (72, 14) [GeV] and their label, as the official features."""
    return fake_events(60, 12, 1)


@cache
def table_sample() -> np.ndarray:
    """The same as rows [mjj, features] of the CATHODE code."""
    return np.asarray(dijet(dijet_sample()[:, :-1]), np.float32)


SAMPLES: dict[str, tuple[Callable[[], np.ndarray], Layout]] = {
    "jets": (jet_sample, Layout("ptetaphi", (14, 3))),
    "jets, one empty": (lambda: one_empty(jet_sample()), Layout("ptetaphi", (14, 3))),
    "trigger": (trigger_sample, TRIGGER),
    "trigger, one empty": (lambda: one_empty(trigger_sample()), TRIGGER),
    "images": (image_sample, Layout("image", (9, 7))),
    "hits": (hit_sample, Layout("image", (9, 7))),
    "detector": (detector_sample, Layout("image", (72, 58, 3))),
    "dijets": (table_sample, PREPARED),
}
"""Name -> (raw events, what they are); scorers are those of the name before the comma."""
INPUTS = {
    "observables": ("jet_observables", {"max_degree": 1}),
    "jet image": ("jet_image", {"n_pixels": 9}),
    "trigger": ("trigger_event", {}),
    "fraction": ("image", {}),
    "energies": ("image", {"pixels": "energies", "max_energy": 20.0}),
    "features": ("features", {}),
}
