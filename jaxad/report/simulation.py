"""Physics checks of the simulated sets as figures: the spectra that show whether they are right."""

from pathlib import Path

import numpy as np

from jaxad.observables import clustering


def draw(name: str, paths: list[Path], out: str | Path, real: str | Path | None = None) -> Path:
    """Draw the check of the data set `name` from its files into one PNG.

    Args:
        name: data set.
        paths: its simulated files.
        out: PNG to write.
        real: published file to compare with (LHCO features only).
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import mplhep

    with plt.style.context(mplhep.style.CMS):
        plt.rcParams.update({"font.size": 15, "axes.labelsize": 16, "legend.fontsize": 13})
        if name == "toptagging":
            figure = _toptagging(plt, paths)
        elif name == "jets":
            figure = _jet_kinds(plt, paths)
        elif name == "adc2021":
            figure = _adc2021(plt, paths)
        else:
            figure = _lhco(plt, paths[0], real)
        figure.savefig(out, format="png", dpi=70, bbox_inches="tight")
        plt.close(figure)
    return Path(out)


def toptagging_observables(paths: list[Path]) -> dict[str, np.ndarray]:
    """Per-jet "label", "mass" and "pt" [GeV], "multiplicity" and "tau32" of toptagging files."""
    import h5py

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


def _toptagging(plt, paths):
    values = toptagging_observables(paths)
    panels = [
        ("mass", "jet mass [GeV]", np.linspace(0, 300, 61)),
        ("pt", r"jet $p_T$ [GeV]", np.linspace(540, 660, 25)),
        ("multiplicity", "constituents", np.arange(0, 125, 3)),
        ("tau32", r"$\tau_{32}$", np.linspace(0, 1.1, 45)),
    ]
    figure, axes = plt.subplots(1, 4, figsize=(19, 4.6))
    for axis, (key, label, bins) in zip(axes, panels, strict=True):
        for code, name in ((0, "QCD"), (1, "top")):
            sample = values[key][values["label"] == code]
            axis.hist(sample, bins, density=True, histtype="step", linewidth=2, label=name)
        axis.set(xlabel=label, ylabel="density", xlim=(bins[0], bins[-1]))
        axis.set_ylim(0, 1.25 * axis.get_ylim()[1])
    axes[0].legend()
    figure.tight_layout()
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


def _lhco(plt, path, real):
    simulated = lhco_observables(path)
    label = simulated["label"][0]
    panels = [
        ("mjj", r"$m_{jj}$ [GeV]", np.linspace(2000, 6000, 51)),
        ("ptj1", r"leading jet $p_T$ [GeV]", np.linspace(1200, 2200, 41)),
        ("mJ1", r"$m_{J1}$ [GeV]", np.linspace(0, 500, 51)),
        ("dmJ", r"$\Delta m_J$ [GeV]", np.linspace(0, 700, 51)),
        ("tau21J1", r"$\tau_{21}^{J1}$", np.linspace(0, 1, 41)),
        ("tau21J2", r"$\tau_{21}^{J2}$", np.linspace(0, 1, 41)),
    ]
    samples = {"simulation": simulated}
    if real:
        published = lhco_observables(real)
        same = published["label"] == label
        samples["published"] = {name: values[same] for name, values in published.items()}
    distances = compare(simulated, samples["published"]) if real else {}
    figure, axes = plt.subplots(2, 3, figsize=(15, 8.4))
    for axis, (key, text, bins) in zip(axes.flat, panels, strict=True):
        for name, values in samples.items():
            axis.hist(values[key], bins, density=True, histtype="step", linewidth=2, label=name)
        axis.set(xlabel=text, ylabel="density", xlim=(bins[0], bins[-1]))
        axis.set_ylim(0, 1.3 * axis.get_ylim()[1])
        if distances:
            axis.legend(title=f"KS {distances[key][0]:.3f}")
    figure.tight_layout()
    return figure


def _jet_kinds(plt, paths):
    import h5py

    figure, axes = plt.subplots(1, 3, figsize=(21, 6))
    for color, path in zip(plt.get_cmap("tab10").colors, paths, strict=False):
        with h5py.File(path) as file:
            obs = file["objects/jets/obs"][:, 0]
            counts = np.array([len(jet) // 5 for jet in file["objects/jets/constituents"][:, 0]])
        style = {"color": "black", "linewidth": 3} if path == paths[0] else {"linewidth": 2}
        style = {"color": color} | style
        style |= {"density": True, "histtype": "step", "label": path.stem.replace("_100k_01", "")}
        axes[0].hist(obs[:, 3], np.linspace(0, 260, 40), **style)
        axes[1].hist(counts, np.arange(0, 130, 5), **style)
        axes[2].hist(obs[:, 6] / obs[:, 5], np.linspace(0, 1, 16), **style)
    for axis, label in zip(axes, ("jet mass [GeV]", "constituents", r"$\tau_{32}$"), strict=True):
        axis.set(xlabel=label, ylabel="density")
    axes[2].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    figure.tight_layout()
    return figure


def _adc2021(plt, paths):
    import h5py

    figure, axes = plt.subplots(1, 4, figsize=(22, 5.5))
    for path in paths:
        with h5py.File(path) as file:
            pt = file["Particles"][:, :, 0]
        style = {"density": True, "histtype": "step", "label": path.stem.split("_")[0]}
        style |= {"color": "black", "linewidth": 3} if path == paths[0] else {"linewidth": 2}
        axes[0].hist(pt[:, 0], np.linspace(0, 120, 41), **style)
        axes[1].hist(pt[:, 1:9].max(axis=1), np.linspace(20, 140, 41), **style)
        axes[2].hist((pt[:, 1:9] > 0).sum(axis=1), np.arange(0.5, 6), **style)
        axes[3].hist((pt[:, 9:] > 0).sum(axis=1), np.arange(-0.5, 11), **style)
    labels = ("missing $p_T$ [GeV]", "leading lepton $p_T$ [GeV]", "leptons", "jets")
    for axis, label in zip(axes, labels, strict=True):
        axis.set(xlabel=label, ylabel="density")
    axes[1].legend()
    figure.tight_layout()
    return figure
