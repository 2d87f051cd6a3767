"""What int8 moves: TPR at fixed FPR of quantized models beside their float ones, on new events.

    python -m jaxad.simulation adc2021 --events 17000 --seed 77 --out events
    python benchmarks/int8.py exported int8 --background events/background_for_training.h5 \\
        --signals events/Ato4l_lepFilter_13TeV.h5 events/leptoquark_LOWMASS_lepFilter_13TeV.h5

`exported` and `int8` hold folders of the same names, as `python -m jaxad.export` and its `quantize`
write them. Cuts are those of the float and of the int8 scores at the same FPR of these events, so
that only what quantization does to the order of events counts.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxad.export.__main__ import of_file
from jaxad.export.verify import read_contract, runtime
from jaxad.scorer import load

FPRS = (0.02, 0.01)
LARGEST = 1_000_000  # events of a file


def shifts(float_model: Callable, int8_model: Callable, background: np.ndarray, x: np.ndarray):
    """TPR of the int8 model less that of the float one, for every FPR."""
    found = []
    for fpr in FPRS:
        rates = [
            np.mean(model(x)[:, 0] >= np.quantile(model(background)[:, 0], 1 - fpr))
            for model in (float_model, int8_model)
        ]
        found.append(rates[1] - rates[0])
    return found


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
        background = of_file(scorer, args.background, None, LARGEST)
        original = args.exported / folder.name
        before = runtime(original, read_contract(original), "onnx")
        after = runtime(folder, about, "onnx")
        cells = [folder.name, str(len(about["quantization"]["layers"]))]
        cells.append(f"{about['quantization']['drift']['tail_shift']:.3f}")
        cells.append(f"{np.mean(after(background)[:, 2]):.4f}")
        for path in args.signals:
            x = of_file(scorer, path, None, LARGEST)
            cells += [f"{shift:+.4f}" for shift in shifts(before, after, background, x)]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
