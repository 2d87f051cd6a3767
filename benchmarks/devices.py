"""Loss and gradients of every method on 1, 2 and 8 simulated devices.

    PYTHONPATH=. python benchmarks/devices.py [--configs toptagging_ae,codae,...] [--double]

Each config trains at its smoke size; before each of its fits the same batch of 64 rows is spread
over the first 1, 2 and 8 of eight simulated CPU devices, and the loss and all gradients of the
freshly drawn parameters are compared with those of one device. Printed are the relative difference
of the loss and the largest difference of an entry of the gradients relative to the largest entry:
rounding, some 1e-6 of float32, unless a sum over the batch is wrong. With --double every float32 is
a float64, which tells rounding, enlarged where a ReLU changes its side, from anything else (not
for the resonant search, whose folds are a hash of float32).
"""

import argparse
import contextlib
import importlib
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)

import distrax  # noqa: F401, before the change below, which its own checks do not like
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

if DOUBLE := "--double" in sys.argv:
    jax.config.update("jax_enable_x64", True)
    jnp.float32 = jnp.float64  # before jaxad takes its name

from jaxad import data, methods
from jaxad.commands import train as run
from jaxad.configs import adc2021_ae
from jaxad.data.dataset import Rows
from jaxad.training import Fitted, Task, fit

ROWS = 64
DEVICES = (1, 2, 8)
CONFIGS = sorted(path.stem for path in (Path(__file__).parents[1] / "configs").glob("[!_]*.py"))
CONFIGS.remove("search")  # is not trained
NEEDS_A_FILE = ("features_ae", "hls4ml_ae", "interpretable_hls4ml")


def in_precision(values: Any) -> Any:
    """Floating numbers as float64 with --double."""
    return values.astype(float) if DOUBLE and values.dtype.kind == "f" else values


def on_devices(task: Task, rows: Rows, n: int) -> tuple[float, Any]:
    """Loss and gradients of freshly drawn parameters, `rows` spread over n devices."""
    mesh = jax.make_mesh((n,), ("batch",), (AxisType.Auto,), devices=jax.devices()[:n])
    split, whole = (NamedSharding(mesh, spec) for spec in (PartitionSpec("batch"), PartitionSpec()))
    batch = jax.device_put(rows, split)

    def value(key: jax.Array, batch: Rows) -> tuple:
        drawn = task.init(key, {name: values[:8] for name, values in batch.items()})
        params, state = jax.tree.map(in_precision, drawn)
        return jax.value_and_grad(lambda p: task.loss(p, state, batch, key, True)[0])(params)

    loss, grads = jax.jit(value, out_shardings=whole)(jax.random.key(1), batch)
    return float(loss), jax.tree.map(np.asarray, grads)


def differences(task: Task, train: Rows) -> str:
    """Of 2 and 8 devices from one, as text."""
    rows = {name: np.resize(values, (ROWS, *values.shape[1:])) for name, values in train.items()}
    weight = np.where(np.arange(ROWS) < ROWS - 5, rows.get("weight", np.ones(ROWS)), 0.0)
    rows = jax.tree.map(in_precision, rows | {"weight": weight.astype(np.float32)})
    loss, grads = on_devices(task, rows, 1)
    largest, found = max(np.abs(a).max() for a in jax.tree.leaves(grads)), []
    for n in DEVICES[1:]:
        other, others = on_devices(task, rows, n)
        apart = jax.tree.map(lambda a, b: np.abs(a - b).max(), grads, others)
        worst = max(jax.tree.leaves(apart)) / largest
        found.append(f"{n} devices: loss {abs(other / loss - 1):.0e}, gradients {worst:.0e}")
    return "; ".join(found)


def check(name: str) -> None:
    """Print the differences of every fit of a config."""
    config = importlib.import_module(f"jaxad.configs.{name}").get_config("smoke")
    dataset = data.load(config.data)
    n_fits = 0

    def fitter(task: Task, train: Rows, *rest: Any, stage: str, **more: Any) -> Fitted:
        nonlocal n_fits
        n_fits += 1
        print(f"{name:22s} {stage:22s} {differences(task, train)}", flush=True)
        return fit(task, train, *rest, stage=stage, **more)

    with tempfile.TemporaryDirectory() as teacher:
        if name == "adc2021_student":
            config.method.teacher = teacher
            with contextlib.redirect_stdout(io.StringIO()):
                run.train(adc2021_ae.get_config("smoke"), Path(teacher))
        methods.get(config.method.name).fit(config, dataset, run.bench(fitter))
    if not n_fits:
        print(f"{name:22s} trains nothing by gradients")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configs", default=",".join(CONFIGS), help="names of configs")
    parser.add_argument("--double", action="store_true", help="in double precision")
    for name in parser.parse_args().configs.split(","):
        if name in NEEDS_A_FILE:
            print(f"{name:22s} left out: needs a file")
        else:
            check(name)


if __name__ == "__main__":
    main()
