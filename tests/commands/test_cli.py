"""How commands end and speak: whose fault a missing file is, any terminal, any environment."""

import errno
import importlib
import io
import os
import sys
from pathlib import Path

import pytest

from jaxad.commands import cli
from jaxad.errors import UserError
from jaxad.storage.atomic import OutputError, named, replacing


def raising(error):
    def command():
        raise error

    return command


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "jaxad/ours.json"),
        NotADirectoryError(errno.ENOTDIR, "Not a directory", "ours"),
        FileExistsError(errno.EEXIST, "File exists", "ours"),
        PermissionError(errno.EPERM, "Operation not permitted"),  # of a system call, not a file
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_fault_of_ours_keeps_its_trace(error):
    with pytest.raises(type(error)):
        cli.exit_code(raising(error))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a"), "a: No space left.*free space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "output: Disk quota exceeded: free space"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "a: Permission denied: free"),
        (OutputError(errno.EROFS, "Read-only file system", "a"), "a: Read-only.*free space"),
        (OutputError(errno.ENOENT, "No such file", "a/b"), "a/b: No such file: choose another"),
        (UserError("a: mend it"), "a: mend it"),
    ],
)
def test_what_a_user_can_mend_is_one_line(capsys, error, message):
    assert cli.exit_code(raising(error)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(line)


def test_only_what_is_written_is_an_output(tmp_path):
    with pytest.raises(FileNotFoundError) as ours, named(tmp_path / "out" / "scores.h5"):
        Path("/proc/nothing/of/ours").read_bytes()
    assert not isinstance(ours.value, OutputError)
    out = tmp_path / "none" / "out"
    with pytest.raises(OutputError) as theirs, replacing(out) as temporary:
        temporary.write_text("", encoding="utf-8")
    assert theirs.value.filename == str(out)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError), named(tmp_path / "file" / "below" / "out"):
        (tmp_path / "file" / "below").mkdir(parents=True)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("ascii", "0.91 +- 0.02, 3 us, \\xe9 \\u03c3 \\udce9"),
        ("latin-1", "0.91 ± 0.02, 3 µs, é \\u03c3 \\udce9"),
        ("utf-8", "0.91 ± 0.02, 3 µs, é σ \\udce9"),
    ],
)
def test_every_terminal_shows_what_is_printed(monkeypatch, encoding, said):
    """A file name whose bytes are no UTF-8 is shown, too."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding))
    text = "0.91 ± 0.02, 3 µs, é σ " + os.fsdecode(b"\xe9")
    assert cli.exit_code(lambda: print(text)) == 0
    assert cli.exit_code(raising(UserError(text))) == 2
    sys.stdout.flush()
    assert sys.stdout.buffer.getvalue().decode(encoding) == f"{said}\n"
    assert sys.stderr.buffer.getvalue().decode(encoding) == f"error: {said}\n"


def test_a_backend_of_another_environment_is_ignored(program):
    done = program("evaluate.py", "--help", MPLBACKEND="module://matplotlib_inline.of_another")
    assert done.returncode == 0, done.stderr
    assert "--workdir" in done.stdout


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        ("evaluate", ["runs/csv"], "expected --workdir=..., found runs/csv without a flag"),
        ("train", [], "expected --config=... and --workdir=..."),
        ("data", ["show", "jets.h5"], "expected --config=..., found jets.h5 without a flag"),
    ],
)
def test_flags_that_are_missing_are_named(verb, arguments, message, capsys):
    with pytest.raises(SystemExit):
        importlib.import_module(f"jaxad.commands.{verb}").main(arguments)
    assert capsys.readouterr().err == f"error: {message}; --help shows how\n"
