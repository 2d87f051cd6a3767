"""What the compiled training step sends between devices: the gradients, and hardly more."""

import json
import os
import subprocess
import sys

import pytest
from documents import ROOT

from benchmarks.hlo import Collective, collectives

COMPILED = """
import json, sys
sys.path.insert(0, "tests/helpers")
from small_task import IN_PARTS, TASK, rows
from benchmarks.engine_steps import compiled_steps
from jaxad.training import get_config
config, data = get_config(batch_size=32), rows(32)
cases = {"batch": (TASK, 1), "members": (TASK, 8), "odd": (TASK, 3), "parts": (IN_PARTS, 1)}
found = {name: compiled_steps(task, config, data, n) for name, (task, n) in cases.items()}
print(json.dumps(found))
"""
SCALARS = 8 * 4
"""Bytes of a loss, a metric, their weights and the like: eight numbers at most."""


@pytest.fixture(scope="module")
def programs() -> dict[str, tuple[list[Collective], int]]:
    """Collectives of the compiled loop and bytes of its gradients, on eight devices."""
    own = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILED],
        cwd=ROOT,
        env=os.environ | own,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: (collectives(text), 4 * n) for name, (text, n) in found.items()}


@pytest.mark.parametrize(
    ("name", "members", "parts"), [("batch", 1, 1), ("odd", 3, 1), ("parts", 1, 2)]
)
def test_a_step_reduces_its_gradients_alone(programs, name, members, parts):
    """Once, or once a part of a CPU's batch: two parts of two rows for each of eight devices.

    Were the batch on every device, nothing would be reduced; were it spread otherwise, or rows or
    parameters apart, something would be gathered.
    """
    found, gradients = programs[name]
    assert {c.kind for c in found} == {"all-reduce"}
    moved = sum(c.size * c.times for c in found if c.inside)
    assert 0 <= moved - parts * gradients <= parts * members * SCALARS
    assert sum(c.size for c in found if not c.inside) <= members * SCALARS


def test_members_that_the_devices_share_send_nothing(programs):
    assert programs["members"][0] == []


PROGRAM = """\
HloModule jit_train, entry_computation_layout={()->()}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%part (p: (s32[], u8[3,5])) -> (s32[], u8[3,5]) {
  %bytes = u8[3,5]{1,0} get-tuple-element(%p), index=1
  %start = (u8[3,5]{1,0}, u8[24,5]{1,0}) all-gather-start(%bytes), dimensions={0}
  %done = u8[24,5]{1,0} all-gather-done(%start)
}

%step (p: (s32[])) -> (s32[]) {
  %x = f32[2,4]{1,0} parameter(0)
  %y = bf16[3]{0} parameter(1)
  %both = (f32[2,4]{1,0}, /*index=1*/bf16[3]{0}) all-reduce(%x, /*index=1*/%y), to_apply=%add
  %inner = (s32[], u8[3,5]) while(%t), condition=%c, body=%part, backend_config={"known_trip_count":{"n":"7"}}
}

ENTRY %main (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  %moved = f32[4]{0} collective-permute(%p), source_target_pairs={{0,1}}
  ROOT %loop = (s32[]) while(%t), condition=%c, body=%step
}
"""  # noqa: E501


def test_collectives_are_read_with_their_bytes_and_turns():
    assert collectives(PROGRAM) == [
        Collective("collective-permute", 16, inside=False, times=1),
        Collective("all-reduce", 2 * 4 * 4 + 3 * 2, inside=True, times=1),
        Collective("all-gather", 15, inside=True, times=7),
    ]
    endless = PROGRAM.replace("known_trip_count", "some")
    with pytest.raises(ValueError, match="%inner: a loop inside a step"):
        collectives(endless)
