"""Columns of arrays as particles, labels and observables: what is read so, and what is refused."""

import gzip

import h5py
import numpy as np
import pytest
from random_jets import random_jets

from jaxad import data
from jaxad.data.dataset import counts
from jaxad.data.places import open_places, places_of
from jaxad.errors import UserError

N = 20


@pytest.fixture(scope="module")
def x():
    """(N, 6, 3) pT [GeV], eta, phi; every number is one of float32."""
    return random_jets(0, N, 6)


@pytest.fixture(scope="module")
def file(x, tmp_path_factory):
    """Columns in another order, planar arrays, one-hot labels of mixed types, a flat table."""
    path = tmp_path_factory.mktemp("places") / "a.h5"
    hot = np.eye(3)[np.arange(N) % 3]
    content = {
        "X": x[..., [1, 2, 0]],
        "flat": x.reshape(N, -1),
        "pt": x[..., 0],
        "eta": x[..., 1].astype(np.float64),
        "phi": x[..., 2],
        "hot": np.column_stack([np.arange(N), hot, np.arange(N)]),
        "qcd": hot[:, 0].astype(np.float32),
        "w": hot[:, 1].astype(bool),
        "top": hot[:, 2].astype(np.int32),
        "weight": np.full((N, 6), 2, np.float32),
        "jet_pt": np.full((N, 2), 500, np.float32),
        "relative": np.where(x[..., :1] > 0, x * (1 / 600, 1, 1), 0),
        "log": np.where(x[..., :1] > 0, x, (1, 0, 0)),
        "short": x[:, :5, 0],
        "a[0],b": x + (1, 0, 0) * (x > 0),
    }
    content["log"][..., 0] = np.log(content["log"][..., 0])
    with h5py.File(path, "w") as stored:
        for key, values in content.items():
            stored[key] = values
    np.savez(path.with_suffix(".npz"), **content)
    return path


def first_events(file, **settings):
    config = data.get_config("events", source=str(file), **settings)
    with data.open_events(config, str(file)) as events:
        return np.asarray(events[0 : len(events)])


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
@pytest.mark.parametrize(
    "key", ["X[2],X[0],X[1]", "X[-1],X[:2]", "X[-1], X[0:-1]", "pt,eta,phi", "flat[:]", "flat[0:]"]
)
def test_columns_are_the_array(file, x, key, suffix):
    np.testing.assert_array_equal(first_events(file.with_suffix(suffix), x_key=key), x)


def test_an_array_of_such_a_name_is_itself(file, x):
    np.testing.assert_array_equal(first_events(file, x_key="a[0],b"), x + (1, 0, 0) * (x > 0))


def test_blocks_do_not_change_what_is_read(file, x, monkeypatch):
    monkeypatch.setattr("jaxad.storage.on_disk.BLOCK_BYTES", 4 * 18 * 7)
    np.testing.assert_array_equal(first_events(file, x_key="X[2],X[0],X[1]", sort_pt=True), x)
    with open_places(file, "X[2],eta") as both:
        assert both.shape == (N, 6, 2) and both.dtype == np.float64 and len(both) == N
        np.testing.assert_array_equal(both[3:9][..., 0], x[3:9, :, 0])
        assert both[9:3].shape == (0, 6, 2)


@pytest.mark.parametrize("key", ["hot[1:-1]", "hot[1],hot[2],hot[3]", "qcd,w,top"])
def test_labels_of_one_hot_columns(file, key):
    settings = {"x_key": "flat", "format": "features", "label_key": key, "signals": "w=1,top=2"}
    observables = {"weight_key": "hot[4]", "observables": "row=hot[0]"}
    dataset = data.load(data.get_config("events", source=str(file), **settings, **observables))
    for _, rows in dataset.parts():
        np.testing.assert_array_equal(rows["label"], rows["row"] % 3)
        np.testing.assert_array_equal(rows["weight"], rows["row"])
    assert counts(dataset)["signals.top"] == 6


def test_what_is_done_to_momenta(file, x):
    pt = x[..., :1] > 0
    relative = first_events(file, x_key="relative", jet_pt_key="jet_pt[1]")
    np.testing.assert_allclose(relative, x * (500 / 600, 1, 1), rtol=1e-6)
    np.testing.assert_allclose(first_events(file, x_key="log", log_pt=True), x, rtol=1e-5)
    weighted = first_events(file, x_key="pt,eta,phi", particle_weight_key="weight")
    np.testing.assert_allclose(weighted, x * np.where(pt, (2, 1, 1), 0), rtol=1e-6)
    rising = x[:, ::-1].copy()
    with h5py.File(file.with_name("rising.h5"), "w") as stored:
        stored["x"], stored["mask"] = rising, rising[..., 0] > 50
    kept = first_events(file.with_name("rising.h5"), mask_key="mask", sort_pt=True)
    np.testing.assert_array_equal(kept, x * (x[..., :1] > 50))


def test_a_masked_slot_may_hold_anything(tmp_path, x):
    mask = x[..., 0] > 0
    with h5py.File(tmp_path / "a.h5", "w") as stored:
        stored["x"], stored["mask"] = np.where(mask[..., None], x, np.nan), mask
    np.testing.assert_array_equal(first_events(tmp_path / "a.h5", mask_key="mask"), x)
    np.testing.assert_array_equal(first_events(tmp_path / "a.h5"), x)  # NaN in padding is padding
    mask[3, 1] = False
    with h5py.File(tmp_path / "b.h5", "w") as stored:
        stored["x"] = np.where(mask[..., None], x, np.nan)
        stored["x"][3, 1, 0] = x[3, 1, 0]
    with pytest.raises(UserError, match="NaN or infinity at row 3"):
        first_events(tmp_path / "b.h5")


def test_relative_momenta_are_told(file, capsys):
    data.load(data.get_config("events", source=str(file), x_key="relative"))
    assert "set data.jet_pt_key to the array of these" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"x_key": "X[2],X[0],X[5]"}, r"X: data.x_key: expected columns .* 0 to 2, found \[5\]"),
        ({"x_key": "X[3:],X"}, r"expected columns of its last axis, 0 to 2, found \[3:\]"),
        ({"x_key": "pt,short,phi"}, r"short: expected shape \(20, 6\) as in pt, found \(20, 5\)"),
        ({"x_key": "pt,eta"}, r"expects the axes .* found shape \(20, 6, 2\)"),
        ({"x_key": "pt,nope,phi"}, "no dataset 'nope'; found .*set data.x_key"),
        (
            {"x_key": "X[a],pt"},
            r"X: data.x_key: expected KEY, KEY\[3\] .* '\[a\]', and no list",
        ),
        ({"x_key": "X[],pt"}, r"data.x_key: expected KEY"),
        ({"x_key": "flat[:16]"}, "flat.*expected 3 numbers a particle, pt, eta, phi, found 16"),
        (
            {"label_key": "hot[0:2]"},
            r"hot\[0:2\]: expected one 1 and else 0 .* found 2, 0 at row 2",
        ),
        ({"label_key": "qcd[0]"}, r"qcd: data.label_key: expected an array with columns, .* \(20,"),
        ({"mask_key": "weight"}, "weight: data.mask_key: expected 0 or 1, .* found 2 at row 0"),
        (
            {"mask_key": "short"},
            r"data.mask_key: expected one number for each particle, .* \(20, 5\)",
        ),
        ({"jet_pt_key": "jet_pt"}, r"jet_pt: data.jet_pt_key: expected one number for each event"),
        (
            {"jet_pt_key": "jet_pt[0]"},
            "expected pT relative to the jet's, .* leave data.jet_pt_key",
        ),
        ({"particle_weight_key": "eta"}, "data.particle_weight_key: expected 0 or more, found -"),
    ],
)
def test_refused(file, settings, message):
    changes = {"x_key": "pt,eta,phi", "signals": "w=1" if "label_key" in settings else ""}
    with pytest.raises(UserError, match=message) as error:
        data.load(data.get_config("events", source=str(file), **(changes | settings)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"format": "epxpypz", "log_pt": True}, "log_pt"),
        ({"format": "image", "mask_key": "m"}, "mask_key"),
        ({"features": "a,b", "mass": "m", "sort_pt": True}, "sort_pt"),
    ],
)
def test_settings_that_change_nothing_are_told(changes, key):
    with pytest.raises(UserError, match=f"data.{key}: would change nothing"):
        data.require_setting(data.get_config("events", **changes), key)


def test_files_inside_gzip(file, tmp_path):
    for name in ("a.h5.gz", "a.h5"):
        (tmp_path / name).write_bytes(gzip.compress(file.read_bytes()[:2000]))
        with pytest.raises(UserError, match=r"inside gzip: unpack it first, gunzip --"):
            first_events(tmp_path / name)


def test_places_are_as_of_python():
    assert places_of("x")[0].columns is None
    assert places_of("g/x[-2:]")[0] == ("g/x", slice(-2, None))


def test_a_second_name_stands_in_for_one_that_is_absent_alone(file):
    with open_places(file, "absent|jet_pt[1]") as found:
        np.testing.assert_array_equal(np.asarray(found[0:3]).ravel(), 500)
    with (
        pytest.raises(UserError, match=r"jet_pt: .*found \[7\]"),
        open_places(file, "jet_pt[7]|weight"),
    ):
        pass
