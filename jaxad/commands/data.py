"""What a config reads; public files fetched; raw LHC Olympics events clustered into features.

  jaxad data show --config=toptagging_ae
  jaxad data show --config=toptagging_ae --config.data.name=events --config.data.source=jets.h5
  jaxad data list
  jaxad data describe hls4ml
  jaxad data fetch toptagging val.h5
  jaxad data cluster events_anomalydetection_v2.h5 --out FOLDER

show reads the data of a config, as training would, and prints the counts of every class and part;
of a search, and of named columns with a mass, all of them as one table: columns, ranges, folds.
list names data sets and the presets of --config.data.preset, describe shows one, of jaxad or of a
file of yours. fetch gets the files of one and checks them; without a name it lists all files, sizes
and checksums. cluster needs FastJet. Each goes on where it was stopped when the same command runs
again.
"""

import argparse
import sys
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict

from jaxad import data
from jaxad.commands import cli
from jaxad.data import catalogue, lhco_raw
from jaxad.search.table import search_table
from jaxad.storage import cache
from jaxad.storage.paths import expanded

FOLDS = 5
"""Of a search, by default."""


def main(argv: Sequence[str]) -> int:
    """The command; its exit code, see `cli.exit_code`."""
    if argv and argv[0] == "show":
        return _show(argv[1:])
    if argv and argv[0] == "download":
        print("error: data download: its name is now jaxad data fetch", file=sys.stderr)
        return 2
    parser = cli.parser(__doc__, "data")
    verbs = parser.add_subparsers(dest="what", required=True, metavar="show|list|describe|...")
    verbs.add_parser("show", help="counts of what a config reads")
    verbs.add_parser("list", help="known data sets and presets")
    shown = verbs.add_parser("describe", help="what a preset says, what files a set has")
    shown.add_argument("name", help="its name, or a file of yours, FILE.toml")
    fetched = verbs.add_parser("fetch", help="public files, or the list of them")
    fetched.add_argument("name", nargs="?", help="a set, or a preset with checksums, FILE.toml")
    fetched.add_argument("files", nargs="*", help="default: all files of the set")
    fetched.add_argument("--folder", default="", help="the cache folder")
    clustered = verbs.add_parser("cluster", help="raw LHC Olympics events into features")
    clustered.add_argument("file", type=expanded, help="raw events in the published layout")
    clustered.add_argument("--out", type=expanded, required=True, help="folder to write to")
    cli.add_workers(clustered)
    args = parser.parse_args(argv)
    if args.what == "list":
        return cli.exit_code(lambda: print(catalogue.listed()))
    if args.what == "describe":
        return cli.exit_code(lambda: print(catalogue.described(args.name)))
    if args.what == "fetch":
        return cli.exit_code(lambda: _fetch(args))
    return cli.exit_code(lambda: print(lhco_raw.feature_file(args.file, args.out, args.workers)))


def _show(argv: Sequence[str]) -> int:
    def define(values: flags.FlagValues, arguments: list[str]) -> None:
        cli.define_config(values, arguments, required=True)

    values = cli.parsed(define, ["jaxad data show", *argv], __doc__)
    return cli.exit_code(lambda: print(_shown(values.config)))


def _shown(config: ConfigDict) -> str:
    """What the data of a config are: the table of a search, else classes and parts."""
    if "search" in config:
        return data.table_summary(
            search_table(config), config.classifier.folds, config.search.fold_salt
        )
    if config.data.get("features") and config.data.get("mass"):
        return data.table_summary(data.search_table(config.data), FOLDS)
    return data.summary(data.load(config.data))


def _fetch(args: argparse.Namespace) -> None:
    if args.name is None:
        print(catalogue.table())
        return
    catalogue.fetch(args.name, args.files, cache.root(args.folder) / "download")
