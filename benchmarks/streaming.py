"""Memory of a training from chunked files, with events in memory and on disk, and equal results.

    python benchmarks/streaming.py [--events 400000] [--files 8] [--folder DIR]

Random jet images (16 x 16) in gzipped HDF5 files; one epoch of the top-tagging autoencoder, each
way in a process of its own, and the evaluation. Memory is what cannot be dropped (anonymous pages,
from /proc), sampled every 50 ms; pages of files that the system keeps while there is room do not
count. The two runs must agree in every bit.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).parents[1]


def write_files(folder: Path, n_events: int, n_files: int) -> None:
    rng = np.random.default_rng(0)
    for part in tqdm(range(n_files), desc="writing", leave=False):
        with h5py.File(folder / f"part{part}.h5", "w") as file:
            x = rng.random((n_events // n_files, 16, 16), np.float32)
            file.create_dataset("x", data=x, chunks=(1024, 16, 16), compression=1)
            file["label"] = rng.random(len(x)) < 0.1


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
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--folder", help="where events and runs go for a while; not in memory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
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
