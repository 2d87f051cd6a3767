"""Simulation: determinism, published layouts, detector and clustering properties, physics."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxad.errors import UserError
from jaxad.report.simulation import _spectrum, draw
from jaxad.report.style import new_figure
from jaxad.simulation import simulate
from jaxad.simulation.produce import accept
from jaxad.tasks import make_tasks, task_rng

pytest.importorskip("pythia8mc")
pytest.importorskip("fastjet")


@pytest.fixture(scope="module")
def toptagging(tmp_path_factory) -> list[Path]:
    return simulate("toptagging", tmp_path_factory.mktemp("toptagging"), 60, seed=1, workers=1)


def read_table(path: Path):
    import h5py

    with h5py.File(path) as file:
        return file["table/table"][:]


def test_toptagging_files_have_the_published_layout(toptagging):
    assert [p.name for p in toptagging] == ["train.h5", "val.h5", "test.h5"]
    rows = [read_table(p) for p in toptagging]
    assert [len(r) for r in rows] == [72, 24, 24]
    for r in rows:
        assert r.dtype == np.dtype(
            [
                ("index", "<i8"),
                ("values_block_0", "<f4", (804,)),
                ("values_block_1", "<i8", (2,)),
            ]
        )
        assert r["values_block_1"][:, 1].mean() == 0.5
        jets = r["values_block_0"][:, :800].reshape(-1, 200, 4)
        pt = np.hypot(jets[..., 1], jets[..., 2])
        assert np.all(np.diff(pt, axis=1) <= 1e-4), "constituents by falling pT, padding last"
        momentum = np.linalg.norm(jets[..., 1:], axis=-1)
        np.testing.assert_allclose(jets[..., 0], momentum, rtol=1e-5, err_msg="massless")
        truth = r["values_block_0"][:, 800:]
        is_top = r["values_block_1"][:, 1] == 1
        assert np.all(truth[~is_top] == 0)
        mass = np.sqrt(truth[is_top, 0] ** 2 - (truth[is_top, 1:] ** 2).sum(1))
        assert np.median(np.abs(mass - 172.5)) < 5, "truth is the parton-level top"


def test_toptagging_attributes_are_those_of_pandas(toptagging):
    import tables

    with tables.open_file(str(toptagging[0])) as file:
        group = file.root.table
        assert group._v_attrs.pandas_type == "frame_table"
        ((axis, columns),) = group._v_attrs.non_index_axes
        assert axis == 1
        assert columns[:5] == ["E_0", "PX_0", "PY_0", "PZ_0", "E_1"]
        assert columns[800:] == ["truthE", "truthPX", "truthPY", "truthPZ", "ttv", "is_signal_new"]


def test_toptagging_physics(toptagging):
    from jaxad.report.simulation import toptagging_observables

    values = toptagging_observables(toptagging)
    qcd, top = values["label"] == 0, values["label"] == 1
    assert np.all((values["pt"] > 549.9) & (values["pt"] < 650.1))
    assert 65 < values["mass"][qcd].mean() < 100
    assert 160 < np.median(values["mass"][top]) < 185
    assert 35 < values["multiplicity"][qcd].mean() < 52
    assert 48 < values["multiplicity"][top].mean() < 66
    assert values["tau32"][qcd].mean() > values["tau32"][top].mean() + 0.1


def test_workers_do_not_change_the_output(tmp_path, toptagging):
    again = simulate("toptagging", tmp_path, 60, seed=1, workers=2)
    for a, b in zip(toptagging, again, strict=True):
        assert np.array_equal(read_table(a), read_table(b))


def test_finished_folder_is_reused_and_another_refused(toptagging):
    folder = toptagging[0].parent
    stamp = toptagging[0].stat().st_mtime_ns
    assert simulate("toptagging", folder, 60, seed=1) == toptagging
    assert toptagging[0].stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match="seed: 1 here, 2 asked"):
        simulate("toptagging", folder, 60, seed=2)
    assert sorted(p.name for p in folder.iterdir() if p.name[0] != ".") == [
        "simulation.json",
        "test.h5",
        "train.h5",
        "val.h5",
    ]


def test_foreign_files_are_not_overwritten(tmp_path):
    (tmp_path / "train.h5").write_bytes(b"precious")
    with pytest.raises(UserError, match="which jaxad did not make"):
        simulate("toptagging", tmp_path, 10)
    assert (tmp_path / "train.h5").read_bytes() == b"precious"


def test_users_mistakes_are_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no simulation called 'top'"):
        simulate("top", tmp_path, 10)
    with pytest.raises(UserError, match="seed must be 0 or more, not -1"):
        simulate("toptagging", tmp_path, 1, seed=-1)
    with pytest.raises(UserError, match="must be positive"):
        simulate("lhco", tmp_path, 0)
    with pytest.raises(UserError, match="at least 5"):
        simulate("toptagging", tmp_path, 2)
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(UserError, match=r"pip install 'jaxad\[simulation\]'"):
        simulate("toptagging", tmp_path / "new", 10)


def running(group: int) -> list[str]:
    """Names of the living processes of a process group."""
    names = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            before, after = stat.read_text().rsplit(") ", 1)
        except OSError:
            continue
        state, _, process_group = after.split()[:3]
        if int(process_group) == group and state != "Z":
            names.append(before)
    return names


def test_interrupted_simulation_leaves_no_process_and_resumes(tmp_path):
    command = [sys.executable, "-m", "jaxad", "simulate", "toptagging"]
    command += ["--events", "60", "--seed", "1", "--workers", "2", "--out", str(tmp_path)]
    process = subprocess.Popen(
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # background jobs ignore it
        args=command,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 180
    while not list(tmp_path.glob("parts-*/*.npz")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    _, message = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in message
    assert not list(tmp_path.glob("*.h5"))
    deadline = time.monotonic() + 10
    while running(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running(process.pid) == []
    parts = {p: p.stat().st_mtime_ns for p in tmp_path.glob("parts-*/*.npz")}
    assert parts
    simulate("toptagging", tmp_path, 60, seed=1, workers=1)
    assert not list(tmp_path.glob("parts-*"))
    assert len(read_table(tmp_path / "train.h5")) == 72


def test_bad_pythia_setting_is_noticed():
    from jaxad.simulation.pythia import make_pythia

    with pytest.raises(ValueError, match="Nonsense"):
        make_pythia(("Nonsense:all = on",))


def test_tasks_cover_the_events_and_differ_in_seed():
    tasks = make_tasks("qcd", "train.h5", 2500, 1000)
    assert [t.n for t in tasks] == [1000, 1000, 500]
    draws = {task_rng(0, t).integers(1 << 60) for t in tasks}
    draws |= {task_rng(1, t).integers(1 << 60) for t in tasks}
    assert len(draws) == 6


def test_accept_stops_at_n_and_gives_up():
    rng = np.random.default_rng(0)
    rows = accept(lambda n: {"x": rng.random(n // 3)}, 100)
    assert rows["x"].shape == (100,)
    with pytest.raises(RuntimeError, match="no event accepted"):
        accept(lambda n: {"x": np.zeros(0)}, 5)


def particles(pdg, pt, eta, phi, charge, event=None):
    from jaxad.simulation.pythia import Particles

    pdg, pt, eta, phi = np.broadcast_arrays(pdg, pt, eta, phi)
    n = len(pt)
    return Particles(
        np.arange(n) if event is None else event,
        np.array(pdg),
        np.full(n, float(charge)),
        pt * np.cos(phi),
        pt * np.sin(phi),
        pt * np.sinh(eta),
        pt * np.cosh(eta),
    )


@pytest.mark.parametrize("name", ["ATLAS", "CMS"])
def test_detector_keeps_energy_and_resolution(name):
    from jaxad.simulation import cards
    from jaxad.simulation.detector import NEUTRAL_HADRON, PHOTON, TRACK, respond

    card = getattr(cards, name)
    rng = np.random.default_rng(0)
    photons = respond(particles(22, np.full(4000, 100.0), 0.3, 1.0, 0), card, rng)
    assert np.all(photons.kind == PHOTON)
    energy = photons.pt * np.cosh(photons.eta)
    expected = 100.0 * np.cosh(0.3)
    sigma = card.ecal.resolution(np.array([0.3]), np.array([expected]))[0]
    assert abs(energy.mean() - expected) < 5 * sigma / np.sqrt(4000)
    assert abs(energy.std() / sigma - 1) < 0.06
    assert np.all(np.abs(photons.eta - 0.3) < 0.02)
    neutrons = respond(particles(2112, np.full(4000, 100.0), 0.3, 1.0, 0), card, rng)
    assert np.all(neutrons.kind == NEUTRAL_HADRON)
    pions = respond(particles(211, np.full(4000, 20.0), 0.3, 1.0, 1), card, rng)
    found = np.bincount(pions.event[pions.kind == TRACK], minlength=4000)
    assert abs(found.mean() - 0.95) < 0.02
    tracks = pions.kind == TRACK
    np.testing.assert_allclose(pions.phi[tracks], 1.0, atol=1e-9)
    assert len(respond(particles(13, np.full(10, 0.05), 0.0, 0.0, 1), card, rng).pt) == 0


def test_helix_reaches_the_surface():
    from jaxad.simulation.cards import CMS
    from jaxad.simulation.detector import propagate

    pt = np.array([10.0, 10.0, 10.0, 0.3])
    eta = np.array([0.5, 0.5, 0.5, 0.5])
    phi = np.full(4, 0.2)
    charge = np.array([0.0, 1.0, -1.0, 1.0])
    surface_eta, surface_phi = propagate(pt, eta, phi, charge, CMS)
    np.testing.assert_allclose([surface_eta[0], surface_phi[0]], [0.5, 0.2])
    bend = np.arcsin(CMS.radius / (2 * 10.0 / (0.29979 * CMS.field)))
    np.testing.assert_allclose(surface_phi[1:3], [0.2 - bend, 0.2 + bend])
    assert surface_eta[1] == pytest.approx(surface_eta[2])
    z = CMS.radius * np.sinh(surface_eta[1])
    assert z == pytest.approx(2 * bend * 10.0 / (0.29979 * CMS.field) * np.sinh(0.5))
    assert np.isfinite(surface_eta[3]), "a curling track leaves through the end cap"


def test_tower_bins_follow_the_cards():
    from jaxad.simulation.cards import ATLAS, CMS
    from jaxad.simulation.detector import tower_index

    for card in (ATLAS, CMS):
        for calorimeter in (card.ecal, card.hcal):
            assert np.all(np.diff(calorimeter.edges) > 0)
            assert calorimeter.edges[0] == pytest.approx(-calorimeter.edges[-1])
            eta_bin, phi_bin = tower_index(
                calorimeter, np.array([0.01, 5.5, -5.5]), np.array([-np.pi, 0.0, 3.0])
            )
            assert eta_bin[0] >= 0
            assert phi_bin[0] == 0
            assert list(eta_bin[1:]) == [-1, -1]


def test_clustering_keeps_every_particle_and_momentum():
    from jaxad.observables.clustering import cluster, n_subjettiness, padded
    from jaxad.simulation.pythia import kinematics

    rng = np.random.default_rng(3)
    event = np.repeat([0, 2], [40, 25])
    pt, eta, phi = rng.exponential(20, 65), rng.normal(0, 0.2, 65), rng.normal(3.1, 0.2, 65)
    p = particles(22, pt, eta, phi, 0, event)
    jets = cluster(p.event, p.px, p.py, p.pz, p.e, 3, 1.0, 0.0)
    assert sorted(jets.members) == list(range(65))
    assert set(jets.event) == {0, 2}
    jet_pt, _, _ = kinematics(jets.px, jets.py, jets.pz)
    for k in (0, 2):
        mine = jets.event == k
        assert np.all(np.diff(jet_pt[mine]) <= 0)
        assert list(jets.rank[mine]) == list(range(mine.sum()))
    momenta = np.stack([p.e, p.px, p.py, p.pz], axis=1)
    np.testing.assert_allclose(
        padded(jets, momenta, 65).sum(axis=1),
        np.stack([jets.e, jets.px, jets.py, jets.pz], 1),
        rtol=1e-5,
        atol=1e-3,
    )
    hardest = jets.select(jets.rank == 0)
    rows = hardest.members
    tau = n_subjettiness(
        p.px[rows], p.py[rows], p.pz[rows], p.e[rows], np.diff(hardest.offsets), 1.0
    )
    assert tau.shape == (2, 3)
    assert np.all(np.diff(tau, axis=1) < 0)
    assert np.all((tau > 0) & (tau < 1))


def test_the_angular_exponent_of_subjettiness():
    """Two equal particles 0.4 apart lie 0.2 from their axis: tau_1 = 0.2^beta."""
    from jaxad.observables.clustering import n_subjettiness

    p = particles(22, np.full(2, 100.0), np.zeros(2), np.array([-0.2, 0.2]), 0, np.zeros(2, int))
    for beta in (0.5, 1.0, 2.0):
        tau = n_subjettiness(
            p.px, p.py, p.pz, p.e, np.array([2]), 1.0, (1,), axes="KT_Axes", beta=beta
        )
        np.testing.assert_allclose(tau, [[0.2**beta]], rtol=1e-6)


@pytest.fixture(scope="module")
def lhco(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("lhco")
    return {
        name: simulate(name, folder / name, 60, seed=2, workers=1)[0]
        for name in ("lhco", "lhco_signal", "lhco_signal_heavy", "lhco_signal_light")
    }


def test_lhco_files_have_the_published_layout(lhco):
    import tables

    for name, path in lhco.items():
        with tables.open_file(str(path)) as file:
            frame = file.root.df
            assert frame._v_attrs.pandas_type == "frame"
            names = [n.decode() for n in frame.block0_items[:]]
            values = frame.block0_values[:]
        assert names[:4] == ["pxj1", "pyj1", "pzj1", "mj1"]
        assert names[7:] == ["pxj2", "pyj2", "pzj2", "mj2", "tau1j2", "tau2j2", "tau3j2", "label"]
        assert values.shape == (60, 15)
        assert np.all(values[:, 14] == (name != "lhco"))
        pt = np.hypot(values[:, [0, 7]], values[:, [1, 8]])
        assert np.all(pt[:, 0] > 1200)
        assert np.all(pt[:, 0] >= pt[:, 1])
        assert np.all(np.diff(np.median(values[:, 4:7], axis=0)) < 0)


@pytest.mark.filterwarnings("error")
def test_checks_are_drawn_and_what_cannot_be_compared_is_named(toptagging, lhco, tmp_path):
    out = tmp_path / "check.png"
    for name, paths in {"toptagging": toptagging, **{k: [v] for k, v in lhco.items()}}.items():
        assert draw(name, paths, out).stat().st_size > 10_000
    assert draw("lhco", [lhco["lhco"]], out, lhco["lhco"]).stat().st_size > 10_000
    with pytest.raises(UserError, match="no event of label 0 to compare with"):
        draw("lhco", [lhco["lhco"]], out, lhco["lhco_signal"])


def test_a_spectrum_with_nothing_between_its_edges_is_drawn():
    """As a handful of events may have: a density of none is no number."""
    axes = new_figure().subplots()
    _spectrum(axes, np.array([7.0, 9.0]), np.linspace(0, 1, 5))
    assert np.isfinite(axes.get_ylim()).all()
    _spectrum(axes, np.array([0.1, 0.1, 0.6, 7.0]), np.linspace(0, 1, 5))
    assert axes.dataLim.y1 == pytest.approx(2 / (4 * 0.25))


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [("lhco_signal", 500, 100), ("lhco_signal_heavy", 600, 300), ("lhco_signal_light", 200, 100)],
)
def test_lhco_resonances_have_their_masses(lhco, name, x, y):
    from jaxad.report.simulation import lhco_observables

    signal, qcd = (lhco_observables(lhco[each]) for each in (name, "lhco"))
    assert abs(np.median(signal["mjj"]) - 3500) < 150
    assert abs(np.median(signal["mJ1"]) - y) < 0.2 * y
    assert abs(np.median(signal["mJ1"] + signal["dmJ"]) - x) < 0.15 * x
    assert signal["tau21J2"].mean() < qcd["tau21J2"].mean() - 0.1


def test_clustering_reproduces_the_published_lhco_jets(shared_data):
    from jaxad.data.pandas_table import PandasTable
    from jaxad.observables.momenta import massless
    from jaxad.simulation.lhco import FEATURES, dijet_features

    with PandasTable(shared_data / "lhco_raw_1k.h5") as table:
        particles = table.read(table.columns[:2100]).reshape(-1, 700, 3)
    with PandasTable(shared_data / "lhco_features_60k.h5") as table:
        expected = table.read(list(FEATURES), 0, len(particles))
        tau_valid = table.read(["tau_valid"], 0, len(particles))[:, 0] == 1
    event, slot = np.nonzero(particles[..., 0] > 0)
    momenta = massless(*particles[event, slot].T)
    kept, found = dijet_features(event, momenta, len(particles), 0.0)
    assert np.array_equal(kept, np.arange(len(particles)))
    kinematic = [0, 1, 2, 3, 7, 8, 9, 10]
    np.testing.assert_allclose(found[:, kinematic], expected[:, kinematic], atol=2e-3, rtol=2e-6)
    tau = [4, 5, 6, 11, 12, 13]
    off = np.abs(found[tau_valid][:, tau] - expected[tau_valid][:, tau])
    assert np.all(np.median(off, axis=0) < 1e-3), "kT axes, as in the published features"


@pytest.mark.slow
def test_jet_kinds_have_the_published_layout_and_their_masses(tmp_path):
    import h5py

    paths = simulate("jets", tmp_path, 50, seed=3, workers=1)
    assert len(paths) == 9
    masses = {}
    for path in paths:
        with h5py.File(path) as file:
            jets = file["objects/jets/constituents"][:, 0]
            obs = file["objects/jets/obs"][:, 0]
        assert len(jets) == len(obs) == (50 if path.stem == "qcd_dijet" else 10)
        assert obs.shape[1] == 9
        momenta = np.array([jet.reshape(-1, 5)[:, :4].sum(axis=0) for jet in jets])
        mass = np.sqrt(momenta[:, 0] ** 2 - (momenta[:, 1:] ** 2).sum(axis=1))
        np.testing.assert_allclose(mass, obs[:, 3], rtol=2e-3)
        np.testing.assert_allclose(np.hypot(momenta[:, 1], momenta[:, 2]), obs[:, 0], rtol=1e-4)
        assert np.all((obs[:, 0] > 549.9) & (obs[:, 0] < 650.1))
        masses[path.stem] = np.median(obs[:, 3])
    for stem, mass in (("W_m59", 59), ("W", 80), ("W_m120", 120), ("W_m174", 174), ("top", 174)):
        assert abs(masses[f"{stem}_100k_01"] - mass) < 20
    assert draw("jets", paths, tmp_path / "check.png").stat().st_size > 10_000


@pytest.mark.slow
def test_adc2021_files_have_the_published_layout(tmp_path):
    import h5py

    paths = simulate("adc2021", tmp_path, 40, seed=4, workers=1)
    assert [p.stem.split("_")[0] for p in paths] == [
        "background",
        "Ato4l",
        "leptoquark",
        "hToTauTau",
        "hChToTauNu",
    ]
    classes = np.repeat([1, 2, 3, 4], [1, 4, 4, 10])
    for path in paths:
        with h5py.File(path) as file:
            x = file["Particles"][:]
            assert list(file["Particles_Names"][:]) == [b"Pt", b"Eta", b"Phi", b"Class"]
        assert x.shape == (40 if path == paths[0] else 8, 19, 4)
        pt = x[..., 0]
        assert np.all(x[..., 3] == np.where(pt > 0, classes, 0))
        for block in (slice(1, 5), slice(5, 9), slice(9, 19)):
            assert np.all(np.diff(pt[:, block], axis=1) <= 0)
        assert np.all(pt[:, 1:9].max(axis=1) > 23)
        assert np.all(x[:, 0, 1] == 0)
        assert np.abs(x[:, 1:5, 1]).max() < 3.0
        assert np.abs(x[:, 5:9, 1]).max() < 2.1
        assert np.abs(x[:, 9:, 1]).max() < 4.0
    assert draw("adc2021", paths, tmp_path / "check.png").stat().st_size > 10_000


def test_isolation_counts_what_is_around_a_lepton():
    from jaxad.simulation.adc2021 import isolated_leptons
    from jaxad.simulation.detector import TRACK, Objects

    eta = np.array([0.0, 0.1, 2.0, 0.0, 0.1, 2.0])
    phi = np.array([3.1, -3.1, 0.0, 3.1, -3.1, 0.0])
    objects = Objects(
        event=np.array([0, 0, 0, 1, 1, 1]),
        pt=np.array([30.0, 10.0, 20.0, 30.0, 20.0, 2.0]),
        eta=eta,
        phi=phi,
        kind=np.full(6, TRACK, np.int8),
        pdg=np.array([13, 211, -11, 13, 211, 11]),
        surface_eta=eta,
        surface_phi=phi,
    )
    assert isolated_leptons(objects).tolist() == [True, False, True, False, False, False]
