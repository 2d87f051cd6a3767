"""Objects of a collection as rows, with their particles by links: the jets of NanoAOD and PFNano.

A file of events has lists of a collection, FatJet_pt, lists of particles, PFCands_pt, and perhaps a
table of links, FatJetPFCands_jetIdx and FatJetPFCands_pFCandsIdx: which candidate is of which jet.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxad.data.lists import Blocks, Column, Lists, Stored, is_lists, require_same
from jaxad.errors import UserError


class Objects(NamedTuple):
    """What a row is.

    Attributes:
        name: of the collection of which each object is a row, such as FatJet.
        links: "JET,CANDIDATE", the branches with the number of the jet and of the candidate of each
            link; "JET" where particles stand in the table of links itself; "": no particles.
    """

    name: str
    links: str = ""


class Opened:
    """The branches of a file with an object a row, which share what says whose particles are whose.

    Args:
        read: the branch of a name, sliceable, an event a row.
        file: as the user has it.
    """

    def __init__(self, objects: Objects, read: Callable[[str], Any], file: str):
        self._objects, self._file = objects, file
        self._read = functools.cache(read)
        self._first_key = f"{objects.name}_pt"
        self._links = [name.strip() for name in objects.links.split(",")]
        self._last: tuple[tuple[int, int], Linked] | None = None

    def seen(self, key: str) -> Column:
        """The branch `key`: numbers (N,) of objects, or lists of their particles.

        What an event has once, every object of it has.

        Raises:
            UserError: no such collection or links, links beyond it, or lists of something else.
        """
        objects, file, first_key = self._objects, self._file, self._first_key
        first = self._read(first_key)
        if not is_lists(first):
            raise UserError(
                f"{file}: {first_key}: data.objects: expected a list an event, found one number"
            )
        values = self._read(key)
        own = key.startswith(f"{objects.name}_")
        of_particles = is_lists(values) and not own
        if of_particles and not objects.links:
            raise UserError(
                f"{file}: {key}: a list that is not of {objects.name}: name the branches of the "
                "links in data.links, or another branch"
            )
        for name in self._links if of_particles else ():
            if not is_lists(self._read(name)):
                raise UserError(
                    f"{file}: {name}: data.links: expected a list an event, found one number"
                )

        def block(start: int, stop: int) -> np.ndarray | Lists:
            if of_particles:
                return self._particles(key, values, start, stop)
            counts = first.read(start, stop).counts
            if not is_lists(values):
                return np.repeat(np.asarray(values[start:stop]), counts, axis=0)
            here = values.read(start, stop)
            require_same(here.counts, counts, file, key, first_key, start)
            return here.values

        def by_block(of: Callable[[int, int], np.ndarray | Lists]) -> Callable[[int], Blocks]:
            sizes = first.sizes

            def blocks(row: int) -> Blocks:
                at = int(np.searchsorted(sizes.values[1:-1], row, side="right"))
                for i in range(at, len(sizes.rows) - 1):
                    yield int(sizes.values[i]), of(int(sizes.rows[i]), int(sizes.rows[i + 1]))

            return blocks

        n = int(first.sizes.values[-1])
        name = f"{key} of each {objects.name}"
        if not of_particles:
            return Column(Stored(file, name, n, by_block(block)))
        linked = f"links of {objects.name} by {objects.links}"
        counts = by_block(lambda start, stop: self._linked(start, stop).of_each)
        return Column(
            Stored(file, f"{name} by {objects.links}", n, by_block(block), counts, linked)
        )

    def _linked(self, start: int, stop: int) -> "Linked":
        """What the links of some events say; that of the events before is kept, for the branches
        that are read beside one another."""
        if self._last is None or self._last[0] != (start, stop):
            counts = self._read(self._first_key).read(start, stop).counts
            jet, *candidates = (self._read(name).read(start, stop) for name in self._links)
            number = _global(jet, counts, self._file, self._links[0], self._first_key, start)
            there = number >= 0  # -1: of no jet
            for candidate in candidates:
                names = self._links[1], self._links[0]
                require_same(candidate.counts, jet.counts, self._file, *names, start)
                there = there & ~(candidate.values == -1)
            kept = np.flatnonzero(there)
            order = kept[np.argsort(number[kept], kind="stable")]
            of_each = np.bincount(number[kept], minlength=int(counts.sum()))
            self._last = (start, stop), Linked(jet.counts, candidates, order, of_each)
        return self._last[1]

    def _particles(self, key: str, values: Column, start: int, stop: int) -> Lists:
        linked, here = self._linked(start, stop), values.read(start, stop)
        place = np.arange(len(here.values))
        for candidate in linked.candidates:
            place = _global(candidate, here.counts, self._file, self._links[1], key, start)
        if not linked.candidates:
            require_same(here.counts, linked.counts, self._file, key, self._links[0], start)
        return Lists(linked.of_each, here.values[place[linked.order]])


class Linked(NamedTuple):
    """What the links of some events say.

    Attributes:
        counts: links of each event.
        candidates: the numbers of the candidates of the links, where these are a branch.
        order: the links to be kept, by object; of_each: how many of each object.
    """

    counts: np.ndarray
    candidates: list[Lists]
    order: np.ndarray
    of_each: np.ndarray


def _global(
    links: Lists, counts: np.ndarray, file: str, key: str, of: str, start: int
) -> np.ndarray:
    """Places in the values of all events of links to those of their own; -1 stays.

    Args:
        counts: how many `of` has in each event, the first of which is `start`.
        file, key: where the links stand, for messages.
    """
    event = np.repeat(np.arange(len(counts)), links.counts)
    number = links.values.astype(np.int64)
    odd = (number < -1) | (number >= counts[event])
    if odd.any():
        row = int(np.argmax(odd))
        raise UserError(
            f"{file}: {key}: data.links: expected numbers of {of}, which has {counts[event[row]]} "
            f"in row {start + event[row]}, found {number[row]}: are these the links of that "
            "collection?"
        )
    starts = np.cumsum(counts) - counts
    return np.where(number < 0, -1, starts[event] + number)
