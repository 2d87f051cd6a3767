"""Projects of hls4ml: written without the paths of this machine, and compiled by g++."""

import contextlib
import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jaxad.errors import UserError
from jaxad.export.hls.network import SLOPE_BITS, TANH_TABLE

OPTIONS = {"backend": "Vitis", "io_type": "io_parallel", "clock_period": 5}


def require_packages() -> None:
    """Raise a UserError that names a package that is missing."""
    for package in ("keras", "hls4ml", "da4ml"):
        if find_spec(package) is None:
            raise UserError(f"--format hls: needs {package}: pip install 'jaxad[hls]'")


def write(model: Any, types: Mapping[str, Mapping[str, Any]], folder: Path, name: str) -> None:
    """Write the project `name` of a Keras model.

    Args:
        types: layer -> part ("weight", "bias", "accum", "result") -> type, whose text is hls4ml's.
    """
    import hls4ml

    config = hls4ml.utils.config_from_keras_model(model, granularity="name", backend="Vitis")
    for layer, of_layer in config["LayerName"].items():
        of_layer["Precision"] |= {key: str(found) for key, found in types.get(layer, {}).items()}
        if layer == "there":
            of_layer["Precision"]["result"] = "ufixed<1,1>"
        elif layer.startswith("leaky_relu"):
            of_layer["Precision"]["param"] = f"ufixed<{SLOPE_BITS},0>"
        elif layer.startswith("tanh"):
            of_layer["TableSize"] = TANH_TABLE
            of_layer["Precision"]["table"] = str(types[layer]["result"])
    project = hls4ml.converters.convert_from_keras_model(
        model, hls_config=config, output_dir=str(folder), project_name=name, **OPTIONS
    )
    project.write()
    written = folder / "hls4ml_config.yml"
    text = written.read_text(encoding="utf-8").replace(str(folder), ".")
    written.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def library(folder: Path) -> Iterator[ctypes.CDLL]:
    """The library of a project, compiled here by g++ from a copy of `folder`.

    The copy is there as long as the context: the first call of a network reads its weights.

    Raises:
        UserError: no g++ here, or it refuses the sources.
    """
    if shutil.which("g++") is None:
        raise UserError(f"{folder}: g++ is not installed: it is what the project is checked with")
    with tempfile.TemporaryDirectory() as temporary:
        copy = shutil.copytree(folder, Path(temporary) / "hls")
        command = ["bash", "build_lib.sh"]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False)
        built = next(copy.glob("firmware/*.so"), None)
        if done.returncode or built is None:
            raise UserError(f"{folder}: g++: {(done.stderr.splitlines() or ['no library'])[0]}")
        yield ctypes.CDLL(str(built))
