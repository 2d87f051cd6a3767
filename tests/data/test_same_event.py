"""Rows of one id, as two jets of one event, never stand in two parts; what a split leaves out."""

import numpy as np
import pytest
from random_jets import random_jets

from jaxad import data
from jaxad.data.dataset import counts
from jaxad.errors import UserError

N = 60
LABELLED = {"label_key": "label", "signals": "top=1", "observables": "row=row"}


def write(path, seed=0, **arrays):
    own = {"label": np.zeros(N, int), "row": np.arange(N), "event": np.arange(N) // 2}
    np.savez(path, x=random_jets(seed, N, 6), **own | arrays)
    return path


def load(source, **settings):
    return data.load(data.get_config("events", source=str(source), id_key="event", **settings))


def ids(part):
    return {int(i) for i in part["event"]}


@pytest.fixture
def parted(tmp_path):
    """Two jets an event, parts by event; `jet`: parts by jet, which tear events."""
    event = np.arange(N) // 2
    return write(tmp_path / "jets.npz", ttv=event % 4, jet=np.arange(N) % 3)


def test_values_of_a_column_keep_ids_together(parted):
    dataset = load(parted, split="train=0+1,val=2,test=3", split_key="ttv")
    assert sum(len(part["x"]) for _, part in dataset.parts()) == N
    with pytest.raises(UserError) as error:
        load(parted, split="train=0,val=1,test=2", split_key="jet")
    assert str(error.value) == (
        f"{parted}: 20 of 20 test events have the id of one that trains, as two jets of one event: "
        "data.split has to name one part for all rows of data.id_key, or set data.split=id; "
        "if every file numbers its own events, leave data.id_key out or name the run beside it"
    )


def test_validation_events_are_parted_from_those_that_train(parted):
    drawn = load(parted, split="train=0+1+2,test=3", split_key="ttv", val_fraction=0.3)
    assert ids(drawn.val) and not ids(drawn.val) & ids(drawn.train)
    event = np.arange(N) // 2
    torn = write(parted.with_name("torn.npz"), jet=np.where(event % 3 == 2, 2, np.arange(N) % 2))
    with pytest.raises(UserError, match=r"20 of 20 validation events have the id of one that tra"):
        load(torn, split="train=0,val=1,test=2", split_key="jet")


def test_files_that_share_ids_are_refused(tmp_path):
    for n, name in enumerate("abc"):
        write(tmp_path / f"{name}.npz", seed=n, event=np.arange(N) + n * N)
    split = {"split": "train=a*,val=b*,test=c*"}
    assert counts(load(tmp_path / "*.npz", **split))["test"] == N
    write(tmp_path / "c.npz", seed=2, event=np.arange(N) + 2 * N - 1)
    with pytest.raises(UserError, match=r"1 of 60 test events have the id .* name one part for al"):
        load(tmp_path / "*.npz", **split)


def test_a_labelled_signal_is_of_the_same_events_but_not_one_of_a_file(tmp_path):
    label = np.arange(N) % 2
    source = write(tmp_path / "jets.npz", label=label)
    with pytest.raises(UserError, match="test events have the id of one that trains"):
        load(source, **LABELLED)
    own = write(tmp_path / "top.npz", seed=1, event=np.arange(N))
    background = write(tmp_path / "qcd.npz", event=np.arange(N))
    assert counts(load(background, signals=f"top={own}"))["signals.top"] == N


def test_supervised_rows_of_parts_by_files_are_held_out_by_id(tmp_path):
    for n, name in enumerate("abc"):
        event, label = np.arange(N) // 2 + n * N, np.arange(N) // 2 % 2
        write(tmp_path / f"{name}.npz", seed=n, event=event, label=label)
    held = load(tmp_path / "*.npz", split="train=a*,val=b*,test=c*", **LABELLED, supervised=True)
    trains = ids(held.extra["supervised_train"]) | ids(held.extra["supervised_val"])
    assert trains and not trains & (ids(held.test) | ids(held.signals["top"]))


def test_a_search_holds_no_id_twice(tmp_path):
    mass = np.linspace(2000, 5000, N)
    search = {"format": "features", "mass_key": "mass", "window": "3.3-3.7"}
    features = {"x": np.random.default_rng(0).random((N, 3)), "mass": mass}

    def save(name, event):
        np.savez(tmp_path / name, **features, event=event)
        return tmp_path / name

    signal = save("signal.npz", np.arange(N))
    search |= {"signals": f"S={signal}", "inject": 20}
    assert counts(load(save("once.npz", np.arange(N)), **search))["train"] == 40
    twice = save("twice.npz", np.arange(N) // 2)
    with pytest.raises(UserError, match=r"30 of \d+ events have the id of another, .* jaxad sear"):
        load(twice, **search)


def test_what_a_split_leaves_out_is_counted(tmp_path):
    label, part = np.arange(N) % 3, np.arange(N) // 3 % 4
    source = write(tmp_path / "jets.npz", label=label, ttv=part, event=np.arange(N))
    split = {"split": "train=0,test=1", "split_key": "ttv", "val_fraction": 0.4}
    dataset = load(source, **LABELLED, **split)
    assert dataset.info["unparted"] == {"background": 10, "top": 10}
    assert dataset.info["untested"] == {"top": 5}
    lines = data.summary(dataset).splitlines()[-3:]
    assert lines == [
        "left out: 20 of label 2: neither in data.background nor in data.signals",
        "left out: 10 of background, 10 of top: of none of the parts that data.split names",
        "left out: 5 of top: data.split does not test them",
    ]
    assert "unparted" not in load(source, **LABELLED, split="id").info


def test_parts_of_a_table_are_numbers_in_csv_and_texts_elsewhere(tmp_path):
    rows = [f"{i},{i % 7}.5,{('train', 'test')[i % 2]}" for i in range(N)]
    table = tmp_path / "table.csv"
    table.write_text("event,a,part\n" + "\n".join(rows) + "\n")
    split = {"split": "train=train,test=test", "split_key": "part"}
    with pytest.raises(UserError, match=r"line 2: part: .* found 'train'; of CSV data.split_key"):
        data.load(data.get_config("events", source=str(table), features="a,event", **split))
    text = np.array(["train", "test"])[np.arange(N) % 2]
    np.savez(tmp_path / "table.npz", a=np.arange(N) % 7 + 0.5, event=np.arange(N), part=text)
    settings = {"source": str(tmp_path / "table.npz"), "features": "a,event"}
    found = data.load(data.get_config("events", **settings, **split))
    assert set(found.test["x"][:, 1] % 2) == {1.0}
