"""LHC Olympics readers: features, windows, injection, splits, and raw events against features."""

import re

import numpy as np
import pytest
from lhco_events import fake_events, fake_particles, write_frame

from jaxad.__main__ import main as jaxad_main
from jaxad.data import get_config, lhco, lhco_raw, load, require_setting, window
from jaxad.data.window import in_window
from jaxad.errors import UserError
from jaxad.observables.derived import dijet

WINDOW = (3.3, 3.7)


@pytest.fixture(scope="module")
def events():
    return fake_events()


@pytest.fixture(scope="module")
def source(events, tmp_path_factory):
    path = tmp_path_factory.mktemp("lhco") / "features.h5"
    write_frame(path, events, [*lhco.JETS, "label"])
    return str(path)


def config(source, **changes):
    return get_config("lhco", source=source, n_signal=200, **changes)


def test_features_follow_their_definitions(events):
    jets = events[:50, :14].astype(np.float64)
    found = np.asarray(dijet(jets.astype(np.float32), delta_r=True))
    p4 = [
        np.column_stack([np.sqrt((j[:, :4] ** 2).sum(axis=1)), j[:, :3]])
        for j in (jets[:, :7], jets[:, 7:])
    ]
    total = p4[0] + p4[1]
    mjj = np.sqrt(total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(axis=1)) / 1000
    masses = np.sort(jets[:, [3, 10]], axis=1) / 1000
    np.testing.assert_allclose(found[:, 0], mjj, rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], masses[:, 0], rtol=1e-5)
    np.testing.assert_allclose(found[:, 2], masses[:, 1] - masses[:, 0], rtol=1e-4, atol=1e-6)
    ratio = jets[:, [5, 12]] / (1e-5 + jets[:, [4, 11]])
    light = jets[:, [3, 10]].argmin(axis=1)
    np.testing.assert_allclose(found[:, 3], ratio[np.arange(50), light], rtol=1e-4)
    np.testing.assert_allclose(found[:, 4], ratio[np.arange(50), 1 - light], rtol=1e-4)
    np.testing.assert_allclose(found[:, 5], np.pi, rtol=1e-3)


def test_shift_correlates_both_masses_with_mjj(events):
    jets = events[:20, :14]
    plain, shifted = (np.asarray(dijet(jets, shift=s)) for s in (0.0, 0.1))
    np.testing.assert_allclose(
        shifted[:, 1:3] - plain[:, 1:3], 0.1 * plain[:, :1] * [1, 1], rtol=1e-3
    )
    np.testing.assert_array_equal(shifted[:, 3:], plain[:, 3:])


def test_order_of_the_jets_does_not_matter(events):
    jets = events[:50, :14]
    swapped = np.concatenate([jets[:, 7:], jets[:, :7]], axis=1)
    np.testing.assert_allclose(dijet(jets), dijet(swapped), rtol=1e-5)


def test_splits_windows_and_injection(source):
    data = load(config(source))
    sizes = [len(rows["x"]) - rows["label"].sum() for rows in (data.train, data.val)]
    np.testing.assert_allclose(sizes, [1500, 500], atol=1)
    assert [int(rows["label"].sum()) for rows in (data.train, data.val)] == [100, 33]
    assert in_window(data.test, WINDOW).all() and not data.test["label"].any()
    assert not in_window(data.extra["sideband"], WINDOW).any()
    assert data.signals["Wprime"]["label"].all()
    everything = np.concatenate(
        [rows["x"] for name, rows in data.parts() if name != "extra.signal"]
    )
    assert len(np.unique(everything, axis=0)) == len(everything)


def test_seed_decides_the_split(source):
    same = [load(config(source, seed=3)).train["x"] for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert not np.array_equal(same[0], load(config(source, seed=4)).train["x"])


def test_injection_by_signal_over_background(source):
    data = load(config(source, signal_over_background=0.05))
    inside = [in_window(rows, WINDOW) for rows in (data.train, data.val)]
    signal = sum(
        (rows["label"] * i).sum() for rows, i in zip((data.train, data.val), inside, strict=True)
    )
    total = sum(i.sum() for i in inside)
    assert signal / (total - signal) == pytest.approx(0.05, abs=0.012)


def test_window_is_an_argument(source):
    wide = load(config(source, window_low=3.0, window_high=4.0))
    assert len(wide.test["x"]) > len(load(config(source)).test["x"])
    with pytest.raises(UserError, match="window_low"):
        load(config(source, window_low=4.0))


def test_extra_background_is_cut_to_the_window(source, tmp_path):
    path = tmp_path / "extra.h5"
    write_frame(path, fake_events(500, 0, seed=5), [*lhco.JETS, "label"])
    data = load(config(source, extra_background=str(path)))
    assert in_window(data.extra["background"], WINDOW).all()


def test_extra_background_is_further_background_alone(source, tmp_path):
    path = tmp_path / "extra.h5"
    write_frame(path, fake_events(100, 7, seed=5), [*lhco.JETS, "label"])
    with pytest.raises(UserError, match=r"extra.h5: label: expected background alone.*found 7 ev"):
        load(config(source, extra_background=str(path)))
    link = tmp_path / "link.h5"
    link.symlink_to(source)
    with pytest.raises(UserError, match=r"data.extra_background: .* is also of data.source"):
        load(config(source, extra_background=str(link)))


def test_invalid_taus_are_left_out(events, tmp_path):
    valid = (np.arange(len(events)) % 3 > 0).astype(np.float32)
    path = tmp_path / "flagged.h5"
    write_frame(path, np.column_stack([events, valid]), [*lhco.JETS, "label", "tau_valid"])
    jets, _ = lhco.read_jets(path)
    np.testing.assert_array_equal(jets, events[valid == 1, :14])


LABELS = {
    "0, 1 and 2": (lambda label: np.where(np.arange(len(label)) > 3589, 2, label), "2 (10 events"),
    "-1 and 1": (lambda label: 2 * label - 1, "-1 (3,000 events"),
    "NaN": (lambda label: np.where(np.arange(len(label)) == 3597, np.nan, label), "nan (1 events"),
    "half": (lambda label: np.where(np.arange(len(label)) == 3597, 0.5, label), "0.5 (1 events"),
}


@pytest.mark.parametrize("name", LABELS)
def test_other_labels_are_refused_with_their_numbers(events, tmp_path, name):
    change, message = LABELS[name]
    label = change(events[:, -1])
    path = tmp_path / "odd.h5"
    write_frame(path, np.column_stack([events[:, :-1], label]), [*lhco.JETS, "label"])
    with pytest.raises(
        UserError, match=r"odd.h5: label: expected 0 or 1, found " + re.escape(message)
    ):
        load(config(str(path)))


def test_refused_rows_are_those_of_the_file(events, tmp_path):
    """Not of what is left without invalid taus."""
    valid = (np.arange(len(events)) >= 100).astype(np.float32)
    path, columns = tmp_path / "flagged.h5", [*lhco.JETS, "label", "tau_valid"]
    odd = np.column_stack([events, valid])
    odd[200, 3] = np.inf
    write_frame(path, odd, columns)
    with pytest.raises(UserError, match="features: NaN or infinity at row 200;"):
        lhco.read_jets(path)
    odd[[50, 150], 14] = 7
    write_frame(path, odd, columns)
    with pytest.raises(UserError, match=r"found 7 \(1 events, first at row 150\)"):
        lhco.read_jets(path)


def test_other_labels_of_prepared_and_raw_events(tmp_path):
    rows = np.column_stack([np.linspace(2, 5, 40), np.ones((40, 4)), np.arange(40) % 3])
    for name in ("outerdata_train", "innerdata_train"):
        np.save(tmp_path / f"{name}.npy", rows)
    with pytest.raises(UserError, match=r"train.npy: label: expected 0 or 1, found 2 \(13 events"):
        load(get_config("lhco", source=str(tmp_path)))
    particles = fake_particles()
    particles[7, -1] = 2
    write_frame(tmp_path / "raw.h5", particles, [str(i) for i in range(2101)])
    with pytest.raises(UserError, match=r"raw.h5: label: expected 0 or 1, found 2 .*row 7\)"):
        lhco_raw.feature_file(tmp_path / "raw.h5", tmp_path / "features", workers=1)


def test_missing_column_is_named(events, tmp_path):
    path = tmp_path / "short.h5"
    write_frame(path, events[:, :13], lhco.JETS[:13])
    with pytest.raises(UserError, match="tau3j2"):
        lhco.read_jets(path)


def test_prepared_arrays(shared_data):
    data = load(get_config("lhco", source=str(shared_data / "lhco_cathode")))
    inside = in_window(data.train, WINDOW)
    assert (inside.sum(), (~inside).sum()) == (6550, 39115)
    assert data.train["label"][inside].sum() == 152
    assert len(data.test["x"]) == 4374 - 101
    assert len(data.signals["Wprime"]["x"]) == 101 + 6599


def test_raw_events_reproduce_the_feature_file(shared_data, tmp_path):
    raw, label = lhco.read_jets(
        lhco_raw.feature_file(shared_data / "lhco_raw_1k.h5", tmp_path, workers=1)
    )
    with lhco.PandasTable(shared_data / "lhco_features_60k.h5") as table:
        known = table.read([*lhco.JETS, "label", "tau_valid"], 0, 1000, dtype=np.float32)
    np.testing.assert_array_equal(label, known[:, -2])
    kinematic = [i for i, name in enumerate(lhco.JETS) if not name.startswith("tau")]
    np.testing.assert_allclose(raw[:, kinematic], known[:, kinematic], rtol=1e-5, atol=2e-3)
    np.testing.assert_allclose(dijet(raw)[:, 0], dijet(known[:, :14])[:, 0], 1e-5)
    valid = known[:, -1] == 1
    tau = np.abs(raw - known[:, :14])[valid][:, [4, 5, 6, 11, 12, 13]]
    assert (np.median(tau, axis=0) < 2e-3).all()


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    pytest.importorskip("fastjet")
    path = tmp_path_factory.mktemp("raw") / "raw.h5"
    write_frame(path, fake_particles(), [str(i) for i in range(2101)])
    return path


def test_raw_events_are_clustered_once_by_any_number_of_workers(raw, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lhco_raw, "TASK_SIZE", 20)
    files = [lhco_raw.feature_file(raw, tmp_path / str(n), workers=n) for n in (1, 2)]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(path.name for path in (tmp_path / "2").glob("[!.]*")) == [
        "raw.features.h5",
        "simulation.json",
    ]
    jets, label = lhco.read_jets(files[0])
    np.testing.assert_array_equal(label, fake_particles()[:, -1])
    particles = fake_particles()[:, :-1].reshape(50, 700, 3)
    np.testing.assert_array_equal(jets, lhco_raw.cluster_events(particles).astype(np.float32))
    monkeypatch.setattr(lhco_raw, "cluster_events", None)
    assert jaxad_main(["data", "cluster", str(raw), "--out", str(tmp_path / "1")]) == 0
    assert capsys.readouterr().out == f"{files[0]}\n"


def test_a_source_of_raw_events_equals_one_of_their_features(raw, tmp_path):
    changes = {"n_signal": 5, "window_low": 2.2, "window_high": 2.6, "workers": 1}
    made = lhco_raw.feature_file(raw, tmp_path / "features", workers=1)
    from_raw, from_features = (
        load(get_config("lhco", source=str(path), cache=str(tmp_path), **changes))
        for path in (raw, made)
    )
    assert from_raw.info["digest"] == from_features.info["digest"]
    assert from_raw.info["files"] == [str(raw)]


def test_bad_raw_events_are_named(raw, events, tmp_path, monkeypatch):
    monkeypatch.setattr(lhco_raw, "TASK_SIZE", 20)
    rows = fake_particles()
    rows[33, 4] = np.nan
    path = tmp_path / "bad.h5"
    write_frame(path, rows, [str(i) for i in range(2101)])
    with pytest.raises(UserError, match=r"bad.h5.*particles.*33"):
        lhco_raw.feature_file(path, tmp_path / "nan", workers=1)
    rows[33, :-1] = 0
    write_frame(path, rows, [str(i) for i in range(2101)])
    with pytest.raises(UserError, match=r"bad.h5: event 33 has fewer than two jets"):
        lhco_raw.feature_file(path, tmp_path / "jets", workers=1)
    write_frame(path, events, [*lhco.JETS, "label"])
    with pytest.raises(UserError, match=r"expected raw events of 2100 .* 2101 columns, found 15"):
        lhco_raw.feature_file(path, tmp_path / "features", workers=1)
    write_frame(path, rows[:0], [str(i) for i in range(2101)])
    with pytest.raises(UserError, match=r"bad.h5: holds no events"):
        lhco_raw.feature_file(path, tmp_path / "none", workers=1)
    lhco_raw.feature_file(raw, tmp_path / "folder", workers=1)
    monkeypatch.setattr(lhco_raw, "TASK_SIZE", 10)  # parts of another size are no parts of this
    with pytest.raises(UserError, match="task_size: 20 here, 10 asked"):
        lhco_raw.feature_file(raw, tmp_path / "folder", workers=1)
    path.write_bytes(raw.read_bytes() + b"0")
    with pytest.raises(UserError, match=r"holds files made with other settings \(bytes"):
        lhco_raw.feature_file(path.rename(tmp_path / "raw.h5"), tmp_path / "folder", workers=1)


def test_extra_background_never_counts_as_data(events, source, tmp_path, monkeypatch):
    """It lies in the window alone: counted, it would be an excess over the sidebands."""
    monkeypatch.setattr(window, "EXTRA_PARTS", {"train": 20, "val": 10})
    path = tmp_path / "extra.h5"
    more = fake_events(4000, 0, seed=5)
    write_frame(path, more, [*lhco.JETS, "label"])
    without, having = load(config(source)), load(config(source, extra_background=str(path)))
    assert len(having.extra["background"]["x"]) == 30
    assert len(having.test["x"]) > 2 * len(without.test["x"])
    plain, extended = (window.held_out_data(dataset) for dataset in (without, having))
    np.testing.assert_array_equal(plain["x"], extended["x"])
    inside = in_window(extended, WINDOW)
    labels = events[:, -1] == 0
    share = in_window({"mass": 1000 * np.asarray(dijet(events[labels, :14])[:, 0])}, WINDOW).mean()
    background = extended["label"] == 0
    assert inside[background].mean() == pytest.approx(share, abs=0.02)


def test_settings_that_would_change_nothing_are_refused_where_they_were_asked_for(source):
    from_file = config(source)
    require_setting(from_file, "n_signal")
    with pytest.raises(UserError, match=r"n_simulated: would change nothing: .*source=simulation"):
        require_setting(from_file, "n_simulated")
    from_file.signal_over_background = 0.01
    with pytest.raises(UserError, match=r"n_signal: .*signal_over_background takes its place"):
        require_setting(from_file, "n_signal")
