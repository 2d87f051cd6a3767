"""Random numbers of a run: one stream a purpose, so that nothing is drawn twice.

Whatever is random in a run is a function of (seed, purpose, place), where the place is the stage
and then, say, the epoch and the step. JAX's keys are `fold_in`s in that order; all keys of a
purpose lie equally deep, so that none is the parent of another. NumPy's generators have purpose and
place as the spawn key of a `SeedSequence`: `default_rng([seed, 0])` would be `default_rng(seed)`
once more. That also keeps them apart from the splits of the data (`jaxad.data.splits`) and from
simulated events (`jaxad.tasks`), which have seeds and lists of integers of their own.
"""

import zlib
from enum import IntEnum

import jax
import numpy as np
from jax import Array


class Purpose(IntEnum):
    """What random numbers are for, and the place that tells those of one purpose apart."""

    INITIAL = 1  # parameters of a network: stage
    ORDER = 2  # of the rows in an epoch: stage, epoch
    TRAINING = 3  # noise, augmentation and dropout of a step: stage, epoch, step
    VALIDATION = 4  # of a validation step, the same in every epoch: stage, step
    ROWS = 5  # that a member trains on: stage, run, fold, member
    EVENTS = 6  # that a method takes of many: stage
    MASSES = 7  # of background samples: stage
    FEATURES = 8  # of background samples: stage, network, first row
    NOISE = 9  # of a latent space: stage
    # Of the pseudo-experiments of a search, which are numbered (`jaxad.search.toys`):
    TOY_ROWS = 10  # that stand at the places of the pool: toy
    TOY_NUMBER = 11  # of data events: toy, or what all toys of a cut are for
    TOY_INITIAL = 12  # parameters of a classifier: toy, fold, member
    TOY_ORDER = 13  # of the places in an epoch, the same for all toys: epoch
    TOY_FEATURES = 14  # that a member sees, the same for all toys: fold, member, or none
    TOY_SIGNAL = 15  # events of signal among the data: toy
    TOY_FLAW = 16  # of the template, in all toys of a cut: what the toys are for
    TOY_SPECTRUM = 17  # masses of all toys: window
    COMPARED = 18  # rows, of many, that a classifier compares
    SPREAD = 19  # whole numbers and spikes, for a density: stage


def number_of(stage: str) -> int:
    """The stage as a number below 2^32, which compiled functions take."""
    return zlib.crc32(stage.encode())


def key(seed: int | Array, purpose: Purpose, *place: int | str | Array) -> Array:
    """JAX's key of a purpose at a place.

    Args:
        seed: of the run or of a member, an int or uint32.
        place: as `Purpose` says; names of stages, or their numbers.

    Examples:
        >>> key(0, Purpose.TRAINING, "autoencoder", 3, 7).shape
        ()
    """
    found = jax.random.key(seed)
    for part in (int(purpose), *place):
        number = number_of(part) if isinstance(part, str) else part
        found = jax.random.fold_in(found, number)
    return found


def generator(seed: int, purpose: Purpose, *place: int | str) -> np.random.Generator:
    """NumPy's generator of a purpose at a place.

    Examples:
        >>> generator(0, Purpose.ORDER, "autoencoder", 0).permutation(3).shape
        (3,)
    """
    numbers = (number_of(part) if isinstance(part, str) else part for part in place)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(int(purpose), *numbers)))
