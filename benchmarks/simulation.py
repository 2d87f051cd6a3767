"""The tables of docs/simulation.md from simulated folders, beside published files if there are any.

    python benchmarks/simulation.py toptagging|jets|adc2021|regions FOLDER
    python benchmarks/simulation.py lhco FOLDER --real lhco_features_60k.h5
    python benchmarks/simulation.py codae FOLDER --real FOLDER_OF_THE_PUBLISHED_IMAGES

FOLDER is that of `jaxad simulate NAME --out FOLDER`, for lhco also of lhco_signal.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from jaxad import data, metrics
from jaxad.data import adc2021
from jaxad.data.dataset import Rows, concatenate
from jaxad.data.particles import jet_observables
from jaxad.evaluation.resonant import two_sample_auc
from jaxad.observables.trigger import JETS, LEPTONS
from jaxad.report import simulation as figures

WINDOW = (3300.0, 3700.0)
FEATURES = ("mJ1", "dmJ", "tau21J1", "tau21J2")
PRONGS = ((4, "tau21"), (5, "tau32"), (6, "tau43"))


def print_table(header: tuple[str, ...], rows: Iterable[tuple]) -> None:
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def toptagging(folder: Path) -> None:
    values = figures.toptagging_observables(sorted(folder.glob("*.h5")))
    label = values.pop("label")

    def rows() -> Iterator[tuple]:
        for code, name in enumerate(("QCD", "top")):
            of = {key: each[label == code] for key, each in values.items()}
            spread = [f"{of[k].mean():.1f} ± {of[k].std():.1f}" for k in ("mass", "multiplicity")]
            tau32 = float(np.mean(of["tau32"]))
            yield name, spread[0], f"{np.median(of['mass']):.1f}", spread[1], f"{tau32:.3f}"

    print_table(("", "mass [GeV]", "median", "constituents", "tau32"), rows())
    for key in ("mass", "multiplicity"):
        print(f"AUC of {key}: {metrics.auc(*(values[key][label == i] for i in (0, 1))):.3f}")


def lhco(folder: Path, real: Path) -> None:
    published = figures.lhco_observables(real)
    for path in sorted(folder.rglob("*.h5")):
        simulated = figures.lhco_observables(path)
        print(f"\n{path}: label {simulated['label'][0]:.0f}")
        print_table(
            ("KS", *(name for name in simulated if name != "label"), "events", "median mJ1", "AUC"),
            _distances(simulated, published),
        )


def _distances(simulated: Mapping, published: Mapping) -> Iterator[tuple]:
    for region, (low, high) in {"all": (0, np.inf), "signal region": WINDOW}.items():
        a, b = (
            {k: v[(of["mjj"] > low) & (of["mjj"] < high) & (of["label"] == simulated["label"][0])]
             for k, v in of.items() if k != "label"}
            for of in (simulated, published)
        )  # fmt: skip
        found = two_sample_auc(*(np.stack([of[k] for k in FEATURES], axis=1) for of in (a, b)))
        distances = [f"{ks:.3f}" for ks, _ in figures.compare(a, b).values()]
        counts = f"{len(a['mjj']):,} and {len(b['mjj']):,}"
        medians = f"{np.median(a['mJ1']):.0f} / {np.median(b['mJ1']):.0f}"
        auc = f"{found['auc']:.3f} ± {found['auc_err']:.3f}"
        yield region, *distances, counts, medians, auc


def jets(folder: Path) -> None:
    def rows() -> Iterator[tuple]:
        for path in sorted(folder.glob("*.h5")):
            with h5py.File(path) as file:
                obs = file["objects/jets/obs"][:, 0]
                parts = file["objects/jets/constituents"][:, 0]
            low, median, high = np.quantile(obs[:, 3], [0.16, 0.5, 0.84])
            ratios = [f"{np.mean(obs[:, i + 1] / obs[:, i]):.2f}" for i, _ in PRONGS]
            counts = f"{np.mean([len(jet) // 5 for jet in parts]):.1f}"
            yield path.stem, f"{median:.0f} ({low:.0f}-{high:.0f})", counts, *ratios

    print_table(("kind", "mass [GeV]", "constituents", *(name for _, name in PRONGS)), rows())


def adc(folder: Path) -> None:
    def rows() -> Iterator[tuple]:
        for path in sorted(folder.glob("*.h5")):
            found = adc2021.read_events(path, 0, [0])
            pt = found["x"][..., 0]
            present = [(pt[:, part] > 0).sum(1).mean() for part in (slice(1, 5), slice(5, 9))]
            present.append((pt[:, JETS] > 0).sum(1).mean())
            means = [found[key].mean() for key in ("met", "lepton_pt")]
            texts = [f"{v:.1f}" for v in means] + [f"{v:.2f}" for v in present]
            yield path.stem.split("_")[0], *texts, f"{found['ht'].mean():.0f}"

    names = ("missing pT [GeV]", "leading lepton pT [GeV]", "electrons", "muons", "jets")
    print_table(("", *names, "jet pT sum [GeV]"), rows())
    leptons = adc2021.read_events(next(folder.glob("Ato4l*")), 0, [0])["x"][:, LEPTONS]
    mass = jet_observables(leptons[(leptons[..., 0] > 0).sum(1) == 4])["mass"]
    print(f"median mass of four leptons in A -> 4l: {np.median(mass):.1f} GeV")


def image_sums(rows: Rows) -> dict[str, np.ndarray]:
    pixels = (rows["x"] > 0).sum((1, 2))
    kinds = {name: pixels[:, i] for i, name in enumerate(("track pixels", "ECAL", "HCAL"))}
    return {"tracks": rows["n_tracks"]} | kinds | {"track pT [GeV]": rows["sum_pt"]}


def image_classes(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    found = data.load(data.get_config("codae", source=str(folder)))
    qcd = concatenate([found.train, found.val, found.test])
    return {name: image_sums(rows) for name, rows in [("QCD", qcd), *found.signals.items()]}


def codae(folder: Path, real: Path) -> None:
    simulated, published = image_classes(folder), image_classes(real)

    def rows() -> Iterator[tuple]:
        for name, a in simulated.items():
            b = published[name]
            means = [f"{a[key].mean():.0f} / {b[key].mean():.0f}" for key in a]
            distances = [f"{ks:.2f}" for ks, _ in figures.compare(a, b).values()]
            yield name, *map(", ".join, zip(means, distances, strict=True))

    print_table(("", *simulated["QCD"]), rows())


def regions(folder: Path) -> None:
    def rows() -> Iterator[tuple]:
        for path in sorted(folder.glob("*.h5"), key=lambda path: path.stem != "zero_bias"):
            with h5py.File(path) as file:
                x, flag = file["CaloRegions"][:].astype(int), file["AcceptanceFlag"][:]
            values = 100 * (x > 0).mean(), x.mean(), x.sum((1, 2)).mean(), np.quantile(x, 0.99)
            texts = [
                f"{value:.{digits}f}" for value, digits in zip(values, (0, 1, 0, 0), strict=True)
            ]
            ratio = x[..., [0, -1]].mean() / x[..., 6:8].mean()
            full = 100 * (x == 1023).any((1, 2)).mean()
            yield (
                path.stem,
                f"{len(x):,}",
                *texts,
                f"{ratio:.1f}",
                f"{full:.1f}",
                f"{flag.mean():.2f}",
            )

    names = ("events", "regions with a count [%]", "mean count", "sum", "99 % quantile")
    print_table(("", *names, "outermost / central", "with a full region [%]", "accepted"), rows())


def main() -> None:
    tables = {"toptagging": toptagging, "lhco": lhco, "jets": jets, "adc2021": adc, "codae": codae}
    tables["regions"] = regions
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=tables)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--real", type=Path)
    args = parser.parse_args()
    with_real = args.name in ("lhco", "codae")
    if with_real != (args.real is not None):
        parser.error(f"{args.name}: --real is {'needed' if with_real else 'for lhco and codae'}")
    tables[args.name](args.folder, *([args.real] if with_real else []))


if __name__ == "__main__":
    main()
