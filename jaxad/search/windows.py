"""Where a search looks: its windows of the mass."""

import itertools

import numpy as np
from ml_collections import ConfigDict

from jaxad import data
from jaxad.data.false_windows import MIN_EVENTS, Window
from jaxad.data.table import GEV
from jaxad.data.window import window_of
from jaxad.errors import UserError


def windows_of(config: ConfigDict, mass: np.ndarray, unit: str) -> list[Window]:
    """The windows that `search.windows`, or else `search.scan`, asks for, or else that of `data`.

    Args:
        mass: (N,) [GeV] of all data; unit: of the settings.

    Raises:
        UserError: none asked for, no numbers, an empty one, or one without data beside it.
    """
    settings, scale = config.search, GEV[unit]
    if settings.windows and settings.scan:
        raise UserError("search.windows, search.scan: set one of them, found both")
    if config.data.get("window") and (settings.windows or settings.scan):
        raise UserError("data.window: search.windows or search.scan take its place: leave it out")
    if settings.spectrum == "dijet" and mass.max() >= settings.sqrt_s:
        raise UserError(
            f"search.sqrt_s: expected more than the largest mass, {mass.max():g} GeV, found "
            f"{settings.sqrt_s:g}: is data.mass_unit={unit} right?"
        )
    if settings.scan:
        windows = _scanned(settings, scale)
    elif settings.windows:
        windows = [_window(part, scale, unit) for part in settings.windows.split(",")]
    else:
        windows = [_of_data(config.data, unit)]
    if len({w.name for w in windows}) < len(windows):
        raise UserError("search.windows: the same window comes twice")
    for window in windows:
        _require_data(window, mass, unit)
    return windows


def _of_data(section: ConfigDict, unit: str) -> Window:
    """The window [TeV] that the data have a setting for."""
    if data.has_setting(section, "window_low"):
        return Window(section.window_low * GEV["TeV"], section.window_high * GEV["TeV"])
    if section.get("window"):
        return Window(*(edge * GEV["TeV"] for edge in window_of(section.window)))
    raise UserError(
        f"search.windows: expected LOW-HIGH,... in {unit}, or search.scan=LOW:HIGH with "
        "search.width and search.step, found none"
    )


def _window(text: str, scale: float, unit: str) -> Window:
    low, dash, high = text.strip().partition("-")
    try:
        window = Window(float(low) * scale, float(high) * scale)
    except ValueError:
        window = Window(0.0, 0.0)
    if not (dash and 0 <= window.low < window.high):
        raise UserError(f"search.windows: expected LOW-HIGH in {unit}, found {text.strip()!r}")
    return window


def _scanned(settings: ConfigDict, scale: float) -> list[Window]:
    first, colon, last = settings.scan.partition(":")
    try:
        low, high = float(first), float(last)
    except ValueError:
        low = high = 0.0
    if not (colon and 0 < low < high):
        raise UserError(f"search.scan: expected LOW:HIGH, found {settings.scan!r}")
    if settings.resolution and (settings.width or settings.step):
        raise UserError("search.resolution: says width and step: leave those out")
    if not (settings.resolution or (settings.width and settings.step)):
        raise UserError("search.scan: needs search.width and search.step, or search.resolution")
    windows = []
    while low < high:
        width = 2 * settings.resolution * low or settings.width
        if low + width > high * (1 + 1e-9):
            break
        windows.append(Window(round(low * scale, 9), round((low + width) * scale, 9)))
        low += settings.resolution * low / 2 or settings.step
    if not windows:
        raise UserError("search.scan: expected a range that holds a window, found none")
    return windows


def _require_data(window: Window, mass: np.ndarray, unit: str) -> None:
    inside, below = int(window.holds(mass).sum()), int((mass <= window.low).sum())
    above = len(mass) - inside - below
    name = f"search.windows: {window.low / GEV[unit]:g}-{window.high / GEV[unit]:g} {unit}"
    if inside < MIN_EVENTS:
        low, high = (f"{edge / GEV[unit]:.4g}" for edge in (mass.min(), mass.max()))
        raise UserError(
            f"{name}: expected {MIN_EVENTS} or more events of data, found {inside} of masses from "
            f"{low} to {high} {unit}: windows are in data.mass_unit, data.window in TeV"
        )
    if min(below, above) < MIN_EVENTS:
        raise UserError(
            f"{name}: expected {MIN_EVENTS} or more events on either side, found {below} below and "
            f"{above} above"
        )


def overlap(windows: list[Window]) -> bool:
    """Whether some of them share masses."""
    return any(a.low < b.high and b.low < a.high for a, b in itertools.combinations(windows, 2))
