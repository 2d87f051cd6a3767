"""A step of the second phase of a normalised autoencoder, beside the same step in PyTorch.

    PYTHONPATH=. python benchmarks/nae_step.py [--batch 256] [--steps 20] [--rounds 5]

The dense network of configs/normalised.py on images of 20 x 20 random pixels: 10 steps of chains in
the latent space from a buffer, 10 among inputs, then the loss and Adam. jaxad is timed through its
engine's compiled loop, its monitors included; PyTorch runs eagerly, written from the paper
(arXiv:2105.05735) with the buffer on the device. Round by round in one process. Needs the extra
`bench`.
"""

import argparse
import itertools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from engine_steps import engine_steps
from ml_collections import ConfigDict

from jaxad.configs import normalised
from jaxad.methods import normalised_autoencoder as nae
from jaxad.models.spherical import SphericalAutoencoder
from jaxad.training import Task

SIDE, WIDTHS, N_LATENT = 20, (64, 32), 3


def jaxad_steps(config: ConfigDict, x: np.ndarray, n: int) -> Callable[[], None]:
    network = SphericalAutoencoder((SIDE, SIDE, 1), WIDTHS, N_LATENT, bounded=True)
    first = nae.pretraining(network)
    buffer = jax.tree.map(lambda a: jnp.asarray(a[0]), nae.buffers(config, x.shape[1:], (0.0, 1.0)))

    def init(key, batch):
        params, state = first.init(key, batch)
        return params, state | {"scale": jnp.float32(0.01), "buffer": buffer}

    task = Task(init, nae.normalising(config, network, (0.0, 1.0)).loss)
    return engine_steps(task, config.normalise_train, x, n)


def torch_steps(config: ConfigDict, x: np.ndarray, n: int) -> Callable[[], None]:
    import torch
    from torch import nn
    from torch.nn import functional

    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch, chains, size = config.normalise_train.batch_size, config.chains, SIDE * SIDE

    def layers(*sizes: int) -> nn.Sequential:
        found = nn.Sequential()
        for a, b in itertools.pairwise(sizes):
            found.append(nn.Linear(a, b))
            found.append(nn.ELU())
        return found[:-1]

    encoder = layers(size, *WIDTHS, N_LATENT).to(device)
    decoder = nn.Sequential(layers(N_LATENT, *WIDTHS[::-1], size), nn.Sigmoid()).to(device)
    weights = [*encoder.parameters(), *decoder.parameters()]
    optimizer = torch.optim.Adam(weights, config.normalise_train.learning_rate)
    data = torch.tensor(x.reshape(len(x), -1), device=device)
    buffer = functional.normalize(torch.randn(chains.buffer, N_LATENT, device=device), dim=1)

    def energy(v: torch.Tensor) -> torch.Tensor:
        code = functional.normalize(encoder(v), dim=1)
        return ((v - decoder(code)) ** 2).mean(1) / 0.01

    def walk(v: torch.Tensor, function, steps: int, rate: float, noise: float, settle):
        for _ in range(steps):
            v = v.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(function(v).sum(), v)
            length = gradient.norm(dim=1, keepdim=True)
            gradient = gradient * (chains.limit / length.clamp(min=1e-15)).clamp(max=1)
            v = settle(v.detach() - rate * gradient + noise * torch.randn_like(v))
        return v

    place = 0

    def step(rows: torch.Tensor) -> None:
        nonlocal place
        z = buffer[torch.randint(len(buffer), (len(rows),), device=device)]
        fresh = functional.normalize(torch.randn_like(z), dim=1)
        z = torch.where(torch.rand(len(z), 1, device=device) < chains.restart, fresh, z)
        latent = chains.latent_steps, chains.latent_rate, chains.latent_noise
        z = walk(z, lambda z: energy(decoder(z)), *latent, lambda z: functional.normalize(z, dim=1))
        inputs = chains.input_steps, chains.input_rate, chains.input_noise
        end = walk(decoder(z).detach(), energy, *inputs, lambda v: v.clamp(0, 1))
        buffer[place : place + batch] = z
        place = (place + batch) % (len(buffer) - batch + 1)
        positive, negative = energy(rows), energy(end)
        loss = (positive - negative + config.method.gamma * negative**2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def steps() -> None:
        for i in range(n):
            step(data[i * batch : (i + 1) * batch])
        if device == "cuda":
            torch.cuda.synchronize()

    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20, help="a round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    config = normalised.get_config()
    config.normalise_train.batch_size = args.batch
    rng = np.random.default_rng(0)
    x = rng.random((args.batch * args.steps, SIDE, SIDE, 1)).astype(np.float32)
    runs, seconds = {}, {}
    for name, make in {"jaxad": jaxad_steps, "PyTorch, eager": torch_steps}.items():
        try:
            runs[name] = make(config, x, args.steps)
        except ImportError as error:
            print(f"{name}: left out ({error})")
            continue
        runs[name]()
    for _ in range(args.rounds):
        for name, run in runs.items():
            began = time.perf_counter(), time.process_time()
            run()
            ended = time.perf_counter(), time.process_time()
            seconds.setdefault(name, []).append(np.subtract(ended, began) / args.steps)
    ours = np.array(seconds["jaxad"])
    print(jax.devices()[0].device_kind)
    for name, values in seconds.items():
        clock, processor = 1e3 * np.median(values, axis=0)
        ratio, of_processor = np.median(np.array(values) / ours, axis=0)
        low, high = np.percentile(np.array(values)[:, 1] / ours[:, 1], (0, 100))
        print(
            f"{name}: {clock:.2f} ms a step, {processor:.2f} of processor time; jaxad "
            f"{ratio:.2f} times as fast, by processor time {of_processor:.2f} "
            f"({low:.2f} to {high:.2f})"
        )


if __name__ == "__main__":
    main()
