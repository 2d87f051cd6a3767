"""The house: what imports what, who knows a data set by name, how long files are."""

import ast
import re

from documents import ROOT, SOURCES, imported, module_of

from jaxad import data, methods

BLIND = ("methods", "scorer.py", "export", "evaluation", "inputs")
API = {"__init__", "__main__", "errors", "scorer", "tasks", "workdir"}


def test_modules_import_from_their_left():
    """The order that CONTRIBUTING states, imports inside functions included."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    stated = re.search(r"`(errors → [^`]+)`", text)[1]
    order = [group.split(", ") for group in re.split(r"\s+→\s+", stated)]
    place = {name: number for number, group in enumerate(order) for name in group}
    for path in SOURCES:
        own = (*module_of(path).split("."), "")[1]
        if own in ("", "__main__"):
            continue
        for name in imported(path):
            other = name.split(".")[1]
            assert other == own or place[other] < place[own], f"{path} imports {name}"


def test_data_sets_are_known_to_their_readers_alone():
    names = set(data.READERS) - {"events"} - set(methods.NAMES) - {"jets", "regions"}
    assert names == {"toptagging", "adc2021", "cmsl1t", "lhco"}
    for path in SOURCES:
        if path.relative_to(ROOT / "jaxad").parts[0] in BLIND:
            found = re.findall("|".join(names) + r"|data\.name|LHC ?Olympics", path.read_text())
            assert not found, f"{path} names {found[0]}"


def test_text_files_say_their_encoding():
    """That of the locale writes no ± under LANG=C, and reads another text than was written."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or isinstance(node.func, ast.Name):
                continue
            name = getattr(node.func, "attr", "")
            if name == "read_text" or (name == "write_text" and len(node.args) == 1):
                named = [keyword.arg for keyword in node.keywords]
                assert "encoding" in named, f"{path}:{node.lineno}"


def test_progress_bars_say_what_they_count():
    """A name, and a unit for "it"."""
    bars = 0
    for path in [*SOURCES, *(ROOT / "benchmarks").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("tqdm", "tqdm.tqdm"):
                named = {keyword.arg for keyword in node.keywords}
                bars += 1
                assert "unit" in named, f"{path}:{node.lineno}: unit"
                assert len(node.args) > 1 or "desc" in named, f"{path}:{node.lineno}: desc"
    assert bars > 20


def test_files_are_short_and_the_root_holds_the_api():
    for path in SOURCES:
        assert len(path.read_text().splitlines()) <= 500, path
    loose = {path.stem for path in (ROOT / "jaxad").glob("*.py")}
    assert loose == API
