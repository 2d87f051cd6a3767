"""Memory of a training from chunked files, with events in memory and on disk, and equal results.

    python benchmarks/streaming.py [--events 400000] [--files 8] [--folder DIR]
    python benchmarks/streaming.py --lists [--events 2000000] [--folder DIR]

Random jet images (16 x 16) in gzipped HDF5 files; one epoch of the top-tagging autoencoder, each
way in a process of its own, and the evaluation. Memory is what cannot be dropped (anonymous pages,
from /proc), sampled every 50 ms; pages of files that the system keeps while there is room do not
count. The two runs must agree in every bit.

With --lists: three lists an event of up to 12 numbers, a label and a weight in a Parquet file and
in a ROOT file, read as training data with events on disk, in a process of its own: events a second
of processor time, and the resident memory at its peak, shared pages and libraries included.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).parents[1]


def write_files(folder: Path, n_events: int, n_files: int) -> None:
    rng = np.random.default_rng(0)
    for part in tqdm(range(n_files), desc="writing", unit="file", leave=False):
        with h5py.File(folder / f"part{part}.h5", "w") as file:
            x = rng.random((n_events // n_files, 16, 16), np.float32)
            file.create_dataset("x", data=x, chunks=(1024, 16, 16), compression=1)
            file["label"] = rng.random(len(x)) < 0.1


LISTS = ("pt", "eta", "phi")
READ = """
import json, sys, time
from jaxad import data
began = time.process_time()
keys = {"x_key": "pt,eta,phi", "label_key": "label", "weight_key": "w", "signals": "s=1"}
config = data.get_config("events", source=sys.argv[1], on_disk=True, cache=sys.argv[2], **keys)
dataset = data.load(config)
seconds = time.process_time() - began
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
n = sum(len(rows["x"]) for _, rows in dataset.parts())
peak = int(status["VmHWM"].split()[0]) / 1e6
print(json.dumps({"events": n, "seconds": seconds, "peak": peak}))
"""


def lists(n_events: int, step: int) -> Iterator[tuple[np.ndarray, dict, dict]]:
    """Lengths (n,) of lists, their values (m,), and numbers (n,) of the events, part by part."""
    rng = np.random.default_rng(0)
    for start in range(0, n_events, step):
        n = min(step, n_events - start)
        counts = rng.integers(1, 13, n)
        total = int(counts.sum())
        drawn = rng.exponential(40, total) + 1, rng.normal(size=total), rng.uniform(-3, 3, total)
        values = {name: v.astype(np.float32) for name, v in zip(LISTS, drawn, strict=True)}
        numbers = {"label": (rng.random(n) < 0.1).astype(np.int32), "w": rng.random(n, np.float32)}
        yield counts, values, numbers


def write_parquet(path: Path, n_events: int) -> str:
    """A file of row groups of 100,000; what `data.source` calls it."""
    import pyarrow as pa
    from pyarrow import parquet

    writer = None
    for counts, values, numbers in lists(n_events, 100_000):
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        columns = {k: pa.ListArray.from_arrays(offsets, v) for k, v in values.items()}
        table = pa.table(columns | {k: pa.array(v) for k, v in numbers.items()})
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()
    return str(path)


def write_root(path: Path, n_events: int) -> str:
    """A tree of baskets of 20,000 events; what `data.source` calls it."""
    import awkward as ak
    import uproot

    with uproot.recreate(path) as file:
        types = dict.fromkeys(LISTS, "var * float32") | {"label": "int32", "w": "float32"}
        file.mktree("Events", types)
        for counts, values, numbers in lists(n_events, 20_000):
            jagged = {name: ak.unflatten(v, counts) for name, v in values.items()}
            file["Events"].extend(jagged | numbers)
    return f"{path}:Events"


def reading(source: str, cache: Path) -> dict[str, float]:
    """Number of "events", "seconds" of a processor and "peak" memory [GB] of reading a file."""
    command = [sys.executable, "-c", READ, source, str(cache)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def read_lists(folder: Path, n_events: int) -> None:
    for kind, write in (("parquet", write_parquet), ("root", write_root)):
        for n in (n_events // 2, n_events):
            source = write(folder / f"{n}.{kind}", n)
            found = reading(source, folder / f"cache{kind}{n}")
            print(
                f"{kind:<8} {n:>10,} events  {found['peak']:.2f} GB  {found['seconds']:5.1f} s of "
                f"a processor, {n / found['seconds']:,.0f} events a second",
                flush=True,
            )


def anonymous(pid: int) -> int:
    """Bytes of memory that are no pages of files; 0 once the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def peak_memory(command: list[str], log: Path) -> tuple[float, float]:
    """(peak [GB], seconds) of a command, which must succeed."""
    began, peak = time.monotonic(), 0
    with log.open("w") as said:
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=said, stderr=said)
        while process.poll() is None:
            peak = max(peak, anonymous(process.pid))
            time.sleep(0.05)
    if process.returncode:
        sys.exit(log.read_text())
    return peak / 1e9, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int)
    parser.add_argument("--lists", action="store_true")
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--folder", help="where events and runs go for a while; not in memory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        if args.lists:
            read_lists(folder, args.events or 2_000_000)
            return
        args.events = args.events or 400_000
        write_files(folder, args.events, args.files)
        flags = [
            "--config=configs/toptagging_ae.py:smoke",
            "--config.data.name=events",
            f"--config.data.source={folder}/part*.h5",
            f"--config.data.cache={folder}/cache",
            "--config.data.format=image",
            "--config.data.label_key=label",
            "--config.data.signals=signal=1",
            "--config.inputs.name=image",
            "--config.model.width=8",
            "--config.train.epochs=1",
            "--config.train.batch_size=1024",
        ]
        params = []
        print(f"{args.events:,} events, {args.events * 1024 / 1e9:.2f} GB of images")
        for where, on_disk in (("memory", False), ("disk", True)):
            run = folder / where
            train = ["train.py", *flags, f"--config.data.on_disk={on_disk}", f"--workdir={run}"]
            for what, command in (
                ("training", train),
                ("evaluation", ["evaluate.py", f"--workdir={run}"]),
            ):
                peak, seconds = peak_memory(command, folder / "log")
                print(
                    f"events in {where:<7} {what:<11} {peak:5.2f} GB {seconds:6.0f} s", flush=True
                )
            with np.load(run / "scorer" / "params.npz") as file:
                params.append({key: file[key] for key in file})
        equal = all(np.array_equal(params[0][key], params[1][key]) for key in params[0])
        print("parameters are equal" if equal else "parameters differ")
        sys.exit(not equal)


if __name__ == "__main__":
    main()
