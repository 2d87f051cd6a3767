"""What one raw event is, as its reader declares it; nothing else knows a data set's name."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PARTICLES = ("ptetaphi", "epxpypz")
"""Formats of zero-padded particles: (pT, eta, phi), massless, and (E, px, py, pz)."""
FORMATS = (*PARTICLES, "image", "features")
COLUMNS = {
    "ptetaphi": (("pt", "GeV"), ("eta", ""), ("phi", "rad")),
    "epxpypz": (("E", "GeV"), ("px", "GeV"), ("py", "GeV"), ("pz", "GeV")),
}
"""Name and unit of the numbers of a particle."""

Columns = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Layout:
    """One raw event.

    Attributes:
        format: one of `FORMATS`.
        shape: of an event in the files, e.g. (200, 4).
        unit: GeV of a unit of momentum or energy in the files, 0.001 where they hold MeV.
        columns: name and unit of each feature of a row; () where they have none.
        derived: {"name": of `jaxad.observables.derived.DERIVED`, and its settings}: the features
            that are computed of the columns; {}: the columns themselves.
        mass: the feature that is the resonant mass; "": there is none, but of particles.
        objects: the kinds of a trigger event's objects, row by row.
        picture: of images: "extent" (left, right, bottom, top), "labels", "unit".
        periodic: whether the first axis of images is all of phi.
        energies: whether pixels are energies, never below 0.
        classes: of the events that train supervised methods, by label; the background first.

    Examples:
        >>> jets = Layout("epxpypz", (200, 4))
        >>> table = Layout("features", (2,), columns=(("mjj", "GeV"), ("tau21", "")), mass="mjj")
    """

    format: str
    shape: tuple[int, ...]
    unit: float = 1.0
    columns: Columns = ()
    derived: Mapping[str, Any] = field(default_factory=dict)
    mass: str = ""
    objects: tuple[str, ...] = ()
    picture: Mapping[str, Any] = field(default_factory=dict)
    periodic: bool = False
    energies: bool = False
    classes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return dataclasses.asdict(self)


def from_dict(content: Mapping[str, Any]) -> Layout:
    """The layout that `Layout.to_dict` wrote, lists for tuples or not."""
    named = dict(content)
    for name in ("shape", "objects", "classes"):
        named[name] = tuple(named[name])
    named["columns"] = tuple((str(name), str(unit)) for name, unit in named["columns"])
    return Layout(**named)
