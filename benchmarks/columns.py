"""Time of one core to read a CSV file of ten columns, and to make the table of a search of it.

python benchmarks/columns.py --events 1000000
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxad import data
from jaxad.data.csv_file import Csv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    n = parser.parse_args().events
    rng = np.random.default_rng(0)
    columns = {f"f{i}": rng.normal(size=n) for i in range(8)}
    columns |= {"m": 1 + rng.exponential(1, n), "event": np.arange(n)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        rows = zip(*(values.tolist() for values in columns.values()), strict=True)
        with path.open("w", encoding="utf-8") as file:
            file.write(",".join(columns) + "\n")
            file.writelines(",".join(map(repr, row)) + "\n" for row in rows)
        start = time.process_time()
        table = Csv(path)
        table.read(table.names, ["event"])
        print(f"read: {time.process_time() - start:.1f} s")
        config = data.get_config("events", source=str(path), features="f*", mass="m", id="event")
        start = time.process_time()
        data.search_table(config)
        print(f"table: {time.process_time() - start:.1f} s")


if __name__ == "__main__":
    main()
