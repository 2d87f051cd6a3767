"""What is kept about who made a result."""

import shutil
import subprocess

import pytest

from jaxad.storage import provenance as storage
from jaxad.storage.provenance import commit, provenance


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_commit_is_told_and_nothing_of_the_repository_is_written(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    assert commit(tmp_path) == ""
    (tmp_path / "file").write_text("first")
    git("init")
    git("add", "file")
    git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--message=first")
    (tmp_path / "file").touch()
    index = (tmp_path / ".git" / "index").read_bytes()
    clean = commit(tmp_path)
    assert len(clean) >= 7 and "dirty" not in clean
    (tmp_path / "other").write_text("not of the repository")
    assert commit(tmp_path) == clean
    (tmp_path / "file").write_text("second")
    assert commit(tmp_path) == f"{clean}-dirty"
    assert (tmp_path / ".git" / "index").read_bytes() == index


def test_git_may_be_missing(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(storage, "own_commit", storage.own_commit.__wrapped__)
    assert "git" not in provenance()
