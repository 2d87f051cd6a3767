"""Sixteen principal components of an image: the linear reference that image networks have to beat.

A method of its own beside `pca`, whose number of components a config chooses, so that a report
which keeps the two components of an exercise has this one too. Of particles of which `inputs` makes
no image it is that of the jet image, as `mean_image` is.
"""

import dataclasses
from collections.abc import Callable

from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset, n_rows, take
from jaxad.data.layout import Layout
from jaxad.data.splits import choose
from jaxad.methods import Bench, pca
from jaxad.methods.mean_image import with_image

KINDS = inputs.KINDS
N_COMPONENTS = 16
N_FIT = 20_000
"""Training events, at most, that it is fitted to, random ones."""


def _config(config: ConfigDict, layout: Layout) -> ConfigDict:
    config = with_image(config, layout).copy_and_resolve_references()
    with config.unlocked():  # the config may be of a network that has no components
        config.pca = ConfigDict({"components": N_COMPONENTS})
    return config


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """As `pca`, of at most `N_FIT` training events.

    Raises:
        UserError: as `mean_image` and `pca`.
    """
    train = dataset.train
    if n_rows(train) > N_FIT:
        train = take(train, choose(n_rows(train), N_FIT, [config.seed, N_COMPONENTS]))
    dataset = dataclasses.replace(dataset, train=train)
    return pca.fit(_config(config, dataset.layout), dataset, bench)


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"mse": (n,)}: squared distance from the components' plane, mean over pixels."""
    return pca.scores(_config(config, layout), layout)
