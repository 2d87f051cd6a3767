"""The events of a resonant search: data over the whole mass range, and what only evaluates.

train and val are *data*: background with the injected signal in it. test and the signal lie in the
signal region, a window of the mass. Splits 1/2, 1/6, 1/3 of background and injected signal.
"""

from typing import Any

import numpy as np

from jaxad.data.dataset import Dataset, Rows, concatenate, n_rows, take
from jaxad.data.splits import split_indices
from jaxad.errors import UserError

PARTS = {"train": 1 / 2, "val": 1 / 6, "test": 1 / 3}
EXTRA_PARTS = {"train": 200_000, "val": 66_666}
MAX_TEST_SIGNAL = 20_000


def in_window(rows: Rows, window: tuple[float, float]) -> np.ndarray:
    """Which rows, with "mass" (N,) [GeV], lie in the signal region [TeV], bool (N,)."""
    mass = rows["mass"] / 1000
    return (mass > window[0]) & (mass < window[1])


def searched_part(rows: Rows, dataset: Dataset) -> Rows:
    """The rows of the signal region, of a search; all of them of other data."""
    if "window" not in dataset.info:
        return rows
    return take(rows, in_window(rows, dataset.info["window"]))


def checked_window(low: float, high: float, setting: str) -> tuple[float, float]:
    """The signal region [TeV], refused where it is empty."""
    if not low < high:
        raise UserError(f"{setting}: expected LOW < HIGH in TeV, found {low:g} and {high:g}")
    return low, high


def window_of(text: str) -> tuple[float, float]:
    """The signal region [TeV] written as LOW-HIGH."""
    low, _, high = text.partition("-")
    try:
        return checked_window(float(low), float(high), "data.window")
    except ValueError:
        raise UserError(f"data.window: expected LOW-HIGH in TeV, found {text!r}") from None


def searched(
    background: Rows,
    signals: dict[str, Rows],
    window: tuple[float, float],
    n_injected: int,
    seed: int,
    **about: Any,
) -> Dataset:
    """The data set of a search for one signal, with `n_injected` of its events in the data.

    Args:
        about: further fields of the data set.

    Raises:
        UserError: no mass, or not one signal.
    """
    if "mass" not in background:
        raise UserError("data.window: a search needs a mass: set data.mass_key")
    if len(signals) != 1:
        raise UserError(f"data.signals: a search takes one signal, found {len(signals)}: name one")
    ((name, signal),) = signals.items()
    background, signal = (
        rows | {"label": np.full(n_rows(rows), label, np.float32)}
        for label, rows in enumerate((background, signal))
    )
    parts, spares = injected(background, signal, window, n_injected, seed)
    return assemble(parts, spares, name, window, **about)


def injected_rows(n: int, n_injected: int, seed: int) -> np.ndarray:
    """Which of `n` signal events are injected, (n_injected,), in random order.

    Raises:
        UserError: more than there are.
    """
    if not 0 <= n_injected <= n:
        raise UserError(f"data: signal events to inject: expected 0 to {n}, found {n_injected}")
    return np.random.default_rng([seed, 1]).permutation(n)[:n_injected]


def injected_among(
    is_background: np.ndarray, is_signal: np.ndarray, n_injected: int, seed: int
) -> np.ndarray:
    """Rows of the data of a search, sorted: the background and some random events of signal.

    Raises:
        UserError: more than there are.
    """
    signal = np.flatnonzero(is_signal)
    signal = signal[injected_rows(len(signal), n_injected, seed)]
    return np.sort(np.append(np.flatnonzero(is_background), signal))


def injected(
    background: Rows, signal: Rows, window: tuple[float, float], n_injected: int, seed: int
) -> tuple[dict[str, Rows], dict[str, Rows]]:
    """train, val and test over the whole mass range, and the "signal" of the window to spare.

    Raises:
        UserError: more signal than there is, or a window without events or with all of them.
    """
    chosen = injected_rows(n_rows(signal), n_injected, seed)
    inside = in_window(background, window)
    if inside.all() or not inside.any():
        low, high = background["mass"].min() / 1000, background["mass"].max() / 1000
        raise UserError(
            f"data: window {window[0]:g}-{window[1]:g} TeV: expected some events in it and some "
            f"beside it, found masses from {low:.4g} to {high:.4g} TeV"
        )
    spare = take(signal, injected_rows(n_rows(signal), n_rows(signal), seed)[n_injected:])
    signal = take(signal, chosen)
    parts = {
        name: take(background, index)
        for name, index in split_indices(n_rows(background), PARTS, seed).items()
    }
    edges = np.rint(np.cumsum([0, *PARTS.values()]) * n_injected).astype(int)
    for name, low, high in zip(PARTS, edges[:-1], edges[1:], strict=True):
        parts[name] = concatenate([parts[name], take(signal, slice(low, high))])
    return parts, {"signal": take(spare, in_window(spare, window))}


def assemble(
    parts: dict[str, Rows],
    spares: dict[str, Rows],
    name: str,
    window: tuple[float, float],
    **about: Any,
) -> Dataset:
    """The data set of `parts`, whose "label" is 1 for signal, called `name`.

    What the detector would have seen are the parts alone. Of the test and signal events the first
    `info["held_out"]` ones are such; all spares behind them serve labelled figures only.

    Args:
        spares: of the signal region: more "signal" to test on, and perhaps "background" and
            "training signal" to train on, and "test background".
        about: further fields of the data set.
    """
    test, extra = parts["test"], {}
    inside, is_signal = in_window(test, window), test["label"] == 1
    test_background = take(test, inside & ~is_signal)
    test_signal = take(test, inside & is_signal)
    held_out = {"background": n_rows(test_background), "signal": n_rows(test_signal)}
    extra["sideband"] = take(test, ~inside & ~is_signal)
    if "test background" in spares:
        test_background = concatenate([test_background, spares["test background"]])
    test_signal = concatenate([test_signal, take(spares["signal"], slice(0, MAX_TEST_SIGNAL))])
    further = take(spares["signal"], slice(MAX_TEST_SIGNAL, None))
    extra["signal"] = concatenate(
        [further, *(spares[key] for key in ("training signal",) if key in spares)]
    )
    if "background" in spares:
        extra["background"] = spares["background"]
    counts = {part: int(rows["label"].sum()) for part, rows in parts.items()}
    in_region = {
        part: int((rows["label"] * in_window(rows, window)).sum()) for part, rows in parts.items()
    }
    search = {"window": list(window), "injected": counts, "injected_in_window": in_region}
    return Dataset(
        train=parts["train"],
        val=parts["val"],
        test=test_background,
        signals={name: test_signal},
        extra={key: rows for key, rows in extra.items() if n_rows(rows)},
        **about | {"info": about["info"] | search | {"held_out": held_out}},
    )


def further_background(rows: Rows, window: tuple[float, float]) -> dict[str, Rows]:
    """The spares of `rows` in the signal region: `EXTRA_PARTS` of them train, the rest tests."""
    rows, n_training = take(rows, in_window(rows, window)), sum(EXTRA_PARTS.values())
    return {
        "background": take(rows, slice(0, n_training)),
        "test background": take(rows, slice(n_training, None)),
    }


def held_out_data(dataset: Dataset) -> Rows:
    """The test part of a search as the detector would have seen it, over the whole mass range.

    Raises:
        UserError: the source holds no such part, or none of it beside the signal region.
    """
    held_out, source = dataset.info["held_out"], dataset.info["source"]
    signal = next(iter(dataset.signals.values()))
    if not held_out["background"]:
        raise UserError(
            f"{source}: holds no data that trained nothing: its test events are further simulated "
            "ones, which are in no proportion to the sidebands"
        )
    if "sideband" not in dataset.extra:
        raise UserError(
            f"{source}: its test events lie in the signal region alone: without sidebands nothing "
            "says how many to expect"
        )
    return concatenate(
        [
            take(dataset.test, slice(0, held_out["background"])),
            take(signal, slice(0, held_out["signal"])),
            dataset.extra["sideband"],
        ]
    )
