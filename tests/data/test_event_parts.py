"""Which events train and which are tested: by files, by a column, by ids; labels of every kind."""

import h5py
import numpy as np
import pytest
from random_jets import random_jets

from jaxad import data
from jaxad.data.dataset import counts, n_rows
from jaxad.errors import UserError

N = 60


def write(path, x, **arrays):
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, values in {"x": x, "row": np.arange(len(x)), **arrays}.items():
            file[name] = values
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """jets.h5: labels as numbers, texts and a key file, a column of parts, ids of two jets an event
    in random order; a/, b/, c/: a file each."""
    folder, rng = tmp_path_factory.mktemp("parts"), np.random.default_rng(0)
    event = rng.permutation(np.repeat(np.arange(N // 2), 2))
    label = np.arange(N) % 5
    names = np.array(["QCD", "top", "W", "Z", "H"])[label]
    x = random_jets(0, N, 6)
    write(
        folder / "jets.h5",
        x,
        label=label,
        text=names.astype("S"),
        ttv=np.arange(N) % 3,
        split=np.array(["train", "valid", "test"])[np.arange(N) % 3].astype("S"),
        id=np.column_stack([event * 0 + 7, event // 4, event]),
    )
    for n, name in enumerate("abc"):
        write(folder / name / "jets.h5", random_jets(n, N, 6), label=label)
    np.savez(folder / "jets.npz", x=x, text=names)
    (folder / "jets.key").write_text("\n".join(map(str, label)) + "\n")
    return folder


def load(source, **settings):
    return data.load(data.get_config("events", source=str(source), **settings))


def rows(part):
    return set(part["row"].astype(int))


KEPT = {"observables": "row=row"}


def test_ranges_and_lists_of_labels(folder):
    settings = KEPT | {"label_key": "label", "background": "0-1", "signals": "V=2-3,other=4+2"}
    with pytest.raises(UserError, match=r"found '0-1-2'"):
        load(folder / "jets.h5", **settings | {"background": "0-1-2"})
    dataset = load(folder / "jets.h5", **settings)
    assert {int(r) % 5 for r in rows(dataset.signals["V"])} == {2, 3}
    assert {int(r) % 5 for r in rows(dataset.signals["other"])} == {2, 4}
    assert sum(n_rows(p) for p in (dataset.train, dataset.val, dataset.test)) == 24
    with pytest.raises(UserError, match=r"data.signals: label 1 is also in data.background"):
        load(folder / "jets.h5", **settings | {"signals": "V=1-3"})
    with pytest.raises(UserError, match=r"V: expected a range of labels LOW-HIGH, found 3-2"):
        load(folder / "jets.h5", **settings | {"signals": "V=3-2"})


@pytest.mark.parametrize("file", ["jets.h5", "jets.npz"])
def test_texts_and_a_key_file_are_the_same_labels(folder, file):
    own = {"signals": "top=1"} | (KEPT if file == "jets.h5" else {})
    texts = own | {"label_key": "text", "label_names": "QCD,top,W,Z,H"}
    expected = load(folder / file, **own, label_file=str(folder / "jets.key"))
    assert load(folder / file, **texts).info["digest"] == expected.info["digest"]
    assert counts(expected)["signals.top"] == N // 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0\n1\nx\n", "line 3: expected a whole number, the label of an event, found 'x'"),
        ("0\n1.5\n", "line 2: expected a whole number"),
        ("0\n1\n", "expected one label a line for each of 60 events .* found 2 lines"),
    ],
)
def test_key_files_that_are_refused(folder, tmp_path, text, message):
    (tmp_path / "bad.key").write_text(text)
    with pytest.raises(UserError, match=message):
        load(folder / "jets.h5", label_file=str(tmp_path / "bad.key"))


def test_a_key_file_of_several_files_has_them_one_after_another(folder, tmp_path):
    label = np.arange(3 * N) // N
    (tmp_path / "all.key").write_text("\n".join(map(str, label)) + "\n")
    own = KEPT | {"background": "0,1", "signals": "c=2"}
    dataset = load(folder / "[abc]" / "jets.h5", label_file=str(tmp_path / "all.key"), **own)
    alone = load(folder / "c" / "jets.h5", **KEPT)
    every = np.concatenate([part["mass"] for _, part in alone.parts()])
    np.testing.assert_array_equal(np.sort(dataset.signals["c"]["mass"]), np.sort(every))
    with pytest.raises(UserError, match=r"for each of 180 events of .* found 60 lines"):
        load(folder / "[abc]" / "jets.h5", label_file=str(folder / "jets.key"), **own)
    with pytest.raises(UserError, match=r"all.key in \[5\]; found the labels 0 \(60\)"):
        load(folder / "[abc]" / "jets.h5", label_file=str(tmp_path / "all.key"), signals="c=5")
    config = data.get_config("events", features="a", label_file="all.key")
    with pytest.raises(UserError, match=r"data.label_file: would change nothing: .*data.label"):
        data.require_setting(config, "label_file")


def test_a_master_key_is_opened_by_evaluations_alone(folder):
    key = folder / "box.masterkey"
    key.write_text("".join(f"{(i % 10 == 0) + 2 * (i % 10 == 1)}\n" for i in range(N)))
    with pytest.raises(UserError, match=r"the key of a black box, which no training opens"):
        load(folder / "jets.h5", label_file=str(key))
    config = data.get_config("events", source=str(folder / "jets.h5"), test_fraction=0.5, **KEPT)
    closed = data.load(config)
    opened = data.with_key(config, closed, str(key), is_whole=False)
    assert rows(opened.train) == rows(closed.train)
    assert set(opened.signals) == {"signal1", "signal2"}
    assert {r % 10 for r in rows(opened.signals["signal2"])} == {1}
    assert {r % 10 for r in rows(opened.test)} == set(range(2, 10))
    whole = data.with_key(config, data.load_all(config), str(key), is_whole=True)
    assert n_rows(whole.signals["signal1"]) == 6 and n_rows(whole.test) == 48
    config.label_key = "label"
    with pytest.raises(UserError, match="--key: these events have labels"):
        data.with_key(config, closed, str(key), is_whole=False)


@pytest.mark.parametrize(
    ("key", "split"),
    [("ttv", "train=0,val=1,test=2"), ("split", "train=train,val=valid,test=test")],
)
def test_parts_of_a_column(folder, key, split):
    settings = KEPT | {"label_key": "label", "signals": "top=1"}
    dataset = load(folder / "jets.h5", split=split, split_key=key, **settings)
    for number, part in enumerate((dataset.train, dataset.val, dataset.test)):
        assert rows(part) == {i for i in range(0, N, 5) if i % 3 == number}
    assert rows(dataset.signals["top"]) == {i for i in range(1, N, 5) if i % 3 == 2}


def test_parts_of_files(folder):
    settings = KEPT | {"label_key": "label", "signals": "top=1"}
    split = "train=a/*,val=b/jets.h5,test=c/*"
    dataset = load(folder / "[abc]" / "jets.h5", split=split, **settings)
    alone = load(folder / "c" / "jets.h5", **settings)
    for part in (dataset.train, dataset.val, dataset.test):
        assert rows(part) == set(range(0, N, 5))
    assert np.isin(dataset.test["mass"], alone.parts().__next__()[1]["mass"]).any()
    np.testing.assert_array_equal(
        np.sort(dataset.signals["top"]["mass"]), np.sort(alone.signals["top"]["mass"])
    )
    two = load(folder / "[abc]" / "jets.h5", split="train=a/*+b/*,test=c/*", **settings)
    assert n_rows(two.train) + n_rows(two.val) == 24 and 0 < n_rows(two.val) < 12


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "id"}, "data.split=id: needs the ids of events.* set data.id_key"),
        ({"split": "published"}, "data.split: expected NAME=VALUE"),
        ({"split": "train=a*,tset=b*"}, "data.split: expected random, id, or train=...,val="),
        ({"split": "train=a*,test=*"}, "data.split: train: no file fits a"),
        ({"split": "train=*,test=j*"}, "expected a file of one part, found train and test"),
        (
            {"split": "train=0+1,test=1", "split_key": "ttv"},
            "data.split: expected ttv=1 in one part, found it in test and in train",
        ),
        ({"split": "train=0,test=9", "split_key": "ttv"}, "data.split: test: no event has ttv 9"),
        ({"split": "train=0,test=1", "split_key": "tv"}, "no dataset 'tv'; .*nearest ttv, "),
        ({"id_key": "id"}, "test events have the id of one that trains.* set data.split=id"),
    ],
)
def test_parts_that_are_refused(folder, settings, message):
    with pytest.raises(UserError, match=message) as error:
        load(folder / "jets.h5", **settings)
    assert "\n" not in str(error.value)


def test_two_jets_of_an_event_never_straddle(folder):
    """Neither of the background, nor of a signal, nor of those that train a supervised method."""
    settings = KEPT | {"label_key": "label", "background": "0,2", "signals": "top=1,H=4"}
    settings |= {"id_key": "id", "split": "id", "test_fraction": 0.4, "val_fraction": 0.2}
    dataset = load(folder / "jets.h5", **settings)
    ids = {name: {int(i) for i in part["event"][:, 2]} for name, part in dataset.parts()}
    learned = ids.pop("train") | ids.pop("val")
    assert all(not learned & others for others in ids.values())
    assert load(folder / "jets.h5", **settings).info["digest"] == dataset.info["digest"]
    other = load(folder / "jets.h5", **settings | {"seed": 1})
    assert rows(other.test) != rows(dataset.test)
    whole = data.load_all(data.get_config("events", source=str(folder / "jets.h5"), **settings))
    assert n_rows(whole.test) == 24, "what is only tested is parted from nothing"
    held = load(folder / "jets.h5", **settings, supervised=True)
    ids = {name: {int(i) for i in part["event"][:, 2]} for name, part in held.parts()}
    trains = ids["extra.supervised_train"] | ids["extra.supervised_val"]
    assert not trains & (ids["test"] | ids["signals.top"] | ids["signals.H"])


def test_a_table_is_split_by_its_columns(tmp_path):
    lines = [f"{i % 7}.5,{i % 3},{i // 2},{i}" for i in range(N)]
    (tmp_path / "a.csv").write_text("a,ttv,event,row\n" + "\n".join(lines) + "\n")
    table = {"source": str(tmp_path / "a.csv"), "features": "a,row"}
    by_column = data.get_config("events", **table, split="train=0,val=2,test=1", split_key="ttv")
    found = data.load(by_column)
    assert [set(part["x"][:, 1] % 3) for part in (found.train, found.val, found.test)] == [
        *({0.0}, {2.0}, {1.0})
    ]
    found = data.load(data.get_config("events", **table, split="id", id="event"))
    learned = {*found.train["event"], *found.val["event"]}
    assert not learned & {*found.test["event"]} and n_rows(found.test)


def test_events_are_drawn_from_everywhere_and_twins_are_told(folder, tmp_path, capsys):
    """A file of one class after the other; the same file twice."""
    x = random_jets(0, N, 6)
    write(tmp_path / "a.h5", x, label=np.arange(N) // 30)
    drawn = load(tmp_path / "a.h5", label_key="label", background="0,1", n_events=20)
    assert 0 < np.concatenate([p["label"] for _, p in drawn.parts()]).mean() < 1
    assert "stand in the training part too" not in capsys.readouterr().err
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes())
    load(tmp_path / "[ab].h5")
    assert "test events stand in the training part too, value for value" in capsys.readouterr().err
