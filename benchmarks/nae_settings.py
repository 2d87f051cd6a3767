"""Settings of a normalised autoencoder's chains, all seeds of all of them in one program.

    python benchmarks/nae_settings.py jets_hls4ml_20k.h5 --images
    python benchmarks/nae_settings.py jets_hls4ml_20k.h5 --background=4 --signals=g=0,q=1

The noise among inputs is that of the temperature, given in units of E0 / d for d inputs: at
2 a chain that goes anywhere around the manifold has the mean energy of background. The chain in the
latent space has its own temperature, in units of that. The rate among inputs is a share of what the
curvature of the energy allows. --wasserstein is that form. Of each setting W/W0 and E-/E+ of its
seeds, which need no signal; then the AUC of the setting with the smallest median W/W0 among those
with all seeds inside the guard, and of the first phase of the same weights. The numbers that repeat
a setting with configs/normalised.py stand beside it.
"""

import argparse
import itertools
import json
import time
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxad import data
from jaxad.configs import normalised
from jaxad.data.dataset import Dataset, Rows
from jaxad.devices import compiler
from jaxad.devices.batches import in_batches
from jaxad.methods import normalised_autoencoder as nae
from jaxad.methods.stages import rows
from jaxad.metrics import auc
from jaxad.training import Fitted, Task, fit


class Setting(NamedTuple):
    """What differs between members; see the module."""

    temperature: float
    gamma: float
    latent_heat: float
    share: float


AT_ONCE = 1024  # events that are scored
RATE = 0.05  # of the chain in the latent space
LANGEVIN = [
    Setting(*values)
    for values in itertools.product((0.5, 2.0), (0.1, 0.5), (0.01, 0.1, 1.0), (0.25,))
]
FEW = [setting for setting in LANGEVIN if setting.gamma == 0.5 and setting.latent_heat == 0.1]
WASSERSTEIN = [
    Setting(*values) for values in itertools.product((0.5, 2.0, 8.0), (0.0,), (1.0,), (0.05, 0.25))
]


def absolute(setting: Setting, scale: float, size: int) -> dict[str, float]:
    """The setting as numbers of a config: of inputs of `size` components with energies `scale`."""
    temperature = setting.temperature / size
    rate = setting.share * temperature * scale * size / 2
    return {
        "temperature": temperature,
        "gamma": setting.gamma,
        "latent_rate": RATE,
        "latent_noise": float(np.sqrt(2 * RATE * setting.latent_heat)),
        "input_rate": rate,
        "input_noise": float(np.sqrt(2 * rate)),
    }


def scanning(config: ConfigDict, network: nae.Network, bounds: tuple[float, float]) -> Task:
    """`nae.normalising` with settings out of each member's state."""

    def loss(params, state, batch, key, training):
        own = state["setting"]
        method = SimpleNamespace(**{**config.method.to_dict(), **own})
        chains = config.chains.to_dict() | own
        settings = SimpleNamespace(method=method, chains=_Named(chains), model=config.model)
        return nae.normalising(settings, network, bounds).loss(params, state, batch, key, training)

    return Task(None, loss)


class _Named(dict):
    """A dictionary whose entries are attributes, too, as those of a config."""

    __getattr__ = dict.__getitem__


def second_phase(
    config: ConfigDict,
    network: nae.Network,
    bounds: tuple[float, float],
    first: Fitted,
    parts: tuple[Rows, Rows],
    settings: list[Setting],
) -> tuple[Fitted, list[dict[str, float]], dict]:
    """The second phase of all settings x seeds; their numbers, and the state it began with."""
    train, val = parts
    n_seeds, size = len(first.value), int(np.prod(train["x"].shape[1:]))
    scale = first.value[:, 0].astype(np.float32)
    numbers = [absolute(s, float(np.median(scale)), size) for s in settings]
    member = (
        np.repeat(np.arange(len(settings)), n_seeds),
        np.tile(np.arange(n_seeds), len(settings)),
    )
    params, state = jax.tree.map(lambda a: a[member[1], 0], (first.params, first.state))
    chosen = config.copy_and_resolve_references()
    coldest = min(s.temperature for s in settings) / size
    chosen.chains.limit = 3 * float(np.sqrt(2 / (np.median(scale) * coldest)))
    chosen.chains.annealed = False
    chosen.train.ensemble = chosen.normalise_train.ensemble = len(member[0])
    own = {name: np.float32([numbers[i][name] for i in member[0]]) for name in numbers[0]}
    empty = nae.buffers(chosen, train["x"].shape[1:], bounds)
    state = state | {"scale": scale[member[1]], "buffer": empty, "setting": own}
    fitted = fit(
        scanning(chosen, network, bounds),
        train,
        nae.compared(val),
        chosen.normalise_train,
        config.seed,
        stage="normalisation",
        initial=(params, state),
    )
    for entry in numbers:
        entry["limit"] = chosen.chains.limit
    return fitted, numbers, {"params": params, "state": state}


def aucs_of(energies, dataset: Dataset, params) -> dict[str, list[float]]:
    """AUC of every signal by the energies of each member of `params`."""
    background, *signals = (
        in_batches(lambda raw: energies(params, raw).T, part["x"], "energies", AT_ONCE).T
        for part in (dataset.test, *dataset.signals.values())
    )
    found = {
        name: [auc(b, s) for b, s in zip(background, signal, strict=True)]
        for name, signal in zip(dataset.signals, signals, strict=True)
    }
    return found | {"mean": np.mean(list(found.values()), axis=0).tolist()}


def scan(config: ConfigDict, dataset: Dataset, settings: list[Setting], seeds: int) -> list[dict]:
    """What is printed: an entry of the first phase, then one of each setting, the chosen last."""
    stage = nae.stage_of(config, dataset.layout)
    learnt, train, val = rows.background(config, stage, dataset)
    network = nae.model(config, stage)
    bounds = (0.0, 1.0) if stage.kind == "image" else (-config.chains.bound, config.chains.bound)
    config.train.ensemble = seeds
    began = time.time()
    first = fit(nae.pretraining(network), train, val, config.train, config.seed, stage="first")
    seconds = [time.time() - began]
    second, numbers, start = second_phase(config, network, bounds, first, (train, val), settings)
    seconds.append(time.time() - began - seconds[0])

    def energies(params, raw):
        x = stage.apply({"inputs": learnt}, raw)
        return jax.vmap(
            lambda p, s: nae.energy(network, nae.effective(network, p, s, False)[0], x)
        )(*params)

    def members(tree, i):
        return jax.tree.map(lambda a: jnp.asarray(a[i * seeds : (i + 1) * seeds]), tree)

    begun = start["params"], {"vectors": start["state"]["vectors"]}
    entries = [
        {"phase": "first", "seconds": seconds, "auc": aucs_of(energies, dataset, members(begun, 0))}
    ]
    found = nae.convergence({"monitors": nae.chosen(second, config.normalise_train)})
    away, ratio, epoch = (
        np.reshape(found[name], (len(settings), seeds))
        for name in ("wasserstein_over_floor", "energy_ratio", "epoch")
    )
    inside = ((ratio > nae.RATIO[0]) & (ratio < nae.RATIO[1])).all(axis=1)
    for i, setting in enumerate(settings):
        entries.append(
            {
                **setting._asdict(),
                "numbers": numbers[i],
                "wasserstein_over_floor": away[i].round(3).tolist(),
                "energy_ratio": ratio[i].round(3).tolist(),
                "epoch": epoch[i].tolist(),
            }
        )
    best = int(np.argmin(np.median(away, axis=1) + np.where(inside, 0, 1e6)))
    after = jax.tree.map(lambda a: a[:, 0], (second.params, {"vectors": second.state["vectors"]}))
    last = {"auc": aucs_of(energies, dataset, members(after, best)), "guarded": bool(inside[best])}
    return [*entries, {"chosen": best, **entries[1 + best], **last}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--background", default="", help="labels, if others than the config's")
    parser.add_argument("--signals", default="", help="NAME=LABEL,..., likewise")
    parser.add_argument("--degree", type=int, default=4, help="of the EFPs among features, 0: none")
    parser.add_argument("--images", action="store_true", help="softened, of 20 x 20 pixels")
    parser.add_argument("--conv", action="store_true", help="conv40 on softened 40 x 40 pixels")
    parser.add_argument("--wasserstein", action="store_true")
    parser.add_argument("--first", type=int, default=40, help="epochs of the first phase")
    parser.add_argument("--epochs", type=int, default=100, help="of the second phase")
    parser.add_argument("--rate", type=float, default=3e-4, help="of learning, in it")
    args = parser.parse_args()
    compiler.keep_programs()
    config = normalised.get_config()
    config.data.source = args.source
    config.data.background = args.background or config.data.background
    config.data.signals = args.signals or config.data.signals
    config.inputs.efp_degree = args.degree
    if args.images or args.conv:
        config.inputs.name, config.inputs.smear, config.inputs.power = "jet_image", 1.0, 0.5
    if args.wasserstein:
        config.method.normalisation = "wasserstein"
    if args.conv:
        config.model.name, config.inputs.n_pixels = "conv40", 40
    config.train.epochs = args.first
    config.normalise_train.epochs, config.normalise_train.learning_rate = args.epochs, args.rate
    settings = WASSERSTEIN if args.wasserstein else FEW if args.conv else LANGEVIN
    for entry in scan(config, data.load(config.data), settings, args.seeds):
        print(json.dumps(entry), flush=True)


if __name__ == "__main__":
    main()
