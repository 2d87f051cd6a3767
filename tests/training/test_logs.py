"""What is logged beside the history: TensorBoard's files to the byte, a function of the user's."""

import json
import struct
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxad.commands.train import fitter
from jaxad.errors import UserError
from jaxad.training import Task, get_config, logs, tensorboard, weighted_mean

X = np.linspace(-1, 1, 16, dtype=np.float32)
ROWS = {"x": X, "y": 3 * X}


def init(key, batch):
    return {"slope": jnp.zeros(())}, {}


def loss(params, state, batch, key, training):
    errors = (batch["y"] - params["slope"] * batch["x"]) ** 2
    return weighted_mean(errors, batch["weight"]), ({}, state)


def fields(data: bytes) -> list[tuple[int, object]]:
    """(number, value) of a message in the wire format of Protocol Buffers."""
    found, place = [], 0

    def varint():
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            value, shift, place = value | (byte & 0x7F) << shift, shift + 7, place + 1
            if byte < 0x80:
                return value

    while place < len(data):
        key = varint()
        number, kind = key >> 3, key & 7
        if kind == 0:
            value = varint()
        else:
            size = {1: 8, 5: 4}.get(kind) or varint()
            value, place = data[place : place + size], place + size
            value = struct.unpack({1: "<d", 5: "<f"}[kind], value)[0] if kind in (1, 5) else value
        found.append((number, value))
    return found


def scalars_in(path) -> list[tuple[int, dict[str, float]]]:
    """(step, {tag: value}) of an event file, whose first event names the version."""
    content, place, found = path.read_bytes(), 0, []
    for stop in tensorboard.ends(content):
        event = fields(content[place + tensorboard.FRAME : stop - 4])
        place = stop
        if (3, b"brain.Event:2") in event:
            assert not found
            continue
        values = [dict(fields(v)) for _, v in fields(dict(event)[5])]
        found.append((dict(event)[2], {value[1].decode(): value[2] for value in values}))
    assert place == len(content)
    return found


def line(epoch, value):
    return {"stage": "train", "epoch": epoch, "train_loss": value, "val_loss": [value, 2.0]}


def test_bytes_are_those_of_the_formats():
    """Checksums of RFC 3720, B.4; a record and an event put together by hand."""
    assert tensorboard.crc32c(bytes(32)) == 0x8A9136AA
    assert tensorboard.crc32c(bytes(range(32))) == 0x46DD794E
    assert tensorboard.event(1.5, 300, {"a": 0.5}).hex() == (
        "09000000000000f83f" + "10ac02" + "2a0a" + "0a08" + "0a0161" + "150000003f"
    )
    assert tensorboard.version(0.0).hex() == "09" + 16 * "0" + "1a0d" + b"brain.Event:2".hex()
    record = tensorboard.framed(bytes(32))
    assert record[:8] == b"\x20" + bytes(7) and record[12:-4] == bytes(32)
    masked = ((0x8A9136AA >> 15 | 0x8A9136AA << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert record[-4:] == struct.pack("<I", masked)


def test_an_interrupted_file_goes_on_without_an_epoch_twice(tmp_path):
    history = [line(epoch, epoch / 2) for epoch in range(200)]
    write = tensorboard.writer(tmp_path / "train")
    for n in (0, 2, 3, 5):
        write(history[:n])
    path = tmp_path / "train" / tensorboard.NAME
    whole = path.read_bytes()
    for torn in (whole, whole[:-3], whole[:-40] + b"\0" + whole[-39:], whole[:7], b""):
        path.write_bytes(torn)
        write = tensorboard.writer(tmp_path / "train")
        write(history[:3])
        assert [step for step, _ in scalars_in(path)] == [0, 1, 2]
        write(history)
        assert [step for step, _ in scalars_in(path)] == list(range(200))
        assert scalars_in(path)[199][1] == {
            "train_loss": 99.5,
            "val_loss/0": 99.5,
            "val_loss/1": 2.0,
        }


def test_tensorboard_reads_it(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tensorboard.writer(tmp_path)([line(0, 1.5), line(1, 0.5)])
    events = EventAccumulator(str(tmp_path)).Reload()
    assert events.Tags()["scalars"] == ["train_loss", "val_loss/0", "val_loss/1"]
    found = [(event.step, event.value) for event in events.Scalars("train_loss")]
    assert found == [(0, 1.5), (1, 0.5)]


def test_a_run_that_goes_on_logs_each_epoch_once(tmp_path):
    """Stopped in the function of its third epoch, with no checkpoint: all epochs run anew."""
    told = []

    def log(step, values):
        told.append((step, values))
        if step == 3 + 2 and len(told) == 6:
            raise KeyboardInterrupt

    def run():
        fitting = fitter(tmp_path, log, with_tensorboard=True)
        settings = get_config(epochs=3, batch_size=8)
        fitting(Task(init, loss), ROWS, ROWS, settings, stage="first")
        settings = get_config(epochs=5, batch_size=8)
        return fitting(Task(init, loss), ROWS, ROWS, settings, stage="second")

    with pytest.raises(KeyboardInterrupt):
        run()
    history = run().history
    assert [step for step, _ in told] == list(range(8))
    assert set(told[0][1]) == {
        *("first/train_loss", "first/val_loss", "first/learning_rate", "first/seconds")
    }
    assert told[7][1]["second/val_loss"] == history[4]["val_loss"]
    found = scalars_in(tmp_path / "tensorboard" / "second" / tensorboard.NAME)
    assert [step for step, _ in found] == list(range(5))
    expected = [np.float32(record["val_loss"]) for record in history]
    assert [values["val_loss"] for _, values in found] == expected
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 8


def test_a_function_that_fails_ends_no_training(tmp_path, capsys):
    def log(step, values):
        if step == 1:
            raise ConnectionError("no\nserver")

    fitted = fitter(tmp_path, log)(
        Task(init, loss), ROWS, ROWS, get_config(epochs=3, batch_size=8), stage="train"
    )
    assert len(fitted.history) == 3
    (warning,) = [s for s in capsys.readouterr().err.splitlines() if s.startswith("warning")]
    assert warning == (
        "warning: --log: train, epoch 1: ConnectionError: no server; training goes on, "
        "history.jsonl has every epoch"
    )
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(text)["epoch"] for text in lines] == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mylog", "--log=mylog: expected MODULE:FUNCTION, such as mylog:log"),
        ("log_absent:log", r"log_absent cannot be imported \(ModuleNotFoundError: No module"),
        ("log_broken:log", r"cannot be imported \(ModuleNotFoundError: No module named 'absent_x'"),
        ("log_fine:lug", "log_fine has no function lug"),
        ("log_fine:NUMBER", "log_fine has no function NUMBER"),
    ],
)
def test_functions_that_are_not_there(tmp_path, monkeypatch, name, message):
    (tmp_path / "log_broken.py").write_text("import absent_x\n")
    (tmp_path / "log_fine.py").write_text("NUMBER = 3\ndef log(step, values): return step\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    with pytest.raises(UserError, match=message) as error:
        logs.found(name, tmp_path)
    assert "\n" not in str(error.value)
    assert logs.found("log_fine:log", tmp_path)(3, {}) == 3
