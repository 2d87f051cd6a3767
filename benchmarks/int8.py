"""What int8 moves: TPR at fixed FPR of quantized models beside their float ones, on new events.

    jaxad simulate adc2021 --events 17000 --seed 77 --out events
    python benchmarks/int8.py exported int8 --background events/background_for_training.h5 \\
        --signals events/Ato4l_lepFilter_13TeV.h5 events/leptoquark_LOWMASS_lepFilter_13TeV.h5

`exported` and `int8` hold folders of the same names, as `jaxad export` and its `quantize`
write them. Cuts are those of the float and of the int8 scores at the same FPR of these events, so
that only what quantization does to the order of events counts; errors by resampling the events.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx

from jaxad.export.folder import of_file
from jaxad.export.onnx.quantize import linear_layers
from jaxad.export.verify import read_contract, runtime
from jaxad.scorer import load

FPRS = (0.02, 0.01)
LARGEST = 1_000_000  # events of a file
N_RESAMPLED = 200


def shift(signal: np.ndarray, background: np.ndarray) -> np.ndarray:
    """TPR by the second column of scores less that by the first, at every FPR."""
    cuts = np.quantile(background, 1 - np.array(FPRS), axis=0)
    tpr = np.mean(signal >= cuts[:, None], axis=1)
    return tpr[:, 1] - tpr[:, 0]


def shift_error(signal: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Standard deviation of the shift over resampled events."""
    rng = np.random.default_rng(0)
    draw = lambda rows: rows[rng.integers(len(rows), size=len(rows))]  # noqa: E731
    return np.std([shift(draw(signal), draw(background)) for _ in range(N_RESAMPLED)], axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exported", type=Path)
    parser.add_argument("int8", type=Path)
    parser.add_argument("--background", required=True)
    parser.add_argument("--signals", nargs="+", required=True)
    args = parser.parse_args()
    columns = [f"{Path(path).stem.split('_')[0]} {fpr:g}" for path in args.signals for fpr in FPRS]
    print(f"| run | int8 layers | tail shift | flagged | {' | '.join(columns)} |")
    print("|---" * (4 + len(columns)) + "|")
    for folder in sorted(path for path in args.int8.iterdir() if (path / "export.json").is_file()):
        about = read_contract(folder)
        scorer = load(folder / "scorer")
        background = of_file(scorer, args.background, "", LARGEST)
        original = args.exported / folder.name
        models = [
            runtime(original, read_contract(original), "onnx"),
            runtime(folder, about, "onnx"),
        ]
        found = [model(background) for model in models]
        background_scores = np.column_stack([each[:, 0] for each in found])
        layers = linear_layers(onnx.load(original / "scorer.onnx").graph)
        cells = [folder.name, f"{len(about['quantization']['layers'])} of {len(layers)}"]
        cells.append(f"{about['quantization']['drift']['tail_shift']:.3f}")
        cells.append(f"{np.mean(found[1][:, 2]):.4f}")
        for path in args.signals:
            x = of_file(scorer, path, "", LARGEST)
            scores = [np.column_stack([model(x)[:, 0] for model in models]), background_scores]
            moved = zip(shift(*scores), shift_error(*scores), strict=True)
            cells += [f"{value:+.4f} ± {error:.4f}" for value, error in moved]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
