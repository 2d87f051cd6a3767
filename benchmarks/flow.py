"""Conditional densities side by side: jaxad's RealNVP against MAF and spline flows of zuko (torch).

    pip install zuko torch
    python benchmarks/flow.py --data=FOLDER_OF_PREPARED_LHCO_ARRAYS --seconds=120

Everything runs on one thread in one process and is timed in CPU seconds, so that a shared machine
does not matter: validation NLL of standardised logit features against training time, seconds for
an epoch of 439,400 events, and samples a second. The MAF has the size and the settings of
sk_cathode's (15 blocks, Adam 1e-4, batch 256).
"""

import argparse
import os
import time
from pathlib import Path

os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    ]
)
os.environ["OMP_NUM_THREADS"] = "1"

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxad.inputs import logit as scaling
from jaxad.models.flow import RealNVP

N_EPOCH, N_SAMPLES = 439_400, 100_000


def load(folder: Path) -> list[np.ndarray]:
    """Scaled features and mass of the sidebands: train x, m and validation x, m, edges left out."""
    train, val = (np.load(folder / f"outerdata_{part}.npy") for part in ("train", "val"))
    scaler = scaling.fit_logit_scaler(train[:, 1:-1])
    mean, spread = train[:, :1].mean(), train[:, :1].std()
    rows = []
    for part in (train, val):
        unit = (part[:, 1:-1] - np.asarray(scaler.low)) / np.asarray(scaler.high - scaler.low)
        part = part[((unit > 1e-6) & (unit < 1 - 1e-6)).all(axis=1)]
        rows += [np.asarray(scaling.forward(scaler, part[:, 1:-1])), (part[:, :1] - mean) / spread]
    return rows


class Jaxad:
    """RealNVP as configs/cathode.py trains it; one compiled loop an epoch."""

    def __init__(self, rows, coupling: str, batch: int, epochs: int):
        self.x, self.m, self.x_val, self.m_val = map(jnp.asarray, rows)
        layers = {"affine": 12, "spline": 6}[coupling]
        self.flow = RealNVP(4, n_layers=layers, coupling=coupling)
        self.batch, self.steps = batch, len(self.x) // batch
        rate = optax.cosine_decay_schedule(2e-3, epochs * self.steps)
        self.optimizer = optax.chain(optax.clip_by_global_norm(5.0), optax.adam(rate))
        self.params = self.flow.init(jax.random.key(0), self.x[:2], self.m[:2])
        self.state = self.optimizer.init(self.params)
        self.run = jax.jit(self._run)
        self.evaluate = jax.jit(lambda p: -self.flow.apply(p, self.x_val, self.m_val).mean())
        self.draw = jax.jit(lambda p, key, m: self.flow.apply(p, key, m, method=self.flow.sample))
        self.epoch(0, keep=False)
        float(self.evaluate(self.params))

    def _run(self, params, state, index):
        def step(carry, rows):
            params, state = carry
            grads = jax.grad(lambda p: -self.flow.apply(p, self.x[rows], self.m[rows]).mean())(
                params
            )
            updates, state = self.optimizer.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), index)[0]

    def epoch(self, number: int, keep: bool = True) -> None:
        order = np.random.default_rng(number).permutation(len(self.x))
        index = order[: self.steps * self.batch].reshape(self.steps, self.batch)
        result = jax.block_until_ready(self.run(self.params, self.state, index))
        if keep:
            self.params, self.state = result

    def nll(self) -> float:
        return float(self.evaluate(self.params))

    def sample(self, m: np.ndarray) -> None:
        jax.block_until_ready(self.draw(self.params, jax.random.key(0), jnp.asarray(m)))


class Zuko:
    """A flow of zuko in eager torch, Adam at a constant rate."""

    def __init__(self, rows, kind: str, batch: int, rate: float):
        import torch
        import zuko

        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.torch, self.batch = torch, batch
        self.x, self.m, self.x_val, self.m_val = (torch.from_numpy(np.array(r)) for r in rows)
        if kind == "MAF":
            self.flow = zuko.flows.MAF(4, 1, transforms=15, hidden_features=(128, 128))
        else:
            self.flow = zuko.flows.NSF(4, 1, transforms=5, hidden_features=(64, 64))
        self.optimizer = torch.optim.Adam(self.flow.parameters(), lr=rate)
        self.steps = len(self.x) // batch

    def epoch(self, number: int) -> None:
        order = np.random.default_rng(number).permutation(len(self.x))
        for rows in order[: self.steps * self.batch].reshape(self.steps, self.batch):
            rows = self.torch.from_numpy(rows)
            loss = -self.flow(self.m[rows]).log_prob(self.x[rows]).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def nll(self) -> float:
        with self.torch.no_grad():
            return float(-self.flow(self.m_val).log_prob(self.x_val).mean())

    def sample(self, m: np.ndarray) -> None:
        with self.torch.no_grad():
            self.flow(self.torch.from_numpy(m)).sample()


def measure(name: str, model, seconds: float) -> None:
    """Train for so many CPU seconds, then sample; one line for every doubling of the time."""
    spent, epochs, due = 0.0, 0, seconds / 32
    while spent < seconds:
        start = time.process_time()
        model.epoch(epochs)
        spent, epochs = spent + time.process_time() - start, epochs + 1
        if spent >= due or spent >= seconds:
            print(
                f"{name:<16} {spent:8.1f} s {epochs:4d} epochs  NLL {model.nll():.4f}", flush=True
            )
            due *= 2
    per_epoch = spent / epochs / (model.steps * model.batch) * N_EPOCH
    m = np.array(model.m)[np.arange(N_SAMPLES) % len(model.m)]
    model.sample(m)
    start = time.process_time()
    model.sample(m)
    rate = N_SAMPLES / (time.process_time() - start)
    print(
        f"{name:<16} {per_epoch:.1f} s an epoch of {N_EPOCH:,}; {rate:,.0f} samples/s", flush=True
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--epochs", type=int, default=40, help="length of jaxad's schedule")
    parser.add_argument("--models", default="affine,spline,MAF,NSF")
    options = parser.parse_args()
    rows = load(options.data)
    for name in options.models.split(","):
        if name in ("affine", "spline"):
            model = Jaxad(rows, name, 512, options.epochs)
            measure(f"jaxad {name}", model, options.seconds)
        else:
            rate = {"MAF": 1e-4, "NSF": 1e-3}[name]
            measure(f"zuko {name}", Zuko(rows, name, 256, rate), options.seconds)


if __name__ == "__main__":
    main()
