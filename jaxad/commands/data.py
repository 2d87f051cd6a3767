"""What a config reads, and raw LHC Olympics events clustered into the official feature file.

  jaxad data show --config=toptagging_ae
  jaxad data cluster events_anomalydetection_v2.h5 --out FOLDER

show reads the data of a config, as training would, and prints the counts of every class and part.
cluster (FastJet) goes on where it was stopped when the same command runs again.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from jaxad import data
from jaxad.commands import cli
from jaxad.data import lhco_raw


def main(argv: Sequence[str]) -> int:
    """The command; its exit code, see `cli.exit_code`."""
    if argv and argv[0] == "show":
        return _show(argv[1:])
    parser = cli.parser(__doc__, "data")
    verbs = parser.add_subparsers(dest="what", required=True, metavar="show|cluster")
    verbs.add_parser("show", help="counts of what a config reads")
    cluster = verbs.add_parser("cluster", help="raw LHC Olympics events into features")
    cluster.add_argument("file", type=Path, help="raw events in the published layout")
    cluster.add_argument("--out", type=Path, required=True, help="folder to write to")
    cli.add_workers(cluster)
    args = parser.parse_args(argv)
    return cli.exit_code(lambda: print(lhco_raw.feature_file(args.file, args.out, args.workers)))


def _show(argv: Sequence[str]) -> int:
    def define(values: flags.FlagValues, arguments: list[str]) -> None:
        cli.define_config(values, arguments, required=True)

    values = cli.parsed(define, ["jaxad data show", *argv], __doc__)
    return cli.exit_code(lambda: print(data.summary(data.load(values.config.data))))
