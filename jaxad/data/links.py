"""Objects of a collection as rows, with their particles by links: the jets of NanoAOD and PFNano.

A file of events has lists of a collection, FatJet_pt, lists of particles, PFCands_pt, and perhaps a
table of links, FatJetPFCands_jetIdx and FatJetPFCands_pFCandsIdx: which candidate is of which jet.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxad.data.lists import Jagged
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


def seen(
    key: str, objects: Objects, read: Callable[[str], np.ndarray | Jagged], file: str
) -> np.ndarray | Jagged:
    """The branch `key` with an object a row: numbers (N,) of objects, or lists of their particles.

    What an event has once, every object of it has.

    Args:
        read: the branch of a name, an event a row.
        file: for messages.

    Raises:
        UserError: no such collection or links, links beyond it, or lists of something else.
    """
    first = read(f"{objects.name}_pt")
    if not isinstance(first, Jagged):
        raise UserError(
            f"{file}: {objects.name}_pt: data.objects: expected a list an event, found one number"
        )
    values = first if key == f"{objects.name}_pt" else read(key)
    if not isinstance(values, Jagged):
        return np.repeat(np.asarray(values), first.counts, axis=0)
    if key.startswith(f"{objects.name}_"):
        _require_same(values.counts, first.counts, key, f"{objects.name}_pt", file)
        return values.values
    if not objects.links:
        raise UserError(
            f"{file}: {key}: a list that is not of {objects.name}: name the branches of the links "
            "in data.links, or another branch"
        )
    jet_key, _, candidate_key = (name.strip() for name in objects.links.partition(","))
    jet = read(jet_key)
    number = _global(jet, first.counts, jet_key, f"{objects.name}_pt", file)
    if candidate_key:
        candidate = read(candidate_key)
        _require_same(candidate.counts, jet.counts, candidate_key, jet_key, file)
        place = _global(candidate, values.counts, candidate_key, key, file)
    else:
        _require_same(values.counts, jet.counts, key, jet_key, file)
        place = np.arange(len(values.values))
    linked = (number >= 0) & (place >= 0)  # -1: of no jet
    order = np.argsort(number[linked], kind="stable")
    counts = np.bincount(number[linked], minlength=len(first.values))
    return Jagged(counts, values.values[place[linked][order]])


def _global(links: Jagged, counts: np.ndarray, key: str, of: str, file: str) -> np.ndarray:
    """Places in the values of all events of links to those of their own; -1 stays."""
    if not isinstance(links, Jagged):
        raise UserError(f"{file}: {key}: data.links: expected a list an event, found one number")
    event = np.repeat(np.arange(len(links)), links.counts)
    number = links.values.astype(np.int64)
    odd = (number < -1) | (number >= counts[event])
    if odd.any():
        row = int(np.argmax(odd))
        raise UserError(
            f"{file}: {key}: data.links: expected numbers of {of}, which has {counts[event[row]]} "
            f"in row {event[row]}, found {number[row]}: are these the links of that collection?"
        )
    starts = np.cumsum(counts) - counts
    return np.where(number < 0, -1, starts[event] + number)


def _require_same(counts: np.ndarray, expected: np.ndarray, key: str, name: str, file: str) -> None:
    odd = counts != expected
    if odd.any():
        row = int(np.argmax(odd))
        raise UserError(
            f"{file}: {key}: expected as many values as in {name}, {expected[row]}, found "
            f"{counts[row]} at row {row}: name branches of one collection"
        )
