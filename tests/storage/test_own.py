"""What jaxad wrote is replaced; what it did not write, or what was changed since, is not."""

import os
from pathlib import Path

import pytest

from jaxad.errors import UserError
from jaxad.storage.atomic import replacing, replacing_folder
from jaxad.storage.lock import held
from jaxad.storage.own import (
    claim,
    foreign,
    replace_all,
    replacing_own,
    require_all_own,
    require_own,
    require_own_folder,
    same,
)


def put(path, text):
    with replacing_own(path, "choose another --out") as temporary:
        temporary.write_text(text)


def test_a_file_is_replaced_as_long_as_it_is_ones_own(tmp_path):
    path = tmp_path / "new" / "table.txt"
    for text in ("first", "second"):
        put(path, text)
        assert path.read_text() == text
    path.write_text("edited")
    with pytest.raises(
        UserError, match=r"table\.txt: is there, .*move it, or choose another --out"
    ):
        put(path, "third")
    assert path.read_text() == "edited"
    path.unlink()
    put(path, "third")
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="did not write it"):
        require_own(tmp_path / "mine.txt", "")


def test_a_kill_leaves_nothing_that_the_next_call_does_not_know(tmp_path, monkeypatch):
    path, replace = tmp_path / "table.txt", os.replace
    put(path, "first")
    for number, before in enumerate((True, True, False)):

        def killed(source, target, before=before):
            if Path(target) == path and before:
                raise KeyboardInterrupt
            replace(source, target)
            if Path(target) == path:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "replace", killed)
            put(path, f"second {number}")
    put(path, "third")
    assert path.read_text() == "third"


def test_foreign_files_of_a_folder_are_named(tmp_path):
    (tmp_path / "scorer").mkdir()
    (tmp_path / "scorer" / "params.npz").touch()
    own = ["scorer/params.npz", "hls/"]
    assert foreign(tmp_path / "none", own) is None and foreign(tmp_path, own) is None
    (tmp_path / "hls" / "firmware").mkdir(parents=True)
    (tmp_path / "hls" / "firmware" / "net.cpp").touch()
    assert foreign(tmp_path, own) is None
    (tmp_path / "scorer" / "notes").mkdir()
    assert foreign(tmp_path, own) == "scorer/notes"
    (tmp_path / "a link").symlink_to(tmp_path / "scorer")
    assert foreign(tmp_path, own) == "a link"


@pytest.mark.parametrize("name", [".", "..", "here"])
def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch, name):
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(UserError, match="the current folder is inside"):
        require_own_folder(tmp_path / "here" if name == "here" else Path(name), (), "")
    with pytest.raises(UserError, match="the current folder is inside"):
        require_own_folder(tmp_path / "link", (), "")


def test_a_folder_is_claimed_once(tmp_path):
    for _ in range(2):
        claim(tmp_path / "results", "")
        (tmp_path / "results" / "rows").touch()
    with pytest.raises(UserError, match="holds something else, results"):
        claim(tmp_path, "")


def test_links_stay_and_what_they_lead_to_is_replaced(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "scores").symlink_to(tmp_path / "disk" / "scores")
    (tmp_path / "exported").symlink_to(tmp_path / "disk" / "exported")
    for text in ("first", "second"):
        with replacing(tmp_path / "scores") as temporary:
            temporary.write_text(text)
        with replacing_folder(tmp_path / "exported") as temporary:
            (temporary / "score").write_text(text)
        assert (tmp_path / "scores").is_symlink() and (tmp_path / "exported").is_symlink()
        assert (tmp_path / "disk" / "scores").read_text() == text
        assert (tmp_path / "disk" / "exported" / "score").read_text() == text


def test_one_file_under_several_names(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.touch()
    os.link(path, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    assert all(same(path, other) for other in ("./a", tmp_path / "hard", "soft"))
    assert not same(path, tmp_path / "b") and same(tmp_path / "b", "./b")


def test_a_lock_of_others_keeps_its_content(tmp_path):
    (tmp_path / ".lock").write_text("pid 7")
    with held(tmp_path):
        pass
    assert (tmp_path / ".lock").read_text() == "pid 7"


def test_a_set_of_files_replaces_the_one_before_and_nothing_else(tmp_path):
    mend = "choose another --workdir"
    replace_all(tmp_path, {"a/x.json": b"1", "report.html": b"1"}, mend)
    (tmp_path / "a" / "mine.txt").write_text("mine")
    replace_all(tmp_path, {"a/y.json": b"2", "report.html": b"2"}, mend)
    left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert left == [".jaxad.json", "a/mine.txt", "a/y.json", "report.html"]
    with pytest.raises(UserError, match=r"mine\.txt: is there, .*choose another --workdir"):
        replace_all(tmp_path, {"report.html": b"3", "a/mine.txt": b"3"}, mend)
    (tmp_path / "a" / "y.json").write_text("edited")
    with pytest.raises(UserError, match=r"y\.json: is there"):
        require_all_own(tmp_path, (), mend)
    with pytest.raises(UserError, match=r"y\.json: is there"):
        replace_all(tmp_path, {"report.html": b"3"}, mend)
    assert (tmp_path / "report.html").read_bytes() == b"2"
    (tmp_path / "a" / "y.json").unlink()
    replace_all(tmp_path, {"report.html": b"3"}, mend)
    assert (tmp_path / "report.html").read_bytes() == b"3"


def test_a_kill_amid_a_set_leaves_none_that_is_unknown(tmp_path, monkeypatch):
    replace_all(tmp_path, {"a": b"1", "b": b"1"}, "")
    replace = os.replace

    def killed(source, target):
        if Path(target).name == "b":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        replace_all(tmp_path, {"a": b"2", "b": b"2"}, "")
    monkeypatch.undo()
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"2", b"1")
    replace_all(tmp_path, {"a": b"3", "b": b"3"}, "")
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "b").read_bytes()) == (b"3", b"3")
