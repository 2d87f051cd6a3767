"""Validation NLL of CATHODE's density against epochs, steps and seconds, by size of the batch.

    python benchmarks/flow_batches.py --data=FOLDER_OF_PREPARED_LHCO_ARRAYS [--coupling=spline]
        [--settings 512:2e-3:40 4096:8e-3:80] [--seeds=3] [--n-rows=0]

A setting is batch size, learning rate and epochs of `flow_train` of one RealNVP; all else is the
default of configs/cathode.py. The first setting is the one to reach. Training is that of
`jaxad train`, validation after every epoch included, compilation not; the test part is never read.
Seconds are the clock's on an accelerator, and on a CPU those that one thread took. NLL is that of
standardised logit features: of the last epoch, and the mean of the ten lowest epochs.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from flow import load  # which tells XLA to take one thread

from jaxad import training
from jaxad.configs import cathode
from jaxad.devices import compiler
from jaxad.methods.stages import density

SETTINGS = ("512:2e-3:40", "1024:2.8e-3:40", "2048:4e-3:40", "4096:5.7e-3:40", "4096:8e-3:80")
WARM = 3  # epochs that compile, or find out how many steps a call may take


class Run(NamedTuple):
    """What one training said after every epoch."""

    nll: np.ndarray  # (epochs,), of validation
    steps: int  # of an epoch
    seconds: float  # of an epoch


def train(rows: list[np.ndarray], coupling: str, setting: str, seed: int) -> Run:
    """One density trained as `jaxad train` does it."""
    config, (batch, rate, epochs) = cathode.get_config(), setting.split(":")
    n_layers = {"affine": 12, "spline": 6}[coupling]
    config.flow.update({"name": "realnvp", "coupling": coupling, "n_layers": n_layers})
    config.flow_train.update({"batch_size": int(batch), "learning_rate": float(rate)})
    config.flow_train.update({"epochs": int(epochs), "ensemble": 1})
    now = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    ends: list[float] = []
    x, m, x_val, m_val = rows
    fitted = training.fit(
        density.task(density.network(config.flow, x.shape[1])),
        {"x": x, "m": m},
        {"x": x_val, "m": m_val},
        config.flow_train,
        seed,
        on_epoch=lambda history: ends.append(now()),
    )
    nll = np.array([line["val_loss"] for line in fitted.history])
    skipped = min(WARM, len(nll) - 1)
    return Run(nll, -(-len(x) // int(batch)), (ends[-1] - ends[skipped]) / (len(nll) - skipped))


def lines(setting: str, runs: list[Run], aim: float | None) -> list[str]:
    """Rows of the table: at quarters of the training, and where `aim` was reached."""
    batch, rate, epochs = setting.split(":")
    steps, seconds = runs[0].steps, float(np.median([run.seconds for run in runs]))
    nll = np.stack([run.nll for run in runs])

    def line(epoch: int, values: np.ndarray, note: str) -> str:
        shown = f"{np.median(values):.4f} [{values.min():.4f}, {values.max():.4f}]"
        at = f"{epoch} | {epoch * steps:,} | {epoch * seconds:.2f}"
        return f"| {batch} | {rate} | {at} | {shown} | {note} |"

    quarters = [max(int(epochs) * i // 4, 1) for i in (1, 2, 3, 4)]
    made = [line(e, nll[:, e - 1], f"of {epochs} epochs") for e in quarters]
    kept = np.sort(nll, axis=1)[:, :10].mean(axis=1)
    note = f"lowest ten epochs; {1e6 * seconds / steps:,.0f} us a step"
    if aim is not None:
        below = np.flatnonzero(np.median(nll, axis=0) <= aim)
        note += f"; {aim:.4f} after epoch {below[0] + 1}" if len(below) else f"; never {aim:.4f}"
    return [*made, line(int(epochs), kept, note)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--coupling", choices=("affine", "spline"), default="affine")
    parser.add_argument("--settings", nargs="+", default=SETTINGS, help="batch:rate:epochs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--n-rows", type=int, default=0, help="training rows; 0: all")
    options = parser.parse_args()
    compiler.settle()
    rows = load(options.data)
    rows[:2] = [values[: options.n_rows or None] for values in rows[:2]]
    print(f"{jax.devices()[0].device_kind}, {len(rows[0]):,} rows, {options.seeds} seeds")
    table = [
        "| batch | rate | epochs | steps | seconds | NLL, median and range | |",
        "|" + "---|" * 7,
    ]
    print("\n".join(table), flush=True)
    aim = None
    for setting in options.settings:
        runs = [train(rows, options.coupling, setting, seed) for seed in range(options.seeds)]
        print("\n".join(lines(setting, runs, aim)), flush=True)
        if aim is None:
            aim = float(np.median([run.nll[-1] for run in runs]))


if __name__ == "__main__":
    main()
