"""Collectives of a compiled program, read from its HLO text."""

import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute", "all-to-all")
INSTRUCTION = re.compile(r"\s+(?:ROOT )?(%\S+) = (\(.*?\)|\S+) ([a-z\-]+)\((.*)")
ARRAY = re.compile(r"\b(pred|[a-z]+?(\d+)\w*)\[([\d,]*)\]")
CALLED = re.compile(r"(?:calls|to_apply|body|branch_computations)=\{?(%[^,\s}]+(?:, %[^,\s}]+)*)")
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')


class Collective(NamedTuple):
    """One collective of a compiled program; `size` is what a device gives to it [B]."""

    kind: str
    size: int
    inside: bool  # the loop over steps
    times: int  # of a step, or of a call outside that loop


def size_of(shape: str) -> int:
    """Bytes of the arrays in an HLO shape: those of "(f32[2,3]{1,0}, u8[])" are 25."""
    return sum(
        int(np.prod([int(n) for n in numbers.split(",") if n])) * max(int(bits or 8) // 8, 1)
        for _, bits, numbers in ARRAY.findall(shape)
    )


def collectives(text: str) -> list[Collective]:
    """The collectives of a compiled program (HLO text) that loops over steps.

    The loop over steps is the one whose number of turns the program does not say.
    """
    bodies: dict[str, list[str]] = {}
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if line.startswith(("%", "ENTRY")):
            name = line.split()[0]
            bodies[name] = []
        elif line.startswith(" ") and bodies:
            bodies[name].append(line)
    return list(_walk(bodies, "ENTRY", False, 1))


def _walk(
    bodies: dict[str, list[str]], name: str, inside: bool, times: int
) -> Iterator[Collective]:
    sizes: dict[str, int] = {}
    for line in bodies[name]:
        found = INSTRUCTION.match(line)
        if not found:
            continue
        result, shape, operation, rest = found.groups()
        sizes[result] = size_of(shape)
        kind = operation.removesuffix("-start")
        if kind in KINDS:
            operands = rest.split(")")[0].split(", ")
            yield Collective(kind, sum(sizes[operand] for operand in operands), inside, times)
        for called in CALLED.findall(rest):
            trips = TRIPS.search(rest) if operation == "while" else None
            if operation == "while" and not trips and inside:
                raise ValueError(f"{result}: a loop inside a step does not say how often it turns")
            within = inside or (operation == "while" and not trips)
            for body in called.split(", "):
                yield from _walk(bodies, body, within, times * int(trips[1] if trips else 1))
