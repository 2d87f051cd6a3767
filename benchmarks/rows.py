"""Memory an event of many small events, on disk: read, selected, trained on and evaluated.

    python benchmarks/rows.py --events 2000000,5000000 --kinds parquet,root,hdf5,csv --folder DIR
    python benchmarks/rows.py --events 40000000 --kinds table --steps train,evaluate --folder DIR

Events of one to four objects (pT, eta, phi), a label, a weight and a number, in a file, or, of a
table, of three features, a label and a weight; each step is a process of its own. "test" evaluates
all of them by a run that was trained on 100,000 others.
All resident memory at its peak is what the kernel says (VmHWM), libraries and pages of mapped files
included; of these parts, sampled every 20 ms, anonymous pages cannot be dropped by the system, and
pages of files can, so that the sum of both peaks is above the first.
Growth is bytes an event, between a number of events and the one before.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).parents[1]
LISTS = ("pt", "eta", "phi")
MOST = 4
STEP = FEW = 100_000
READ = """
import sys
from jaxad import data
given = dict(text.split("=", 1) for text in sys.argv[1:])
config = data.get_config("events", **given, on_disk=True)
dataset = data.load(config)
print(data.summary(dataset))
"""


def events(n_events: int) -> Iterator[dict[str, np.ndarray]]:
    """Part by part: counts (n,), slots (n, 4) of each list, zero padded, and numbers (n,)."""
    rng = np.random.default_rng(0)
    for start in range(0, n_events, STEP):
        n = min(STEP, n_events - start)
        counts = rng.integers(1, MOST + 1, n)
        there = np.arange(MOST) < counts[:, None]
        drawn = (
            rng.exponential(40, (n, MOST)) + 20,
            rng.normal(size=(n, MOST)),
            rng.uniform(-3, 3, (n, MOST)),
        )
        slots = {
            name: np.where(there, values, 0).astype(np.float32)
            for name, values in zip(LISTS, drawn, strict=True)
        }
        yield {
            "counts": counts,
            **slots,
            "label": (rng.random(n) < 0.1).astype(np.int32),
            "w": rng.random(n, np.float32) + np.float32(0.5),
            "event": np.arange(start, start + n),
        }


def _values(part: dict[str, np.ndarray], name: str) -> np.ndarray:
    return part[name][np.arange(MOST) < part["counts"][:, None]]


def write_parquet(path: Path, n_events: int) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    writer = None
    for part in events(n_events):
        offsets = np.concatenate([[0], np.cumsum(part["counts"])]).astype(np.int32)
        columns = {k: pa.ListArray.from_arrays(offsets, _values(part, k)) for k in LISTS}
        table = pa.table(columns | {k: pa.array(part[k]) for k in ("label", "w", "event")})
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def write_root(path: Path, n_events: int) -> None:
    import awkward as ak
    import uproot

    numbers = {"label": "int32", "w": "float32", "event": "int64"}
    with uproot.recreate(path) as file:
        file.mktree("Events", dict.fromkeys(LISTS, "var * float32") | numbers)
        for part in events(n_events):
            lists = {name: ak.unflatten(_values(part, name), part["counts"]) for name in LISTS}
            file["Events"].extend(lists | {name: part[name] for name in numbers})


def write_hdf5(path: Path, n_events: int) -> None:
    with h5py.File(path, "w") as file:
        start = 0
        for part in events(n_events):
            del part["counts"]
            for name, values in part.items():
                if name not in file:
                    shape = n_events, *values.shape[1:]
                    chunks = (min(20_000, n_events), *values.shape[1:])
                    file.create_dataset(name, shape, values.dtype, chunks=chunks)
                file[name][start : start + len(values)] = values
            start += len(values)


def write_table(path: Path, n_events: int) -> None:
    """Features x (n, 3), label, w."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        x = file.create_dataset("x", (n_events, 3), np.float32)
        label = file.create_dataset("label", (n_events,), np.int8)
        w = file.create_dataset("w", (n_events,), np.float32)
        for start in range(0, n_events, STEP):
            n = min(STEP, n_events - start)
            rows = slice(start, start + n)
            label[rows] = found = rng.random(n, np.float32) < 0.1
            x[rows] = rng.normal(size=(n, 3)) + found[:, None]
            w[rows] = rng.random(n, np.float32) + np.float32(0.5)


def write_csv(path: Path, n_events: int) -> None:
    """Columns pt_0 ... phi_3, label, w, event."""
    names = [f"{name}_{i}" for name in LISTS for i in range(MOST)]
    with path.open("w", encoding="ascii") as file:
        file.write(",".join([*names, "label", "w", "event"]) + "\n")
        for part in events(n_events):
            columns = [part[name] for name in LISTS]
            columns += [part[name][:, None] for name in ("label", "w", "event")]
            formats = ["%.5g"] * len(names) + ["%d", "%.5g", "%d"]
            np.savetxt(file, np.hstack(columns), formats, delimiter=",")


KINDS: dict[str, tuple[str, Callable[[Path, int], None]]] = {
    "parquet": ("parquet", write_parquet),
    "root": ("root", write_root),
    "hdf5": ("h5", write_hdf5),
    "table": ("h5", write_table),
    "csv": ("csv", write_csv),
}


def _resident(pid: int) -> dict[str, int]:
    """Bytes of resident memory by kind; {} once the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    pairs = (line.split(":", 1) for line in lines if line.startswith(("Rss", "VmHWM")))
    return {name: int(value.split()[0]) * 1024 for name, value in pairs}


def measured(command: list[str], log: Path) -> tuple[dict[str, int], float]:
    """Peaks of resident memory of a command, which must succeed, and its seconds."""
    began, peaks = time.monotonic(), {"VmHWM": 0, "RssAnon": 0, "RssFile": 0}
    with log.open("w") as said:
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=said, stderr=said)
        while process.poll() is None:
            now = _resident(process.pid)
            peaks = {name: max(value, now.get(name, 0)) for name, value in peaks.items()}
            time.sleep(0.02)
    if process.returncode:
        sys.exit(log.read_text())
    return peaks, time.monotonic() - began


def steps(source: str, folder: Path, run: Path, kind: str) -> dict[str, list[str]]:
    """Name of each step -> its command; "evaluate" and "test" want a trained run."""
    columns = {"csv": "pt_*,eta_*,phi_*", "table": "x"}.get(kind, "pt,eta,phi")
    read = {
        "name": "events",
        "source": source,
        "cache": str(folder / "cache"),
        "x_key": columns,
        "label_key": "label",
        "weight_key": "w",
        "signals": "s=1",
    }
    lead = "pt_0" if kind == "csv" else "pt[0]"
    selection = {"selection": f"w > 0.6 & {lead} > 25"}
    by_id = {"split": "id", "id_key": "event"}
    flags = [f"--config.data.{name}={value}" for name, value in read.items()]
    if kind == "table":
        own = ["data.format=features", "inputs.name=features", "train.batch_size=65536"]
    else:
        own = ["data.format=ptetaphi", "inputs.name=jet_observables", "train.batch_size=4096"]
        own += ["inputs.max_degree=0", "baselines=mass"]
    config = [
        "--config=configs/features_ae.py",
        *flags,
        "--config.data.on_disk=True",
        "--config.train.epochs=1",
        *(f"--config.{setting}" for setting in own),
    ]

    def reading(**changes: str) -> list[str]:
        settings = {k: v for k, v in (read | changes).items() if k != "name"}
        return ["-c", READ, *(f"{name}={value}" for name, value in settings.items())]

    return {
        "read": reading(),
        "again": reading(),
        "select": reading(**selection),
        "ids": reading(**by_id),
        "train": ["train.py", *config, f"--workdir={run}"],
        "evaluate": ["evaluate.py", f"--workdir={run}", "--bootstrap=0"],
        "test": ["evaluate.py", f"--workdir={run}", "--bootstrap=0", f"--data.source={source}"],
    }


def tested(source: str, folder: Path, kind: str) -> list[str]:
    """The command that evaluates all events of a source, by a run trained here on a few others."""
    suffix, write = KINDS[kind]
    path = folder / f"few.{suffix}"
    write(path, FEW)
    few = f"{path}:Events" if kind == "root" else str(path)
    measured(steps(few, folder, folder / "few", kind)["train"], folder / "log")
    return steps(source, folder, folder / "few", kind)["test"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", default="2000000,5000000")
    parser.add_argument("--kinds", default="parquet,root,hdf5,csv")
    parser.add_argument("--steps", default="read,again,select,ids,train,evaluate")
    parser.add_argument("--folder", help="where events and runs go for a while; not in memory")
    args = parser.parse_args()
    sizes = [int(n) for n in args.events.split(",")]
    for kind in args.kinds.split(","):
        suffix, write = KINDS[kind]
        before: dict[str, tuple[int, int]] = {}
        for n in sizes:
            with tempfile.TemporaryDirectory(dir=args.folder) as name:
                folder = Path(name)
                path = folder / f"events.{suffix}"
                write(path, n)
                source = f"{path}:Events" if kind == "root" else str(path)
                commands, names = steps(source, folder, folder / "run", kind), args.steps.split(",")
                if "test" in names:
                    commands["test"] = tested(source, folder, kind)
                for step in names:
                    peaks, seconds = measured(commands[step], folder / "log")
                    total, anonymous, pages = (v / 1e6 for v in peaks.values())
                    growth = ""
                    if step in before:
                        n_before, peak = before[step]
                        growth = f"{(peaks['VmHWM'] - peak) / (n - n_before):8.1f} bytes an event"
                    before[step] = n, peaks["VmHWM"]
                    print(
                        f"{kind:<8}{n:>11,}  {step:<9}{total:7.0f} MB  anonymous {anonymous:6.0f}  "
                        f"of files {pages:6.0f}  {seconds:5.0f} s{growth}",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
