"""`jaxad VERB ...`, the same as `python -m jaxad VERB ...`."""

import importlib
import sys
from collections.abc import Sequence

VERBS = {
    "train": "train a config in a work directory, or go on with it",
    "evaluate": "metrics, figures and report of a trained run",
    "score": "scores of files of any size",
    "search": "a resonance in one's own, unlabelled data, with calibrated p-values",
    "scan": "a resonant search for every value of a setting and every seed",
    "compare": "many evaluated runs side by side, on one page",
    "rates": "rates of a trigger at integer thresholds, of one detector or two",
    "latency": "how fast trained runs score",
    "export": "C++, StableHLO, ONNX, TFLite or HLS of a trained run",
    "simulate": "simulated data sets in their published layouts",
    "data": "known data sets listed and fetched, and what a config reads",
}


def usage() -> str:
    """The verbs, a line each."""
    lines = "\n".join(f"  {verb:<10}{text}" for verb, text in VERBS.items())
    return (
        "usage: jaxad VERB ...\n\nAnomaly detection for high-energy physics.\n\n"
        f"{lines}\n\njaxad VERB --help shows each with an example, such as\n"
        "  jaxad train --config=toptagging_ae:smoke --workdir=runs/smoke"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns its exit code, 2 for a mistake that one line names."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    verb, *rest = arguments
    if verb == "--version":
        from jaxad import __version__

        print(f"jaxad {__version__}")
        return 0
    if verb not in VERBS:
        print(f"error: {verb}: no such verb; there are {', '.join(VERBS)}", file=sys.stderr)
        return 2
    return importlib.import_module(f"jaxad.commands.{verb}").main(rest)


if __name__ == "__main__":
    sys.exit(main())
