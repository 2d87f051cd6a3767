"""What the two interpretable mimickers share: teacher, observables, selection by decision ordering.

Bradshaw, Chang, Ostdiek (arXiv:2203.01343): a small network on the jet's mass, pT and a few energy
flow polynomials learns to order background jets as a trained anomaly detector, the teacher, does.
The polynomials are chosen one by one (Faucett, Thaler, Whiteson, arXiv:2010.11998): among the pairs
of held-out jets that the current network orders otherwise than the teacher, the one that orders
best joins, and a new network is trained. Every network is kept.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from jaxad import inputs
from jaxad.data.dataset import Dataset, Rows, take
from jaxad.data.layout import Layout
from jaxad.data.splits import choose
from jaxad.errors import UserError
from jaxad.inputs.observables import observables
from jaxad.inputs.particles import efps, subjettiness
from jaxad.methods import Bench, autoencoder
from jaxad.methods.stages.rows import weight_of
from jaxad.methods.stages.teacher import load_teacher, own_config
from jaxad.models.dense import Mimicker
from jaxad.observables.graphs import Edges, Graphs, standard_graphs
from jaxad.observables.kinematics import jet_mass, jet_ptetaphi
from jaxad.observables.ordering import decision_ordering
from jaxad.storage import cache
from jaxad.training import Task, streams
from jaxad.training.streams import Purpose

KINDS = ("set",)
ALWAYS = ("mass", "pt")  # what the first network sees
MAX_TAUS = 5


def get_config(**changes: Any) -> ConfigDict:
    """Settings of a mimicker with their defaults; `name` is hln or pnn."""
    return ConfigDict(
        {
            "teacher": "",  # work directory of a trained run; "": the `teacher` section is trained
            "passes": 10,  # EFPs chosen
            "max_degree": 5,  # of the EFPs to choose from
            "prime": True,  # connected graphs only
            "n_taus": 0,  # tau_1 ... tau_n to choose from as well
            "n_events": 10_000,  # validation jets, all pairs of which are ordered
            "sense": "either",  # in which an EFP may order pairs: either | that of all pairs: "all"
            "tolerance": 0.0,  # a pass that gains less ADO ends the selection, unused; 0: never
        }
        | changes
    )


class Observable(NamedTuple):
    """An EFP by its name and graph, or tau_N by its name; written into the key of its pass.

    The graph decides what a scorer computes, so it has to be part of the structure of the fitted
    parameters, not one of their values.
    """

    name: str
    edges: Edges

    def key(self, number: int) -> str:
        """ "03 efp_3_2_0 0-1,0-2": the third EFP chosen."""
        return f"{number:02d} {self.name} {','.join(f'{a}-{b}' for a, b in self.edges)}"


def chosen(fitted: dict) -> list[Observable]:
    """The observables of fitted parameters in the order of their choice."""
    found = []
    for key in sorted(fitted["passes"])[1:]:
        _, name, edges = key.split(" ")
        pairs = (edge.split("-") for edge in edges.split(",") if edge)
        found.append(Observable(name, tuple((int(a), int(b)) for a, b in pairs)))
    return found


def teach(config: ConfigDict, dataset: Dataset, bench: Bench) -> tuple[Any, dict]:
    """The teacher of raw jets, and its parameters if it is trained here.

    Raises:
        UserError: `method.teacher` takes events of another format or shape.
    """
    if config.method.teacher:
        return load_teacher(config.method.teacher, dataset, bench), {}
    own = own_config(config)
    params = autoencoder.fit(own, dataset, bench)
    return bench.scorer("autoencoder", own, params, dataset.layout), {"teacher": params}


def fit(
    config: ConfigDict,
    dataset: Dataset,
    bench: Bench,
    task: Callable[[Mimicker], Task],
    target: Callable[[np.ndarray], np.ndarray],
) -> dict:
    """Train the teacher if need be, then one network a pass, a stage each.

    Args:
        task: the training of a network on rows with "x" (n, d) and "y" (n,).
        target: "y" of the teacher's scores (n,).

    Returns:
        {"passes": key of `Observable.key` -> parameters (members, best epochs), "mean" and "scale"
        (2 + passes,) of mass [GeV], pT [GeV] and the chosen EFPs, "teacher" if trained here}.
    """
    if not 0 <= config.method.n_taus <= MAX_TAUS:
        raise UserError(f"method.n_taus: expected 0 to {MAX_TAUS}, found {config.method.n_taus}")
    if config.inputs.name == "particle_set":
        raise UserError(
            "inputs.name=particle_set: gives relative momenta, "
            f"{config.method.name} takes those in GeV: choose particles"
        )
    stage = inputs.stage(config.inputs, dataset.layout, KINDS, config.method.name)
    score, fitted = teach(config, dataset, bench)
    graphs = standard_graphs(config.method.max_degree, config.method.prime)
    n_taus, folder = config.method.n_taus, cache.root(config.data.cache)
    train, val = (
        {
            "x": observables(_on_host(stage.values(part["x"])), graphs, folder, n_taus),
            "teacher": score(part["x"]),
            **weight_of(part),
        }
        for part in (dataset.train, dataset.val)
    )
    candidates = graphs | {f"tau_{n}": () for n in range(1, n_taus + 1)}
    mean, scale = train["x"].mean(axis=0), train["x"].std(axis=0)
    constant = scale <= 1e-6 * np.abs(mean)
    if constant.any():
        name = [*ALWAYS, *candidates][int(np.argmax(constant))]
        raise UserError(
            f"{dataset.info['source']}: {name} is the same for all training jets: "
            "a mimicker needs it to vary"
        )
    for rows in (train, val):
        rows |= {"x": (rows["x"] - mean) / scale, "y": target(rows["teacher"])}
    rng = streams.generator(config.seed, Purpose.EVENTS, "pairs")
    index = choose(len(val["x"]), min(config.method.n_events, len(val["x"])), rng)
    passes, columns = select(config, candidates, train, val, take(val, index), bench, task)
    return fitted | {"passes": passes, "mean": mean[columns], "scale": scale[columns]}


def _on_host(x: np.ndarray | Array) -> np.ndarray:
    return np.asarray(x) if isinstance(x, Array) else x


def select(
    config: ConfigDict,
    candidates: Graphs,
    train: Rows,
    val: Rows,
    pairs: Rows,
    bench: Bench,
    task: Callable[[Mimicker], Task],
) -> tuple[dict[str, Any], list[int]]:
    """The networks of all passes by their keys, and the columns of "x" that the last one sees.

    Args:
        candidates: the columns of "x" after mass and pT: graphs, and tau_N without edges.
        train, val: rows with "x" standardised, "y" and "teacher".
        pairs: held-out rows like these, all pairs of which are ordered.
    """
    network, names, values = Mimicker(), list(candidates), list(candidates.values())
    passes: dict[str, Any] = {}
    key, columns, best = "00", [0, 1], -np.inf
    while True:
        rows = (
            {"x": part["x"][:, columns], "y": part["y"], **weight_of(part)} for part in (train, val)
        )
        stage = f"pass {len(columns) - 2:02d}"
        params = bench.fit(task(network), *rows, config.train, config.seed, stage=stage).params
        current = np.asarray(jax.jit(_mean_score)(params, pairs["x"][:, columns]))
        ado = float(decision_ordering(pairs["teacher"], current[:, None])[0])
        print(f"{stage}: {key.split(' ')[1] if ' ' in key else 'mass, pt'}: ADO {ado:.4f}")
        if passes and config.method.tolerance and ado - best < config.method.tolerance:
            return passes, columns[:-1]
        passes[key], best = params, max(best, ado)
        unused = [i for i in range(2, 2 + len(candidates)) if i not in columns]
        if len(passes) > config.method.passes or not unused:
            return passes, columns
        quality = ordering_quality(
            pairs["teacher"], pairs["x"][:, unused], current, config.method.sense
        )
        if not np.isfinite(quality).all():  # no pair is ordered wrongly
            return passes, columns
        column = unused[int(np.argmax(quality))]
        observable = Observable(names[column - 2], values[column - 2])
        key, columns = observable.key(len(passes)), [*columns, column]


def ordering_quality(
    teacher: np.ndarray, candidates: np.ndarray, current: np.ndarray, sense: str
) -> np.ndarray:
    """How well candidates (n, k) order the pairs that `current` (n,) and `teacher` (n,) do not.

    With a the fraction of these pairs that a candidate orders as the teacher, this is max(a, 1 - a)
    (Bradshaw et al.) for `sense` "either". A candidate that follows the current network has a = 0
    and is then the best of all; with "all" it is a or 1 - a by the candidate's ordering of all
    pairs, and such a candidate the worst.

    Returns:
        (k,); nan if there is no such pair.
    """
    ordering = decision_ordering(teacher, candidates, current)
    match sense:
        case "either":
            return np.maximum(ordering, 1 - ordering)
        case "all":
            rising = decision_ordering(teacher, candidates) >= 0.5
            return np.where(rising, ordering, 1 - ordering)
        case other:
            raise UserError(f"method.sense: expected either or all, found {other!r}")


def _network_scores(params: Any, x: Array) -> Array:
    """Scores (members, n) of standardised observables, mean over the best epochs."""
    apply = jax.vmap(jax.vmap(lambda p: Mimicker().apply(p, x)))
    return jnp.mean(apply(params), axis=1)


def _mean_score(params: Any, x: Array) -> Array:
    return jnp.mean(_network_scores(params, x), axis=0)


def observe(wanted: list[Observable], x: Array) -> Array:
    """Mass [GeV], pT [GeV] and the wanted (n, 2 + k) of raw jets (n, particles, 3 or 4).

    tau_N come from FastJet on the host, through a callback that has no gradient.
    """
    columns = {"mass": jet_mass(x), "pt": jet_ptetaphi(x)[:, 0]}
    graphs = {o.name: o.edges for o in wanted if o.edges}
    if graphs:
        columns |= dict(zip(graphs, efps(graphs, x).T, strict=True))
    if len(graphs) < len(wanted):
        taus = subjettiness(x, MAX_TAUS)
        columns |= {f"tau_{n}": taus[:, n - 1] for n in range(1, MAX_TAUS + 1)}
    return jnp.stack([columns[name] for name in (*ALWAYS, *(o.name for o in wanted))], axis=1)


def pass_scores(fitted: dict, x: Array) -> list[Array]:
    """Scores (members, n) of jets, momenta in GeV, by the network of every pass."""
    z = (observe(chosen(fitted), x) - fitted["mean"]) / fitted["scale"]
    networks = (fitted["passes"][key] for key in sorted(fitted["passes"]))
    return [_network_scores(params, z[:, : 2 + k]) for k, params in enumerate(networks)]


def scores(config: ConfigDict, layout: Layout) -> Callable[[dict, Array], dict[str, Array]]:
    """{name of the method: (members, n)}: the score of the last pass."""
    stage = inputs.stage(config.inputs, layout, KINDS, config.method.name)
    return lambda fitted, x: {config.method.name: pass_scores(fitted, stage.values(x))[-1]}
