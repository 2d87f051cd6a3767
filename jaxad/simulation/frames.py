"""Tables in the HDF5 layouts that pandas writes, without pandas: the formats of the published sets.

`write_table` is pandas' `table` format (a PyTables table `KEY/table` with blocks of columns),
as in the Top Tagging Reference Dataset; `write_fixed` its `fixed` format (arrays `KEY/axis0`,
`KEY/block0_values` ...), as in the LHC Olympics features. Files are compressed with zlib, which
h5py and PyTables both read.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

Block = tuple[list[str], type]

_FRAME = {
    "pandas_type": "frame",
    "pandas_version": "0.15.2",
    "encoding": "UTF-8",
    "errors": "strict",
    "ndim": 2,
    "nblocks": 1,
}


def write_table(
    path: Path, key: str, blocks: list[Block], chunks: Iterable[list[np.ndarray]], n_rows: int
) -> None:
    """Write chunks of rows as `pandas.DataFrame.to_hdf(path, key, format="table")` would.

    Args:
        path: file to create.
        key: the table's name in the file; the rows lie in `KEY/table`.
        blocks: column names and dtype of each block of equal dtype.
        chunks: lists of one (n, n_columns) array a block.
        n_rows: expected number of rows, for the chunking.
    """
    import tables

    fields = [("index", np.int64)]
    fields += [(f"values_block_{i}", d, (len(c),)) for i, (c, d) in enumerate(blocks)]
    filters = tables.Filters(complevel=1, complib="zlib", shuffle=True)
    with tables.open_file(str(path), "w") as file:
        group = file.create_group("/", key)
        table = file.create_table(
            group,
            "table",
            np.dtype(fields),
            filters=filters,
            expectedrows=n_rows,
            track_times=False,
        )
        start = 0
        for chunk in chunks:
            rows = np.zeros(len(chunk[0]), np.dtype(fields))
            rows["index"] = np.arange(start, start + len(rows))
            for i, values in enumerate(chunk):
                rows[f"values_block_{i}"] = values
            table.append(rows)
            start += len(rows)
        _describe(group, table, blocks)


def _describe(group, table, blocks: list[Block]) -> None:
    """The attributes by which pandas knows its own table."""
    columns = [name for names, _ in blocks for name in names]
    values = [f"values_block_{i}" for i in range(len(blocks))]
    attributes = {
        "pandas_type": "frame_table",
        "pandas_version": "0.15.2",
        "table_type": "appendable_frame",
        "index_cols": [(0, "index")],
        "values_cols": values,
        "non_index_axes": [(1, columns)],
        "data_columns": [],
        "nan_rep": "nan",
        "encoding": "UTF-8",
        "errors": "strict",
        "levels": 1,
        "metadata": [],
        "info": {1: {"type": "Index", "names": [None]}, "index": {}},
    }
    for name, value in attributes.items():
        group._v_attrs[name] = value
    table.attrs["index_kind"] = "integer"
    for value, (names, dtype) in zip(values, blocks, strict=True):
        table.attrs[f"{value}_kind"] = names
        table.attrs[f"{value}_dtype"] = np.dtype(dtype).name
        table.attrs[f"{value}_meta"] = None


def write_fixed(path: Path, key: str, columns: list[str], values: np.ndarray) -> None:
    """Write one block of columns as `pandas.DataFrame.to_hdf(path, key)` would (format "fixed").

    Args:
        path: file to create.
        key: the frame's name; the values lie in `KEY/block0_values`.
        columns: C names.
        values: (N, C) numbers of one dtype.
    """
    import tables

    filters = tables.Filters(complevel=1, complib="zlib", shuffle=True)
    names = np.array(columns, dtype="S")
    arrays = {
        "axis0": (names, "string"),
        "axis1": (np.arange(len(values)), "integer"),
        "block0_items": (names, "string"),
        "block0_values": (values, None),
    }
    with tables.open_file(str(path), "w") as file:
        group = file.create_group("/", key)
        for name, value in _FRAME.items():
            group._v_attrs[name] = value
        for name, (array, kind) in arrays.items():
            node = file.create_carray(group, name, obj=array, filters=filters, track_times=False)
            node.attrs["transposed"] = True
            if kind:
                node.attrs["kind"] = kind
                node.attrs["name"] = None
                group._v_attrs[f"{name}_variety"] = "regular"
