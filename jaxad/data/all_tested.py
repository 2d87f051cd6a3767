"""Data of which nothing trained: every event is a test event."""

from dataclasses import replace

from jaxad.data.dataset import Dataset, concatenate, n_rows, take
from jaxad.data.window import in_window


def all_tested(dataset: Dataset) -> Dataset:
    """The data set with the events of all its parts in `test`, `signals` and the sidebands.

    train and val stay what they were; extra events that would train are left out.
    """
    if "window" in dataset.info:
        return _search(dataset)
    test = concatenate([dataset.train, dataset.val, dataset.test])
    return replace(dataset, test=test, extra={})


def _search(dataset: Dataset) -> Dataset:
    """Data in all parts; behind them what the test part holds beyond its data."""
    window, data = dataset.info["window"], concatenate([dataset.train, dataset.val])
    inside, is_signal = in_window(data, window), data["label"] == 1
    (name,) = dataset.signals
    held_out, injected = dataset.info["held_out"], dataset.info["injected_in_window"]
    further = [dataset.extra["signal"]] if "signal" in dataset.extra else []
    outside = [take(data, ~inside & ~is_signal)]
    outside += [dataset.extra["sideband"]] if "sideband" in dataset.extra else []
    sideband = concatenate(outside)
    n_background = int((inside & ~is_signal).sum()) + held_out["background"]
    n_signal = int((inside & is_signal).sum()) + held_out["signal"]
    in_region = {part: n_signal if part == "test" else 0 for part in injected}
    counts = dataset.info["injected"]
    total = {part: sum(counts.values()) if part == "test" else 0 for part in counts}
    return replace(
        dataset,
        test=concatenate([take(data, inside & ~is_signal), dataset.test]),
        signals={
            name: concatenate([take(data, inside & is_signal), dataset.signals[name], *further])
        },
        extra={"sideband": sideband} if n_rows(sideband) else {},
        info=dataset.info
        | {"injected": total, "injected_in_window": in_region}
        | {"held_out": {"background": n_background, "signal": n_signal}},
    )
