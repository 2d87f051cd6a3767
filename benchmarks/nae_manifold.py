"""How near an autoencoder's manifold comes to its events, before a second phase changes it.

    python benchmarks/nae_manifold.py jets_hls4ml_20k.h5 --images
    python benchmarks/nae_manifold.py jets_hls4ml_20k.h5 --degree=0 --latents=3

After the first phase of configs/normalised.py, all seeds at once, for each size of the latent. No
signal is read. Prints in Markdown the median energy E0, and from smallest to largest the W/W0 of
the seeds, as docs/normalised.md has them of samples: 1 is perfect. Here they are of

    reconstructed   the validation events through encoder and decoder: the right latents, compared
                    with other events than their own
    with noise      the same with normal noise of the mean energy in every component, which is what
                    exp(-E) adds to a manifold, within the bounds
    decoded         the decoder at latents all over the sphere, where chains begin
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxad import data
from jaxad.configs import normalised
from jaxad.devices import compiler
from jaxad.methods import normalised_autoencoder as nae
from jaxad.methods.stages import langevin, rows, transport
from jaxad.models.spherical import project
from jaxad.training import fit

LINES = 512  # of the sliced distance
KINDS = ("reconstructed", "with noise", "decoded")


def distances(network: nae.Network, params, x: Array, bounds: tuple[float, float], key: Array):
    """Energy and W/W0 of each kind of sample of the events x (n, *shape), by name."""
    of_lines, of_noise, of_latents = jax.random.split(key, 3)
    found = network.apply({"params": params}, x)
    energy = jnp.mean(nae.energy(network, params, x))
    noise = jnp.sqrt(energy) * jax.random.normal(of_noise, x.shape)
    latents = project(jax.random.normal(of_latents, found.latent.shape))
    decoded = network.apply({"params": params}, latents, method="decode")
    others = jnp.roll(found.output, 1, axis=0)  # beside no event its own reconstruction
    samples = dict(zip(KINDS, (others, others + noise, decoded), strict=True))
    flat = x.reshape(len(x), -1)
    along = transport.directions(of_lines, flat.shape[1], LINES)
    away = {"E0": energy}
    for name, values in samples.items():
        values = jnp.clip(values, *bounds)
        drawn = langevin.Samples(values, values, values, jnp.zeros(len(x)))
        seen = nae.monitors(flat, drawn, bounds, along, jnp.ones(len(x)))
        away[name] = seen["wasserstein"] / seen["floor"]
    return away


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--background", default="", help="labels, if others than the config's")
    parser.add_argument("--degree", type=int, default=4, help="of the EFPs among features, 0: none")
    parser.add_argument("--images", action="store_true", help="softened, of 20 x 20 pixels")
    parser.add_argument("--latents", default="3,8,16,32", help="sizes of the latent")
    parser.add_argument("--widths", default="64,32", help="of the encoder's layers")
    parser.add_argument("--epochs", type=int, default=40)
    args = parser.parse_args()
    compiler.keep_programs()
    config = normalised.get_config()
    config.data.source = args.source
    config.data.background = args.background or config.data.background
    config.data.signals = ""
    config.inputs.efp_degree = args.degree
    config.train.ensemble, config.train.epochs = args.seeds, args.epochs
    config.model.widths = tuple(map(int, args.widths.split(",")))
    if args.images:
        config.inputs.name, config.inputs.smear, config.inputs.power = "jet_image", 1.0, 0.5
    dataset = data.load(config.data)
    stage = nae.stage_of(config, dataset.layout)
    _, train, val = rows.background(config, stage, dataset)
    bounds = (0.0, 1.0) if stage.kind == "image" else (-config.chains.bound, config.chains.bound)
    x = jnp.asarray(nae.compared(val)["x"][0])
    print("| latent | E0 |", " | ".join(KINDS), "|\n|---|---|---|---|---|")
    for size in map(int, args.latents.split(",")):
        config.model.n_latent = size
        network = nae.model(config, stage)
        task = nae.pretraining(network)
        fitted = fit(task, train, val, config.train, config.seed, stage="autoencoder")
        params = jax.tree.map(lambda a: jnp.asarray(a[:, 0]), fitted.params)
        found = jax.vmap(lambda p, net=network: distances(net, p, x, bounds, jax.random.key(0)))(
            params
        )
        cells = [f"{np.median(found['E0']):.2g}"]
        cells += [f"{np.min(found[kind]):.2f} to {np.max(found[kind]):.2f}" for kind in KINDS]
        print(f"| {size} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
