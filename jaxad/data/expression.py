"""Selections of events: a small language of columns, parsed by `ast` and never run as Python.

    FatJet_pt[0] > 300 & nMuon == 2 & HLT_Mu50
    count(Muon_pt > 20 & abs(Muon_eta) < 2.4) >= 2 | ~(20 < MET_pt / sqrt_s <= 50)

Columns, numbers, < <= > >= == !=, + - * /, & | ~ (looser than comparisons), abs, count and
[i]. A column of lists is one number an event by its place, which counts from 0 or from the end, or
by count(), of its entries or of those for which a comparison holds. What an event does not have
compares as false. A name that is none of Python's stands in backticks, `jets/pt`.
"""

import ast
import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from jaxad.data.lists import Lists, entry
from jaxad.errors import UserError

SETTING = "data.selection"
MAX_LENGTH, MAX_DEPTH = 2000, 50
_WORDS = {"&&": " and ", "&": " and ", "||": " or ", "|": " or ", "~": " not ", "!": " not "}
_TOKEN = re.compile(r"`([^`]*)`|&&?|\|\|?|~|!(?!=)")
_COMPARED: dict[type, Callable] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_COMPUTED: dict[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class Value(NamedTuple):
    """One number, or truth, for each of n events, or for each entry of a list of theirs.

    Attributes:
        data: (n,), (m,) of lists, (n, ...) of an array that has to be indexed, or a number.
        there: bool, of the shape of `data`: where there is one; None: everywhere.
        counts: (n,) of lists; None of what is one an event.
    """

    data: Any
    there: np.ndarray | None = None
    counts: np.ndarray | None = None


class Selection(NamedTuple):
    """A selection that was read.

    Attributes:
        terms: what has to hold, as text, in their order: those that & joins.
        names: of all columns.
    """

    terms: tuple[str, ...]
    names: tuple[str, ...]
    nodes: tuple[ast.expr, ...]
    quoted: Mapping[str, str]

    def passed(self, columns: Mapping[str, np.ndarray | Lists], n: int, start: int) -> np.ndarray:
        """How many of the terms, from the first on, each of n events passes, (n,) uint8.

        Args:
            columns: of all `names`.
            start: number of the first event, for messages.

        Raises:
            UserError: what is no condition, lists of different lengths, NaN in a comparison.
        """
        number, passing = np.zeros(n, np.uint8), np.ones(n, bool)
        for text, node in zip(self.terms, self.nodes, strict=True):
            found = _Evaluation(columns, self.quoted, text, start).condition(node)
            if found.counts is not None:
                _refuse(
                    f"{text}: is true or false for each entry of a list: say which entry, or "
                    "count(...) how many"
                )
            passing = passing & _true(found)
            number += passing
        return number


def parsed(text: str) -> Selection:
    """The selection that is written so.

    Raises:
        UserError: what is not of the language.

    Examples:
        >>> found = parsed("FatJet_pt[0] > 300 & nMuon == 2 & HLT_Mu50")
        >>> found.terms
        ('FatJet_pt[0] > 300', 'nMuon == 2', 'HLT_Mu50')
        >>> found.names
        ('FatJet_pt', 'nMuon', 'HLT_Mu50')
        >>> jets, two = Lists(np.array([1, 0]), np.array([400.0])), np.array([2, 2])
        >>> rows = {"FatJet_pt": jets, "nMuon": two, "HLT_Mu50": two > 0}
        >>> print(found.passed(rows, n=2, start=0))
        [3 0]
    """
    if len(text) > MAX_LENGTH:
        _refuse(f"expected at most {MAX_LENGTH} characters, found {len(text)}")
    quoted: dict[str, str] = {}

    def plain(found: re.Match) -> str:
        if found[1] is None:
            return _WORDS[found[0]]
        name = next((n for n, q in quoted.items() if q == found[1]), f"quoted_{len(quoted)}_")
        quoted[name] = found[1]
        return name

    source = _TOKEN.sub(plain, text).strip()
    try:
        tree = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = getattr(error, "msg", None) or type(error).__name__
        _refuse(
            f"cannot be read ({reason}): expected comparisons joined by &, such as "
            f"pt[0] > 300 & nMuon == 2, found {text!r}"
        )
    if _depth(tree) > MAX_DEPTH:
        _refuse(f"cannot be read: nested more than {MAX_DEPTH} deep")
    nodes = tuple(tree.values) if _is(tree, ast.BoolOp, ast.And) else (tree,)
    names: dict[str, None] = {}
    for node in nodes:
        _require(node, source, quoted, names)
    terms = tuple(_as_written(ast.get_source_segment(source, node), quoted) for node in nodes)
    return Selection(terms, tuple(names), nodes, quoted)


def absent(file: str, name: str, found: Sequence[str], others: Sequence[str] = ()) -> UserError:
    """The error of a file that lacks a column; `others`, files before it, have it."""
    close = difflib.get_close_matches(name, found, 3, 0.5)
    nearest = f"; the nearest names are {', '.join(close)}" if close else ""
    has = f" ({others[0]} has it)" if others else ""
    return UserError(f"{file}: {SETTING}: {name!r} is absent in this file{has}{nearest}")


def _refuse(text: str) -> NoReturn:
    raise UserError(f"{SETTING}: {text}")


def _depth(tree: ast.AST) -> int:
    level, depth = [tree], 0
    while level:
        level, depth = [child for node in level for child in ast.iter_child_nodes(node)], depth + 1
    return depth


def _is(node: ast.AST, kind: type, op: type) -> bool:
    return isinstance(node, kind) and isinstance(node.op, op)


def _as_written(text: str | None, quoted: Mapping[str, str]) -> str:
    """A part of the source as the user has it."""
    for name, original in quoted.items():
        text = text.replace(name, f"`{original}`")
    text = re.sub(r"\s*\band\b\s*", " & ", re.sub(r"\s*\bor\b\s*", " | ", text))
    return " ".join(re.sub(r"\bnot\b\s*", "~", text).split())


def _require(node: ast.expr, source: str, quoted: Mapping[str, str], names: dict) -> None:
    """Refuses what is not of the language, and notes the names of columns."""

    def seen(*parts: ast.expr) -> None:
        for part in parts:
            _require(part, source, quoted, names)

    text = _as_written(ast.get_source_segment(source, node), quoted)
    match node:
        case ast.BoolOp():
            seen(*node.values)
        case ast.UnaryOp(op=ast.Not()):
            bare = isinstance(node.operand, ast.Compare)
            if bare and source[node.col_offset + 4 : node.operand.col_offset].strip() == "":
                inner = _as_written(ast.get_source_segment(source, node.operand), quoted)
                _refuse(f"{text}: write ~({inner})")
            seen(node.operand)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
            seen(node.operand)
        case ast.BinOp() if type(node.op) in _COMPUTED:
            seen(node.left, node.right)
        case ast.Compare() if all(type(op) in _COMPARED for op in node.ops):
            seen(node.left, *node.comparators)
        case ast.Call(func=ast.Name(id="abs" | "count"), args=[only], keywords=[]):
            seen(only)
        case ast.Call():
            _refuse(f"{text}: no such function: abs(...) and count(...) are, of one argument each")
        case ast.Subscript():
            if _places(node.slice) is None:
                _refuse(f"{text}: expected the number of an entry, such as [0] or [-1]")
            if _name(node.value, quoted) is None:
                _refuse(f"{text}: only columns have entries, such as pt[0]")
            seen(node.value)
        case ast.Name() | ast.Attribute() if (name := _name(node, quoted)) is not None:
            names[name] = None
        case ast.Constant(value=bool() | int() | float()):
            pass
        case _:
            _refuse(
                f"{text}: is not of the language: columns, numbers, comparisons, + - * /, and, or, "
                "not"
            )


def _name(node: ast.expr, quoted: Mapping[str, str]) -> str | None:
    """The column that a name, or names joined by dots, mean."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([quoted.get(node.id, node.id), *reversed(parts)])


def _places(node: ast.expr) -> tuple[int, ...] | None:
    """Whole numbers of an index, i or i, j."""
    found = []
    for item in node.elts if isinstance(node, ast.Tuple) else [node]:
        minus = _is(item, ast.UnaryOp, ast.USub)
        inner = item.operand if minus else item
        if not (isinstance(inner, ast.Constant) and type(inner.value) is int):
            return None
        found.append(-inner.value if minus else inner.value)
    return tuple(found)


def _true(value: Value) -> np.ndarray:
    """Where a condition holds: nowhere where there is nothing."""
    return value.data if value.there is None else value.data & value.there


class _Evaluation(NamedTuple):
    """A term for events of which the columns are at hand."""

    columns: Mapping[str, np.ndarray | Lists]
    quoted: Mapping[str, str]
    text: str
    start: int

    def condition(self, node: ast.expr) -> Value:
        """True or false: of comparisons, their combinations, and columns of 0 and 1."""
        match node:
            case ast.BoolOp():
                parts = [self.condition(part) for part in node.values]
                join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
                data, counts = self._together(parts, [_true(part) for part in parts])
                return Value(join.reduce(data), None, counts)
            case ast.UnaryOp(op=ast.Not()):
                inner = self.condition(node.operand)
                return Value(~_true(inner), None, inner.counts)
            case ast.Compare():
                return self._compared(node)
        value = self.number(node)
        data = np.asarray(value.data)
        if data.dtype != bool and not np.isin(data, (0, 1)).all():
            _refuse(
                f"{self.text}: {ast.unparse(node)} is a number: expected true or false, or a "
                f"comparison such as {ast.unparse(node)} > 0"
            )
        return value._replace(data=data.astype(bool))

    def _compared(self, node: ast.Compare) -> Value:
        parts = [self.number(part) for part in (node.left, *node.comparators)]
        data, counts = self._together(parts, [part.data for part in parts])
        there = self._all_there(parts)
        found: Any = True
        for op, left, right in zip(node.ops, data[:-1], data[1:], strict=True):
            for side in (left, right):
                odd = np.isnan(side) if np.asarray(side).dtype.kind == "f" else np.zeros(1, bool)
                odd = odd if there is None else odd & there
                if odd.any():
                    _refuse(f"{self.text}: not a number {self._where(odd, counts)}")
            found = found & _COMPARED[type(op)](left, right)
        return Value(np.asarray(found), there, counts)

    def _where(self, odd: np.ndarray, counts: np.ndarray | None) -> str:
        place = int(np.argmax(odd))
        row = place if counts is None else int(np.searchsorted(np.cumsum(counts), place, "right"))
        return f"at row {self.start + row}"

    def number(self, node: ast.expr) -> Value:
        """A number: of columns, their entries, counts, and what is computed of them."""
        match node:
            case ast.Constant():
                return Value(node.value)
            case ast.Name() | ast.Attribute():
                return self._column(node)
            case ast.Subscript():
                return self._entry(node)
            case ast.Call(func=ast.Name(id="count")):
                return self._count(node.args[0])
            case ast.Call():
                value = self._float(node.args[0])
                return value._replace(data=np.abs(value.data))
            case ast.UnaryOp(op=ast.USub()):
                value = self._float(node.operand)
                return value._replace(data=-value.data)
            case ast.UnaryOp(op=ast.UAdd()):
                return self._float(node.operand)
            case ast.BinOp():
                parts = [self._float(node.left), self._float(node.right)]
                data, counts = self._together(parts, [part.data for part in parts])
                with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                    found = _COMPUTED[type(node.op)](*data)
                return Value(found, self._all_there(parts), counts)
        return self.condition(node)

    def _float(self, node: ast.expr) -> Value:
        """A number in double precision, in which alone is computed."""
        value = self.number(node)
        return value._replace(data=np.asarray(value.data, np.float64))

    def _column(self, node: ast.expr) -> Value:
        name = _name(node, self.quoted)
        stored = self.columns[name]
        if isinstance(stored, Lists):
            return Value(_widened(stored.values), None, stored.counts)
        if stored.ndim == 1 or stored.size == len(stored):
            return Value(_widened(stored.reshape(len(stored))))
        if stored.ndim == 2:
            counts = np.full(len(stored), stored.shape[1])
            return Value(_widened(stored.reshape(-1)), None, counts)
        _refuse(
            f"{self.text}: {name} has the shape (n, {', '.join(map(str, stored.shape[1:]))}) "
            "an event: say which number, such as "
            f"{name}[{', '.join('0' for _ in stored.shape[1:])}]"
        )

    def _entry(self, node: ast.Subscript) -> Value:
        name, places = _name(node.value, self.quoted), _places(node.slice)
        stored = self.columns[name]
        if isinstance(stored, Lists):
            if len(places) > 1:
                _refuse(
                    f"{self.text}: {name} holds lists: expected one number, found {len(places)}"
                )
            data, there = entry(stored, *places)
            return Value(_widened(data), there)
        widths = stored.shape[1:]
        fits = len(places) <= len(widths) and all(
            -width <= place < width for place, width in zip(places, widths, strict=False)
        )
        if not fits:
            has = (
                f"the shape (n, {', '.join(map(str, widths))})" if widths else "one number an event"
            )
            _refuse(f"{self.text}: {name} has {has}: no entry {ast.unparse(node.slice)}")
        taken = stored[(slice(None), *places)]
        inner = _Evaluation({name: taken}, self.quoted, self.text, self.start)
        return inner._column(node.value)

    def _count(self, node: ast.expr) -> Value:
        bare = isinstance(node, ast.Name | ast.Attribute | ast.Subscript)
        value = self.number(node) if bare else self.condition(node)
        if value.counts is None:
            _refuse(f"count({ast.unparse(node)}): expected lists, found one number an event")
        if bare and value.data.dtype != bool:
            return Value(value.counts.astype(np.int64))
        up_to = np.concatenate([[0], np.cumsum(_true(value))])
        ends = np.cumsum(value.counts)
        return Value(up_to[ends] - up_to[ends - value.counts])

    def _together(self, parts: Sequence[Value], data: Sequence) -> tuple[list, np.ndarray | None]:
        """The data of all parts, one an event repeated for each entry where others are lists."""
        lists = [part.counts for part in parts if part.counts is not None]
        if not lists:
            return list(data), None
        for counts in lists[1:]:
            odd = counts != lists[0]
            if odd.any():
                row = int(np.argmax(odd))
                _refuse(
                    f"{self.text}: lists of {lists[0][row]} and {counts[row]} entries at row "
                    f"{self.start + row}: compare columns of one collection"
                )
        spread = [
            values
            if part.counts is not None or np.ndim(values) == 0
            else np.repeat(values, lists[0])
            for part, values in zip(parts, data, strict=True)
        ]
        return spread, lists[0]

    def _all_there(self, parts: Sequence[Value]) -> np.ndarray | None:
        known = [p._replace(data=p.there) for p in parts if p.there is not None]
        if not known:
            return None
        every = [*known, *(p for p in parts if p.there is None)]
        data, _ = self._together(every, [p.data for p in every])
        return np.logical_and.reduce(data[: len(known)])


def _widened(values: np.ndarray) -> np.ndarray:
    """Floats in double precision and integers of 64 bits, so that none is rounded nor wraps."""
    if values.dtype.kind == "f":
        return values.astype(np.float64)
    return (
        values if values.dtype.kind == "b" or values.dtype == np.uint64 else values.astype(np.int64)
    )
