"""Section `agreement`: every method on the device against the same on its host's CPU.

Each fit of each method is stopped at its first batch: loss and gradient of random parameters are
taken on both, in float32, on the device at the default precision and at the highest; the parameters
then stand for fitted ones, and all scores of the method are compared. One process holds both.
"""

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerator.cases import CASES, Case, experiment, write_files
from benchmarks.accelerator.context import Context
from jaxad import data, methods
from jaxad.commands import train as commands
from jaxad.data.dataset import Rows
from jaxad.training import Fitted, Task

ROWS = 64
PRECISIONS = ("default", "highest")
LIMITS = {
    "loss": {"default": 5e-3, "highest": 1e-5},
    "gradient": {"default": 3e-2, "highest": 1e-3},
    "scores": {"default": 5e-2, "highest": 1e-3},
}
"""Largest differences that count as agreement: of TF32, and of float32 summed in another order."""
TINY = ("autoencoder (conv)", "trigger_autoencoder (dense_vae)", "supervised")


def run(context: Context, part: str) -> None:
    """The methods of one part."""
    number, _, n_parts = part.partition(" of ")
    names = TINY if context.tiny else tuple(CASES)[int(number) - 1 :: int(n_parts)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder)
        for case in (CASES[name] for name in names):
            with context.may_fail(case.name):
                _check(context, case, folder)


def _check(context: Context, case: Case, folder: Path) -> None:
    config, said = experiment(case, folder), io.StringIO()
    found: list[dict[str, dict[str, float]]] = []
    with contextlib.redirect_stdout(said):
        if case.name == "student" and not (folder / "teacher").exists():
            commands.train(experiment(CASES["isolation_forest"], folder), folder / "teacher")
        dataset = data.load(config.data)
        method = methods.get(config.method.name)

        def fitting(task: Task, train: Rows, val: Rows, settings: Any, seed: int, **more: Any):
            fitted, differences = _fit(task, train, val, settings, more.get("initial"))
            found.append(differences)
            return fitted

        fitted = method.fit(config, dataset, commands.bench(fitting))
    raw = np.asarray(dataset.test["x"][:ROWS])
    found.append({"scores": _scores(method.scores(config, dataset.layout), fitted, raw)})
    for what in ("loss", "gradient", "scores"):
        each = [differences[what] for differences in found if what in differences]
        if not each:
            continue
        worst = {name: max(d[name] for d in each) for name in PRECISIONS}
        agrees = all(worst[name] <= LIMITS[what][name] for name in PRECISIONS)
        said = ", ".join(f"{name} {worst[name]:.1e}" for name in PRECISIONS)
        limits = ", ".join(f"{LIMITS[what][name]:.0e}" for name in PRECISIONS)
        of = f"{len(each)} fits" if len(each) > 1 else ""
        context.row(
            f"{case.name}: {what}",
            said,
            note="; ".join(filter(None, ("agrees" if agrees else f"beyond {limits}", of))),
        )


def _everywhere(function: Callable, arguments: Any) -> dict[str, Any]:
    """Results of a function on the CPU ("cpu") and at each precision on the device, on the host."""
    found = {}
    with jax.default_device(jax.devices("cpu")[0]):
        found["cpu"] = jax.device_get(jax.jit(lambda *a: function(*a))(*arguments))
    for name in PRECISIONS:
        with jax.default_matmul_precision(name):
            found[name] = jax.device_get(jax.jit(lambda *a: function(*a))(*arguments))
    return found


def _norm(tree: Any) -> float:
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    return float(np.sqrt(sum((leaf**2).sum() for leaf in leaves)))


def untrained(task: Task, val: Rows, settings: Any, params: Any, state: Any) -> Fitted:
    """Parameters (members, best epochs, ...) in the place of fitted ones, all their metrics 0."""
    batch = {name: values[:ROWS] for name, values in val.items()}
    batch["weight"] = np.ones(len(next(iter(batch.values()))), np.float32)
    one = jax.tree.map(lambda a: a[0, 0], (params, state))
    key = jax.random.key(0)
    _, (metrics, _) = jax.eval_shape(lambda p, s, b: task.loss(p, s, b, key, False), *one, batch)
    members, best = settings.ensemble, max(min(settings.keep_best, settings.epochs), 1)
    history = [{f"val_{name}": np.zeros(members) for name in (*metrics, "loss")}]
    return Fitted(params, state, np.zeros((members, best)), history)


def _fit(
    task: Task, train: Rows, val: Rows, settings: Any, initial: tuple[Any, Any] | None
) -> tuple[Fitted, dict[str, dict[str, float]]]:
    """Random parameters in the place of fitted ones; differences of their loss and gradient."""
    batch = {name: np.asarray(values[:ROWS]) for name, values in train.items()}
    ones = np.ones(len(next(iter(batch.values()))))
    batch["weight"] = np.asarray(batch.get("weight", ones), np.float32)
    rng = np.random.default_rng(0)
    with jax.default_device(jax.devices("cpu")[0]):
        if initial:
            params, state = jax.tree.map(lambda a: np.asarray(a[0]), initial)
        else:
            params, state = jax.device_get(jax.jit(task.init)(jax.random.key(0), batch))
    params = jax.tree.map(lambda a: a + rng.normal(0, 0.05, a.shape).astype(a.dtype), params)

    def values(params: Any, state: Any, batch: Rows) -> tuple[Any, Any]:
        key = jax.random.key(1)
        return jax.value_and_grad(lambda p: task.loss(p, state, batch, key, True)[0])(params)

    found = _everywhere(values, (params, state, batch))
    (loss, gradient), differences = found.pop("cpu"), {"loss": {}, "gradient": {}}
    for name, (other, others) in found.items():
        apart = jax.tree.map(lambda a, b: np.asarray(a, np.float64) - b, others, gradient)
        differences["loss"][name] = float(abs(other - loss) / max(abs(loss), 1e-30))
        differences["gradient"][name] = _norm(apart) / max(_norm(gradient), 1e-30)
    members, best = settings.ensemble, max(min(settings.keep_best, settings.epochs), 1)
    params, state = jax.tree.map(
        lambda a: np.broadcast_to(a, (members, best, *np.shape(a))).copy(), (params, state)
    )
    return untrained(task, val, settings, params, state), differences


def _scores(function: Callable, fitted: Any, raw: np.ndarray) -> dict[str, float]:
    """The largest difference of any score of any event, over the spread of that score.

    A score of random weights may hardly vary: its spread counts as a thousandth of it at least.
    """
    fitted = jax.tree.map(jnp.asarray, jax.device_get(fitted))
    fitted = jax.device_get(fitted)
    found = _everywhere(function, (fitted, raw))
    expected = found.pop("cpu")
    return {
        precision: max(
            float(np.abs(np.asarray(values, np.float64) - expected[name]).max())
            / max(float(expected[name].std()), 1e-3 * float(np.abs(expected[name]).max()), 1e-30)
            for name, values in scores.items()
        )
        for precision, scores in found.items()
    }
