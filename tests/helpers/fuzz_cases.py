"""Small sound files of every format, with what reads them."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from lhco_events import fake_events, write_frame
from random_scorers import trigger_data, trigger_scorer

from jaxad import data, workdir
from jaxad.commands import compare, export, score
from jaxad.data import adc2021, jets, lhco, lhco_prepared, toptagging
from jaxad.data.rows import open_tree
from jaxad.export.verify import verify
from jaxad.observables.momenta import four_momenta
from jaxad.scorer import load
from jaxad.training import checkpoint


class Case(NamedTuple):
    """A folder of sound files: those to spoil, and what reads them."""

    files: list[str]
    read: Callable[[Path], Any]


# The sound files ------------------------------------------------------------------------------


def _all_finite(found: Any) -> None:
    for leaf in jax.tree.leaves(found):
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f":
            assert np.isfinite(leaf).all(), "silent NaN"


def _loads(**settings: Any) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        own = {k: v.format(folder=folder) if isinstance(v, str) else v for k, v in settings.items()}
        dataset = data.load(data.get_config(**own))
        _all_finite([dataset.train, dataset.val, dataset.test, dataset.signals, dataset.extra])

    return read


def array_cases(folder: Path) -> dict[str, Case]:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.exponential(20, (60, 5, 1)), rng.normal(0, 1, (60, 5, 2))], 2)
    arrays = {"x": x.astype(np.float32), "label": np.arange(60) % 2, "mass": rng.random(60)}
    found = {}
    common = {"name": "events", "label_key": "label", "signals": "s=1", "observables": "mass=mass"}
    for suffix in ("npz", "h5"):
        (folder / suffix).mkdir()
        if suffix == "npz":
            np.savez(folder / suffix / "a.npz", **arrays)
        else:
            with h5py.File(folder / suffix / "a.h5", "w") as file:
                for name, array in arrays.items():
                    file.create_dataset(name, data=array, compression="gzip")
        found[suffix] = Case([f"a.{suffix}"], _loads(source=f"{{folder}}/a.{suffix}", **common))
    (folder / "npy").mkdir()
    np.save(folder / "npy" / "a.npy", rng.normal(size=(50, 4)).astype(np.float32))
    np.save(folder / "npy" / "s.npy", rng.normal(size=(20, 4)).astype(np.float32))
    own = {"format": "features", "source": "{folder}/a.npy", "signals": "s={folder}/s.npy"}
    found["npy"] = Case(["a.npy", "s.npy"], _loads(name="events", **own))
    return found


def _adc2021(folder: Path) -> Case:
    rng = np.random.default_rng(1)
    names = []
    for stem in (adc2021.BACKGROUND, *adc2021.SIGNALS.values()):
        events = np.zeros((40, 19, 4))
        events[..., 0] = rng.exponential(40, (40, 19))
        events[..., 1:3] = rng.uniform(-2, 2, (40, 19, 2))
        events[..., 3] = adc2021.CLASS
        with h5py.File(folder / f"{stem}.h5", "w") as file:
            file["Particles"] = events
            file["Particles_Names"] = np.array(b"Pt Eta Phi Class".split())
        names.append(f"{stem}.h5")
    return Case(names[:2], _loads(name="adc2021", source="{folder}"))


def _jets(folder: Path) -> Case:
    rng = np.random.default_rng(2)
    for name in (jets.BACKGROUND, jets.SIGNALS["top_174"]):
        rows = np.empty((30, 2), object)
        for i in range(30):
            p = four_momenta(np.c_[rng.exponential(1, 20), rng.normal(0, 0.2, (20, 2))])
            p *= 600 / np.hypot(*p.sum(0)[1:3])
            rows[i, 0] = np.c_[p, np.zeros(20)].ravel().astype(np.float32)
            rows[i, 1] = np.ones(5, np.float32)
        with h5py.File(folder / name, "w") as file:
            group = file.create_group("objects/jets")
            group.create_dataset("constituents", data=rows, dtype=h5py.vlen_dtype(np.float32))
            group.create_dataset("obs", data=rng.random((30, 2, 9)).astype(np.float32))
    return Case([jets.BACKGROUND, jets.SIGNALS["top_174"]], _loads(name="jets", source="{folder}"))


def _codae(folder: Path) -> Case:
    rng = np.random.default_rng(3)
    files = {"train/qcd_1": (0, 0), "test/qcd_2": (0, 0), "test/suep_gensim_h200_a": (1, 2)}
    for name, (label, index) in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        np.savez_compressed(
            folder / f"{name}.npz",
            images=(rng.random((12, 72, 58, 3)) < 0.05).astype(np.float32),
            labels=np.full(12, label, np.float32),
            masses=np.full(12, index, np.float32),
        )
    return Case([f"{name}.npz" for name in files], _loads(name="codae", source="{folder}"))


def _regions(folder: Path) -> Case:
    rng = np.random.default_rng(7)
    for name in ("zero_bias", "ttbar"):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            images = rng.poisson(3, (40, 18, 14)).astype(np.uint16)
            file.create_dataset("CaloRegions", data=images, compression="gzip")
            file["AcceptanceFlag"] = np.ones(40, np.uint8)
    return Case(["zero_bias.h5", "ttbar.h5"], _loads(name="regions", source="{folder}"))


def _lhco(folder: Path) -> Case:
    write_frame(folder / "a.h5", fake_events(), [*lhco.JETS, "label"])
    return Case(["a.h5"], _loads(name="lhco", source="{folder}/a.h5", n_signal=50))


def _prepared(folder: Path) -> Case:
    rng = np.random.default_rng(4)
    names = [f"{side}data_{part}" for side in ("inner", "outer") for part in lhco_prepared.PARTS]
    for name in [*names, "innerdata_extrasig"]:
        low, high = (2.0, 3.2) if name.startswith("outer") else (3.31, 3.69)
        rows = np.c_[rng.uniform(low, high, 40), rng.random((40, 4)), np.arange(40) % 2]
        np.save(folder / f"{name}.npy", rows.astype(np.float32))
    return Case(
        ["innerdata_train.npy", "innerdata_extrasig.npy"], _loads(name="lhco", source="{folder}")
    )


def _toptagging(folder: Path) -> Case:
    import tables

    rng = np.random.default_rng(5)
    p = four_momenta(
        np.concatenate([rng.exponential(20, (60, 200, 1)), rng.normal(0, 0.2, (60, 200, 2))], -1)
    )
    rows = np.zeros(
        60, [("index", "i8"), ("values_block_0", "f4", 800), ("values_block_1", "i8", 2)]
    )
    rows["values_block_0"] = p.reshape(60, 800)
    rows["values_block_1"][:, 1] = np.arange(60) % 2
    with tables.open_file(str(folder / "val.h5"), "w") as file:
        table = file.create_table(
            file.create_group("/", "table"),
            "table",
            rows.dtype,
            filters=tables.Filters(complevel=4, complib="blosc"),
        )
        table.attrs.values_block_0_kind = toptagging.MOMENTA
        table.attrs.values_block_1_kind = ["ttv", "is_signal_new"]
        table.append(rows)
    return Case(["val.h5"], _loads(name="toptagging", source="{folder}", n_jets=0))


def _scored(folder: Path) -> Case:
    scorer, x = trigger_scorer("dense_ae", 200), trigger_data(30)
    np.savez_compressed(folder / "a.npz", x=x)
    np.save(folder / "b.npy", x)
    with h5py.File(folder / "c.h5", "w") as file:
        file.create_dataset("x", data=x, chunks=True, fletcher32=True)

    def read(folder: Path) -> None:
        for name in ("a.npz", "b.npy", "c.h5"):
            prefix = folder / f"part-{name}"
            for part in score.score_file(scorer, str(folder / name), "x", {}, prefix, _Bar()):
                with np.load(part) as scores:
                    assert not any(np.isnan(values).any() for values in scores.values())

    return Case(["a.npz", "b.npy", "c.h5"], read)


class _Bar:
    def __getattr__(self, name: str) -> Callable:
        return lambda *args, **kwargs: None


def _root(folder: Path) -> Case:
    import awkward as ak
    import uproot

    rng = np.random.default_rng(8)
    pt = ak.unflatten(rng.exponential(20, 60), rng.multinomial(60, np.full(20, 1 / 20)))
    with uproot.recreate(folder / "a.root") as file:
        file["Events"] = {"pt": pt, "met": rng.random(20)}

    def read(folder: Path) -> None:
        for branch in ("pt", "met"):
            with open_tree(str(folder / "a.root"), {branch: branch}) as events:
                assert len(events[0 : len(events)]) == len(events)

    return Case(["a.root"], read)


def _archive(folder: Path) -> Case:
    scorer, x = trigger_scorer("dense_ae", 200), trigger_data(3)
    scorer.save(folder / "scorer")
    expected = scorer(x)

    def read(folder: Path) -> None:
        found = load(folder)
        np.testing.assert_allclose(found(x), expected, rtol=1e-5)
        np.testing.assert_array_equal(found.background, scorer.background)

    return Case([f"scorer/{n}" for n in ("scorer.json", "params.npz", "background.npy")], read)


def _exported(folder: Path) -> Case:
    scorer = trigger_scorer("dense_ae", 200)
    scorer.save(folder / "run" / "scorer")
    np.save(folder / "events.npy", trigger_data(64))
    events = str(folder / "events.npy")
    export.export(folder / "run", ["stablehlo"], folder / "out", 0.2, events, "x")
    x, expected = trigger_data(3), scorer(trigger_data(3))

    def read(folder: Path) -> None:
        assert verify(folder / "out") in (True, False)
        np.testing.assert_allclose(load(folder / "out")(x), expected, rtol=1e-4)

    return Case([f"out/{n}" for n in ("export.json", "scorer.stablehlo", "golden.npz")], read)


def _checkpoint(folder: Path) -> Case:
    w = jnp.arange(400, dtype=jnp.float32)
    states = {step: {"w": w + step, "n": jnp.asarray(step)} for step in (1, 2)}
    for step, tree in states.items():
        checkpoint.save(folder / "c", step, tree, {"epoch": step})
    names = [str(p.relative_to(folder)) for p in (folder / "c" / "2").rglob("*") if p.is_file()]

    def read(folder: Path) -> None:
        found = checkpoint.restore(folder / "c", states[1])
        assert found is not None, "the older checkpoint is lost"
        tree, meta = found
        np.testing.assert_array_equal(tree["w"], states[meta["epoch"]]["w"])

    return Case(sorted(names), read)


def _workdir(folder: Path) -> Case:
    config = trigger_scorer("dense_ae", 200).config
    (folder / "checkpoints").mkdir()
    workdir.settle_config(folder, config)
    workdir.history_writer(folder, "a")([{"stage": "a", "epoch": 0, "train_loss": 1.0}])

    def read(folder: Path) -> None:
        workdir.settle_config(folder, config)
        workdir.history_writer(folder, "b")([{"stage": "b", "epoch": 0}])

    return Case(["config.json", "history.jsonl"], read)


def _compared(folder: Path) -> Case:
    from jaxad.evaluation.general import measure

    rng = np.random.default_rng(6)
    table = {
        "background": {"mse": rng.random(500), "baseline mass": rng.random(500)},
        "s": {"mse": rng.random(200) + 0.3, "baseline mass": rng.random(200)},
    }
    for run, rate in (("a", 1e5), ("b", 3e5)):
        timing = {"jit": {"single": {"median": 1 / rate}, "bulk": {"events_per_second": rate}}}
        (folder / run / "eval").mkdir(parents=True)
        metrics = measure(table, 10)
        (folder / run / "eval" / "metrics.json").write_text(json.dumps(metrics))
        (folder / run / "eval" / "latency.json").write_text(json.dumps({"scores": {"mse": timing}}))

    def read(folder: Path) -> None:
        runs = compare.read_runs([folder / "a", folder / "b"])
        assert compare.tables(runs)
        compare.figures(runs)

    return Case(["a/eval/metrics.json", "b/eval/latency.json"], read)


MAKERS = {
    "adc2021": _adc2021,
    "jets": _jets,
    "codae": _codae,
    "regions": _regions,
    "lhco": _lhco,
    "lhco_prepared": _prepared,
    "toptagging": _toptagging,
    "score": _scored,
    "archive": _archive,
    "exported": _exported,
    "checkpoint": _checkpoint,
    "workdir": _workdir,
    "compare": _compared,
}


def makers() -> dict[str, Callable[[Path], Case]]:
    """Those whose libraries are here."""
    return MAKERS | ({"root": _root} if find_spec("uproot") else {})


def make(folder: Path) -> dict[str, Case]:
    """Every case, its files in folder/NAME."""
    cases = array_cases(folder)
    for name, maker in makers().items():
        (folder / name).mkdir(exist_ok=True)
        cases[name] = maker(folder / name)
    return cases
