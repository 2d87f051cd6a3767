"""Physics checks of the simulated sets as figures: the spectra that show whether they are right."""

from pathlib import Path

import numpy as np

from jaxad.simulation import jets


def draw(name: str, paths: list[Path], out: str | Path) -> Path:
    """Draw the check of the data set `name` from its files into one PNG."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import mplhep

    with plt.style.context(mplhep.style.CMS):
        plt.rcParams.update({"font.size": 15, "axes.labelsize": 16, "legend.fontsize": 13})
        figure = {"toptagging": _toptagging}[name](plt, paths)
        figure.savefig(out, dpi=70, bbox_inches="tight")
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
        tau = jets.n_subjettiness(*flat[:, 1:].T, flat[:, 0], present.sum(axis=1), radius=0.8)
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
