"""What the points of the front say: measures, comparisons at equal cost, and their tables."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.front.points import BACKGROUND, Point
from benchmarks.front.ways import CONTROL, FLOAT, Way
from jaxad import metrics
from jaxad.metrics.agreement import drift, overlap
from jaxad.metrics.paired import paired_tpr

FPRS = (1e-2, 1e-3)
COSTS = ("ebops", "lut", "ff", "stages", "comparisons")
AGREEMENT = {"drift": drift, "overlap": overlap}
BASELINES = ("rounding", "greedy, rounding", "codes", "greedy, codes", "student")
Points = Mapping[Way, Sequence[Point]]
"""Way -> its point of every seed."""


def at_cost(costs: Sequence[float], values: Sequence[float], cost: float) -> float | None:
    """The value at a cost, linear in its logarithm between two points; None outside them."""
    found = bracket(costs, cost)
    if found is None:
        return None
    (low, high), share = found
    return float((1 - share) * values[low] + share * values[high])


def bracket(costs: Sequence[float], cost: float) -> tuple[tuple[int, int], float] | None:
    """The points on either side of a cost, and how far it is from the first, in its logarithm."""
    order = np.argsort(costs, kind="stable")
    above = np.searchsorted(np.asarray(costs)[order], cost)
    if above == len(costs) or (above == 0 and costs[order[0]] != cost):
        return None
    low, high = int(order[max(above - 1, 0)]), int(order[above])
    if costs[low] == costs[high]:
        return (low, high), 1.0
    return (low, high), float(np.log(cost / costs[low]) / np.log(costs[high] / costs[low]))


def _paired(
    sets: Sequence[Point], weights: Sequence[float], seeds: Sequence[int], fpr: float
) -> dict[str, Any]:
    """Sum of weights times TPR, of points of the same events, as front.json has it.

    "error" is that of the events, "spread" the standard deviation over seeds over the root of their
    number, of several seeds.

    Args:
        seeds: of the points.
    """
    stacked = {name: np.stack([p.scores[name] for p in sets]) for name in sets[0].scores}
    background = stacked.pop(BACKGROUND)
    found = paired_tpr(background, stacked, weights, fpr)
    if found.reason:
        return {"reason": found.reason}
    tprs = {
        name: [
            metrics.tpr_at_fpr(b, s, fpr)["value"] for b, s in zip(background, scores, strict=True)
        ]
        for name, scores in stacked.items()
    }
    n = len(set(seeds))
    parts = {  # of each seed, whose mean is the sum
        name: n * np.bincount(np.unique(seeds, return_inverse=True)[1], np.multiply(weights, tpr))
        for name, tpr in tprs.items()
    }
    signals = {
        name: {"value": value, "error": found.error(name), **_spread_of(parts[name])}
        for name, value in found.value.items()
    }
    mean = dict(zip(("value", "error"), found.mean(), strict=True))
    return {"signals": signals, "mean": mean | _spread_of(np.mean(list(parts.values()), axis=0))}


def _spread_of(values: np.ndarray) -> dict[str, float]:
    n = len(values)
    return {"spread": float(np.std(values, ddof=1) / n**0.5)} if n > 1 else {}


def measured(points: Points) -> list[dict[str, Any]]:
    """A record a way; lists are over seeds.

    "changes" are mean differences of TPR, from the float network, or of training on its loss from
    the one that was trained on for as many epochs.
    """
    return [_record(way, points) for way in points]


def _record(way: Way, points: Points) -> dict[str, Any]:
    own, reference = points[way], points[FLOAT]
    record: dict[str, Any] = {"way": way.title, "family": way.family, "name": way.name}
    for name in COSTS:
        if all(name in point.costs for point in own):
            record[name] = [point.costs[name] for point in own]
    for name, metric in AGREEMENT.items():
        record[name] = [
            metric(a.scores[BACKGROUND], b.scores[BACKGROUND])
            for a, b in zip(own, reference, strict=True)
        ]
    signals = [name for name in own[0].scores if name != BACKGROUND]
    record["auc"] = {
        name: [metrics.auc(p.scores[BACKGROUND], p.scores[name]) for p in own] for name in signals
    }
    record["tpr"] = {
        metrics.level_key(fpr): {
            name: [
                metrics.tpr_at_fpr(p.scores[BACKGROUND], p.scores[name], fpr)["value"] for p in own
            ]
            for name in signals
        }
        for fpr in FPRS
    }
    if way == FLOAT:
        return record
    base = CONTROL if way.family == "loss" and CONTROL in points else FLOAT
    weights = np.repeat([1, -1], len(own)) / len(own)
    record["against"] = base.title
    record["changes"] = {
        metrics.level_key(fpr): _paired([*own, *points[base]], weights, 2 * [*range(len(own))], fpr)
        for fpr in FPRS
    }
    return record


def compared(points: Points, family: str = "learnt") -> list[dict[str, Any]]:
    """The points of a family against the curve of each baseline, at their own EBOPs."""
    return [
        found
        for baseline in BASELINES
        for way in points
        if way.family == family and (found := _against(way, baseline, points))
    ]


def _against(way: Way, baseline: str, points: Points) -> dict[str, Any] | None:
    """One of them; None where the baseline has no point on either side, of any seed."""
    curve = [points[w] for w in points if w.family == baseline]
    sets, weights, seeds = [], [], []
    values: dict[str, list] = {name: [] for name in AGREEMENT}
    for seed, (own, reference) in enumerate(zip(points[way], points[FLOAT], strict=True)):
        others = [found[seed] for found in curve]
        costs = [other.costs["ebops"] for other in others]
        if not others or (found := bracket(costs, own.costs["ebops"])) is None:
            return None
        (low, high), share = found
        sets += [own, others[low], others[high]]
        weights += [1, share - 1, -share]
        seeds += [seed] * 3
        for name, metric in AGREEMENT.items():
            far = [
                metric(p.scores[BACKGROUND], reference.scores[BACKGROUND]) for p in (own, *others)
            ]
            values[name].append((far[0], at_cost(costs, far[1:], own.costs["ebops"])))
    weights = np.array(weights) / len(points[way])
    return {
        "way": way.title,
        "baseline": baseline,
        "ebops": [point.costs["ebops"] for point in points[way]],
        **values,
        "tpr": {metrics.level_key(fpr): _paired(sets, weights, seeds, fpr) for fpr in FPRS},
    }


def verdict(found: Sequence[Mapping[str, Any]], family: str = "learnt") -> str:
    """One line: whether a family is ahead of a baseline at equal EBOPs."""
    baseline, n = found[0]["baseline"], len(found)
    medians = {name: np.median([c[name] for c in found], axis=1) for name in AGREEMENT}
    own, other = ({name: both[:, i] for name, both in medians.items()} for i in (0, 1))
    lower = int(np.sum(own["drift"] < other["drift"]))
    higher = int(np.sum(own["overlap"] > other["overlap"]))
    ratios, gains = own["drift"] / other["drift"], own["overlap"] - other["overlap"]
    ahead = " and ".join(
        f"{'ahead' if count == n else 'not ahead everywhere'} in {name}"
        for name, count in (("drift", lower), ("overlap", higher))
    )
    text = (
        f"{family} against {baseline} at equal EBOPs, {n} points: {ahead}; drift lower at {lower} "
        f"(times {ratios.min():.2f} to {ratios.max():.2f}), overlap higher at {higher} "
        f"({gains.min():+.3f} to {gains.max():+.3f})"
    )
    for level in found[0]["tpr"]:
        means = [c["tpr"][level].get("mean") for c in found]
        if None in means:
            text += f"; TPR at {level}: refused"
            continue
        worst = min(means, key=lambda m: m["value"] / max(m["error"], 1e-9))
        text += f"; TPR at {level}, mean of signals, at worst {_signed(worst)}"
    return text


def _signed(value: Mapping[str, float]) -> str:
    text = f"{value['value']:+.4f} ± {value['error']:.4f}".replace("-", "−")
    return text + (f" ± {value['spread']:.4f}" if "spread" in value else "")


def _change(changes: Mapping[str, Any]) -> str:
    """The largest of a record's signals, then the most significant, where that is another."""
    if "reason" in changes:
        return "refused"
    signals = changes["signals"]
    shown = [
        max(signals, key=lambda name: abs(signals[name]["value"])),
        max(signals, key=lambda name: _significance(signals[name])),
    ]
    return ", ".join(f"{_signed(signals[name])} ({name})" for name in dict.fromkeys(shown))


def _significance(value: Mapping[str, float]) -> float:
    """A change in its errors, of events and of seeds together."""
    return abs(value["value"]) / max(np.hypot(value["error"], value.get("spread", 0)), 1e-9)


def _spread(values: Sequence[float], decimals: int) -> str:
    low, middle, high = np.min(values), np.median(values), np.max(values)
    text = f"{middle:.{decimals}f}"
    return text if low == high else f"{text} ({low:.{decimals}f} to {high:.{decimals}f})"


def mean_of_signals(values: Mapping[str, Sequence[float | None]]) -> list[float] | None:
    """Of every seed; None where one is refused."""
    rows = list(values.values())
    return None if any(v is None for row in rows for v in row) else np.mean(rows, axis=0).tolist()


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, a row a way: medians, least and largest of the seeds."""
    heads = ("way", "EBOPs", "LUT", "drift", "overlap", "AUC", "TPR at 1e-2")
    heads += tuple(f"change at {metrics.level_key(fpr)}" for fpr in FPRS)
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for record in records:
        tpr = mean_of_signals(record["tpr"][metrics.level_key(FPRS[0])])
        comparisons = record.get("comparisons")
        cells = [
            record["way"] + (f": {comparisons[0]:,} comparisons" if comparisons else ""),
            *(f"{np.median(record[n]):,.0f}" if n in record else "" for n in ("ebops", "lut")),
            _spread(record["drift"], 3),
            _spread(record["overlap"], 2),
            f"{np.median(mean_of_signals(record['auc'])):.3f}",
            "refused" if tpr is None else f"{np.median(tpr):.3f}",
            *(_change(found) for found in record.get("changes", {}).values()),
        ]
        lines.append(f"| {' | '.join(cells + [''] * (len(heads) - len(cells)))} |")
    return "\n".join(lines)
