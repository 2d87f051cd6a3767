"""Simulate a data set in its published file layout (Pythia 8, fast detector, FastJet).

    jaxad simulate toptagging --out FOLDER --events 12500 --plot check.png

Running the same command again resumes an interrupted simulation.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from jaxad.commands import cli
from jaxad.errors import UserError
from jaxad.report import simulation as figures
from jaxad.simulation import NAMES, simulate
from jaxad.storage.own import replacing_own, require_own
from jaxad.storage.paths import expanded

MEND = "choose another --plot"
COMPARED = ("lhco", "lhco_signal")


def _check_plot(plot: Path) -> None:
    if plot.suffix != ".png":
        raise UserError(f"--plot: expected a file NAME.png, found {plot}")
    require_own(plot, MEND)


def _check_real(args: argparse.Namespace) -> None:
    if args.plot is None:
        raise UserError("--real: is drawn beside the simulated events: give --plot, too")
    if args.name not in COMPARED:
        raise UserError(f"--real: expected {' or '.join(COMPARED)} to compare, found {args.name}")
    if not args.real.is_file():
        raise UserError(f"--real: {args.real}: no such file")


def main(argv: Sequence[str]) -> int:
    """Parse the command line, simulate, say where the files are; 2 for a user's mistake."""
    parser = cli.parser(__doc__, "simulate")
    parser.add_argument("name", choices=NAMES, help="data set")
    parser.add_argument("--out", type=expanded, required=True, help="folder to write to")
    parser.add_argument(
        "--events",
        type=int,
        default=10_000,
        help="size; toptagging: jets of each class (QCD, top), all files together; "
        "jets, adc2021: background events, a fifth as many of each signal; codae: QCD "
        "events, regions: zero bias, a tenth as many of each signal; lhco: events; resonance: "
        "background, a 400th of signal (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    cli.add_workers(parser)
    parser.add_argument(
        "--plot", type=expanded, metavar="FILE.png", help="also draw the physics check"
    )
    parser.add_argument(
        "--real",
        type=expanded,
        metavar="FILE",
        help="published LHCO features to draw beside the simulated ones",
    )
    args = parser.parse_args(argv)

    def command() -> None:
        if args.plot:
            _check_plot(args.plot)
        if args.real:
            _check_real(args)
        paths = simulate(args.name, args.out, args.events, args.seed, args.workers)
        for path in paths:
            print(path)
        if args.plot:
            with replacing_own(args.plot, MEND) as temporary:
                figures.draw(args.name, paths, temporary, args.real)
            print(args.plot)

    return cli.exit_code(command)
