"""Tables as plain text, from the dictionaries of `jaxad.metrics.summarise_all`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

TABLE_FPRS = ("1e-2", "1e-3")
TABLE_FIGURES = ("auc", *TABLE_FPRS, "max_sic")


def value_text(value: float | None, error: float | None = None) -> str:
    """A number with its error to two digits of the error, "0.9123 ± 0.0031"; "-" for None."""
    if value is None:
        return "-"
    if not error or not math.isfinite(error):
        return f"{value:.4g}"
    decimals = max(0, 1 - math.floor(math.log10(abs(error))))
    return f"{value:.{min(decimals, 5)}f} ± {error:.{min(decimals, 5)}f}"


def text_table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Aligned columns under a ruled header; an empty row becomes a blank line."""
    table = [list(header), *(list(row) for row in rows)]
    n_columns = len(header)
    widths = [max(len(row[i]) for row in table if row) for i in range(n_columns)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in table
    ]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (n_columns - 1)), *lines[1:]])


def figure_text(entry: Mapping[str, Any], key: str) -> str:
    """One figure of a score with its error: `key` is auc, max_sic or an FPR, for the TPR there.

    AUC and SIC of an ensemble are followed by their 68 % band over the members.
    """
    if key not in ("auc", "max_sic"):
        point = entry.get("tpr_at_fpr", {}).get(key, {})
        return value_text(point.get("value"), point.get("error"))
    value, band = entry.get(key), entry.get(f"{key}_band")
    spread = f" [{band[0]:.3f}, {band[1]:.3f}]" if band and value is not None else ""
    return value_text(value, entry.get(f"{key}_err")) + spread


def figure_name(key: str) -> str:
    """Heading of a figure's column."""
    return {"auc": "AUC", "max_sic": "max SIC"}.get(key, f"TPR @ FPR {key}")


def metrics_rows(metrics: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, signal by signal: scores first, baselines beneath, blank rows between."""
    header = ["signal", "score", *map(figure_name, TABLE_FIGURES)]
    rows: list[list[str]] = []
    for name, signal in metrics["signals"].items():
        if rows:
            rows.append([])
        named = list(signal["scores"].items())
        named += [(f"({key})", entry) for key, entry in signal.get("baselines", {}).items()]
        for i, (score, entry) in enumerate(named):
            cells = [figure_text(entry, key) for key in TABLE_FIGURES]
            rows.append([name if i == 0 else "", score, *cells])
    return header, rows


def metrics_notes(metrics: Mapping[str, Any]) -> list[str]:
    """What the table needs said: the meaning of its marks, and why figures are missing."""
    entries = [
        entry
        for signal in metrics["signals"].values()
        for kind in ("scores", "baselines")
        for entry in signal.get(kind, {}).values()
    ]
    notes = [f"caution: {metrics['caution']}"] if metrics.get("caution") else []
    notes += [metrics["convergence"]["reason"]] if "convergence" in metrics else []
    if any(signal.get("baselines") for signal in metrics["signals"].values()):
        notes.append("(name): a baseline")
    if any(entry.get("n_members", 1) > 1 for entry in entries):
        notes.append("ensembles: median ± statistical error [16 %, 84 % over the members]")
    reasons = [
        entry.get("tpr_at_fpr", {}).get(key, {}).get("reason")
        for entry in entries
        for key in TABLE_FPRS
    ]
    notes += [f"-: {reason}" for reason in dict.fromkeys(reasons) if reason]
    notes += [_beaten_note(name, one) for name, one in metrics.get("beaten", {}).items()]
    errors = metrics.get("discovery", {}).get("errors")
    notes += [f"excess over the template: {errors}"] if errors else []
    notes += weights_notes(metrics)
    notes += [f"no {name}: {reason}" for name, reason in metrics.get("left_out", {}).items()]
    return notes


def _beaten_note(signal: str, entry: Mapping[str, Any]) -> str:
    """An entry of `beaten`; before "by" it had one "observable", and its "auc" was that one's."""
    if "by" not in entry:
        return (
            f"{signal}: {entry['score']} is beaten by {entry['observable']}, "
            "as an earlier version found: evaluate again for all of them"
        )
    better = (f"{key} {figure_text(other, 'auc')}" for key, other in entry["by"].items())
    own = figure_text(entry, "auc")
    return f"{signal}: {entry['score']}, AUC {own}, is beaten by {', '.join(better)}"


def excess_rows(metrics: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what was observed in the window, by cut; no rows without `discovery`.

    Beside it what a fit of the sidebands expects, and what background samples do.
    """
    found = metrics.get("discovery", {})
    ways = {way: found[way] for way in ("sideband", "template") if way in found}
    rows = []
    for cut in dict.fromkeys(cut for cuts in ways.values() for cut in cuts):
        entries = [cuts.get(cut, {}) for cuts in ways.values()]
        seen = next((f"{one['observed']:.0f}" for one in entries if "observed" in one), "-")
        cells = [
            text
            for one in entries
            for text in (
                value_text(one.get("expected"), one.get("error")),
                "-" if one.get("significance") is None else f"{one['significance']:.1f}",
            )
        ]
        rows.append([cut, seen, *cells])
    names = {"sideband": "fit of the sidebands", "template": "template"}
    header = [text for way in ways for text in (names[way], "sigma")]
    return ["cut", "observed", *header], rows


def weights_notes(metrics: Mapping[str, Any]) -> list[str]:
    """What the weights of the classes are, and what they do not enter; none without weights."""
    found = metrics.get("weights")
    if not found:
        return []
    notes = []
    for name, one in found.items():
        negative = f", {one['negative']:.2%} negative" if one["negative"] else ""
        notes.append(
            f"weights of {name}: sum {one['sum']:.6g}, {one['n']:,} events as good as "
            f"{one['effective']:,.1f} of one weight{negative}"
        )
    notes.append(
        "AUC, TPR, FPR, SIC, ROC curves, correlations, histograms and thresholds are weighted; "
        "profiles, mass sculpting and thresholds that follow observables count events once"
    )
    if any(one["negative"] for one in found.values()):
        notes.append("AUC with negative weights is not bounded by 0 and 1, nor are TPR and FPR")
    return notes


def rates_rows(metrics: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the thresholds for accepted background rates; no rows without `rates`."""
    rows = []
    for score, points in metrics.get("rates", {}).items():
        for i, (rate, point) in enumerate(points.items()):
            reached = value_text(point["rate"] / 1e3, point["rate_error"] / 1e3)
            cells = ["-", "-"] if point["reason"] else [value_text(point["threshold"]), reached]
            rows.append(["" if i else score, f"{float(rate) / 1e3:g}", *cells])
    return ["score", "accepted rate [kHz]", "threshold", "rate reached [kHz]"], rows


def selection_rows(metrics: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a mimicker's passes, the teacher last; no rows without `selection`."""
    signals = list(metrics["signals"])
    rows = [
        [str(entry["k"]), entry["observable"], value_text(entry["ado"], entry["ado_err"])]
        + [f"{entry['signals'][signal]['auc']:.3f}" for signal in signals]
        for entry in metrics.get("selection", [])
    ]
    if rows:
        rows.append(["-", "teacher", "", *(f"{metrics['teacher'][s]['auc']:.3f}" for s in signals)])
    return ["pass", "observable", "ADO", *(f"AUC {signal}" for signal in signals)], rows


def following_rows(metrics: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of thresholds that follow observables, beside one; none without them."""
    found = metrics.get("following")
    if not found:
        return [], []
    kinds = {"single": "one threshold", "following": "following"}
    below = f"{found['observables'][0]} < {found['low_below']:.3g}"
    header = ["class", *kinds.values(), *(f"{name}, {below}" for name in kinds.values())]
    rates = [value_text(found[kind]["rate"], found[kind]["error"]) for kind in kinds]
    rows = [["background", *rates, "", ""]]
    for signal in found["single"]["signals"]:
        points = [found[kind]["signals"][signal][part] for part in ("all", "low") for kind in kinds]
        rows.append([signal, *(value_text(p["value"], p["error"]) for p in points)])
    return header, rows


def following_notes(metrics: Mapping[str, Any]) -> list[str]:
    """How flat the flagged background is in each observable."""
    found = metrics.get("following")
    if not found:
        return []
    notes = [
        f"accepted fractions by {found['score']} at FPR {found['fpr']:g}; thresholds that follow "
        f"{', '.join(found['observables'])} are set on {found['n_fitted']:,} background events "
        f"that trained nothing, and judged on {found['n_judged']:,} others"
    ]
    for name in found["observables"]:
        one, other = (found[kind]["flatness"][name] for kind in ("single", "following"))
        notes.append(
            f"flat in {name}: chi2 {one['chi2']:.3g} before, {other['chi2']:.3g} after, of "
            f"{other['ndof']} degrees of freedom"
        )
    return notes


def rates_notes(metrics: Mapping[str, Any]) -> list[str]:
    """What the rates are of, and why thresholds are missing."""
    points = [p for score in metrics.get("rates", {}).values() for p in score.values()]
    about = (
        "rates: fractions of these events times trigger.input_rate; of preselected events, "
        "which have no rate of their own, only their ratios mean something"
    )
    return [
        about,
        *(f"-: {reason}" for reason in dict.fromkeys(p["reason"] for p in points) if reason),
    ]


def metrics_table(metrics: Mapping[str, Any]) -> str:
    """The tables that an evaluation prints, with notes on missing figures beneath the first."""
    header, rows = metrics_rows(metrics)
    lines = [*([text_table(rows, header)] if rows else []), *metrics_notes(metrics)]
    for (header, rows), notes in (
        (rates_rows(metrics), rates_notes(metrics)),
        (following_rows(metrics), following_notes(metrics)),
        (selection_rows(metrics), []),
    ):
        if rows:
            lines += ["", text_table(rows, header), *notes]
    return "\n".join(lines)
