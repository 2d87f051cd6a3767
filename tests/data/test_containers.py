"""The same events in every container are the same data set, bit for bit; and what files hold
instead is named."""

import gzip
import sys

import h5py
import numpy as np
import pytest
from published_layouts import massive
from random_jets import random_jets

from jaxad import data
from jaxad.data.coordinates import four_vectors
from jaxad.errors import UserError

N, M = 50, 9
HAND = np.float32(0.1395704)


@pytest.fixture(scope="module")
def x():
    """(N, M, 3); an event without particles; one that fills all slots; not sorted."""
    x = random_jets(0, N, M)
    x[3] = 0
    x[5] = random_jets(1, 1, 40)[0, :M]
    x[7, :2] = x[7, 1::-1]
    return x + np.float32(0)  # of padding no -0, which lists cannot hold


@pytest.fixture(scope="module")
def folder(x, tmp_path_factory):
    """jets.h5, .npz, .csv of padded columns; jets.root, jets.parquet of lists of any length."""
    folder = tmp_path_factory.mktemp("containers")
    columns = dict(zip(("pt", "eta", "phi"), np.moveaxis(x, -1, 0), strict=True))
    single = {"label": np.arange(N) % 4 // 3, "weight": np.arange(N, dtype=np.float32)}
    single |= {"run": np.arange(N) // 9, "event": np.arange(N) // 2}
    with h5py.File(folder / "jets.h5", "w") as file:
        for name, values in (columns | single).items():
            file[name] = values
    np.savez(folder / "jets.npz", **columns, **single)
    flat = {f"{k}_{i}": columns[k][:, i] for k in columns for i in reversed(range(M))} | single
    table = np.column_stack([flat[name].astype(np.float64) for name in flat])
    lines = (",".join(repr(float(v)) for v in row) for row in table)
    (folder / "jets.csv").write_text("\n".join([",".join(flat), *lines]) + "\n")
    uproot, awkward = pytest.importorskip("uproot"), pytest.importorskip("awkward")
    parquet = pytest.importorskip("pyarrow.parquet")
    there = x[..., 0] > 0
    lists = {
        k: awkward.Array([row[mask] for row, mask in zip(v, there, strict=True)])
        for k, v in columns.items()
    }
    with uproot.recreate(folder / "jets.root") as file:
        file.mktree("Events", lists | single)
    table = awkward.to_arrow_table(awkward.zip(lists | single, depth_limit=1), extensionarray=False)
    parquet.write_table(table, folder / "jets.parquet", row_group_size=11)
    return folder


def load(source, **settings):
    settings = {"x_key": "pt,eta,phi", "label_key": "label", "signals": "s=1"} | settings
    settings = {"weight_key": "weight", "id_key": "run,event", "split": "id"} | settings
    return data.load(data.get_config("events", source=str(source), **settings))


@pytest.mark.parametrize("changes", [{}, {"n_particles": 6, "max_cut": 1.0}, {"n_particles": 12}])
def test_every_container_gives_the_same_data_set(folder, x, changes):
    digests = {}
    for name in ("jets.h5", "jets.npz", "jets.csv", "jets.parquet", "jets.root:Events"):
        key = {"x_key": "pt_*,eta_*,phi_*"} if name == "jets.csv" else {}
        dataset = load(folder / name, **key, **changes)
        digests[name] = dataset.info["digest"]
        assert dataset.train["x"].shape[1:] == (changes.get("n_particles", M), 3)
    assert len(set(digests.values())) == 1, digests


def test_the_hardest_are_kept_and_the_rest_told(folder, x, capsys):
    with pytest.raises(UserError, match=r"data.n_particles: \d+ of \d+ events .* at most 1.00%"):
        load(folder / "jets.h5", n_particles=4)
    config = data.get_config("events", source="", x_key="pt,eta,phi", n_particles=4)
    with data.open_events(config, str(folder / "jets.h5")) as events:
        found = events[0:N]
    order = np.argsort(-x[..., 0], axis=1, kind="stable")[..., None]
    np.testing.assert_array_equal(found, np.take_along_axis(x, order, 1)[:, :4])
    load(folder / "jets.h5", n_particles=8, max_cut=0.2)
    assert "have more than 8 particles: the hardest are kept" in capsys.readouterr().err


def test_coordinates(folder, x, tmp_path):
    """Masses, energies, rapidities and ids become the same four-momenta; axes are added."""
    expected = massive(x.astype(np.float64), float(HAND)) * (x[..., :1] > 0)
    pt, eta, phi = np.moveaxis(x.astype(np.float64), -1, 0)
    energy, pz = expected[..., 0], expected[..., 3]
    with np.errstate(all="ignore"):
        y = np.where(pt > 0, np.arctanh(pz / energy), 0)
    fourth = {
        "ptetaphim": (eta, np.full_like(pt, HAND)),
        "ptetaphie": (eta, energy),
        "ptyphim": (y, np.full_like(pt, HAND)),
        "ptyphipid": (y, np.where(pt > 0, -211, 0)),
    }
    for name, (second, last) in fourth.items():
        found = four_vectors(np.stack([pt, second, phi, last], -1), name)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    momenta = np.stack([*np.moveaxis(expected[..., 1:], -1, 0), np.full_like(pt, HAND)], -1)
    np.testing.assert_allclose(four_vectors(momenta, "pxpypzm"), expected, rtol=1e-6, atol=1e-6)
    with pytest.raises(UserError, match=r"expected PDG ids of stable particles, found 25"):
        four_vectors(np.array([[[1.0, 0, 0, 25]]]), "ptyphipid")
    axis = np.array([0.5, 3.0]) * np.ones((N, 1))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        relative = np.where(pt[..., None] > 0, x - [0, 0.5, 3.0], 0)
        file["x"], file["axis"], file["jet"] = relative, axis, np.full(N, 2.0)
    keys = {"axis_key": "axis", "id_key": "", "split": "random"}
    config = data.get_config("events", source="", x_key="x", **keys)
    with data.open_events(config, str(tmp_path / "a.h5")) as events:
        np.testing.assert_allclose(events[0:N], x, atol=2e-6)
    for change, message in (
        ({"axis_key": "jet"}, r"data.axis_key: expected eta and phi of each jet"),
        ({"coordinates": "ptetaphim"}, r"makes \(E, px, py, pz\), found data.format=ptetaphi"),
        ({"coordinates": "pteta"}, r"data.coordinates: expected one of ptetaphim, "),
        ({"coordinates": "ptyphim", "format": "epxpypz"}, r"expected four numbers a particle, pT"),
    ):
        with pytest.raises(UserError, match=message):
            data.load(data.get_config("events", source=str(tmp_path / "a.h5"), **keys | change))


def test_nan_is_padding_or_refused(x, tmp_path):
    holes = np.where(x[..., :1] > 0, x, np.nan)
    np.savez(tmp_path / "a.npz", x=holes)
    config = data.get_config("events", source="", n_particles=M)
    with data.open_events(config, str(tmp_path / "a.npz")) as events:
        order = np.argsort(-x[..., 0], axis=1, kind="stable")[..., None]
        np.testing.assert_array_equal(events[0:N], np.take_along_axis(x, order, 1))
    holes[9, 1, 0] = np.nan
    np.savez(tmp_path / "a.npz", x=holes)
    config.n_particles = 1
    events = data.open_events(config, str(tmp_path / "a.npz"))
    with events as x, pytest.raises(UserError, match="NaN or infinity at row 9"):
        x[0:N]


def test_a_jet_column_of_other_jets_is_told(folder, tmp_path, x, capsys):
    pt = np.hypot(*(massive(x.astype(float), 0).sum(axis=1).T[1:3]))
    np.savez(tmp_path / "a.npz", x=x, good=pt, stale=pt[::-1])
    for key in ("good", "stale"):
        source = {"source": str(tmp_path / "a.npz"), "observables": f"pt={key}"}
        data.load(data.get_config("events", **source))
        said = "over 5 % off the pT of their particles" in capsys.readouterr().err
        assert said == (key == "stale")


OTHERS = {
    b"<!DOCTYPE html><html>moved</html>": "a web page",
    b"\n <html><body>login</body></html>": "a web page",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0": "a Git LFS pointer",
    gzip.compress(b"x"): "one inside gzip: unpack it first, gunzip --stdout",
    b"\x89HDF\r\n\x1a\n" + bytes(100): "an HDF5 file",
}


@pytest.mark.parametrize("name", ["a.root", "a.parquet", "a.npz", "a.npy", "a.h5", "a.csv"])
@pytest.mark.parametrize("content", OTHERS, ids=["page", "spaces", "lfs", "gzip", "hdf5"])
def test_other_things_under_the_name_are_named(tmp_path, name, content):
    if name == "a.h5" and OTHERS[content] == "an HDF5 file":
        pytest.skip("it is one")
    (tmp_path / name).write_bytes(content)
    source = str(tmp_path / name) + (":Events" if name == "a.root" else "")
    with pytest.raises(UserError, match=OTHERS[content]) as error:
        data.load(data.get_config("events", source=source, x_key="pt,eta,phi"))
    assert name in str(error.value) and "\n" not in str(error.value)


def test_masses_in_two_units_are_told(tmp_path, capsys):
    values, mass = np.random.default_rng(0).random((N, 2)), np.linspace(90, 110, N)
    for name, factor in (("a", 1), ("same", 1), ("mev", 1000)):
        np.savez(tmp_path / f"{name}.npz", x=values, m=factor * mass)
    for other in ("same", "mev"):
        source = {"source": str(tmp_path / "a.npz"), "signals": f"s={tmp_path / other}.npz"}
        data.load(data.get_config("events", **source, format="features", mass_key="m"))
        assert ("mixed units? the median mass" in capsys.readouterr().err) == (other == "mev")


def test_truncated_copies(folder, tmp_path):
    for name, message in (
        ("jets.parquet", r"truncated: only [\d,]+ bytes are here, and a Parquet file ends"),
        ("jets.root", r"jets.root.*cannot be read as a ROOT file"),
        ("jets.h5", "truncated: only"),
        ("jets.npz", "a damaged one"),
    ):
        content = (folder / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
        source = tmp_path / (f"{name}:Events" if name == "jets.root" else name)
        with pytest.raises(UserError, match=message):
            load(source)


def test_gzip_is_never_unpacked(folder, tmp_path):
    for name in ("a.h5.gz", "a.parquet.gz"):
        (tmp_path / name).write_bytes(gzip.compress((folder / "jets.h5").read_bytes()))
        with pytest.raises(UserError, match=r"inside gzip: unpack it first, gunzip --keep"):
            load(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == [*("a.h5.gz", "a.parquet.gz")]


def test_without_the_packages_the_extra_is_named(folder, monkeypatch):
    for name, package in (("jets.parquet", "pyarrow"), ("jets.root:Events", "uproot")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(UserError, match=r"pip install 'jaxad\[(parquet|root)\]'"):
            load(folder / name)
