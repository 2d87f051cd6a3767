"""Small files with the names and types of published data sets, and their first events by hand."""

import numpy as np
import pytest
from lhco_events import write_frame
from random_jets import random_jets

from jaxad.observables.momenta import four_momenta

N = 24


def jets(seed=0, n_slots=8):
    """(N, n_slots, 3) pT [GeV], eta, phi; the last two slots are padding."""
    x = random_jets(seed, N, n_slots).astype(np.float64)
    x[:, -2:] = 0
    return x


def lists(columns, there):
    """Columns (N, n) without the slots where nothing is, as lists."""
    return [[*row[mask]] for row, mask in zip(columns, there, strict=True)]


def write_parquet(path, columns):
    """Columns name -> (values, type), a list of the type where values are lists."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    arrays = {}
    for name, (values, kind) in columns.items():
        kind = getattr(pyarrow, kind)()
        nested = isinstance(values, list) and isinstance(values[0], list)
        arrays[name] = pyarrow.array(values, pyarrow.list_(kind) if nested else kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(arrays), path, row_group_size=7)
    return path


def jetclass2(folder):
    for seed, (kind, first) in enumerate({"QCD": 161, "Res2P": 0, "Res34P": 15}.items()):
        x = jets(seed)
        momenta, there = four_momenta(x)[:, ::-1], (x[..., 0] > 0)[:, ::-1]  # by rising pT
        part = dict(zip(("energy", "px", "py", "pz"), np.moveaxis(momenta, -1, 0), strict=True))
        part |= {"deta": momenta[..., 0], "charge": momenta[..., 0]}
        columns = {f"part_{name}": (lists(v, there), "float32") for name, v in part.items()}
        label = first + np.arange(N) % {"QCD": 27, "Res2P": 15, "Res34P": 146}[kind]
        columns |= {"jet_pt": (np.arange(N), "float32"), "jet_sdmass": (np.arange(N), "float32")}
        file = write_parquet(
            folder / f"{kind}_0000.parquet", columns | {"jet_label": (label, "int32")}
        )
        if kind == "QCD":
            first_file, event = file, four_momenta(x)[0]
    return folder, first_file, event


def _dijets(names):
    """A table of two jets: momenta, masses and subjettinesses, and the first dijet mass."""
    rng = np.random.default_rng(0)
    momenta = rng.normal(0, 1000, (N, 2, 3))
    masses = rng.uniform(50, 500, (N, 2))
    table = {"pxj1": momenta[:, 0, 0], "pyj1": momenta[:, 0, 1], "pzj1": momenta[:, 0, 2]}
    table |= {"pxj2": momenta[:, 1, 0], "pyj2": momenta[:, 1, 1], "pzj2": momenta[:, 1, 2]}
    table |= {"mj1": masses[:, 0], "mj2": masses[:, 1]}
    table |= {name: rng.uniform(0, 1, N) for name in names}
    energy = sum(np.sqrt((momenta[0, j] ** 2).sum() + masses[0, j] ** 2) for j in range(2))
    mjj = np.sqrt(energy**2 - (momenta[0].sum(axis=0) ** 2).sum())
    return table | {"label": np.arange(N) % 3 == 0}, mjj


def _features(folder, name, taus):
    table, mjj = _dijets(sorted(taus))  # another order than that of x
    write_frame(folder / name, np.column_stack([*table.values()]), list(table))
    expected = [mjj, *(table[key][0] for key in ("mj1", "mj2", *taus))]
    return folder, folder / name, np.array(expected)


def lhco_features(folder):
    taus = [f"tau{i}j{j}" for j in (1, 2) for i in (1, 2, 3)]
    return _features(folder, "events_anomalydetection_v2.features.h5", taus)


def lhco_extratau(folder):
    taus = [f"tau{i}j{j}_{b}" for b in (5, 1, 2) for j in (1, 2) for i in range(1, 10)]
    return _features(folder, "events_anomalydetection_v2.extratau_2.features.h5", taus)


def lhco_kitchensink(folder):
    x = np.zeros((N, 700, 3))
    x[:, :8] = jets()
    write_frame(folder / "events.h5", x.reshape(N, 2100), map(str, range(2100)))
    return folder, folder / "events.h5", x[0]


def toptagging_parquet(folder):
    for seed, part in enumerate(("train", "validation", "test")):
        x = np.zeros((N, 200, 4))
        x[:, :8] = four_momenta(jets(seed))
        columns = {
            f"{name}_{i}": (x[:, i, c], "float32")
            for i in range(200)
            for c, name in enumerate(("E", "PX", "PY", "PZ"))
        }
        columns |= {f"truth{name}": (np.zeros(N), "float32") for name in ("E", "PX", "PY", "PZ")}
        columns["ttv"] = (np.full(N, (0, 2, 1)[seed]), "int64")
        columns["is_signal_new"] = (np.arange(N) % 2, "int64")
        file = write_parquet(folder / "data" / f"{part}-00000-of-00001.parquet", columns)
    return folder, file, x[0]


J1 = "px py pz e erel pt ptrel eta etarel etarot phi phirel phirot deltaR costheta costhetarel"


def hls4ml_parquet(folder):
    x = jets()
    there = x[..., 0] > 0
    columns = {f"j1_{name}": (lists(7 + 0 * x[..., 0], there), "float32") for name in J1.split()}
    for c, name in enumerate(("pt", "etarel", "phirel")):
        columns[f"j1_{name}"] = lists(x[..., c], there), "float32"
    columns["label"] = np.arange(N) % 5, "int8"
    file = write_parquet(folder / "train" / "0000.parquet", columns)
    return folder, file, x[0]


DARKMACHINES = """1;njets;0.5;250000.5;-1.25;j,310000,300000,0.1,1.5;j,410000,400000,0.2,-1.5;
2;ttbar;1.5;100000;0.5;b,120000,110000,-0.3,2.0;e-,60000,50000,0.6,3.0;m+,70000,65000,1.1,0.0
3;njets;-0.25;90000;3.1
"""


def darkmachines(folder):
    text = DARKMACHINES + "".join(
        f"{i};njets;1;{1000 * i};0.1;j,{2000 * i},{1500 * i},0.2,0.3\n" for i in range(4, N + 1)
    )
    file = folder / "background_chan1_7.79.csv"
    file.write_text(text)
    first = np.zeros((36, 3))
    first[0] = 250000.5, 0, -1.25
    first[1:3] = (400000, 0.2, -1.5), (300000, 0.1, 1.5)
    return folder, file, first


def _root(path, branches):
    uproot = pytest.importorskip("uproot")
    ids = {"run": (np.uint32, 1), "luminosityBlock": (np.uint32, 7), "event": (np.uint64, 1)}
    n = len(next(iter(branches.values())))
    ids = {k: (np.arange(n) // step + 300_000).astype(kind) for k, (kind, step) in ids.items()}
    with uproot.recreate(path) as file:
        file.mktree("Events", {**ids, **branches})
        file.mktree("Runs", {"run": np.arange(2, dtype=np.uint32)})
    return f"{path}:Events", f"{path}:Events"


def collection(columns, there):
    """Fields -> (N, n) as a collection of NanoAOD."""
    awkward = pytest.importorskip("awkward")
    return awkward.zip(
        {
            k: awkward.values_astype(awkward.Array(lists(v, there)), np.float32)
            for k, v in columns.items()
        }
    )


def nanoaod_events(folder):
    branches = {}
    for seed, name in enumerate(("Jet", "Electron", "Muon")):
        x = jets(seed, 12 if name == "Jet" else 6)
        pt, eta, phi = np.moveaxis(x, -1, 0)
        there = pt > 0
        if name == "Muon":
            there[0] = False
            pt, eta, phi = pt[:, ::-1], eta[:, ::-1], phi[:, ::-1]  # by rising pT
            there = there[:, ::-1]
        branches[name] = collection({"pt": pt, "eta": eta, "phi": phi}, there)
        if name == "Jet":
            jet = x[0]
        elif name == "Electron":
            electron = x[0]
    branches |= {"MET_pt": np.arange(N, dtype=np.float32), "MET_phi": np.ones(N, np.float32)}
    first = np.zeros((19, 3))
    first[0] = 0, 0, 1
    first[1:5], first[9:19] = electron[:4], jet[:10]
    return *_root(folder / "nano.root", branches), first


FATJET = ["pt", "eta", "phi", "mass", "msoftdrop", "tau1", "tau2", "tau3", "tau4", "nConstituents"]


def nanoaod_fatjets(folder):
    there = np.arange(3) < (2 + np.arange(N) % 2)[:, None]
    there[0] = False  # the first event has no jet
    columns = {name: np.arange(3 * N).reshape(N, 3) + 100 * c for c, name in enumerate(FATJET)}
    first = [columns[name][1, 0] for name in FATJET if name != "phi"]
    return *_root(folder / "nano.root", {"FatJet": collection(columns, there)}), np.array(first)


def pfnano(folder):
    """Two jets an event; their candidates lie shuffled among others, links in any order."""
    awkward = pytest.importorskip("awkward")
    rng = np.random.default_rng(1)
    x, weight = np.stack([jets(0), jets(1)], axis=1), 0.5
    candidates, jet_index, candidate_index = [], [], []
    for event in x:
        own = [(j, p) for j, jet in enumerate(event) for p in jet if p[0] > 0]
        own += [(-1, np.array([999, 0, 0]))] * 3  # of no jet
        place = rng.permutation(len(own))
        row = [None] * len(own)
        for (_, particle), at in zip(own, place, strict=True):
            row[at] = particle
        candidates.append(row)
        order = rng.permutation(len(own))
        jet_index.append([own[i][0] for i in order])
        candidate_index.append([int(place[i]) for i in order])
    fields = {
        name: awkward.values_astype(
            awkward.Array([[p[c] for p in row] for row in candidates]), np.float32
        )
        for c, name in enumerate(("pt", "eta", "phi"))
    }
    fields |= {"mass": 0 * fields["pt"] + 0.1395704, "puppiWeight": 0 * fields["pt"] + weight}
    links = {"jetIdx": jet_index, "pFCandsIdx": candidate_index}
    branches = {
        "PFCands": awkward.zip(fields),
        "FatJetPFCands": awkward.zip({k: awkward.Array(v) for k, v in links.items()}),
        "FatJet": collection(
            {k: np.arange(2 * N).reshape(N, 2) for k in FATJET}, np.ones((N, 2), bool)
        ),
    }
    first = np.zeros((150, 4))
    first[:8] = massive(x[0, 0], 0.1395704) * weight
    return *_root(folder / "pfnano.root", branches), first


def massive(x, mass):
    """(n, 4) of (n, 3) pT, eta, phi and a mass; zero where pT is."""
    pt, eta, phi = np.moveaxis(x, -1, 0)
    energy = np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2) * (pt > 0)
    return np.stack([energy, pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], -1)


def dimuon(folder):
    """Two muons an event, but one in the second, the first one loose in the third, three in the
    fourth, and of one sign in the fifth."""
    x = jets(3, 5)
    x[:, :2, 0] += 20
    x[:, 2:, 0] = 0
    x[1, 1, 0], x[3, 2, 0] = 0, 5
    pt, eta, phi = np.moveaxis(x, -1, 0)
    columns = {"pt": pt, "eta": eta, "phi": phi, "mass": 0 * pt + 0.1056584}
    columns |= {"pfRelIso04_all": pt / 100, "ip3d": pt / 1000, "tightId": pt > 0}
    columns["charge"] = np.where(np.arange(5) % 2, 1, -1) + 0 * pt
    columns["tightId"][2, 0] = False
    columns["charge"][4] = 1
    pair = massive(x[0, :2], 0.1056584).sum(axis=0)
    mass = np.sqrt(pair[0] ** 2 - (pair[1:] ** 2).sum())
    named = (columns[key][0, i] for key in ("pt", "eta", "pfRelIso04_all", "ip3d") for i in (0, 1))
    source = _root(folder / "double.root", {"Muon": collection(columns, pt > 0)})
    return *source, np.array([mass, *named])


CASES = {
    "jetclass2": (jetclass2, {"Res2P": N, "Res34P": N}),
    "lhco_features": (lhco_features, {"Wprime": N // 3}),
    "lhco_extratau": (lhco_extratau, {"Wprime": N // 3}),
    "lhco_kitchensink": (lhco_kitchensink, {}),
    "toptagging_parquet": (toptagging_parquet, {"top": N // 2}),
    "hls4ml_parquet": (hls4ml_parquet, {"W": 5, "Z": 5, "t": 4}),
    "darkmachines": (darkmachines, {}),
    "nanoaod_events": (nanoaod_events, {}),
    "nanoaod_fatjets": (nanoaod_fatjets, {}),
    "pfnano": (pfnano, {}),
    "dimuon": (dimuon, {}),
}
"""Preset -> what writes (source, a file, its first event), and the number of events of signals."""
BACKGROUND = {"jetclass2": N, "lhco_features": 16, "lhco_extratau": 16, "hls4ml_parquet": 10}
BACKGROUND |= {"toptagging_parquet": 3 * N // 2, "pfnano": 2 * N, "dimuon": N - 4}
BACKGROUND["nanoaod_fatjets"] = int((2 + np.arange(1, N) % 2).sum())
