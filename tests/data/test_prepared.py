"""Arrays of the two CATHODE codes: which layout is which, what counts as data, what is refused."""

import shutil

import numpy as np
import pytest

from jaxad.data import get_config, lhco_prepared, load, load_all
from jaxad.data.window import held_out_data, in_window
from jaxad.errors import UserError

WINDOW = (3.3, 3.7)
PARTS = ("train", "val", "test")


def rows(rng, n, region, label=0):
    """Rows (n, 6) of the signal region ("inner") or beside it."""
    low = rng.choice([2.5, 3.7], n) if region == "outer" else 3.3
    mass = low + rng.uniform(1e-3, 0.399 if region == "inner" else 0.8, n)
    return np.c_[mass, rng.random((n, 4)), np.full(n, label)].astype(np.float32)


def write(folder, arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        np.save(folder / f"{name}.npy", values)
    return folder


def sk_cathode(seed=0):
    """Every part is data; the extra ones are further events of the window."""
    rng = np.random.default_rng(seed)
    arrays = {f"outerdata_{part}": rows(rng, 60, "outer") for part in PARTS}
    for part in PARTS:
        mixed = [rows(rng, 40, "inner"), rows(rng, 4, "inner", 1)]
        arrays[f"innerdata_{part}"] = rng.permutation(np.concatenate(mixed))
    arrays["innerdata_extrasig"] = rows(rng, 70, "inner", 1)
    arrays |= {f"innerdata_extrabkg_{part}": rows(rng, 50, "inner") for part in PARTS}
    return arrays


def original():
    """innerdata_test is further background and signal; outerdata_test chooses epochs."""
    arrays, rng = sk_cathode(), np.random.default_rng(9)
    del arrays["outerdata_val"], arrays["innerdata_extrasig"]
    arrays["innerdata_test"] = np.concatenate([rows(rng, 90, "inner"), rows(rng, 30, "inner", 1)])
    extra = {f"innerdata_extrasig_{part}": rows(rng, 25, "inner", 1) for part in ("train", "val")}
    return arrays | extra


def config(folder, **changes):
    return get_config("lhco", source=str(folder), **changes)


def same_rows(found, *arrays):
    """Whether the rows are those of the arrays, in any order."""
    wanted = np.concatenate(arrays)[:, :-1]
    return sorted(map(bytes, found["x"])) == sorted(map(bytes, wanted))


def test_sk_cathode(tmp_path):
    arrays = sk_cathode()
    dataset = load(config(write(tmp_path, arrays)))
    for part in ("train", "val"):
        own = (arrays[f"innerdata_{part}"], arrays[f"outerdata_{part}"])
        assert same_rows(getattr(dataset, part), *own)
    test = arrays["innerdata_test"]
    background, signal = test[test[:, -1] == 0], test[test[:, -1] == 1]
    assert same_rows(dataset.test, background, arrays["innerdata_extrabkg_test"])
    assert same_rows(dataset.signals["Wprime"], signal, arrays["innerdata_extrasig"])
    trains = [arrays[f"innerdata_extrabkg_{part}"] for part in ("train", "val")]
    assert same_rows(dataset.extra["background"], *trains)
    assert same_rows(held_out_data(dataset), test, arrays["outerdata_test"])


@pytest.mark.parametrize("nested", [False, True])
def test_the_original_layout(tmp_path, nested):
    """Flat, or as in the repository, whose root has older arrays of the same names."""
    arrays = original()
    inner = {name: values for name, values in arrays.items() if name.startswith("inner")}
    write(tmp_path / "separated_data" if nested else tmp_path, inner)
    outer = {name: values for name, values in arrays.items() if name.startswith("outer")}
    older = {"innerdata_test": inner["innerdata_val"], "innerdata_extrasig": inner["innerdata_val"]}
    write(tmp_path, outer | (older if nested else {}))
    dataset = load(config(tmp_path))
    assert same_rows(dataset.train, arrays["innerdata_train"], arrays["outerdata_train"])
    assert same_rows(dataset.val, arrays["innerdata_val"], arrays["outerdata_test"])
    test = arrays["innerdata_test"]
    assert same_rows(dataset.test, test[test[:, -1] == 0], arrays["innerdata_extrabkg_test"])
    assert same_rows(dataset.signals["Wprime"], test[test[:, -1] == 1])
    trains = [arrays[f"innerdata_extrasig_{part}"] for part in ("train", "val")]
    assert same_rows(dataset.extra["signal"], *trains)
    with pytest.raises(UserError, match="holds no data that trained nothing"):
        held_out_data(dataset)
    assert lhco_prepared.is_prepared(tmp_path)


def test_what_no_method_needs_may_be_missing_or_empty(tmp_path):
    arrays = sk_cathode()
    bare = {f"innerdata_{part}": arrays[f"innerdata_{part}"] for part in PARTS}
    empty = bare | {name: values[:0] for name, values in arrays.items() if name not in bare}
    found = [load(config(write(tmp_path / name, a))) for name, a in (("b", bare), ("e", empty))]
    assert found[0].info["digest"] == found[1].info["digest"] and not found[0].extra
    with pytest.raises(UserError, match="lie in the signal region alone: without sidebands"):
        held_out_data(found[0])


@pytest.mark.parametrize(
    "changes",
    [
        {"n_signal": 200},
        {"extra_background": "more.h5"},
        {"signal_over_background": 0.01},
        {"shift": 0.1},
        {"delta_r": True},
    ],
)
def test_settings_of_a_feature_file_are_refused(tmp_path, changes):
    (name,) = changes
    with pytest.raises(UserError, match=f"data.{name}: expected .* default, with the prepared arr"):
        load(config(write(tmp_path, sk_cathode()), **changes))


def test_extra_events_that_cover_a_part_of_the_window_are_left_out(tmp_path, capsys):
    folder = write(tmp_path / "sk", sk_cathode())
    narrow = load(config(folder, window_low=3.4, window_high=3.6))
    assert "background" in narrow.extra and "left out" not in capsys.readouterr().out
    wide = load(config(folder, window_low=3.1, window_high=3.9))
    assert "background" not in wide.extra and in_window(wide.test, WINDOW).sum() == 40
    assert "the extra events, which cover a part of it, are left out" in capsys.readouterr().out
    folder = write(tmp_path / "original", original())
    with pytest.raises(UserError, match="expected a window inside the one that the arrays were"):
        load(config(folder, window_low=3.1, window_high=3.9))


@pytest.mark.parametrize(
    ("name", "spoilt", "message"),
    [
        ("innerdata_val", None, "innerdata_val.npy: no such file"),
        (
            "outerdata_val",
            np.ones((3, 5)),
            "outerdata_val.npy: expected 6 columns as in inner",
        ),
        ("innerdata_extrasig", np.full((3, 6), 2), r"label: expected 0 or 1, found 2 \(3 events"),
        ("innerdata_train", np.zeros(6), r"expected \(N, 2 \+ features\)"),
    ],
)
def test_refusals(tmp_path, name, spoilt, message):
    arrays = sk_cathode() | {name: spoilt}
    folder = write(tmp_path, {key: a for key, a in arrays.items() if a is not None})
    with pytest.raises(UserError, match=message):
        load(config(folder))
    shutil.rmtree(folder)


def test_without_sidebands_no_event_of_other_data_is_expected_either(tmp_path):
    arrays = {name: a for name, a in sk_cathode().items() if name.startswith("inner")}
    source = config(write(tmp_path, arrays))
    for dataset in (load(source), load_all(source)):
        with pytest.raises(UserError, match="in the signal region alone: without sidebands"):
            held_out_data(dataset)
