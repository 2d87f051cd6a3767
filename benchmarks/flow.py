"""Conditional densities side by side: jaxad's against those of zuko and nflows (torch).

    pip install zuko torch nflows
    python benchmarks/flow.py --data=FOLDER_OF_PREPARED_LHCO_ARRAYS --epochs 3 5 10 20 40
    python benchmarks/flow.py --data=jets_hls4ml_20k.h5 --epochs 3 5 10 20 40    # 20 features

Everything runs on one thread in one process and is timed in CPU seconds, compilation aside, so that
a shared machine does not matter. A schedule of jaxad is trained for each number of epochs (Adam,
cosine to zero), the torch flows at their constant rates for `--seconds`. Then the CPU seconds to
the validation NLL that `--reference` had after one epoch, two, four and so on: of each density the
shortest schedule that is as low. NLL is that of standardised logit features.

The MAF has the size and settings of sk_cathode's (15 blocks of 128, 128, Adam 1e-4, batch 256), and
the spline flow of nflows too (10 blocks of 64, 64, 8 bins, tails from 10). Flow matching has the 11
hidden layers of sk_cathode's (`small_cond_MLP_model` in generative_models/
conditional_flow_matching.py), without the condition fed in again on the way, and other settings.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    ]
)
os.environ["OMP_NUM_THREADS"] = "1"

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxad.inputs import logit as scaling
from jaxad.models.autoregressive import Autoregressive
from jaxad.models.flow import FlowMatching, RealNVP

N_EPOCH, N_SAMPLES = 439_400, 20_000
N_MOMENTA = 20
PUBLISHED = (64,) * 3 + (256,) * 6 + (64,) * 2  # sk_cathode's flow matching


class Setting(NamedTuple):
    """A density of jaxad and its training."""

    flow: RealNVP | Autoregressive | FlowMatching
    batch: int = 1024
    rate: float = 3e-3


SETTINGS: dict[str, Callable[[int], Setting]] = {
    "affine": lambda n: Setting(RealNVP(n, n_layers=12)),
    "spline": lambda n: Setting(RealNVP(n, n_layers=6, coupling="spline")),
    "autoregressive affine": lambda n: Setting(Autoregressive(n, n_layers=6), 512, 5e-3),
    "autoregressive spline": lambda n: Setting(
        Autoregressive(n, n_layers=3, coupling="spline"), 512
    ),
    "matching": lambda n: Setting(FlowMatching(n, hidden=PUBLISHED, n_steps=10), rate=1e-3),
}
"""Of so many features."""


class Point(NamedTuple):
    """After so much training."""

    epochs: int
    seconds: float  # CPU
    nll: float  # validation


def sidebands(folder: Path) -> list[np.ndarray]:
    """Mass, then features (n, 5) of the sidebands: to train and to validate."""
    return [np.load(folder / f"outerdata_{part}.npy")[:, :-1] for part in ("train", "val")]


def momenta(file: Path) -> list[np.ndarray]:
    """log of pT, then features (n, 21) of hls4ml jets: four fifths to train, the rest to validate.

    The momentum of each of the 20 leading constituents over that of the one before it, of the first
    over that of all, of jets that have so many.
    """
    with h5py.File(file) as h5:
        pt = h5["constituents"][:, :, 0].astype(float)
    pt = -np.sort(-pt[np.sum(pt > 0, axis=1) >= N_MOMENTA], axis=1)
    total = pt.sum(axis=1, keepdims=True)
    before = np.concatenate([total, pt[:, : N_MOMENTA - 1]], axis=1)
    rows = np.concatenate([np.log(total), pt[:, :N_MOMENTA] / before], axis=1)
    return np.split(rows.astype(np.float32), [len(rows) * 4 // 5])


def load(data: Path) -> list[np.ndarray]:
    """Scaled features and condition: train x, m and validation x, m, edges left out."""
    train, val = sidebands(data) if data.is_dir() else momenta(data)
    scaler = scaling.fit_logit_scaler(train[:, 1:])
    mean, spread = train[:, :1].mean(), train[:, :1].std()
    rows = []
    for part in (train, val):
        unit = (part[:, 1:] - np.asarray(scaler.low)) / np.asarray(scaler.high - scaler.low)
        part = part[((unit > 1e-6) & (unit < 1 - 1e-6)).all(axis=1)]
        rows += [np.asarray(scaling.forward(scaler, part[:, 1:])), (part[:, :1] - mean) / spread]
    return rows


class Jaxad:
    """A density as jaxad trains it; one compiled loop an epoch."""

    def __init__(self, rows: list[np.ndarray], setting: Setting):
        self.x, self.m, self.x_val, self.m_val = map(jnp.asarray, rows)
        self.flow, self.batch, self.rate = setting
        self.steps = len(self.x) // self.batch
        flow = self.flow
        self.optimizer = optax.chain(optax.clip_by_global_norm(5.0), optax.scale_by_adam())
        self.run = jax.jit(self._run)
        self.nll_of = jax.jit(lambda p: -flow.apply(p, self.x_val, self.m_val).mean())
        self.draw = jax.jit(lambda p, key, m: flow.apply(p, key, m, method=flow.sample))

    def _loss(self, params, rows, key):
        x, m = self.x[rows], self.m[rows]
        if isinstance(self.flow, FlowMatching):
            return self.flow.apply(params, key, x, m, method=self.flow.residual).mean()
        return -self.flow.apply(params, x, m).mean()

    def _run(self, params, state, index, total, key):
        """An epoch of a schedule of `total` steps."""

        def step(carry, batch):
            params, state, done = carry
            rows, key = batch
            grads = jax.grad(self._loss)(params, rows, key)
            updates, state = self.optimizer.update(grads, state, params)
            factor = -self.rate * (1 + jnp.cos(jnp.pi * done / total)) / 2
            params = jax.tree.map(lambda p, u: p + factor * u, params, updates)
            return (params, state, done + 1), None

        keys = jax.random.split(key, len(index))
        return jax.lax.scan(step, (params, *state), (index, keys))[0]

    def train(self, epochs: int) -> Point:
        """From the start, for one schedule."""
        params = self.flow.init(jax.random.key(0), self.x[:2], self.m[:2])
        carry = (params, self.optimizer.init(params), jnp.float32(0))
        total, spent = jnp.float32(epochs * self.steps), 0.0
        for number in range(-1, epochs):
            order = np.random.default_rng(number + 1).permutation(len(self.x))
            index = order[: self.steps * self.batch].reshape(self.steps, self.batch)
            start = time.process_time()
            key = jax.random.fold_in(jax.random.key(1), number + 1)
            new = jax.block_until_ready(self.run(carry[0], carry[1:], index, total, key))
            if number >= 0:  # the first one compiles
                carry, spent = new, spent + time.process_time() - start
        self.params = carry[0]
        return Point(epochs, spent, float(self.nll_of(self.params)))

    def sample(self, m: np.ndarray) -> None:
        jax.block_until_ready(self.draw(self.params, jax.random.key(0), jnp.asarray(m)))


class Torch:
    """A flow in eager torch, Adam at a constant rate."""

    def __init__(self, rows: list[np.ndarray], name: str, seed: int = 0):
        import torch

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.torch, self.batch = torch, 256
        self.x, self.m, self.x_val, self.m_val = (torch.from_numpy(np.array(r)) for r in rows)
        self.flow, self.log_prob, self.draw = TORCH[name][0](self.x.shape[1])
        rate = TORCH[name][1]
        self.optimizer = torch.optim.Adam(self.flow.parameters(), lr=rate)
        self.steps = len(self.x) // self.batch

    def epoch(self, number: int) -> None:
        order = np.random.default_rng(number).permutation(len(self.x))
        for rows in order[: self.steps * self.batch].reshape(self.steps, self.batch):
            rows = self.torch.from_numpy(rows)
            loss = -self.log_prob(self.x[rows], self.m[rows]).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def nll(self) -> float:
        with self.torch.no_grad():
            return float(-self.log_prob(self.x_val, self.m_val).mean())

    def sample(self, m: np.ndarray) -> None:
        with self.torch.no_grad():
            self.draw(self.torch.from_numpy(m))

    def train(self, seconds: float) -> list[Point]:
        """A point after each epoch, until so many CPU seconds are over."""
        points: list[Point] = []
        while not points or points[-1].seconds < seconds:
            start = time.process_time()
            self.epoch(len(points))
            spent = (points[-1].seconds if points else 0.0) + time.process_time() - start
            points.append(Point(len(points) + 1, spent, self.nll()))
        return points


def zuko_flow(kind: str, n_features: int, layers: int, hidden: tuple[int, ...]) -> tuple:
    """A flow, its log p(x | m) and its samples."""
    import zuko

    flow = getattr(zuko.flows, kind)(n_features, 1, transforms=layers, hidden_features=hidden)
    return flow, lambda x, m: flow(m).log_prob(x), lambda m: flow(m).sample()


def nflows_flow(n_features: int) -> tuple:
    """The spline flow of sk_cathode, its log p(x | m) and its samples."""
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms.autoregressive import (
        MaskedPiecewiseRationalQuadraticAutoregressiveTransform as Spline,
    )
    from nflows.transforms.base import CompositeTransform
    from nflows.transforms.permutations import ReversePermutation
    from torch.nn.functional import relu

    blocks = []
    for _ in range(10):
        spline = Spline(
            features=n_features,
            hidden_features=64,
            context_features=1,
            num_bins=8,
            tails="linear",
            tail_bound=10,
            num_blocks=2,
            use_residual_blocks=False,
            activation=relu,
        )
        blocks += [spline, ReversePermutation(features=n_features)]
    flow = Flow(CompositeTransform(blocks), StandardNormal(shape=[n_features]))
    return flow, flow.log_prob, lambda m: flow.sample(1, context=m)


TORCH: dict[str, tuple[Callable[[int], tuple], float]] = {
    "MAF": (lambda n: zuko_flow("MAF", n, 15, (128, 128)), 1e-4),
    "NSF": (lambda n: zuko_flow("NSF", n, 5, (64, 64)), 1e-3),
    "nflows": (nflows_flow, 1e-4),
}
"""How a flow of so many features is made, and its learning rate."""


def show(name: str, model: Jaxad | Torch, points: list[Point]) -> None:
    """The curve, seconds for an epoch of the published rows, and samples a second."""
    for point in points:
        print(f"| {name} | {point.epochs} | {point.seconds:.1f} | {point.nll:.4f} |", flush=True)
    per_row = points[-1].seconds / points[-1].epochs / (model.steps * model.batch)
    m = np.asarray(model.m)[np.arange(N_SAMPLES) % len(model.m)]
    model.sample(m)  # compiles
    start = time.process_time()
    model.sample(m)
    rate = N_SAMPLES / (time.process_time() - start)
    line = f"{per_row * N_EPOCH:.1f} s an epoch of {N_EPOCH:,}; {rate:,.0f} samples/s"
    print(f"| {name} | | | {line} |", flush=True)


def doublings(points: list[Point]) -> list[Point]:
    """After 1, 2, 4 ... epochs and the last; those that are lower than all before."""
    kept: list[Point] = []
    for point in points:
        due = point.epochs & (point.epochs - 1) == 0 or point is points[-1]
        if due and (not kept or point.nll < kept[-1].nll):
            kept.append(point)
    return kept


def ratios(curves: dict[str, list[Point]], reference: str) -> list[str]:
    """Rows: how many times sooner each depth of the reference is reached; "-": it is not."""
    others = [name for name in curves if name != reference]
    rows = [
        f"| NLL of {reference} | at CPU s | " + " | ".join(others) + " |",
        "|---" * (2 + len(others)) + "|",
    ]
    for depth in doublings(curves[reference]):
        cells = []
        for name in others:
            reached = [p.seconds for p in curves[name] if p.nll <= depth.nll]
            cells.append(f"{depth.seconds / min(reached):.1f}" if reached else "-")
        rows.append(f"| {depth.nll:.4f} | {depth.seconds:.1f} | " + " | ".join(cells) + " |")
    return rows


def main() -> None:
    """Command line."""
    names = [*SETTINGS, *TORCH]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of LHCO arrays, or file of hls4ml jets"
    )
    parser.add_argument("--epochs", type=int, nargs="+", default=[3, 5, 10, 20, 40])
    parser.add_argument("--seconds", type=float, default=120.0, help="of each flow of torch")
    parser.add_argument("--models", default=",".join(names))
    parser.add_argument("--reference", choices=names, default="MAF")
    options = parser.parse_args()
    rows = load(options.data)
    print("| density | epochs | CPU s | NLL |\n|---|---|---|---|", flush=True)
    curves: dict[str, list[Point]] = {}
    for name in options.models.split(","):
        if name in SETTINGS:
            model = Jaxad(rows, SETTINGS[name](rows[0].shape[1]))
            curves[name] = [model.train(epochs) for epochs in options.epochs]
        else:
            model = Torch(rows, name)
            curves[name] = model.train(options.seconds)
        show(name, model, curves[name])
    if options.reference in curves:
        print("\n" + "\n".join(ratios(curves, options.reference)))


if __name__ == "__main__":
    main()
