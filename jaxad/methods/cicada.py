"""CICADA: a network of few bits learns to score images of counts as an autoencoder does.

The student guesses t = 32 ln(MSE) of its teacher, an autoencoder of calorimeter regions, and is
what the trigger computes (CMS-DP-2024-121; method: arXiv:2310.06047); its network is that of
`jaxad.models.cicada`. The teacher is trained to its end first, by the section `teacher` or as a
run of its own, `method.teacher`; as published, ten epochs of the student follow each of its own.

With outlier exposure, `method.outliers`, so many artificial events for each event of background
join the training of the student, never that of the teacher nor what chooses epochs: without them no
student sees high targets. They count a fifth of an event each. In the first twentieth the batch
normalisation takes the statistics of the batch; then its running statistics are frozen. In the
first half weights and activations are clipped to the ranges of their types alone, then rounded,
too; the scores are those of the integers. CICADA's dropout is left out: copies, below, do its work.

A detector is the same all around and on either side: with `method.augment` every event is six
copies, turned in phi and mirrored in eta, with the teacher's own score of that copy, and each step
draws one of them; of a symmetric teacher, as the shipped one is, all have one score. Of `STARTS`
students the one of the lowest validation loss stays. With `method.same_rate` the last layer is
scaled at the end so that this share of the background is above the teacher's threshold of the same
rate; of the events that trained, too, as few are above it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxad import inputs
from jaxad.data.dataset import Dataset, Rows
from jaxad.data.layout import Layout
from jaxad.devices import hosts
from jaxad.devices.batches import in_batches
from jaxad.errors import UserError
from jaxad.inputs.images import require_turnable, symmetric_copies, turned
from jaxad.methods import Bench, autoencoder
from jaxad.methods.stages import rows
from jaxad.methods.stages.teacher import teach
from jaxad.metrics.agreement import overlap
from jaxad.models import cicada
from jaxad.models.cicada import SCORE, Statistics, integer_scores
from jaxad.simulation.regions import outliers
from jaxad.storage import cache
from jaxad.storage.digest import digest
from jaxad.training import Task, streams, weighted_mean
from jaxad.training.streams import Purpose

KINDS = ("image",)
PER_LOG = 32
"""Units of a target in the logarithm of the teacher's score."""
FOLLOWING = 0.05
"""Share of the training in which the batch normalisation has the statistics of the batch."""
ROUNDED = 0.5
"""Share after which weights and activations are rounded; they are clipped from the start."""
OUTLIER_WEIGHT = 0.2
"""Of an artificial event in the training.

This, `ROUNDED` and `FOLLOWING` were chosen by the order of validation background, of one seed.
"""
STARTS = 6
"""Students that are trained at once: they differ by more than anything that was tried changes."""
LEAST_ABOVE = 10
"""Events above a threshold that the last layer is scaled to."""


def stage_of(config: ConfigDict, layout: Layout) -> inputs.Stage:
    """Images of one channel, as they are.

    Raises:
        UserError: other pixels; sides that are not even; more than one channel, or many pixels.
    """
    stage = inputs.stage(config.inputs, layout, KINDS, "cicada")
    if config.inputs.name != "image" or config.inputs.pixels != "counts":
        raise UserError(
            "inputs.pixels: cicada takes counts as they are: set inputs.name=image and "
            f"inputs.pixels=counts, found {config.inputs.name} of {config.inputs.pixels}"
        )
    _, h, w, channels = rows.shape_of(stage)
    if h % 2 or w % 2 or channels > 1 or h * w > cicada.MAX_PIXELS:
        raise UserError(
            "data: cicada takes images of one channel, even sides and at most "
            f"{cicada.MAX_PIXELS:,} pixels, found ({h}, {w}, {channels})"
        )
    return stage


def targets(scores: np.ndarray, teacher: str = "the teacher") -> np.ndarray:
    """32 ln(score), in 256ths and within what the student's score holds, float32 (n,).

    Raises:
        UserError: scores below 0.

    Examples:
        >>> targets(np.array([0.0, 1.0, 20.0, 1e4])).tolist()
        [0.0, 0.0, 95.86328125, 255.99609375]
    """
    if scores.min() < 0:
        raise UserError(
            f"method.teacher: expected scores of 0 and above, found {scores.min():.4g} of "
            f"{teacher}: they have no logarithm; choose an autoencoder"
        )
    found = PER_LOG * np.log(np.maximum(scores, np.finfo(np.float64).tiny, dtype=np.float64))
    steps = 2.0**SCORE.fraction
    return np.clip(np.rint(found * steps), 0, SCORE.highest).astype(np.float32) / np.float32(steps)


def exposure(config: ConfigDict, raw: np.ndarray) -> np.ndarray:
    """`method.outliers` artificial images for each of the raw ones (n, *shape)."""
    number = round(config.method.outliers * len(raw))
    rng = streams.generator(config.seed, Purpose.EVENTS, "outliers")
    return outliers(raw[rng.integers(0, len(raw), number)], rng).astype(raw.dtype)


def labels(teacher: Callable, raw: np.ndarray, augment: bool, name: str) -> np.ndarray:
    """Targets (n, copies) of raw images (n, h, w) and, to `augment`, of six copies."""
    copies = symmetric_copies(raw.shape[1]) if augment else (0,)
    copy = jax.jit(turned)
    bar = tqdm(copies, "targets", unit="copy", delay=2)
    return np.stack([targets(teacher(np.asarray(copy(raw, i))), name) for i in bar], axis=1)


def kept_labels(teacher: Any, raw: np.ndarray, augment: bool, folder: Path) -> np.ndarray:
    """`labels` of a scorer, in the cache `folder`: its other students learn from the same ones."""
    alike = autoencoder.is_symmetric(teacher.config)
    copies = symmetric_copies(raw.shape[1]) if augment and not alike else (0,)
    settings = {"teacher": teacher.digest, "events": digest({}, {"x": raw}), "copies": copies}
    own = partial(labels, teacher, raw, len(copies) > 1, teacher.method)
    found = cache.cached(folder, "targets", settings, lambda: {"targets": own()})["targets"]
    return np.repeat(found, len(symmetric_copies(raw.shape[1])), 1) if augment and alike else found


def task(pixels: int, target: float, n_steps: int) -> Task:
    """Training on rows with images "x" and "target" (n, copies): mean absolute difference.

    Of several copies each step takes one of an event, validation the event itself.

    Args:
        pixels: of an image.
        target: about the mean of the targets, at which the output starts.
        n_steps: of the whole training; see `FOLLOWING` and `ROUNDED`.
    """

    def init(key: Array, batch: Rows) -> tuple[Any, Any]:
        norm = Statistics(jnp.zeros(cicada.WIDTH), jnp.ones(cicada.WIDTH))
        return cicada.initial(key, pixels, target), {"norm": norm, "step": jnp.zeros(())}

    def loss(params: Any, state: Any, batch: Rows, key: Array, training: bool) -> tuple:
        x, target, norm = batch["x"], batch["target"][:, 0], state["norm"]
        if training and batch["target"].shape[1] > 1:
            column = jax.random.randint(key, (len(x),), 0, batch["target"].shape[1])
            x = turned(x, jnp.asarray(symmetric_copies(x.shape[1]))[column])
            target = jnp.take_along_axis(batch["target"], column[:, None], axis=1)[:, 0]
        rounded = state["step"] >= n_steps * ROUNDED if training else True
        y = cicada.hidden(params, x, rounded)
        if not training:
            found = cicada.output(params, norm, y)
        else:
            early = state["step"] < n_steps * FOLLOWING
            own = cicada.statistics(params, y, batch["weight"])
            used = jax.tree.map(partial(jnp.where, early), own, norm)
            found = cicada.output(params, used, y, rounded)
            later = cicada.updated(norm, own, state["step"])
            norm = jax.tree.map(partial(jnp.where, early), later, norm)
        state = {"norm": norm, "step": state["step"] + training}
        errors = jnp.abs(found - target)
        return weighted_mean(errors, batch["weight"]), ({}, state)

    return Task(init, loss)


def fit(config: ConfigDict, dataset: Dataset, bench: Bench) -> dict:
    """Train on the teacher's scores, and store the integers.

    Returns:
        {"layers"}: int32 of `jaxad.models.cicada.integers`, leading axis (members,); {"inputs"};
        {"ebops"} (members,).

    Raises:
        UserError: images, settings or a teacher that will not do.
    """
    stage = stage_of(config, dataset.layout)
    if (n := config.train.keep_best) != 1:
        raise UserError(f"train.keep_best: expected 1, as firmware holds one network, found {n}")
    if config.method.augment:
        require_turnable(stage)
    require_rate(config, len(dataset.train["x"]) + len(dataset.val["x"]))
    teacher = teach(config, dataset, bench)
    folder = cache.root(config.data.cache)

    def taught(raw: np.ndarray, name: str) -> Rows:
        own = kept_labels(teacher, raw, config.method.augment, folder)
        return {"x": inputs.values_of(stage, raw, name, folder), "target": own}

    train = taught(dataset.train["x"], "train") | rows.weight_of(dataset.train)
    val = taught(dataset.val["x"], "val") | rows.weight_of(dataset.val)
    background, made = (train, val), exposure(config, dataset.train["x"])
    if len(made):
        weight = np.full(len(made), OUTLIER_WEIGHT, np.float32)
        added = taught(made, "outliers") | {"weight": weight}
        train = {"weight": np.ones(len(train["x"]), np.float32)} | train
        train = {name: np.concatenate([train[name], added[name]]) for name in train}
    steps = config.train.epochs * -(-len(train["x"]) // config.train.batch_size)
    pixels, mean = int(np.prod(train["x"].shape[1:])), float(val["target"].mean())
    settings = config.train.copy_and_resolve_references()
    settings.ensemble *= STARTS
    job, members = task(pixels, mean, steps), []
    fitted = bench.fit(job, train, val, settings, starts(config), stage="student")
    for number in np.arange(len(fitted.value)).reshape(-1, STARTS):
        best = number[np.argmin(fitted.value[number, 0])]
        params, state = jax.tree.map(lambda a, i=best: a[i, 0], (fitted.params, fitted.state))
        if config.method.same_rate:
            params = scaled(params, state["norm"], background, config.method.same_rate)
        members.append(cicada.integers(params, state["norm"]))
    stored = {
        "layers": jax.tree.map(lambda *a: np.stack(a), *members),
        "inputs": {},
        "ebops": np.array([cicada.ebops(layers) for layers in members], np.int32),
    }
    _tell(stored, val)
    return stored


def starts(config: ConfigDict) -> list[int]:
    """Seeds of the students, `STARTS` of each member."""
    seeds = range(config.seed, config.seed + config.train.ensemble)
    rngs = [streams.generator(seed, Purpose.INITIAL, "student") for seed in seeds]
    return [n for rng in rngs for n in rng.integers(0, 1 << 32, STARTS).tolist()]


def require_rate(config: ConfigDict, n: int) -> None:
    """Refuses a `method.same_rate` that n events do not resolve.

    Raises:
        UserError: fewer than `LEAST_ABOVE` are above such a threshold.
    """
    share = config.method.same_rate
    if share and round(share * n) < LEAST_ABOVE:
        raise UserError(
            f"method.same_rate={share:g}: of {n:,} events of background {round(share * n)} are "
            f"above such a threshold, fewer than {LEAST_ABOVE}: take more events, or set "
            "method.same_rate=0"
        )


def scaled(params: dict, norm: Statistics, parts: Sequence[Rows], share: float) -> dict:
    """The parameters with the last layer scaled to the teacher's threshold, of rows in `parts`.

    As there is no bias all scores are scaled alike, but for the rounding of the layer's weights:
    the order of events stays.

    Args:
        share: of the rows and their copies, that the teacher's threshold and the student's leave.
    """
    target = np.concatenate([part["target"] for part in parts])
    threshold = np.quantile(target, 1 - share)
    if threshold <= 0:
        raise UserError(
            f"method.same_rate={share:g}: of the background more than 1 - {share:g} have the "
            "teacher's score 0: take a larger rate, another teacher, or set method.same_rate=0"
        )
    layers = cicada.integers(params, norm)
    numbers = jnp.asarray(symmetric_copies(parts[0]["x"].shape[1])[: target.shape[1]])

    def of_copies(x: Array) -> Array:
        return jax.lax.map(lambda number: integer_scores(layers, turned(x, number)), numbers).T

    scores = np.concatenate([in_batches(of_copies, part["x"], "integer scores") for part in parts])
    own = np.quantile(np.ldexp(scores.astype(np.float64), -SCORE.fraction), 1 - share)
    if own <= 0:
        raise UserError(
            "method.same_rate: the student's scores are 0, which nothing scales: train for longer, "
            "or set method.same_rate=0"
        )
    return params | {"out": params["out"] * np.float32(threshold / own)}


def _tell(stored: Mapping[str, Any], val: Rows) -> None:
    """Print what it costs, and how well it follows its teacher on the validation rows."""
    if not hosts.leads():
        return
    scores = jax.jit(jax.vmap(integer_scores, (0, None)))(stored["layers"], val["x"])
    for cost, counts in zip(stored["ebops"], np.asarray(scores), strict=True):
        found = np.ldexp(counts.astype(np.float64), -SCORE.fraction)
        target = val["target"][:, 0]
        print(
            f"student: {cost:,} EBOPs; from the teacher on {len(found):,} held-out events: mean "
            f"absolute difference {np.mean(np.abs(found - target)):.2f}, overlap of the highest "
            f"1 % {overlap(found, target):.2f}",
            flush=True,
        )


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{"student": (members, n)}, by the stored integers."""
    stage = stage_of(config, layout)

    def function(fitted: dict, raw: Array) -> dict[str, Array]:
        counts = jax.vmap(integer_scores, (0, None))(fitted["layers"], stage.apply(fitted, raw))
        return {"student": jnp.ldexp(counts.astype(jnp.float32), -SCORE.fraction)}

    return function
