"""What a checkpoint is refused for: another structure is no damage, and nothing is moved."""

import json
from typing import Any, NamedTuple

import numpy as np
import pytest

from jaxad.errors import UserError
from jaxad.training import checkpoint


class State(NamedTuple):
    weights: Any
    steps: Any


class Renamed(NamedTuple):
    parameters: Any
    steps: Any


STATE = State({"a": np.arange(6, dtype=np.float32).reshape(2, 3)}, (np.int32(4), ()))
OTHERS = {
    "shape": (STATE._replace(weights={"a": np.zeros((2, 4), np.float32)}), "weights/a: float32 "
              r"\(2, 3\) there, float32 \(2, 4\) now"),
    "dtype": (STATE._replace(weights={"a": np.zeros((2, 3), np.int32)}), r"int32 \(2, 3\) now"),
    "more": (STATE._replace(weights=STATE.weights | {"b": np.zeros(2)}),
             r"weights/b: nothing there, float64 \(2,\) now"),
    "fewer": (STATE._replace(steps=()), r"steps/0: int32 \(\) there, nothing now"),
    "names": (Renamed(*STATE), r"parameters/a: nothing there.*weights/a: float32 \(2, 3\) there"),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    for step in (1, 2):
        checkpoint.save(tmp_path / "fit", step, STATE, {"epoch": step})
    return tmp_path / "fit"


def written_by_an_older_version(folder):
    """As before checkpoints described themselves."""
    for path in folder.glob("*/meta/metadata"):
        meta = json.loads(path.read_text(encoding="utf-8"))
        del meta["written"]
        bare = {key: value for key, value in meta.items() if key != "digest"}
        path.write_text(json.dumps(bare | {"digest": checkpoint._digest(STATE, bare)}))


@pytest.mark.parametrize("older", [False, True], ids=["", "older"])
@pytest.mark.parametrize("other", OTHERS)
def test_another_structure_is_named_and_nothing_is_moved(folder, other, older):
    if older:
        written_by_an_older_version(folder)
    template, words = OTHERS[other]
    with pytest.raises(UserError, match=words) as error:
        checkpoint.restore(folder, template)
    assert f"{folder / '2'}: a checkpoint of " in str(error.value)
    assert ("an older version" in str(error.value)) == older
    assert [path.name for path in folder.parent.iterdir()] == ["fit"]
    state, meta = checkpoint.restore(folder, STATE)
    np.testing.assert_array_equal(state.weights["a"], STATE.weights["a"])
    assert meta == {"epoch": 2}


def test_what_cannot_be_read_is_no_damage(folder):
    """The system refuses to read, as a failing disk does: the bytes may well be sound."""
    meta = folder / "2" / "meta" / "metadata"
    content = meta.read_bytes()
    meta.unlink()
    meta.symlink_to("/proc/self/mem")
    with pytest.raises(UserError, match=r"fit/2: .* cannot be read \(Input/output error"):
        checkpoint.restore(folder, STATE)
    assert [path.name for path in folder.parent.iterdir()] == ["fit"]
    meta.unlink()
    meta.write_bytes(content)
    assert checkpoint.restore(folder, STATE)[1] == {"epoch": 2}


def test_a_changed_description_is_damage(folder, capsys):
    """A bit of what a checkpoint says about its arrays: no reason to refuse the one before."""
    meta = folder / "2" / "meta" / "metadata"
    meta.write_text(meta.read_text().replace("float32 (2, 3)", "float32 (2, 7)"))
    assert checkpoint.restore(folder, STATE)[1] == {"epoch": 1}
    assert f"{folder / '2'} is damaged (its description" in capsys.readouterr().err
