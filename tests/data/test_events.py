"""The reader of the user's own arrays: real events by settings alone, and every refusal."""

import re
import sys

import h5py
import numpy as np
import pytest
from absl import flags
from ml_collections import ConfigDict, config_flags

import jaxad.data as data
from jaxad.data.dataset import counts, n_rows
from jaxad.data.particles import jet_observables
from jaxad.errors import UserError
from jaxad.observables.momenta import four_momenta

HLS4ML = {
    "x_key": "constituents",
    "label_key": "label",
    "background": "0,1",
    "signals": "t=4,W=2,Z=3",
}


def _jets(n, seed=0):
    """(n, 20, 3) = (pT, eta, phi), 10 particles and padding."""
    rng = np.random.default_rng(seed)
    jets = rng.normal(0, 0.1, (n, 20, 3))
    jets[..., 0] = -np.sort(-rng.exponential(20, (n, 20)), axis=1)
    jets[:, 10:] = 0
    return jets


@pytest.fixture
def jets(tmp_path):
    """jets.h5 with x, label (0, 1, 2 in turn), jet_mass; 90 jets."""
    path = tmp_path / "jets.h5"
    with h5py.File(path, "w") as file:
        file["x"] = _jets(90)
        file["label"] = np.arange(90) % 3
        file["jet_mass"] = np.arange(90.0)[:, None]
        file["names"] = np.array(["a"] * 90, "S")
    return path


def _load(path, **changes):
    return data.load(data.get_config("events", source=str(path), **changes))


def _same(a, b):
    assert counts(a) == counts(b)
    for (_, left), (_, right) in zip(a.parts(), b.parts(), strict=True):
        assert set(left) == set(right)
        for key in left:
            np.testing.assert_array_equal(left[key], right[key])


def test_real_jets_from_overrides_alone(shared_data, tmp_path, monkeypatch):
    config = tmp_path / "config.py"
    config.write_text(
        "from ml_collections import ConfigDict\n"
        "from jaxad.data import get_config as data_config\n"
        "def get_config():\n"
        "    return ConfigDict({'data': data_config('toptagging', n_jets=100)})\n"
    )
    values = flags.FlagValues()
    holder = config_flags.DEFINE_config_file("config", flag_values=values)
    changes = {"name": "events", "source": shared_data / "jets_hls4ml_20k.h5", **HLS4ML}
    arguments = [f"--config={config}", *(f"--config.data.{k}={v}" for k, v in changes.items())]
    monkeypatch.setattr("sys.argv", ["train.py", *arguments])
    values(sys.argv)
    saved = ConfigDict({**holder.value.data})
    dataset = data.load(saved)
    assert (
        counts(dataset)
        == {
            "train": 6195,
            "val": 806,
            "test": 1053,
            "signals.t": 3957,
            "signals.W": 4039,
            "signals.Z": 3950,
        }
        or sum(counts(dataset).values()) == 20_000
    )
    assert dataset.train["x"].shape[1:] == (100, 3)
    for name, mass in {"W": 80.4, "Z": 91.2}.items():
        assert abs(np.median(dataset.signals[name]["mass"]) - mass) < 6
    assert abs(np.median(dataset.train["pt"]) - 1000) < 100


def test_labels_observables_and_splits(jets):
    dataset = _load(
        jets, label_key="label", background="0,2", signals="one=1", observables="m=jet_mass"
    )
    assert counts(dataset) == {"train": 38, "val": 10, "test": 12, "signals.one": 30}
    ids = [set(rows["m"].tolist()) for _, rows in dataset.parts()]
    assert set.union(*ids) == set(range(90)) and sum(map(len, ids)) == 90
    for _, rows in dataset.parts():
        np.testing.assert_array_equal(rows["label"], rows["m"] % 3)
        expected = _jets(90)[rows["m"].astype(int)].astype(np.float32)
        np.testing.assert_array_equal(rows["x"], expected)
        np.testing.assert_array_equal(rows["multiplicity"], 10)
    assert all(values.dtype == np.float32 for values in dataset.train.values())


def test_without_labels_all_is_background(jets):
    assert counts(_load(jets)) == {"train": 58, "val": 14, "test": 18}


def test_signals_in_files_of_their_own(jets, tmp_path):
    np.savez(tmp_path / "sig1.npz", x=_jets(7, 1))
    np.savez(tmp_path / "sig2.npz", x=_jets(8, 2))
    signals = f"many={tmp_path}/sig*.npz,two=2"
    dataset = _load(jets, label_key="label", signals=signals)
    assert counts(dataset)["signals.many"] == 15 and counts(dataset)["signals.two"] == 30
    np.testing.assert_array_equal(
        dataset.signals["many"]["x"], np.concatenate([_jets(7, 1), _jets(8, 2)]).astype("f4")
    )
    mapping = _load(jets, label_key="label", signals={"many": f"{tmp_path}/sig*.npz", "two": 2})
    assert counts(mapping) == counts(dataset)


def test_file_kinds_read_alike(jets, tmp_path):
    with h5py.File(jets) as file:
        content = {key: file[key][:] for key in ("x", "label")}
    np.savez_compressed(tmp_path / "jets.npz", **content)
    changes = {"label_key": "label", "background": 1, "signals": "two=2"}
    changes["background"] = "1"
    _same(_load(jets, **changes), _load(tmp_path / "jets.npz", **changes))
    np.save(tmp_path / "jets.npy", content["x"])
    _same(_load(tmp_path / "jets.npy"), _load(jets))


def test_four_momenta_mev_and_limits(tmp_path):
    np.savez(tmp_path / "p.npz", x=1000 * four_momenta(_jets(50)))
    dataset = _load(tmp_path / "p.npz", format="epxpypz", units="MeV", n_events=30)
    assert sum(counts(dataset).values()) == 30
    true = jet_observables(_jets(50))
    for _, rows in dataset.parts():
        nearest = np.abs(true["pt"] - rows["pt"][:, None]).argmin(axis=1)
        np.testing.assert_allclose(rows["pt"], true["pt"][nearest], rtol=1e-5)
        np.testing.assert_allclose(rows["mass"], true["mass"][nearest], rtol=1e-4)
    again = _load(tmp_path / "p.npz", format="epxpypz", units="MeV", n_events=30)
    _same(dataset, again)


@pytest.mark.parametrize(
    ("format", "shape"),
    [("image", (8, 9)), ("image", (8, 9, 3)), ("features", (5,)), ("features", (1,))],
)
def test_images_and_features(tmp_path, format, shape):
    x = np.random.default_rng(0).integers(0, 255, (40, *shape), np.uint8)
    np.savez(tmp_path / "x.npz", x=x)
    dataset = _load(tmp_path / "x.npz", format=format)
    assert dataset.train["x"].shape[1:] == shape and dataset.train["x"].dtype == np.float32
    assert set(dataset.train) == {"x", "label"}


@pytest.mark.parametrize("written", ["1", "1.0", "+1", "1.", "1e0"])
def test_a_label_is_a_number_however_it_is_written(jets, written):
    wanted = {"label_key": "label", "background": "0", "signals": "one=1"}
    own = {"label_key": "label", "background": "0.0", "signals": f"one={written}"}
    _same(_load(jets, **wanted), _load(jets, **own))


def test_other_data_are_tested_on_as_a_whole(jets):
    """Whatever a training set apart or left out."""
    own = {"label_key": "label", "background": "0", "signals": "one=1,two=2"}
    limits = {"n_events": 20, "supervised": True}
    dataset = data.load_all(data.get_config("events", source=str(jets), **own | limits))
    assert {name: len(rows["x"]) for name, rows in dataset.signals.items()} == {
        "one": 30,
        "two": 30,
    }
    assert len(dataset.test["x"]) == 30 and not dataset.extra
    assert dataset.info["counts"]["test"] == 30


def test_blocks_do_not_change_what_is_read(jets, monkeypatch):
    changes = {"label_key": "label", "signals": "one=1"}
    whole = _load(jets, **changes)
    monkeypatch.setattr("jaxad.storage.on_disk.BLOCK_BYTES", 4 * 60 * 7)
    _same(whole, _load(jets, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "simulation"}, "data.name=events reads your own files"),
        ({"source": "nowhere/*.h5"}, r"nowhere/\*.h5: no such file"),
        ({"format": "jets"}, "data.format: expected one of ptetaphi, epxpypz, image, features"),
        (
            {"format": "epxpypz"},
            r"axes \(events, particles, 4\), .* \(90, 20, 3\): set data.format=ptetaphi",
        ),
        ({"format": "features"}, r"format=features expects the axes \(events, features\)"),
        ({"units": "TeV"}, "data.units: expected GeV or MeV, found 'TeV'"),
        ({"val_fraction": 0.9}, "data.val_fraction, data.test_fraction: expected positive"),
        ({"test_fraction": 0.0}, "data.test_fraction: expected a number between 0 and 1, found 0"),
        ({"seed": -1}, "data.seed: expected 0 to 2147483647, found -1"),
        ({"signals": "a=1.5", "label_key": "label"}, "signals: a: expected a whole number as lab"),
        ({"background": "0.5", "label_key": "label"}, "data.background: expected labels like 0,1"),
        ({"background": (0, 1.5), "label_key": "label"}, "background: expected labels like 0,1"),
        (
            {"x_key": "jets"},
            r"no dataset 'jets'; found jet_mass \(90, 1\), .*; set data.x_key to one of",
        ),
        ({"x_key": "names"}, "names: expected an array of numbers, found |S1"),
        ({"label_key": "jet_mas"}, "no dataset 'jet_mas'; .*; set data.label_key to one"),
        ({"label_key": "x"}, r"x: expected one label for each of 90 events, found shape"),
        (
            {"label_key": "label", "background": "7"},
            r"has label in \[7\]; found the labels 0 \(30\)",
        ),
        ({"label_key": "label", "background": "g"}, "data.background: expected labels like 0,1"),
        ({"label_key": "label", "signals": "a=7"}, "a: no event has label in"),
        ({"label_key": "label", "signals": "a=0"}, "label 0 is also in data.background"),
        ({"signals": "a=1"}, "a is a label, which needs data.label_key"),
        ({"signals": "a=SOURCE"}, "is also the background"),
        ({"signals": "background=1", "label_key": "label"}, "cannot be called 'background'"),
        ({"observables": "x=jet_mass"}, "data.observables: 'x' has a setting of its own"),
        ({"observables": "m=x"}, "x: expected one value an event, found shape"),
        ({"n_events": 2}, "2 events cannot be cut so"),
        ({"xkey": "x"}, "data.xkey: not a setting .* did you mean 'x_key'"),
    ],
)
def test_settings_that_do_not_fit(jets, changes, message):
    if "signals" in changes:
        changes = {**changes, "signals": changes["signals"].replace("SOURCE", str(jets))}
    with pytest.raises(UserError, match=message) as error:
        data.load(ConfigDict({"name": "events", "source": str(jets), **changes}))
    assert "\n" not in str(error.value)


def _nan(x):
    x[33, 2, 1] = np.nan


def _overflow(x):
    x[33, 2, 0] = 1e300


def _columns(x):
    x[:] = x[..., [2, 1, 0]]


def _negative(x):
    x[33, 2, 0] = -1


def _mev(x):
    x[..., 0] *= 1000


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_nan, "bad.npz: x: NaN or infinity at row 33"),
        (_overflow, "bad.npz: x: NaN or infinity at row 33"),
        (_columns, r"bad.npz: x: found at row \d+ a pT below 0: are the columns pT, eta, phi"),
        (_negative, "found at row 33 a pT below 0"),
        (_mev, r"bad.npz: x: expected GeV, found a median jet pT of 3.*e\+05: this looks like MeV"),
    ],
)
def test_values_that_cannot_be(tmp_path, damage, message):
    x = _jets(40)
    damage(x)
    np.savez(tmp_path / "bad.npz", x=x)
    with pytest.raises(UserError, match=message):
        _load(tmp_path / "bad.npz")


def test_row_numbers_are_those_of_the_file(jets):
    with h5py.File(jets, "r+") as file:
        file["x"][58, 2, 1] = np.nan
    with pytest.raises(UserError, match=r"jets.h5: x: NaN or infinity at row 58"):
        _load(jets, label_key="label", background="1")
    _load(jets, label_key="label", background="2")


def test_column_orders_are_noticed(tmp_path):
    turned = _jets(40) + np.array([0, 0, 2.0])
    np.savez(tmp_path / "p.npz", x=four_momenta(turned)[..., [1, 2, 3, 0]])
    with pytest.raises(UserError, match="an energy below the momentum: are the columns E, px, py"):
        _load(tmp_path / "p.npz", format="epxpypz")
    degrees = _jets(40)
    degrees[..., 2] += 90
    np.savez(tmp_path / "d.npz", x=degrees)
    with pytest.raises(UserError, match=r"a phi beyond 4 pi: .* in radians"):
        _load(tmp_path / "d.npz")


def test_mixed_units_of_two_files(jets, tmp_path):
    mev = _jets(10)
    mev[..., 0] *= 30
    np.savez(tmp_path / "sig.npz", x=mev)
    background = _jets(40)
    background[..., 0] /= 20
    np.savez(tmp_path / "bkg.npz", x=background)
    with pytest.raises(UserError, match=r"mixed units\? the median pT of sig is .*, of background"):
        _load(tmp_path / "bkg.npz", signals=f"sig={tmp_path}/sig.npz")


def test_damaged_and_foreign_files(jets, tmp_path):
    np.savez(tmp_path / "a.npz", x=_jets(40))
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[:-100])
    (tmp_path / "cut.h5").write_bytes(jets.read_bytes()[:-3000])
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 255
    (tmp_path / "flipped.npz").write_bytes(flipped)
    np.savez(tmp_path / "object.npz", x=np.array([{}, {}], object))
    (tmp_path / "x.fits").write_text("1,2\n")
    expected = {
        "cut.npz": "expected a NumPy file, found a damaged one",
        "cut.h5": "truncated",
        "flipped.npz": "x: the data cannot be read",
        "object.npz": "x: cannot be read .*Object arrays cannot be loaded",
        "x.fits": "expected a file of .h5, .hdf5, .npz, .npy",
    }
    for name, message in expected.items():
        with pytest.raises(UserError, match=f"{name}: {message}"):
            _load(tmp_path / name)


def test_files_that_do_not_fit_together(jets, tmp_path):
    for name, width in (("a", 8), ("b", 9)):
        np.savez(tmp_path / f"{name}.npz", x=np.ones((40, 8, width)))
    with pytest.raises(UserError, match="files of different shapes"):
        _load(tmp_path / "*.npz", format="image")
    with pytest.raises(UserError, match=r"float32 as in train, found .8, 9. float32"):
        _load(tmp_path / "a.npz", format="image", signals=f"a={tmp_path}/b.npz")
    np.save(tmp_path / "x.npy", _jets(40))
    with pytest.raises(UserError, match="an npy file has no 'label'"):
        _load(tmp_path / "x.npy", label_key="label")


@pytest.mark.parametrize("on_disk", [False, True])
def test_particles_are_padded_to_the_longest_file(tmp_path, on_disk):
    wide, narrow, few = _jets(40), _jets(30, 1)[:, :12], _jets(5, 2)[:, :7]
    for name, x in (("b", wide), ("s1", narrow), ("s2", few)):
        np.savez(tmp_path / f"{name}.npz", x=x)
    own = {"on_disk": on_disk, "cache": str(tmp_path)}
    found = _load(tmp_path / "b.npz", signals=f"s={tmp_path}/s?.npz", **own)
    padded = [
        np.pad(x, ((0, 0), (0, 20 - x.shape[1]), (0, 0))) for x in (narrow, _jets(5, 2)[:, :7])
    ]
    np.savez(tmp_path / "p.npz", x=np.concatenate(padded))
    _same(found, _load(tmp_path / "b.npz", signals=f"s={tmp_path}/p.npz", **own))
    turned = _load(tmp_path / "s1.npz", signals=f"s={tmp_path}/b.npz", **own)
    np.testing.assert_array_equal(turned.signals["s"]["x"], wide.astype("f4"))
    assert turned.train["x"].shape[1:] == (20, 3)


@pytest.mark.parametrize(
    ("shape", "format", "message"),
    [
        ((40, 3, 20), "ptetaphi", r"save x.transpose\(0, 2, 1\)"),
        ((40, 60), "ptetaphi", r"save x.reshape\(len\(x\), -1, 3\)"),
        ((40, 20, 4), "ptetaphi", "set data.format=epxpypz"),
        ((40, 64), "image", r"the axes \(events, ny, nx\) or \(events, ny, nx, channels\)"),
        ((40, 3, 3), "features", r"the axes \(events, features\); found shape \(40, 3, 3\)"),
    ],
)
def test_refusals_name_the_axes(tmp_path, shape, format, message):
    for suffix in ("npz", "h5"):
        path = tmp_path / f"a.{suffix}"
        with h5py.File(path, "w") if suffix == "h5" else path.open("wb") as file:
            arrays = {"X": np.ones(shape), "y": np.arange(40) % 2}
            file.update(arrays) if suffix == "h5" else np.savez(file, **arrays)
        found = (
            rf"no (dataset|array) 'x'; found X {re.escape(str(shape))}, y \(40,\); set data.x_key"
        )
        with pytest.raises(UserError, match=found):
            _load(path, format=format)
        with pytest.raises(UserError, match=message):
            _load(path, format=format, x_key="X")
    np.savez(tmp_path / "b.npz", X=_jets(40), y=np.arange(40) % 2)
    own = {"x_key": "X", "label_key": "y", "signals": "s=1"}
    assert counts(_load(tmp_path / "b.npz", **own))["signals.s"] == 20


def test_labels_that_nobody_asked_for_are_counted(jets, capsys):
    dataset = _load(jets, label_key="label", background="0")
    assert dataset.info["left_out"] == {"1": 30, "2": 30}
    assert "left out: 30 of label 1, 30 of label 2" in data.summary(dataset)
    assert "left out" not in data.summary(_load(jets))


def test_momenta_whose_sums_float32_could_not_hold_name_the_row_of_the_file(tmp_path):
    x = _jets(60)
    x[47, :2] = (3e38, 0, 0)
    np.savez(tmp_path / "a.npz", x=x, label=np.arange(60) // 30)
    own = {"label_key": "label", "background": "1"}
    with pytest.raises(UserError, match=r"a.npz: x: found at row 47 a pT above 1e8 GeV"):
        _load(tmp_path / "a.npz", **own)


def test_lengths_that_differ(tmp_path):
    np.savez(tmp_path / "a.npz", x=_jets(40), m=np.zeros(39))
    with pytest.raises(UserError, match="m: expected 40 rows as in the events, found 39"):
        _load(tmp_path / "a.npz", observables="mass=m")
    with pytest.raises(UserError, match="m: expected one label for each of 40 events"):
        _load(tmp_path / "a.npz", label_key="m")


def test_no_events(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((0, 20, 3)))
    with pytest.raises(UserError, match="no events"):
        _load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x=_jets(40))
    with pytest.raises(UserError, match="no events"):
        _load(tmp_path / "b.npz", signals=f"a={tmp_path}/a.npz")
    assert n_rows(_load(tmp_path / "b.npz").train) == 26
