"""Physics checks of the simulated sets as figures: the spectra that show whether they are right."""

from pathlib import Path

import h5py
import matplotlib as mpl
import mplhep
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jaxad.errors import UserError
from jaxad.observables import clustering

STYLE = mplhep.style.CMS | {"font.size": 15, "axes.labelsize": 16, "legend.fontsize": 13}


def draw(name: str, paths: list[Path], out: str | Path, real: str | Path | None = None) -> Path:
    """Draw the check of the data set `name` from its files into one PNG.

    Args:
        name: data set.
        paths: its simulated files.
        out: PNG to write.
        real: published file to compare with (LHCO features only).

    Raises:
        UserError: too few events to draw or to compare.
    """
    with mpl.rc_context(STYLE):
        if name == "toptagging":
            figure = _toptagging(paths)
        elif name == "jets":
            figure = _jet_kinds(paths)
        elif name == "adc2021":
            figure = _adc2021(paths)
        elif name == "codae":
            figure = _codae(paths)
        elif name == "regions":
            figure = _regions(paths)
        elif name == "resonance":
            figure = _resonance(paths[0])
        else:
            figure = _lhco(paths[0], real)
        figure.savefig(out, format="png", dpi=70, bbox_inches="tight")
    return Path(out)


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    """A figure [inches] of the Agg canvas and its axes (rows * columns,)."""
    figure = Figure(figsize=(width, height), layout="tight")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns).ravel()


def _spectrum(axes: Axes, values: np.ndarray, edges: np.ndarray, **style) -> None:
    """Density of all values (n,), those beyond the edges too: a few events may have none inside."""
    weights = np.full(len(values), 1 / (max(len(values), 1) * (edges[1] - edges[0])))
    style = {"histtype": "step", "linewidth": 2} | style
    axes.hist(values, edges, weights=weights, **style)


def toptagging_observables(paths: list[Path]) -> dict[str, np.ndarray]:
    """Per-jet "label", "mass" and "pt" [GeV], "multiplicity" and "tau32" of toptagging files."""
    columns: dict[str, list[np.ndarray]] = {}
    for path in paths:
        with h5py.File(path) as file:
            rows = file["table/table"][:]
        particles = rows["values_block_0"][:, :800].reshape(len(rows), 200, 4).astype(np.float64)
        e, px, py, pz = particles.sum(axis=1).T
        present = particles[..., 0] > 0
        flat = particles[present]
        tau = clustering.n_subjettiness(*flat[:, 1:].T, flat[:, 0], present.sum(axis=1), radius=0.8)
        found = {
            "label": rows["values_block_1"][:, 1],
            "mass": np.sqrt(np.maximum(e**2 - px**2 - py**2 - pz**2, 0.0)),
            "pt": np.hypot(px, py),
            "multiplicity": present.sum(axis=1),
            "tau32": tau[:, 2] / (1e-5 + tau[:, 1]),
        }
        for key, values in found.items():
            columns.setdefault(key, []).append(values)
    return {key: np.concatenate(values) for key, values in columns.items()}


def _toptagging(paths: list[Path]) -> Figure:
    values = toptagging_observables(paths)
    panels = [
        ("mass", "jet mass [GeV]", np.linspace(0, 300, 61)),
        ("pt", r"jet $p_T$ [GeV]", np.linspace(540, 660, 25)),
        ("multiplicity", "constituents", np.arange(0, 125, 3)),
        ("tau32", r"$\tau_{32}$", np.linspace(0, 1.1, 45)),
    ]
    figure, all_axes = _panels(1, 4, 19, 4.6)
    for axes, (key, label, edges) in zip(all_axes, panels, strict=True):
        for code, name in ((0, "QCD"), (1, "top")):
            _spectrum(axes, values[key][values["label"] == code], edges, label=name)
        axes.set(xlabel=label, ylabel="density", xlim=(edges[0], edges[-1]))
        axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
    all_axes[0].legend()
    return figure


def lhco_observables(path: str | Path) -> dict[str, np.ndarray]:
    """Per-event observables of a features file, jets by mass: J1 is the lighter one.

    "label", "mjj", "mJ1", "dmJ", "ptj1", "ptj2" [GeV], "tau21J1", "tau21J2", "tau32J1", "tau32J2";
    events that the file marks with tau_valid = 0 are left out.
    """
    from jaxad.data.pandas_table import PandasTable
    from jaxad.simulation.lhco import FEATURES

    with PandasTable(path) as table:
        rows = table.read([*FEATURES, "label"])
        if "tau_valid" in table.columns:
            rows = rows[table.read(["tau_valid"])[:, 0] == 1]
    pair = rows[:, :14].reshape(-1, 2, 7)
    energy = np.sqrt((pair[..., :4] ** 2).sum(axis=-1))
    total = pair[..., :3].sum(axis=1)
    light, heavy = np.take_along_axis(
        pair, pair[..., 3].argsort(axis=1)[..., None], axis=1
    ).swapaxes(0, 1)
    found = {
        "label": rows[:, 14],
        "mjj": np.sqrt(energy.sum(axis=1) ** 2 - (total**2).sum(axis=1)),
        "mJ1": light[:, 3],
        "dmJ": heavy[:, 3] - light[:, 3],
        "ptj1": np.hypot(pair[:, 0, 0], pair[:, 0, 1]),
        "ptj2": np.hypot(pair[:, 1, 0], pair[:, 1, 1]),
    }
    for name, jet in (("J1", light), ("J2", heavy)):
        found[f"tau21{name}"] = jet[:, 5] / (1e-5 + jet[:, 4])
        found[f"tau32{name}"] = jet[:, 6] / (1e-5 + jet[:, 5])
    return found


def compare(
    simulated: dict[str, np.ndarray], real: dict[str, np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Kolmogorov-Smirnov distance of each observable but the label, and its p value."""
    from scipy.stats import ks_2samp

    names = [name for name in simulated if name != "label"]
    results = {name: ks_2samp(simulated[name], real[name]) for name in names}
    return {name: (float(r.statistic), float(r.pvalue)) for name, r in results.items()}


def _lhco(path: Path, real: str | Path | None) -> Figure:
    samples = {"simulation": lhco_observables(path)}
    label = samples["simulation"]["label"]
    if not len(label):
        raise UserError(f"{path}: no event with N-subjettiness to draw: simulate more")
    panels = [
        ("mjj", r"$m_{jj}$ [GeV]", np.linspace(2000, 6000, 51)),
        ("ptj1", r"leading jet $p_T$ [GeV]", np.linspace(1200, 2200, 41)),
        ("mJ1", r"$m_{J1}$ [GeV]", np.linspace(0, 500, 51)),
        ("dmJ", r"$\Delta m_J$ [GeV]", np.linspace(0, 700, 51)),
        ("tau21J1", r"$\tau_{21}^{J1}$", np.linspace(0, 1, 41)),
        ("tau21J2", r"$\tau_{21}^{J2}$", np.linspace(0, 1, 41)),
    ]
    if real:
        published = lhco_observables(real)
        same = published["label"] == label[0]
        if not same.any():
            raise UserError(f"{real}: no event of label {label[0]:g} to compare with: give another")
        samples["published"] = {name: values[same] for name, values in published.items()}
    distances = compare(*samples.values()) if real else {}
    figure, all_axes = _panels(2, 3, 15, 8.4)
    for axes, (key, text, edges) in zip(all_axes, panels, strict=True):
        for name, values in samples.items():
            _spectrum(axes, values[key], edges, label=name)
        axes.set(xlabel=text, ylabel="density", xlim=(edges[0], edges[-1]))
        axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
        if distances:
            axes.legend(title=f"KS {distances[key][0]:.3f}")
    return figure


def _jet_kinds(paths: list[Path]) -> Figure:
    figure, all_axes = _panels(1, 3, 21, 6)
    for color, path in zip(mpl.colormaps["tab10"].colors, paths, strict=False):
        with h5py.File(path) as file:
            obs = file["objects/jets/obs"][:, 0]
            counts = np.array([len(jet) // 5 for jet in file["objects/jets/constituents"][:, 0]])
        style = {"color": "black", "linewidth": 3} if path == paths[0] else {"color": color}
        style |= {"label": path.stem.replace("_100k_01", "")}
        _spectrum(all_axes[0], obs[:, 3], np.linspace(0, 260, 40), **style)
        _spectrum(all_axes[1], counts, np.arange(0, 130, 5), **style)
        _spectrum(all_axes[2], obs[:, 6] / obs[:, 5], np.linspace(0, 1, 16), **style)
    labels = ("jet mass [GeV]", "constituents", r"$\tau_{32}$")
    for axes, label in zip(all_axes, labels, strict=True):
        axes.set(xlabel=label, ylabel="density")
    all_axes[2].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _adc2021(paths: list[Path]) -> Figure:
    figure, all_axes = _panels(1, 4, 22, 5.5)
    for path in paths:
        with h5py.File(path) as file:
            pt = file["Particles"][:, :, 0]
        style = {"color": "black", "linewidth": 3} if path == paths[0] else {}
        style |= {"label": path.stem.split("_")[0]}
        _spectrum(all_axes[0], pt[:, 0], np.linspace(0, 120, 41), **style)
        _spectrum(all_axes[1], pt[:, 1:9].max(axis=1), np.linspace(20, 140, 41), **style)
        _spectrum(all_axes[2], (pt[:, 1:9] > 0).sum(axis=1), np.arange(0.5, 6), **style)
        _spectrum(all_axes[3], (pt[:, 9:] > 0).sum(axis=1), np.arange(-0.5, 11), **style)
    labels = ("missing $p_T$ [GeV]", "leading lepton $p_T$ [GeV]", "leptons", "jets")
    for axes, label in zip(all_axes, labels, strict=True):
        axes.set(xlabel=label, ylabel="density")
    all_axes[1].legend()
    return figure


def _codae(paths: list[Path]) -> Figure:
    """Tracks, hit pixels of the tracker and transverse energy of QCD, and of each signal."""
    samples: dict[str, list[np.ndarray]] = {}
    for path in paths:
        with np.load(path, allow_pickle=False) as file:
            images = file["images"]
            columns = (
                file["n_tracks"][:, 0],
                (images[..., 0] > 0).sum(axis=(1, 2)),
                images.sum(axis=(1, 2, 3)),
            )
        name = path.stem.rsplit("_", 1)[0].replace("_gensim", "").replace("_h", "_")
        samples.setdefault(name.replace("_", " ").upper(), []).append(np.stack(columns))
    figure, all_axes = _panels(1, 3, 21, 6)
    found = {name: np.concatenate(parts, axis=1) for name, parts in samples.items()}
    highest = np.concatenate(list(found.values()), axis=1).max(axis=1)
    for number, (name, columns) in enumerate(found.items()):
        style = {"color": mpl.colormaps["tab20"].colors[number], "label": name}
        style |= {"color": "black", "linewidth": 3} if number == 0 else {}
        for axes, values, most in zip(all_axes, columns, highest, strict=True):
            _spectrum(axes, values, np.linspace(0, max(most, 1), 31), **style)
    labels = ("tracks", "hit pixels of the tracker", "sum of transverse energy [GeV]")
    for axes, label in zip(all_axes, labels, strict=True):
        axes.set(xlabel=label, ylabel="density")
    all_axes[2].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _regions(paths: list[Path]) -> Figure:
    """Sum, hit regions and hardest region of zero bias and of each signal; mean along eta."""
    figure, all_axes = _panels(1, 4, 24, 5.5)
    found = {path.stem: _of_regions(path) for path in paths}
    highest = np.concatenate([values for values, _ in found.values()], axis=1).max(axis=1)
    for number, (name, (columns, along_eta)) in enumerate(found.items()):
        style = {"label": name.replace("_", " ")}
        style |= {"color": "black", "linewidth": 3} if number == 0 else {}
        for axes, values, most in zip(all_axes, columns, highest, strict=False):
            _spectrum(axes, values, np.linspace(0, max(most, 1), 41), **style)
        all_axes[3].stairs(along_eta, np.arange(len(along_eta) + 1) - 0.5, **style)
    labels = ("sum of the counts", "regions with a count", "highest count of a region")
    for axes, label in zip(all_axes, labels, strict=False):
        axes.set(xlabel=label, ylabel="density")
    all_axes[2].set(yscale="log")
    all_axes[3].set(xlabel="region in η", ylabel="mean count")
    all_axes[3].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _of_regions(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(3, N) sums, numbers and highest counts, and the mean (14,) along eta, of a file."""
    with h5py.File(path) as file:
        x = file["CaloRegions"][:]
    columns = x.sum(axis=(1, 2), dtype=int), (x > 0).sum(axis=(1, 2)), x.max(axis=(1, 2))
    return np.stack(columns), x.mean(axis=(0, 1))


def _resonance(path: Path) -> Figure:
    """Mass and features of background and signal of a table."""
    names = path.open(encoding="utf-8").readline().strip().split(",")
    table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    is_signal = table[:, -1] == 1
    figure, axes = _panels(1, 5, 24, 4.5)
    for ax, name, values in zip(axes, names[1:-1], table.T[1:-1], strict=True):
        edges = np.linspace(values.min(), values.max(), 51)
        for label, chosen in (("background", ~is_signal), ("signal", is_signal)):
            _spectrum(ax, values[chosen], edges, label=label)
        ax.set(xlabel=f"{name} [GeV]" if name == "mjj" else name, ylabel="density")
    axes[0].set(yscale="log")
    axes[0].legend()
    return figure
