"""How the command-line programs end: one line for a user's mistake, a trace for a bug."""

import sys
from collections.abc import Callable

from absl import logging

from jaxad.errors import Preempted, UserError


def friendly(main: Callable[[list[str]], None]) -> Callable[[list[str]], None]:
    """Wrap a main function: one line and code 2 for `UserError`, 143 for `Preempted`."""

    def wrapped(argv: list[str]) -> None:
        logging.set_verbosity(logging.WARNING)
        try:
            main(argv)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except Preempted:
            print("stopped; the same command goes on from here", file=sys.stderr)
            sys.exit(143)
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from what is saved", file=sys.stderr)
            sys.exit(130)

    return wrapped
