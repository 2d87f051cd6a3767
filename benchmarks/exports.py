"""Agreement, size and latency of exported scorers, in every runtime at hand, side by side.

    python benchmarks/exports.py exported/* [--bulk 256]

Folders as `jaxad export` writes them. Agreement is the largest difference of a golden
row's score from the stored one, relative to itself plus the spread; latencies are the 10 % quantile
of one event and of a batch, NumPy in and out, round by round in turn, beside the jitted archive.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from jaxad.commands.latency import in_turn, machine
from jaxad.export.contract import function
from jaxad.export.verify import golden_rows, read_contract, runtime
from jaxad.scorer import load

N_CALLS = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--bulk", type=int, default=256, help="events of a batch (%(default)s)")
    args = parser.parse_args()
    # An asynchronous call costs tens of microseconds; effective before the first computation.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    rows, one, bulk = {}, {}, {}
    for folder in args.folders:
        about = read_contract(folder)
        raw, outputs = golden_rows(folder, about)
        forms = {"jit": jax.jit(function(load(folder / "scorer"), about))}
        forms |= {name: runtime(folder, about, name) for name in about["artefacts"]}
        many = np.resize(raw, (args.bulk, *raw.shape[1:]))
        for name, form in forms.items():
            key = folder.name, about["score"]["name"], name
            found = np.asarray(form(raw))[:, 0]
            scale = np.abs(outputs[:, 0]) + about["score"]["spread"]
            size = about["artefacts"].get(name, {}).get("bytes")
            rows[key] = float(np.max(np.abs(found - outputs[:, 0]) / scale)), size
            one[key], bulk[key] = (form, raw[:1]), (form, many)
    single, batch = in_turn(one, N_CALLS, "one event"), in_turn(bulk, 5, "bulk")
    print(", ".join(f"{name} {value}" for name, value in machine().items()))
    header = ("export", "score", "form", "agreement", "kB", "one event [µs]")
    print(f"| {' | '.join(header)} | of {args.bulk} [µs an event] |")
    print("|---|---|---|---|---|---|---|")
    for key, (agreement, size) in rows.items():
        cells = [*key, f"{agreement:.1e}", f"{size / 1e3:,.0f}" if size else ""]
        cells.append(f"{1e6 * np.quantile(single[key], 0.1):,.1f}")
        cells.append(f"{1e6 * np.quantile(batch[key], 0.1) / args.bulk:,.2f}")
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
