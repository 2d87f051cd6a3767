"""Train a jaxad config in a work directory.

Usage:
  train.py --config=configs/toptagging_ae.py --workdir=runs/toptagging
  train.py --config=configs/toptagging_ae.py:smoke --workdir=runs/smoke
  train.py --config=configs/toptagging_ae.py --workdir=runs/x --config.train.epochs=20

`--config=FILE:smoke` is a version of the experiment that takes seconds. Any setting of the config
is overridden by --config.SECTION.NAME=VALUE, after --config; the resolved config is printed first.
The same command again resumes a run that was interrupted; a finished one is left alone.
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from jaxad import cli

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment: a file of configs/.")
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where the run lives: checkpoints, history, scorer."
)


def main() -> None:
    from jaxad import hosts, run

    hosts.initialize()
    run.train(_CONFIG.value, Path(_WORKDIR.value))


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    cli.run(main)
