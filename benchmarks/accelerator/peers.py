"""Section `peers`: the same trainings in PyTorch, eager and compiled, on the same device.

TF32 is allowed, as it is XLA's default. The networks are those of benchmarks/training.py and
benchmarks/codae.py, which prove their numbers of parameters.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from benchmarks.accelerator.context import Context
from benchmarks.accelerator.networks import BATCHES, event_images, jet_images, n_steps

Steps = Callable[[], None]


def run(context: Context, part: str) -> None:
    """One of the parts; left out where there is no PyTorch, or none for the accelerator."""
    try:
        import torch
    except ImportError as error:
        context.row(f"PyTorch, {part}", "left out", note=str(error))
        return
    on_gpu = jax.default_backend() == "gpu"
    if on_gpu and not torch.cuda.is_available():
        context.row(f"PyTorch, {part}", "left out", note="PyTorch sees no GPU")
        return
    torch.set_default_device("cuda" if on_gpu else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    sys.path.insert(0, str(Path(__file__).parents[1]))  # the scripts import one another
    name, _, which = part.partition(" ")
    software = f"PyTorch {name}"
    if which in ("", "toptagging"):
        _toptagging(context, software, name == "compiled")
    if which in ("", "codae"):
        _dark_showers(context, software, name == "compiled")


def _synchronized(steps: Callable[[], Any]) -> Callable[[], None]:
    import torch

    def call() -> None:
        steps()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return call


def _compiled(network: Any, compiled: bool) -> Any:
    import torch
    import torch._inductor.config

    if not compiled:
        return network
    torch._dynamo.reset()
    torch._inductor.config.layout_optimization = False  # fails on transposed convolutions
    backend = "inductor" if torch.cuda.is_available() else "eager"  # a CPU takes minutes
    return torch.compile(network, dynamic=False, backend=backend)


def _toptagging(context: Context, software: str, compiled: bool) -> None:
    import torch
    import training

    batches = context.pick(BATCHES if not compiled else (32, 8192), (8,))
    for batch in batches:
        n, name = n_steps(batch), f"top-tagging AE, batch {batch}"
        network = _compiled(training.torch_network(), compiled)
        optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=torch.cuda.is_available())
        data = torch.tensor(jet_images(n * batch)).permute(0, 3, 1, 2).contiguous()
        order = torch.randperm(len(data))

        def steps(n=n, batch=batch, network=network, optimizer=optimizer, data=data, order=order):
            for i in range(n):
                images = data[order[i * batch : (i + 1) * batch]]
                optimizer.zero_grad()
                ((network(images) - images) ** 2).mean().backward()
                optimizer.step()

        _report(context, name, software, _synchronized(steps), n, "steps/s", batch)


def _dark_showers(context: Context, software: str, compiled: bool) -> None:
    import codae
    import torch
    from torch.nn import functional

    batch, n = context.pick(128, 1), context.pick(5, 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for dtype in context.pick(("float32", "bfloat16"), ("float32",)):
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        own = codae.torch_network().to(memory_format=torch.channels_last)
        network = _compiled(own, compiled)
        optimizer = torch.optim.AdamW(own.parameters(), 1e-3, weight_decay=0.1)
        data = torch.tensor(event_images(n * batch)).permute(0, 3, 1, 2)

        def steps(network=network, own=own, optimizer=optimizer, data=data, dtype=dtype):
            for i in range(n):
                images = data[i * batch : (i + 1) * batch].float()
                images = images.contiguous(memory_format=torch.channels_last)
                optimizer.zero_grad()
                with torch.autocast(device, torch.bfloat16, enabled=dtype == "bfloat16"):
                    logits = network(images).float()
                loss = functional.binary_cross_entropy_with_logits(logits, images, reduction="sum")
                (loss / batch).backward()
                for parameter in own.parameters():
                    torch.nn.utils.clip_grad_norm_(parameter, 1.0)
                optimizer.step()

        name = f"CoDAE, batch {batch}, {dtype}"
        _report(context, name, software, _synchronized(steps), n * batch, "images/s", 0)


def _report(
    context: Context, name: str, software: str, call: Steps, work: int, unit: str, batch: int
) -> None:
    for _, timing in context.timings({name: call}, rounds=3, quietly=True):
        note = f"first call {timing.first:.1f} s"
        if batch:
            note = f"{batch * work / timing.seconds:,.0f} jets/s; {note}"
        import torch

        if torch.cuda.is_available():
            note += f"; peak memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB"
        context.row(name, work / timing.seconds, unit, note=note, peer=software)
