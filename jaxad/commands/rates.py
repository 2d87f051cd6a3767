"""Rates of a trigger at integer thresholds, from files of scores.

    jaxad rates scores.h5:mu2 --scale 16 --bunches 2340 --rates 1000,5000 --out rates
    jaxad rates a.h5:mu2 c.h5:student --rates 5000 --bunches 2340 --l1 menu.npz:L1bit --out rates
    jaxad rates scores.h5:mu2 --rates 1e-3 --period menu.npz:run --against menu.npz:nPV_True \\
        --out rates

FILE:SCORE is what `jaxad score` wrote, CLASS/SCORE in the eval/scores.h5 of `jaxad evaluate`, or
any array (N,) of an HDF5 or npz file; columns, such as FILE:run, belong to the same events in the
same order, and NAME alone stands beside the first score or in its folder observables. Events are
background, zero bias best: a rate is their accepted fraction times --input-rate, or that of
--bunches colliding bunches. Without either --rates are fractions, as they have to be for events
that were preselected (ADC2021): these have no rate of their own.

An event is accepted where its integer score is at or above the threshold. Scores are multiplied by
--scale and floored; those of firmware, whose file says how many bits F they have behind the point
("fraction"), by 2^F where no --scale is given. Of two scores the budget is that of both together,
and the pair of thresholds is that of equal unique rates (--split: the first one's share). With
--period the first score's threshold is fixed on its lower half, or on --fixed, for the first of
--rates, and followed through the others.

Writes rates.json, rates.txt, thresholds.csv (every distinct score as threshold) and figures into
--out. A point under ten events is refused, and no other number under ten events is printed.
"""

import argparse
import contextlib
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from jaxad import report
from jaxad.commands import cli
from jaxad.data import array_files, checks
from jaxad.errors import UserError
from jaxad.methods.stages.fractions import FRACTION
from jaxad.metrics import MIN_BACKGROUND, rates, stability
from jaxad.storage.atomic import named
from jaxad.storage.own import replacing_own, require_own
from jaxad.storage.paths import expanded

BESIDE = ("file", "row")
MEND = "choose another --out"


class Detector(NamedTuple):
    """Integer scores (N,) of background events, and how people call them."""

    name: str
    scores: np.ndarray


def column(text: str, beside: str = "") -> np.ndarray:
    """The array (N,) of FILE:NAME; members of an ensemble (M, N) are averaged.

    Args:
        beside: FILE:NAME of a score, in whose group, or the observables there, NAME alone stands.

    Raises:
        UserError: no such file or array, or another shape.
    """
    return _stored(text, beside)[0]


def _stored(text: str, beside: str = "") -> tuple[np.ndarray, int]:
    """`column`, and the bits behind the point that its file gives it, 0 without."""
    path, name = _place(text, beside)
    if not path.is_file():
        raise UserError(f"{path}: no such file: give FILE:NAME of an HDF5 or npz file")
    with array_files.opened(path) as file:
        if not name:
            known = [key for key in file if key not in BESIDE]
            if len(known) != 1:
                raise UserError(
                    f"{path}: expected FILE:SCORE, found no name: it holds {', '.join(known)}"
                )
            name = known[0]
        if not text.rpartition(":")[0] and beside:
            group = _place(beside, "")[1].rpartition("/")[0]
            places = [f"{group}/{name}".lstrip("/"), f"{group}/observables/{name}".lstrip("/")]
            name = next((place for place in places if place in file), places[0])
        stored = array_files.stored_array(file, name, path)
        fraction = int(getattr(stored, "attrs", {}).get(FRACTION, 0))
        with checks.reading(path, name):
            values = np.asarray(stored[...])
    if values.ndim == 2:
        values = values.mean(axis=0)
    if values.ndim != 1 or not len(values):
        raise UserError(f"{path}: {name}: expected numbers (N,), found shape {values.shape}")
    return values, fraction


def _place(text: str, beside: str) -> tuple[Path, str]:
    file, _, name = text.rpartition(":")
    if not file and beside:
        return _place(beside, "")[0], text
    return (expanded(file), name) if file else (expanded(text), "")


def _numbers(text: str, flag: str, n: int = 0) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{flag}: expected numbers such as 1000,5000, found {text!r}") from None
    if not all(0 < number < np.inf for number in found) or (n and len(found) not in (1, n)):
        expected = "a number above 0, or one for each score" if n else "numbers above 0"
        raise UserError(f"{flag}: expected {expected}, found {text!r}")
    return found


def _fractions(args: argparse.Namespace) -> tuple[list[float], float | None]:
    """Wanted fractions, and the input rate [Hz] where there is one."""
    wanted = _numbers(args.rates, "--rates")
    if args.bunches is not None and args.input_rate is not None:
        raise UserError("--bunches: gives the input rate, found --input-rate too: give one of them")
    input_rate = args.input_rate
    if args.bunches is not None:
        input_rate = rates.zero_bias_rate(args.bunches)
    if input_rate is not None and not 0 < input_rate < np.inf:
        raise UserError(f"--input-rate: expected a rate above 0 Hz, found {input_rate}")
    if max(wanted) >= (input_rate or 1):
        most = "1, as fractions, without --bunches or --input-rate"
        most = f"the input rate {input_rate:g} Hz" if input_rate else most
        raise UserError(f"--rates: expected numbers below {most}, found {max(wanted):g}")
    return [rate / (input_rate or 1) for rate in wanted], input_rate


def _detectors(args: argparse.Namespace) -> list[Detector]:
    if len(args.scores) > 2:
        raise UserError(f"scores: expected one or two detectors, found {len(args.scores)}")
    n = len(args.scores)
    scales = _numbers(args.scale, "--scale", n) if args.scale else [None]
    found = []
    for text, scale in zip(args.scores, scales * n if len(scales) == 1 else scales, strict=True):
        try:
            stored, fraction = _stored(text)
            if len(stored) < MIN_BACKGROUND:
                raise UserError(
                    f"{text}: expected {MIN_BACKGROUND} events or more, found {len(stored)}"
                )
            values = rates.integers(stored, text, 2.0**fraction if scale is None else scale)
        except UserError as error:
            mend = str(error).replace("give the factor", "give by --scale the factor")
            raise UserError(mend) from None
        found.append(Detector(text.rpartition(":")[2], values))
        _tell_of_precision(text, stored, values)
    return found


def _tell_of_precision(text: str, stored: np.ndarray, values: np.ndarray) -> None:
    """Says where single precision does not hold every integer."""
    largest = int(np.abs(values).max())
    if stored.dtype == np.float32 and largest > rates.EXACT:
        step = 1 << (largest.bit_length() - 24)
        print(
            f"note: {text}: is in single precision, which rounds integers above {rates.EXACT:,}, "
            f"the largest here to multiples of {step:,}: events that near to a threshold may be "
            "on the other side of it in firmware"
        )


def _tell_of_weights(text: str, n: int) -> None:
    """Says that events with weights beside their scores count once."""
    with contextlib.suppress(UserError):
        weight = column("weight", text)
        if len(weight) == n and (weight != weight[0]).any():
            print(
                f"note: {text}: its events have weights, which change nothing here: rates are of "
                "events of zero bias, which count once"
            )


def _column_of(text: str, args: argparse.Namespace, n: int, flag: str) -> np.ndarray:
    values = column(text, args.scores[0])
    if len(values) != n:
        raise UserError(
            f"{flag}: {text}: expected the {n:,} events of the scores, found {len(values):,}"
        )
    if not np.isfinite(values).all():
        raise UserError(f"{flag}: {text}: expected finite numbers, found others")
    return values


def measured(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Figure], str]:
    """The content of `rates.json`, the figures, and the content of `thresholds.csv`."""
    wanted, input_rate = _fractions(args)
    detectors = _detectors(args)
    n = len(detectors[0].scores)
    _tell_of_weights(args.scores[0], n)
    found: dict[str, Any] = {"n_events": n, "input_rate": input_rate, "detectors": []}
    figures, lines = {}, []
    for i, (name, scores) in enumerate(detectors):
        every = rates.every_threshold(scores, input_rate)
        points = [rates.at_fraction(scores, fraction, input_rate) for fraction in wanted]
        found["detectors"].append({"score": args.scores[i], "points": points})
        label = "rates" if len(detectors) == 1 else f"rates_{'ac'[i]}"
        figures[label] = report.rate_figure(every, points, score=name)
        lines += [] if lines else [",".join(["score", *every])]
        rows = zip(*every.values(), strict=True)
        lines += [",".join([args.scores[i], *map(_exact, row)]) for row in rows]
    if len(detectors) == 2:
        taken, split = None, 0.5 if args.split is None else args.split
        if args.l1:
            taken = _column_of(args.l1, args, n, "--l1") != 0
        counts = rates.grid(detectors[0].scores, detectors[1].scores, taken)
        pairs = [rates.balanced(counts, n, f, split, input_rate) for f in wanted]
        found |= {"menu": bool(args.l1), "pairs": pairs}
        names = detectors[0].name, detectors[1].name
        figures["plane"] = report.plane_figure(
            counts, n, pairs, names=names, input_rate=input_rate, l1=bool(args.l1)
        )
    elif args.l1 or args.split is not None:
        flag = "--l1" if args.l1 else "--split"
        raise UserError(f"{flag}: is of two detectors, found one: give a second FILE:SCORE")
    if args.period:
        period = _column_of(args.period, args, n, "--period")
        first, _ = stability.periods_of(period, args.fixed)
        texts = args.against or [args.period]
        columns = {t.rpartition(":")[2]: _column_of(t, args, n, "--against") for t in texts}
        if len({name.replace("/", "_") for name in columns}) < len(texts):
            raise UserError("--against: expected columns of different names, found one name twice")
        scores = detectors[0].scores
        steady = stability.measure(scores, wanted[0], first, columns, input_rate)
        found["stability"] = steady
        for name in columns:
            label = f"stability_{name.replace('/', '_')}"
            figures[label] = report.stability_figure(steady, name, input_rate=input_rate)
    elif args.against or args.fixed is not None:
        flag = "--against" if args.against else "--fixed"
        raise UserError(f"{flag}: needs the periods: give --period FILE:COLUMN, such as the run")
    return found, figures, "\n".join(lines) + "\n"


def _exact(x: float) -> str:
    return str(x) if isinstance(x, int) else f"{x:.10g}"


def _cell(entry: Mapping[str, Any]) -> str:
    """Rate [Hz] or fraction with its error; "-" under ten events."""
    if entry["n"] < MIN_BACKGROUND:
        return "-"
    keys = ("rate", "rate_error") if "rate" in entry else ("fraction", "error")
    return report.value_text(*(entry[key] for key in keys))


def tables(found: Mapping[str, Any]) -> str:
    """What the command prints."""
    unit = " [Hz]" if found["input_rate"] is not None else ""
    scale = found["input_rate"] or 1.0
    about = f"{found['n_events']:,} events, " + (
        f"{scale:.4g} Hz of input"
        if unit
        else "fractions of them alone: no --bunches, no --input-rate"
    )
    header = ["score", f"wanted{unit}", "threshold", f"achieved{unit}", "one looser"]
    rows, notes = [], []
    for detector in found["detectors"]:
        for i, point in enumerate(detector["points"]):
            cells = ["-", "-", _cell(point["looser"])]
            if point["reason"]:
                notes.append(f"-: {point['reason']}")
            else:
                cells = [str(point["threshold"]), _cell(point), _cell(point["looser"])]
            name = "" if i else detector["score"]
            rows.append([name, f"{point['wanted'] * scale:.4g}", *cells])
    parts = [about, report.text_table(rows, header), *dict.fromkeys(notes)]
    if "pairs" in found:
        menu = ["pure"] if found["menu"] else []
        kinds = ["total", *menu, "overlap", "unique_a", "unique_c"]
        header = [f"budget{unit}", "thresholds", *(k.replace("_", " ") for k in kinds), "split"]
        rows = [
            [
                f"{pair['budget'] * scale:.4g}",
                f"{pair['threshold_a']}, {pair['threshold_c']}",
                *(_cell(pair[kind]) for kind in kinds),
                f"{pair['split']:.2f}",
            ]
            for pair in found["pairs"]
            if not pair["reason"]
        ]
        parts += ["", report.text_table(rows, header)] if rows else []
        if any("-" in row for row in rows):
            parts.append(f"-: fewer than {MIN_BACKGROUND} events")
        parts += [f"no pair: {p['reason']}" for p in found["pairs"] if p["reason"]]
    if "stability" in found:
        parts += ["", _stability(found["stability"])]
    return "\n".join(parts)


def _stability(found: Mapping[str, Any]) -> str:
    again = found["recalibrated"]
    rows = [
        ["first", str(found["point"]["threshold"]), _cell(found["periods"]["first"]), ""],
        [
            *("second", str(found["point"]["threshold"])),
            *(_cell(found["periods"]["second"]), _drift(found["drift"])),
        ],
        [
            *("second, recalibrated", str(found["point"]["threshold"] + again["offset"])),
            *(_cell(found["periods"]["recalibrated"]), _drift(again["after"])),
        ],
    ]
    lines = [report.text_table(rows, ["period", "threshold", "accepted", "|ln R2/R1|"])]
    for name, one in found["columns"].items():
        for period, slope in one["slope"].items():
            said = slope["reason"] or report.value_text(slope["slope"], slope["error"])
            lines.append(f"d ln R / d {name}, {period}: {said}")
    return "\n".join(lines)


def _drift(entry: Mapping[str, Any]) -> str:
    return entry["reason"] or report.value_text(entry["value"], entry["error"])


def run(args: argparse.Namespace) -> None:
    """Measure, print, write.

    Raises:
        UserError: a bad file, another shape, too few events; files of others in --out.
    """
    found, figures, csv = measured(args)
    text = tables(found)
    replace = functools.partial(replacing_own, mend=MEND)
    content = {"rates.json": json.dumps(found, indent=2) + "\n", "rates.txt": f"{text}\n"}
    content["thresholds.csv"] = csv
    with named(args.out):
        for name in (*content, *(f"{name}.png" for name in figures)):
            require_own(args.out / name, MEND)
        paths = report.save_figures(figures, args.out, replace)
        for name, body in content.items():
            with replace(args.out / name) as temporary:
                temporary.write_text(body, encoding="utf-8")
    print(text)
    print("\n" + "\n".join(map(str, paths)))


def main(argv: Sequence[str]) -> int:
    """The command; returns its exit code, 2 for a mistake that its one line of error names."""
    parser = cli.parser(__doc__, "rates")
    parser.add_argument("scores", nargs="+", help="one or two detectors, FILE:SCORE")
    parser.add_argument("--rates", required=True, help="wanted rates [Hz], or fractions: 1000,5000")
    parser.add_argument("--bunches", type=int, help="colliding bunches, such as 2340: 26.3 MHz")
    parser.add_argument("--input-rate", type=float, help="rate of the events [Hz]")
    parser.add_argument(
        "--scale", default="", help="integers are floor(scale x score); 16, or A,C; default: 2^F"
    )
    parser.add_argument("--l1", default="", help="FILE:COLUMN of what the menu accepts, 0 or 1")
    parser.add_argument("--split", type=float, help="unique share of the first score (0.5)")
    parser.add_argument("--period", default="", help="FILE:COLUMN of runs or times")
    parser.add_argument("--fixed", type=float, help="value of --period that fixes the threshold")
    parser.add_argument("--against", nargs="+", default=[], help="FILE:COLUMN, such as pile-up")
    parser.add_argument("--out", type=expanded, required=True, help="folder to write to")
    args = parser.parse_args(argv)
    return cli.exit_code(lambda: run(args))
