"""What a search leaves behind: `search.json`, scores, and lines for the terminal."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from ml_collections import ConfigDict

from jaxad.data.false_windows import Window
from jaxad.data.table import GEV, Table
from jaxad.search import analysis, weights
from jaxad.search.analysis import Cut
from jaxad.search.settings import FREE, recipe
from jaxad.search.windows import overlap
from jaxad.storage.atomic import replacing, write_text
from jaxad.storage.digest import digest
from jaxad.storage.provenance import provenance

FEW_TOYS = 1000  # below, 3 sigma are out of reach


class Scored(NamedTuple):
    """All events, scored out of fold by the classifiers of one window.

    Attributes:
        row: (N,) number in the table; score, u: (N,) as of `toys.Observed`.
    """

    row: np.ndarray
    score: np.ndarray
    u: np.ndarray


def settings_hash(config: ConfigDict, table: Table) -> str:
    """Digest of all that was fixed before anything was looked at, and of the data."""
    sections = ("seed", "data", "inputs", "method", "flow", "flow_train", "classifier", "train")
    fixed = {name: json.loads(config.to_json())[name] for name in sections if name in config}
    search = {k: v for k, v in json.loads(config.to_json())["search"].items() if k not in FREE}
    return digest(fixed | {"search": search, "table": table.info["digest"]}, {})


def claims(
    cuts: Sequence[Sequence[Cut]], windows: Sequence[Window], table: Table, half_split: bool
) -> list[str]:
    """What these numbers do not say, a line each; windows are named where there are several."""
    n_toys = len(cuts[0][0].z_toys)
    found = []
    if n_toys == 0 and half_split and not weights.differ(table.weight):
        found.append("a half-split's nominal p is exact for one cut; no global p without toys")
    elif n_toys == 0:
        found.append("no pseudo-experiments: nominal significances alone, which are not calibrated")
    elif n_toys < FEW_TOYS:
        found.append(
            f"{n_toys} pseudo-experiments reach p = {1 / (1 + n_toys):.2g} at best: evidence takes "
            f"{FEW_TOYS:,} and more"
        )
    if any(one.closure is None for row in cuts for one in row):
        found.append("no closure test: the template is taken as exact")
    if weights.differ(table.weight):
        found.append(
            "weights stay at their places in pseudo-experiments: p-values hold where weights do "
            "not depend on the features"
        )
    for window, row in zip(windows, cuts, strict=True):
        low, high = (edge / GEV[table.mass_unit] for edge in window)
        name = f"{low:g}-{high:g} {table.mass_unit}, " if len(windows) > 1 else ""
        for one in row:
            if one.closure and one.closure["refused"]:
                found.append(f"{name}cut {one.efficiency:g}: no claim: {one.closure['refused']}")
    found.append(
        "pseudo-experiments permute data and template: the error of the density itself is in the "
        "closure test alone"
    )
    return found


def content(
    config: ConfigDict,
    table: Table,
    windows: Sequence[Window],
    cuts: Sequence[Sequence[Cut]],
    more: Sequence[Mapping[str, Any]],
    shown: bool,
    seconds: float,
) -> dict[str, Any]:
    """`search.json`.

    Args:
        cuts: of every window.
        more: further entries of every window.
        shown: whether it says what was observed.
    """
    n_toys = len(cuts[0][0].z_toys)
    how = recipe(config)
    n_false = sum(len(one[0].closure["delta"]) if one[0].closure else 0 for one in cuts)
    return {
        "windows": [
            {
                "name": window.name,
                "low": window.low,
                "high": window.high,
                "cuts": {f"{one.efficiency:g}": analysis.summary(one, shown) for one in row},
            }
            | dict(entries)
            for window, row, entries in zip(windows, cuts, more, strict=True)
        ],
        "global": analysis.together(cuts, overlap(list(windows))) if shown and n_toys else None,
        "blind": not shown,
        "n_toys": n_toys,
        "n_trainings": ((n_toys + 1) * len(windows) + n_false) * how.folds * how.members,
        "seconds": seconds,
        "cannot_claim": claims(cuts, windows, table, config.search.half_split),
        "mass": {"name": table.mass_name, "unit": table.mass_unit},
        "features": list(table.names),
        "data": table.info,
        "settings_hash": settings_hash(config, table),
        "provenance": provenance(),
    }


def write_scores(
    path: Path, table: Table, windows: Sequence[Window], scored: Sequence[Scored]
) -> None:
    """Score, u, mass [GeV] and id of every event that a window's classifiers scored out of fold."""
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for window, found in zip(windows, scored, strict=True):
            group = file.create_group(window.name)
            for name, values in found._asdict().items():
                group[name] = values
            group["mass"] = table.mass[found.row]
            group["in_window"] = window.holds(table.mass[found.row])
            if table.ids is not None:
                group["id"] = table.ids[found.row]


def terminal(found: Mapping[str, Any]) -> str:
    """The table that a search prints."""
    unit = found["mass"]["unit"]
    scale = GEV[unit]
    lines = [
        f"{'window [' + unit + ']':<20}{'cut':>8}{'expected':>20}{'observed':>10}"
        f"{'nominal':>10}{'p local':>12}{'sigma':>8}{'S95':>16}"
    ]
    for window in found["windows"]:
        name = f"{window['low'] / scale:g}-{window['high'] / scale:g}"
        for cut, one in window["cuts"].items():
            lines.append(_line(name, cut, one))
            name = ""
    if found["global"]:
        whole = found["global"]
        lines.append(
            f"global p of all windows and cuts: {_p(whole)} ({whole['method']}, "
            f"{found['n_toys']:,} pseudo-experiments a window)"
        )
    else:
        lines.append("observed counts are blinded: the same command with --unblind shows them")
    if said := weights.said(found):
        lines.append(said)
    lines += [f"cannot claim: {text}" for text in found["cannot_claim"]]
    return "\n".join(lines)


def _line(name: str, cut: str, one: Mapping[str, Any]) -> str:
    digits = ".1f" if one["event_weight"] == 1 else ".4g"
    errors = one["relative_errors"]
    total = one["b"] * np.sqrt(sum(errors[k] ** 2 for k in ("template", "fit", "closure")))
    expected = f"{one['b']:{digits}} ± {total:{'.1f' if digits == '.1f' else '.2g'}}"
    limit = f"{one['limit']['median']:{digits}} expected"
    if "n" not in one:
        return f"{name:<20}{cut:>8}{expected:>20}{'blind':>10}{'':>10}{'':>12}{'':>8}{limit:>16}"
    p = one["p_local"]
    if p is None:
        sigma = f"{one['z_nominal']:.1f}"
    elif p["z"] is None:
        sigma = "-"
    else:
        sigma = f"{'>' if p['is_bound'] else ''}{p['z']:.1f}"
    if one["extrapolated"] and one["extrapolated"]["z"] is not None:
        sigma = f"~{one['extrapolated']['z']:.1f}"
    n = one["n"] if isinstance(one["n"], int) else f"{one['n']:.4g}"
    median = f"({one['limit']['median']:{'.0f' if digits == '.1f' else '.3g'}})"
    return (
        f"{name:<20}{cut:>8}{expected:>20}{n:>10}{one['z_nominal']:>10.2f}"
        f"{'-' if p is None else _short(p):>12}{sigma:>8}"
        f"{one['limit']['observed']:>9{digits}} {median}"
    )


def _short(p: Mapping[str, Any]) -> str:
    return f"{'<' if p['is_bound'] else ''}{p['p']:.2g}"


def _p(found: Mapping[str, Any]) -> str:
    sign = ">" if found["is_bound"] else ""
    sigma = "" if found["z"] is None else f", {sign}{found['z']:.1f} sigma"
    return f"{_short(found)} [{found['low']:.2g}, {found['high']:.2g}]{sigma}"


def write(path: Path, found: Mapping[str, Any]) -> None:
    """`search.json`."""
    write_text(path, json.dumps(found, indent=1) + "\n")
