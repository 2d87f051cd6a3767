"""Training throughput of CoDAE on CPU beside PyTorch, and latency of its parts at batch 1.

    PYTHONPATH=. python benchmarks/codae.py [--batch 128] [--rounds 3] [--latency]

The same network (1,646,467 parameters), loss and random masks in one process, in turn, round by
round. Wall times of a shared machine drift, so the ratio of each round counts; CPU seconds are
printed beside them. jaxad is timed through its engine's compiled loop, shuffled gather and
augmentation included; PyTorch runs eagerly with its native grouped convolutions, channels last.
Needs the extra `bench`.
"""

import argparse
import os
import resource
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from engine_steps import engine_steps

from jaxad.configs.codae import get_config
from jaxad.methods.codae import model, task
from jaxad.models.codae import FEATURES, N_PARAMETERS

Steps = Callable[[], None]
SHAPE = (72, 58, 1)  # of an image


def jaxad_steps(x: np.ndarray, batch: int, n: int) -> Steps:
    config = get_config()
    config.train.batch_size = batch
    return engine_steps(task(config, SHAPE), config.train, x, n)


def torch_network():
    import torch
    from torch import nn
    from torch.nn import functional

    class ConvLayer(nn.Module):
        def __init__(self, before: int, features: int, stride: int = 1, groups: int = 1) -> None:
            super().__init__()
            self.stride = stride
            self.conv = nn.Conv2d(
                before, features, 3, stride, padding=0 if stride == 2 else 1, groups=groups
            )
            self.norm = nn.InstanceNorm2d(features, eps=1e-3, affine=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.stride == 2:
                x = functional.pad(x, (x.shape[3] % 2, 1, x.shape[2] % 2, 1))
            return functional.leaky_relu(self.norm(self.conv(x)), 0.2)

    class Residual(nn.Module):
        def __init__(self, features: int) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                ConvLayer(features, features, groups=4), ConvLayer(features, features, groups=4)
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.layers(x)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            before = (1, *FEATURES[:-1])
            self.encoder = nn.Sequential()
            self.mask = nn.ModuleList()
            for i, (b, f) in enumerate(zip(before, FEATURES, strict=True)):
                self.encoder.append(ConvLayer(b, f, 2, 4 if i else 1))
                self.encoder.append(Residual(f))
                self.mask.append(ConvLayer(b, f, 1, 2 if i else 1))
            self.encoder.append(nn.Conv2d(FEATURES[-1], 64, 1))
            self.z_m = nn.Linear(5120, 2)
            after = (64, *FEATURES[:0:-1])
            self.condition = nn.ModuleList(nn.Conv2d(4, c, 3, padding=1) for c in after)
            self.up = nn.ModuleList(
                nn.Sequential(ConvLayer(c, f, 1, 4 if i else 1), Residual(f))
                for i, (c, f) in enumerate(zip(after, FEATURES[::-1], strict=True))
            )
            self.logits = nn.Conv2d(FEATURES[0], 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            code = x
            for layer in self.mask:
                code = layer(code)
                pad = (code.shape[3] % 2, 1, code.shape[2] % 2, 1)
                code = functional.max_pool2d(functional.pad(code, pad, value=-torch.inf), 3, 2)
            code = self.z_m(code.flatten(1))
            y = self.encoder(x)
            for condition, up in zip(self.condition, self.up, strict=True):
                h, w = y.shape[2:]
                sides = (torch.linspace(-1, 1, side, device=x.device) for side in (h, w))
                rows, columns = torch.meshgrid(*sides, indexing="ij")
                grid = torch.stack([columns, rows]).expand(len(y), -1, -1, -1)
                scale = torch.cat([code[:, :, None, None].expand(-1, -1, h, w), grid], 1)
                y = functional.interpolate(y * condition(scale), scale_factor=2, mode="bilinear")
                y = up(y)
            return self.logits(y[:, :, 4:76, 3:61])

    return Network()


def torch_steps(x: np.ndarray, batch: int, n: int) -> Steps:
    import torch
    from torch.nn import functional

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = torch_network().to(memory_format=torch.channels_last)
    assert sum(p.numel() for p in network.parameters()) == N_PARAMETERS["codae"]
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.1)
    data = torch.tensor(x).permute(0, 3, 1, 2)
    order = torch.randperm(len(x))

    def steps() -> None:
        for i in range(n):
            images = data[order[i * batch : (i + 1) * batch]].float()
            images = images.contiguous(memory_format=torch.channels_last)
            optimizer.zero_grad()
            logits = network(images)
            loss = functional.binary_cross_entropy_with_logits(logits, images, reduction="sum")
            (loss / batch).backward()
            for parameter in network.parameters():
                torch.nn.utils.clip_grad_norm_(parameter, 1.0)
            optimizer.step()

    return steps


def throughput(batch: int, n: int, rounds: int) -> None:
    x = (np.random.default_rng(0).random((n * batch, 72, 58, 1)) < 0.03).astype(np.uint8)
    measured: dict[str, list[tuple[float, float]]] = {}
    steps: dict[str, Steps] = {}
    for name, make in {"jaxad": jaxad_steps, "PyTorch eager": torch_steps}.items():
        try:
            steps[name] = make(x, batch, n)
        except ImportError as error:
            print(f"{name}: left out ({error})")
            continue
        steps[name]()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        print(f"{name}: ready; peak memory of the process so far {peak:.2f} GiB", flush=True)
    for _ in range(rounds):
        for name, step in steps.items():
            began, cpu = time.perf_counter(), time.process_time()
            step()
            seconds = time.perf_counter() - began, time.process_time() - cpu
            measured.setdefault(name, []).append((seconds[0] / n, seconds[1] / n))
    ours = np.array(measured["jaxad"])
    for name, values in measured.items():
        wall, cpu = np.median(values, axis=0)
        ratio, cpu_ratio = np.median(np.array(values) / ours, axis=0)
        print(
            f"batch {batch}  {name:14s} {batch / wall:7.1f} images/s, {cpu:.2f} CPU s a step; "
            f"jaxad is {ratio:.2f} times as fast ({cpu_ratio:.2f} by CPU time)",
            flush=True,
        )


def latency(rounds: int = 50) -> None:
    """Median time of one event through the mask-encoder, the encoder, and everything."""
    network = model(get_config(), SHAPE)
    x = jnp.zeros((1, 72, 58, 1))
    variables = jax.jit(network.init)(jax.random.key(0), x)
    for name, method in (("mask-encoder", "mask_code"), ("encoder", "encode"), ("whole", None)):
        call = jax.jit(lambda v, x, method=method: network.apply(v, x, method=method))
        jax.block_until_ready(call(variables, x))
        seconds = []
        for _ in range(rounds):
            began = time.perf_counter()
            jax.block_until_ready(call(variables, x))
            seconds.append(time.perf_counter() - began)
        middle, best = 1e3 * np.median(seconds), 1e3 * min(seconds)
        print(f"batch 1  {name:14s} {middle:7.2f} ms (best {best:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=1, help="a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", action="store_true", help="only latency at batch 1")
    arguments = parser.parse_args()
    print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores")
    if arguments.latency:
        latency()
    else:
        throughput(arguments.batch, arguments.steps, arguments.rounds)


if __name__ == "__main__":
    main()
