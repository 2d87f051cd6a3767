"""Trained runs for programs that know neither Python nor JAX.

    jaxad export RUN --format cpp,stablehlo,onnx,tflite,hls --out DIR
    jaxad export verify DIR [--events FILE]
    jaxad export quantize DIR --out DIR2

DIR holds scorer.hpp (one C++ header without dependencies), scorer.stablehlo (jax.export, any number
of events, CPU, CUDA and TPU), scorer.onnx (ONNX Runtime, any number of events), triton/, a model
repository with it, scorer.tflite (LiteRT, batches of 1 and 256 events), or hls/, a project of
hls4ml in fixed point (quantised networks, from counts to an integer score, and dense trigger
autoencoders), and whatever the format: scorer/, the archive that `jaxad.load` and verify read;
golden.npz, 32 events with their outputs; export.json, the contract: features, units, score,
threshold, rate, knots, calibration, versions. verify replays the golden rows, and the events of a
file, in every runtime, and ends with 1 where one disagrees.
quantize writes the ONNX model of DIR once more, its linear layers in int8, calibrated with the
run's own data.
"""

from collections.abc import Sequence

from jaxad.commands import cli
from jaxad.export.folder import DEFAULT, N_EVENTS, export, of_file, quantize_folder
from jaxad.export.verify import verify
from jaxad.scorer import load
from jaxad.storage.paths import expanded


def main(argv: Sequence[str]) -> int:
    """The command: 0, 1 where a runtime disagrees, 2 for a mistake that its one line names."""
    parser = cli.parser(__doc__, "export")
    parser.add_argument("run", help="trained run; or verify, or quantize")
    parser.add_argument("folder", nargs="?", type=expanded, help="exported folder, of these two")
    parser.add_argument("--format", help="default: stablehlo, and cpp where the score has one")
    parser.add_argument("--out", type=expanded, help="folder to write")
    parser.add_argument("--score", help="of the run; default: the method's own")
    parser.add_argument(
        "--name", help="namespace in C++, model of Triton; default: the run's and a digest"
    )
    parser.add_argument(
        "--width", type=int, help="bits of numbers in hls of a float run, 4 to 18 (18)"
    )
    parser.add_argument("--fpr", type=float, default=0.01, help="of the threshold (%(default)s)")
    parser.add_argument("--events", help="file of raw events; default: the run's own test data")
    parser.add_argument(
        "--key", default="", help="array of raw events in that file; default: as the run read it"
    )
    args = parser.parse_args(argv)
    of_folder = args.run in ("verify", "quantize")
    if of_folder != (args.folder is not None) or (args.run != "verify") != (args.out is not None):
        parser.error("give RUN --out DIR, verify DIR, or quantize DIR --out DIR2")

    def command() -> int:
        events = None
        if args.run == "quantize":
            quantize_folder(args.folder, args.out, args.name)
        elif args.run != "verify":
            formats = tuple(args.format.split(",")) if args.format else DEFAULT
            asked = args.fpr, args.events, args.key, args.score, args.name, args.width
            export(expanded(args.run), formats, args.out, *asked)
        elif args.events:
            archive = load(args.folder / "scorer")
            events = of_file(archive, args.events, args.key, N_EVENTS)
        return 0 if verify(args.folder if args.run == "verify" else args.out, events) else 1

    return cli.exit_code(command)
