"""The exceptions that programs end with quietly.

`train.py`, `evaluate.py` and the `python -m jaxad.*` tools print a `UserError` as one line and exit
with code 2, a `Preempted` run exits with 143; everything else is a bug and keeps its stack trace.
"""


class UserError(Exception):
    """One clear line: which file and field, what was expected, what was found, how to mend it."""


class Preempted(Exception):
    """The work stopped at the user's or the scheduler's wish, with everything saved."""
