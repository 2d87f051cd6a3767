"""Which of the user's own events are background and which a signal, by labels and by files."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxad.data import assembled, checks, label_file, text_labels
from jaxad.data.array_files import in_blocks
from jaxad.data.beside import Beside
from jaxad.data.dataset import as_mapping
from jaxad.data.event_parts import Parts
from jaxad.data.places import from_one_hot, open_places
from jaxad.data.rows import file_of, files_of
from jaxad.data.selected import cut
from jaxad.data.splits import choose
from jaxad.errors import UserError
from jaxad.storage import blockwise, cache, on_disk

NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
RANGE = re.compile(r"([+-]?\d+)-([+-]?\d+)")
MAX_LABELS = 100_000


def label_list(value: str | int | tuple) -> list[int]:
    """The labels of the background, as `data.background` gives them: "0,1", "161-187", 0, (0, 1).

    Raises:
        UserError: no whole numbers, nor ranges of them.

    Examples:
        >>> label_list("0,5-7")
        [0, 5, 6, 7]
    """
    items = value.split(",") if isinstance(value, str) else np.atleast_1d(value).tolist()
    try:
        parts = [_labels(str(item)) for item in items]
    except UserError:
        parts = [None]
    if None in parts:
        raise UserError(
            f"data.background: expected labels like 0,1, or a range like 5-7, found {value!r}"
        )
    return [label for part in parts for label in part]


def _labels(text: str) -> list[int] | None:
    """The labels that are written so, "4", "4.0", "0-14" or "0-14+20"; None of what is a file.

    Raises:
        UserError: a number that is not whole, or a range that ends before it begins.
    """
    labels: list[int] = []
    for item in (part.strip() for part in text.split("+") if part.strip()):
        if found := RANGE.fullmatch(item):
            low, high = int(found[1]), int(found[2])
            if not low <= high < low + MAX_LABELS:
                raise UserError(f"expected a range of labels LOW-HIGH, found {item}")
            labels += range(low, high + 1)
        elif not NUMBER.fullmatch(item):
            return None
        elif float(item) != int(float(item)):
            raise UserError(f"expected a whole number as label, or a file, found {item}")
        else:
            labels.append(int(float(item)))
    return labels or None


def signals_of(
    config: ConfigDict, background: list[Path]
) -> tuple[dict[str, list[int]], dict[str, list[str]]]:
    """Signals that are labels of the source, and signals with files of their own.

    Raises:
        UserError: a label or file that is also the `background`, no such file, or no label.
    """
    by_label: dict[str, list[int]] = {}
    by_file: dict[str, list[str]] = {}
    for name, value in as_mapping(config.signals, "data.signals").items():
        try:
            labels = _labels(value)
        except UserError as error:
            raise UserError(f"data.signals: {name}: {error}") from None
        if labels is None:
            by_file[name] = files_of(value, "data.signals")
        else:
            by_label[name] = labels
    if by_label and not is_labelled(config):
        name = next(iter(by_label))
        if config.features:
            raise UserError(f"data.signals: {name} is a label, which needs data.label")
        raise UserError(f"data.signals: {name} is a label, which needs data.label_key")
    if both := set(itertools.chain(*by_label.values())) & set(label_list(config.background)):
        raise UserError(f"data.signals: label {both.pop()} is also in data.background")
    same = {file_of(str(path))[0].resolve() for path in background}
    for name, files in by_file.items():
        if any(file_of(file)[0].resolve() in same for file in files):
            raise UserError(
                f"data.signals: {name}: {files[0]} is also the background; "
                "give another file, or labels with data.label_key"
            )
    if "background" in by_label or "background" in by_file:
        raise UserError("data.signals: a signal cannot be called 'background'")
    return by_label, by_file


def own_files(config: ConfigDict) -> set[str]:
    """The signals that have files of their own."""
    signals = as_mapping(config.signals, "data.signals")
    return {name for name, value in signals.items() if _labels(value) is None}


def is_labelled(config: ConfigDict) -> bool:
    """Whether whole arrays have labels."""
    return bool(config.label_key or config.get("label_file"))


def all_labels(
    paths: Sequence[Path], sizes: Sequence[int], config: ConfigDict
) -> np.ndarray | None:
    """The labels (N,) of the events of files, of `sizes`, one after another; None without.

    Raises:
        UserError: as `labels_of`; a label file with another number of lines than events.
    """
    if config.label_file:
        return label_file.read(config.label_file, str(config.source), sum(sizes))
    if not config.label_key:
        return None
    parts = [labels_of(p, config, n) for p, n in zip(paths, sizes, strict=True)]
    return on_disk.concatenate(parts, cache.disk(config))


def labels_of(path: Path, config: ConfigDict, n_events: int) -> np.ndarray:
    """The label (n_events,) of every event of a file; of one-hot columns their number, from 0; of
    texts their place in `data.label_names`.

    Raises:
        UserError: no such array, another number of labels, or labels that are no whole numbers;
            several columns that are not one-hot.
    """
    key = config.label_key
    if path.suffix == ".npy":
        raise UserError(f"{path}: an npy file has no {key!r}; use npz or HDF5, or a file a class")
    objects = assembled.objects_of(config)
    if objects is None and (texts := text_labels.texts_of(path, key)) is not None:
        return text_labels.numbers(texts, config.label_names, path, key, n_events)
    places = open_places(path, key, "data.label_key", objects)
    with places as stored, checks.reading(path, key):
        one_hot = isinstance(stored, Beside) and len(stored.shape) == 2 and stored.shape[1] > 1
        if stored.shape[:1] != (n_events,) or (stored.shape[1:] not in ((), (1,)) and not one_hot):
            raise UserError(
                f"{path}: {key}: expected one label for each of {n_events} events, "
                f"found shape {stored.shape}"
            )
        return on_disk.joined(_labels_in(stored, one_hot, path, key), cache.disk(config))


def _labels_in(stored: Any, one_hot: bool, path: Path, key: str) -> Iterator[np.ndarray]:
    """The labels (n,) of blocks of events."""
    for start, block in in_blocks(stored):
        labels = from_one_hot(block, path, key, start) if one_hot else block.reshape(len(block))
        checks.require_labels(labels, path, key, rows=start)
        yield labels


def with_labels(labels: np.ndarray, wanted: list[int], name: str, config: ConfigDict) -> np.ndarray:
    """Rows of the events with one of the `wanted` labels, of the class `name`.

    Raises:
        UserError: there is none.
    """
    index = on_disk.rows_where(lambda block: np.isin(block, wanted), labels)
    if len(index) == 0:
        counts = blockwise.counts(labels)
        listed = ", ".join(f"{label:g} ({n})" for label, n in [*counts.items()][:10])
        where = config.label_key or config.label_file
        raise UserError(
            f"{config.source}: {name}: no event has {where} in {wanted}; found the labels {listed}"
        )
    return index


def limited(index: np.ndarray, config: ConfigDict, number: int) -> np.ndarray:
    """At most `data.n_events` random ones of `index`, of the class `number`."""
    if not config.n_events:
        return index
    limit = min(config.n_events, len(index))
    return index[choose(len(index), limit, [config.seed, 1, number])]


def parts_of(
    files: Sequence[str | Path],
    n_events: int,
    labels: np.ndarray | None,
    by_label: Mapping[str, list[int]],
    config: ConfigDict,
    split: Parts | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Row numbers of the background and of each labelled signal, and what to tell of the others.

    Args:
        split: leaves out events of no part, and, of those that a selection keeps, signals that are
            not tested.

    Returns:
        The rows; and, as in `Dataset.info`: "left_out", label -> events that are of no class; with
        a selection "cut_flow"; with a split that leaves some out "unparted" and "untested".
    """
    folder = cache.disk(config)
    classes, others = {"background": on_disk.numbered(n_events, folder)}, {}
    if labels is not None:
        wanted = {"background": label_list(config.background)} | dict(by_label)
        classes = {n: with_labels(labels, values, n, config) for n, values in wanted.items()}
        known = {label for values in wanted.values() for label in values}
        found = blockwise.counts(labels)
        others = {f"{label:g}": n for label, n in found.items() if label not in known}
    info: dict[str, Any] = {"left_out": others}
    if split is not None:
        sizes = {name: len(index) for name, index in classes.items()}
        classes = {name: split.known(index) for name, index in classes.items()}
        info |= _fewer("unparted", sizes, classes)
        _require_some(classes, config)
    classes, flows = cut(files, config, classes)
    info |= {"cut_flow": flows} if flows else {}
    if split is not None and labels is not None:
        sizes, background = {n: len(i) for n, i in classes.items()}, classes.pop("background")
        signals = {name: split.tested(index, background) for name, index in classes.items()}
        classes = {"background": background, **signals}
        info |= _fewer("untested", sizes, classes)
        _require_some(classes, config)
    parts = {
        name: limited(index, config, number) for number, (name, index) in enumerate(classes.items())
    }
    return parts, info


def _fewer(
    field: str, sizes: Mapping[str, int], classes: Mapping[str, np.ndarray]
) -> dict[str, dict[str, int]]:
    """How many events fewer each class has than `sizes` say; {} where none has."""
    fewer = {name: sizes[name] - len(index) for name, index in classes.items()}
    fewer = {name: n for name, n in fewer.items() if n}
    return {field: fewer} if fewer else {}


def _require_some(classes: Mapping[str, np.ndarray], config: ConfigDict) -> None:
    """Refuses a class of which `data.split` leaves nothing."""
    for name, index in classes.items():
        if not len(index):
            raise UserError(f"{config.source}: {name}: data.split leaves no event of it")
