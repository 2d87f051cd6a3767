"""Kernels in a training step of CATHODE's density, compiled for an H100 on a machine without one.

    pip download --no-deps --dest wheels jax-cuda12-pjrt==VERSION_OF_JAXLIB
    unzip -d cuda wheels/*.whl
    python benchmarks/launches.py --plugin=cuda/jax_plugins/xla_cuda12/xla_cuda_plugin.so
        [--coupling=spline] [--batch=512] [--members=1] [--hlo=FILE]

XLA compiles for a described device. Counted are the instructions of the loop over steps that launch
something; how long they take, and what command buffers save, only the device says. Kernels that
are picked by measuring are picked by a model here, as with --xla_gpu_deterministic_ops=true.
"""

import argparse
import collections
import contextlib
import os
import re
from pathlib import Path
from unittest import mock

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.lib import xla_client  # the only way to a device that is not there
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxad.configs import cathode
from jaxad.methods.stages import density
from jaxad.training import step as engine

N_ROWS = 439_400
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84942979072 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}


def described_device(plugin: Path) -> np.ndarray:
    """One H100 (1,) that programs can be compiled for."""
    api = xla_client.load_pjrt_plugin_dynamically("cuda", str(plugin.absolute()))
    xla_client.initialize_pjrt_plugin("cuda")
    there = xla_client.make_c_api_device_topology(api, "", target_config=H100, topology="1x1x1")
    return np.array(there._make_compile_only_devices())


def compiled_step(devices: np.ndarray, coupling: str, batch: int, members: int) -> str:
    """The optimised program of the engine's stretch of an epoch."""
    config = cathode.get_config()
    n_layers = {"affine": 12, "spline": 6}[coupling]
    config.flow.update({"name": "realnvp", "coupling": coupling, "n_layers": n_layers})
    config.flow_train.batch_size = batch
    task = density.task(density.network(config.flow, 4))
    n = -(-N_ROWS // batch)
    everywhere = NamedSharding(Mesh(devices, ("devices",)), PartitionSpec())

    def shape(*sizes: int, dtype: type = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, dtype, sharding=everywhere)

    rows = {"x": shape(N_ROWS, 4), "m": shape(N_ROWS, 1)}
    index = shape(members, n, batch, dtype=jnp.int32)
    block = engine.Block(rows, index, shape(n, batch), 0)
    seeds = shape(members, 2, dtype=jnp.uint32)

    def mesh(shape: tuple, names: tuple, axis_types: tuple) -> Mesh:
        return Mesh(devices, names, axis_types=axis_types)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(jax, "make_mesh", mesh))
        run = engine.compile_programs(task, config.flow_train, members, 40 * n)
        state = jax.tree.map(
            lambda a: shape(*a.shape, dtype=a.dtype), jax.eval_shape(run.init, block, seeds)
        )
        stack.enter_context(mock.patch.object(jax, "default_backend", lambda: "gpu"))
        run = engine.compile_programs(task, config.flow_train, members, 40 * n)
        return run.train.lower(state, block, seeds, 0, 0, n).compile().as_text()


def kernels(program: str) -> collections.Counter:
    """What the body of the loop launches, by kind."""
    body = re.search(r"body=%?([\w.\-]+)", program)[1]
    lines = re.search(rf"^%{re.escape(body)} .*?\{{\n(.*?)^\}}", program, re.S | re.M)[1]
    found = collections.Counter()
    for line in lines.splitlines():
        name = re.search(r"[)}\]] ([a-z][\w\-]*)\(", line.split(" = ", 1)[-1])
        if name and name[1] not in FREE:
            kind = re.search(r"kind=k(\w+)", line)
            found[f"{name[1]} {kind[1]}" if kind else name[1]] += 1
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--plugin", type=Path, required=True)
    parser.add_argument("--coupling", choices=("affine", "spline"), default="affine")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--hlo", type=Path, help="where to write the program")
    options = parser.parse_args()
    jax.devices()
    devices = described_device(options.plugin)
    program = compiled_step(devices, options.coupling, options.batch, options.members)
    if options.hlo:
        options.hlo.write_text(program)
    found = kernels(program)
    print(f"{options.coupling}, batch {options.batch}, {options.members} members:", end=" ")
    print(f"{found.total()} kernels a step: {dict(found)}")


if __name__ == "__main__":
    main()
