"""Kernels in a training step, compiled for an H100 on a machine without one.

    pip download --no-deps --dest wheels jax-cuda12-pjrt==VERSION_OF_JAXLIB
    unzip -d cuda wheels/*.whl
    python -m benchmarks.launches --plugin=cuda/jax_plugins/xla_cuda12/xla_cuda_plugin.so
        [--network=affine] [--batch=512] [--members=1] [--hlo=FILE]

XLA compiles for a described device. Counted are the instructions of the loop over steps that launch
something; how long they take, and what command buffers save, only the device says. Kernels that
are picked by measuring are picked by a model here, as with --xla_gpu_deterministic_ops=true. The
network `scoring` is no training: the scores of 262,144 trigger events, with the fused kernel.
"""

import argparse
import collections
import contextlib
import os
import re
import time
from pathlib import Path
from typing import Any
from unittest import mock

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.lib import xla_client  # the only way to a device that is not there
from jax.sharding import (
    AbstractDevice,
    AbstractMesh,
    Mesh,
    NamedSharding,
    PartitionSpec,
    use_abstract_mesh,
)

from benchmarks.accelerator.cases import trigger_scorer
from benchmarks.collectives import System, systems
from benchmarks.engine_steps import LONG
from jaxad.configs import codae
from jaxad.methods import codae as codae_method
from jaxad.models import fused
from jaxad.training import step as engine

STEPS = 40
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
NETWORKS = {
    "affine": "CATHODE, 12 affine",
    "spline": "CATHODE, 6 spline",
    "toptagging": "top-tagging AE",
    "codae": "CoDAE",
    "codae-bfloat16": "CoDAE",
}
FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast"}


def described_device(plugin: Path) -> np.ndarray:
    """One H100 (1,) that programs can be compiled for."""
    api = xla_client.load_pjrt_plugin_dynamically("cuda", str(plugin.absolute()))
    xla_client.initialize_pjrt_plugin("cuda")
    there = xla_client.make_c_api_device_topology(api, "", target_config=H100, topology="1x1x1")
    return np.array(there._make_compile_only_devices())


def system(network: str) -> System:
    """What is trained: a network by its short name."""
    name = NETWORKS[network]
    found = systems()[name]
    if network != "codae-bfloat16":
        return found
    config = codae.get_config()
    config.model.dtype = "bfloat16"
    return found._replace(task=codae_method.task(config, (72, 58, 1)))


def compiled_step(devices: np.ndarray, trained: System, batch: int, members: int) -> str:
    """The optimised program of the engine's stretch of an epoch."""
    task, train = trained.task, trained.train
    batch = train.batch_size = batch or train.batch_size
    everywhere = NamedSharding(Mesh(devices, ("devices",)), PartitionSpec())

    def shape(*sizes: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, dtype, sharding=everywhere)

    rows = {
        name: shape(STEPS * batch, *values.shape[1:], dtype=values.dtype)
        for name, values in trained.rows.items()
    }
    index = shape(members, STEPS, batch, dtype=jnp.int32)
    block = engine.Block(rows, index, shape(STEPS, batch), 0)
    seeds = shape(members, 2, dtype=jnp.uint32)

    def mesh(shape: tuple, names: tuple, axis_types: tuple) -> Mesh:
        return Mesh(devices, names, axis_types=axis_types)

    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(jax, "make_mesh", mesh))
        run = engine.compile_programs(task, train, members, LONG)
        state = jax.tree.map(
            lambda a: shape(*a.shape, dtype=a.dtype), jax.eval_shape(run.init, block, seeds)
        )
        stack.enter_context(mock.patch.object(jax, "default_backend", lambda: "gpu"))
        run = engine.compile_programs(task, train, members, LONG)
        return run.train.lower(state, block, seeds, 0, 0, STEPS).compile().as_text()


def compiled_scores(devices: np.ndarray, n: int) -> str:
    """The optimised program of the fused kernel, of n events."""
    everywhere = NamedSharding(Mesh(devices, ("devices",)), PartitionSpec())

    def scores(params: dict, x: jax.Array) -> jax.Array:
        return fused.kl(params["params"], params["state"], x).mean(axis=(0, 1))

    shapes = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(np.shape(a), np.result_type(a), sharding=everywhere),
        trigger_scorer().params,
    )
    x = jax.ShapeDtypeStruct((n, 19, 3), jnp.float32, sharding=everywhere)
    h100 = AbstractDevice(devices[0].device_kind, 132, "gpu")
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=h100)):
        return jax.jit(scores).lower(shapes, x).compile().as_text()


def kernels(program: str) -> collections.Counter:
    """What the body of the loop launches, or all of a program without one, by kind."""
    body = re.search(r"body=%?([\w.\-]+)", program)
    name = rf"%{re.escape(body[1])}" if body else "ENTRY"
    lines = re.search(rf"^{name} .*?\{{\n(.*?)^\}}", program, re.S | re.M)[1]
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
    parser.add_argument("--network", choices=(*NETWORKS, "scoring"), default="affine")
    parser.add_argument("--batch", type=int, default=0, help="rows of a step; the config's")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--hlo", type=Path, help="where to write the program")
    options = parser.parse_args()
    jax.config.update("jax_compilation_cache_dir", None)
    devices, scoring = described_device(options.plugin), options.network == "scoring"
    trained = None if scoring else system(options.network)
    start = time.process_time()
    if trained is None:
        program = compiled_scores(devices, options.batch or 2**18)
    else:
        program = compiled_step(devices, trained, options.batch, options.members)
    seconds = time.process_time() - start
    if options.hlo:
        options.hlo.write_text(program)
    found = kernels(program)
    size = "" if trained is None else f", batch {trained.train.batch_size}"
    print(f"{options.network}{size}: {found.total()} kernels {dict(found)}")
    print(f"lowered and compiled in {seconds:.0f} s of the processor")


if __name__ == "__main__":
    main()
