"""The one exception for mistakes a user can mend.

`train.py`, `evaluate.py` and the `python -m jaxad.*` tools print its message as one line and
exit with code 2; everything else is a bug and keeps its stack trace.
"""


class UserError(Exception):
    """One clear line: which file and field, what was expected, what was found, how to mend it."""
