"""Locks of folders: in use, or a file system that has none."""

import errno
import fcntl
import os

import pytest

from jaxad.errors import UserError
from jaxad.storage.lock import held


def refusing(code):
    """What `flock` does on a file system that answers so."""

    def flock(stream, how):
        raise OSError(code, os.strerror(code))

    return flock


@pytest.mark.parametrize("code", ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EINVAL"])
@pytest.mark.parametrize("in_use", ["", "in use"])
def test_a_file_system_without_locks_is_said_and_works(tmp_path, monkeypatch, capsys, code, in_use):
    monkeypatch.setattr(fcntl, "flock", refusing(getattr(errno, code)))
    with held(tmp_path / "run", in_use):
        (tmp_path / "run" / "file").touch()
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {tmp_path / 'run' / '.lock'}: cannot be locked (")
    assert os.strerror(getattr(errno, code)) in said


@pytest.mark.parametrize("code", ["EWOULDBLOCK", "EAGAIN", "EACCES"])
def test_a_holder_is_said(tmp_path, monkeypatch, code):
    monkeypatch.setattr(fcntl, "flock", refusing(getattr(errno, code)))
    with pytest.raises(UserError, match="in use"), held(tmp_path, "in use"):
        pass


def test_a_lock_ends_with_its_block(tmp_path):
    for _ in range(2):
        with (
            held(tmp_path, "in use"),
            pytest.raises(UserError, match="in use"),
            held(tmp_path, "in use"),
        ):
            pass
