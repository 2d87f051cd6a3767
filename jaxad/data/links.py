"""Objects of a collection as rows, with their particles by links: the jets of NanoAOD and PFNano.

A file of events has lists of a collection, FatJet_pt, lists of particles, PFCands_pt, and perhaps a
table of links, FatJetPFCands_jetIdx and FatJetPFCands_pFCandsIdx: which candidate is of which jet.
"""

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


def seen(key: str, objects: Objects, read: Callable[[str], Any], file: str) -> Column:
    """The branch `key` with an object a row: numbers (N,) of objects, or lists of their particles.

    What an event has once, every object of it has.

    Args:
        read: the branch of a name, sliceable, an event a row.
        file: as the user has it.

    Raises:
        UserError: no such collection or links, links beyond it, or lists of something else.
    """
    first_key, links = f"{objects.name}_pt", [name.strip() for name in objects.links.split(",")]
    first = read(first_key)
    if not is_lists(first):
        raise UserError(
            f"{file}: {first_key}: data.objects: expected a list an event, found one number"
        )
    values = first if key == first_key else read(key)
    own = key.startswith(f"{objects.name}_")
    of_particles = is_lists(values) and not own
    if of_particles and not objects.links:
        raise UserError(
            f"{file}: {key}: a list that is not of {objects.name}: name the branches of the links "
            "in data.links, or another branch"
        )
    linked = [read(name) for name in links] if of_particles else []
    for name, column in zip(links, linked, strict=False):
        if not is_lists(column):
            raise UserError(
                f"{file}: {name}: data.links: expected a list an event, found one number"
            )

    def block(start: int, stop: int) -> np.ndarray | Lists:
        counts = first.read(start, stop).counts
        if not is_lists(values):
            return np.repeat(np.asarray(values[start:stop]), counts, axis=0)
        here = values.read(start, stop)
        if own:
            require_same(here.counts, counts, file, key, first_key, start)
            return here.values
        jet, *candidates = (column.read(start, stop) for column in linked)
        number = _global(jet, counts, file, links[0], first_key, start)
        place = np.arange(len(here.values))
        for candidate in candidates:
            require_same(candidate.counts, jet.counts, file, links[1], links[0], start)
            place = _global(candidate, here.counts, file, links[1], key, start)
        if not candidates:
            require_same(here.counts, jet.counts, file, key, links[0], start)
        kept = (number >= 0) & (place >= 0)  # -1: of no jet
        order = np.argsort(number[kept], kind="stable")
        of_each = np.bincount(number[kept], minlength=int(counts.sum()))
        return Lists(of_each, here.values[place[kept][order]])

    sizes = first.sizes

    def blocks(row: int) -> Blocks:
        at = int(np.searchsorted(sizes.values[1:-1], row, side="right"))
        for i in range(at, len(sizes.rows) - 1):
            yield int(sizes.values[i]), block(int(sizes.rows[i]), int(sizes.rows[i + 1]))

    name = f"{key} of each {objects.name}" + (f" by {objects.links}" if objects.links else "")
    return Column(Stored(file, name, int(sizes.values[-1]), blocks))


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
