"""Training steps per second of the top-tagging autoencoder: jaxad, PyTorch eager, Keras.

    python benchmarks/training.py [--batch 32 1024] [--rounds 5]

The same network (307,843 parameters), loss (MSE), optimiser (Adam) and random images in one
process, in turn, round by round; the ratio of each round is what counts, since the speed of a
shared machine drifts: by the clock, and of the processor time of a step. jaxad is timed through its
engine's compiled stretch, gather of the shuffled batch included; Keras through `train_on_batch` of
a compiled model (jit_compile="auto").
Needs the extra `bench`, and tensorflow-cpu for Keras.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import numpy as np
from engine_steps import engine_steps

from jaxad import training
from jaxad.methods.autoencoder import task
from jaxad.models.autoencoder import ConvAutoencoder

Steps = Callable[[], None]


def jaxad_steps(x: np.ndarray, batch: int, n: int) -> Steps:
    config = training.get_config(batch_size=batch, epochs=1)
    return engine_steps(task(ConvAutoencoder()), config, x, n)


def torch_network():
    """The same network in PyTorch: images (n, 1, 16, 16) -> reconstructions alike."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(
                nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(1, 128, 3, 2), nn.ReLU(),
                nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(128, 128, 3, 2), nn.ReLU(),
                nn.Flatten(), nn.Linear(2048, 2), nn.Linear(2, 2048), nn.ReLU(),
            )  # fmt: skip
            self.up1 = nn.ConvTranspose2d(128, 128, 3, 2)
            self.up2 = nn.ConvTranspose2d(128, 1, 3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.encoder(x).view(-1, 128, 4, 4)
            y = torch.relu(self.up1(y)[:, :, :8, :8])
            y = self.up2(y)[:, :, :16, :16]
            return torch.softmax(y.flatten(1), 1).view_as(x)

    network = Network()
    assert sum(p.numel() for p in network.parameters()) == 307_843
    return network


def torch_steps(x: np.ndarray, batch: int, n: int) -> Steps:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    network = torch_network()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    data = torch.tensor(x).permute(0, 3, 1, 2).contiguous()
    order = torch.randperm(len(x))

    def steps() -> None:
        for i in range(n):
            images = data[order[i * batch : (i + 1) * batch]]
            optimizer.zero_grad()
            ((network(images) - images) ** 2).mean().backward()
            optimizer.step()

    return steps


def keras_steps(x: np.ndarray, batch: int, n: int) -> Steps:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    from keras import layers

    same = {"padding": "same", "strides": 2}
    network = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            layers.Conv2D(128, 3, activation="relu", **same),
            layers.Conv2D(128, 3, activation="relu", **same),
            layers.Flatten(),
            layers.Dense(2),
            layers.Dense(2048, activation="relu"),
            layers.Reshape((4, 4, 128)),
            layers.Conv2DTranspose(128, 3, activation="relu", **same),
            layers.Conv2DTranspose(1, 3, **same),
            layers.Flatten(),
            layers.Softmax(),
            layers.Reshape((16, 16, 1)),
        ]
    )
    assert network.count_params() == 307_843
    network.compile(optimizer=keras.optimizers.Adam(1e-3), loss="mse")
    order = np.random.default_rng(0).permutation(len(x))

    def steps() -> None:
        for i in range(n):
            images = x[order[i * batch : (i + 1) * batch]]
            network.train_on_batch(images, images)

    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 1024])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    makers = {"jaxad": jaxad_steps, "PyTorch eager": torch_steps, "Keras": keras_steps}
    print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, {platform.machine()}")
    for batch in arguments.batch:
        n = max(2, 2048 // batch)
        x = np.random.default_rng(0).gamma(0.1, size=(n * batch, 16, 16, 1)).astype(np.float32)
        x /= x.sum(axis=(1, 2, 3), keepdims=True)
        steps = {}
        for name, make in makers.items():
            try:
                steps[name] = make(x, batch, n)
            except ImportError as error:
                print(f"{name}: left out ({error})")
                continue
            steps[name]()
        seconds: dict[str, list[np.ndarray]] = {name: [] for name in steps}
        for _ in range(arguments.rounds):
            for name, step in steps.items():
                began = np.array([time.perf_counter(), time.process_time()])
                step()
                now = np.array([time.perf_counter(), time.process_time()])
                seconds[name].append((now - began) / n)
        ours = np.array(seconds["jaxad"])
        for name, values in seconds.items():
            clock, processor = np.median(values, axis=0)
            ratio, of_processor = (np.array(values) / ours).T
            print(
                f"batch {batch:5d}  {name:14s} {1 / clock:8.1f} steps/s, "
                f"{processor:.4f} CPU s a step   jaxad is {np.median(ratio):.2f} times as fast "
                f"({ratio.min():.2f} to {ratio.max():.2f}), in CPU time "
                f"{np.median(of_processor):.2f} ({of_processor.min():.2f} to "
                f"{of_processor.max():.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
