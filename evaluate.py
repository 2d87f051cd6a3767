"""Evaluate a run of train.py: table on the terminal, metrics.json, figures, report.html.

Usage:
  evaluate.py --workdir=runs/toptagging
  evaluate.py --workdir=runs/toptagging --data.source='files/*.h5'

The second form scores other files, of the layout that the run was trained on.
"""

from pathlib import Path

from absl import flags

from jaxad import cli

_WORKDIR = flags.DEFINE_string("workdir", None, "The work directory of a trained run.")
_SOURCE = flags.DEFINE_string("data.source", "", "Other data: simulation, download, or files.")
_BOOTSTRAP = flags.DEFINE_integer("bootstrap", 200, "Bootstrap samples for errors, 0: none.")


def main() -> None:
    from jaxad import evaluation

    evaluation.evaluate(Path(_WORKDIR.value), _SOURCE.value, _BOOTSTRAP.value)


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir"])
    cli.run(main)
