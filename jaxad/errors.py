"""The exceptions that programs end with quietly.

Every command prints a `UserError` as one line and exits with code 2, a `Preempted` run exits with
143; everything else is a bug and keeps its stack trace.
"""

import struct
import tokenize
import zipfile
import zlib

DAMAGED = (
    *(OSError, RuntimeError, ValueError, KeyError, EOFError, SyntaxError, TypeError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),
)
"""What h5py, NumPy and zipfile raise while they read a damaged file."""


class UserError(Exception):
    """One clear line: which file and field, what was expected, what was found, how to mend it."""


class Preempted(Exception):
    """The work stopped at the user's or the scheduler's wish, with everything saved."""
