"""What the documentation says is so: examples run, links lead somewhere, commands exist."""

import contextlib
import doctest
import functools
import importlib
import io
import re

import numpy as np
import pytest
from documents import (
    PAGES,
    ROOT,
    anchors,
    blocks,
    commands,
    examples,
    links,
    messages,
    module_of,
    quoted,
    spans,
)
from ml_collections import ConfigDict

import jaxad
from jaxad import inputs
from jaxad.__main__ import VERBS, main
from jaxad.data.layout import Layout

EXAMPLES = list(examples())
CONFIGS = sorted(p.stem for p in (ROOT / "configs").glob("*.py") if p.stem != "__init__")


def each_page(test):
    names = [str(page.relative_to(ROOT)) for page in PAGES]
    return pytest.mark.parametrize("page", PAGES, ids=names)(test)


@pytest.mark.parametrize(
    ("path", "name", "line", "doc"), EXAMPLES, ids=[f"{module_of(e[0])}.{e[1]}" for e in EXAMPLES]
)
def test_examples_of_docstrings_run(path, name, line, doc):
    module = importlib.import_module(module_of(path))
    test = doctest.DocTestParser().get_doctest(doc, dict(vars(module)), name, str(path), line)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test, out=said.append).attempted
    assert not runner.failures, "".join(said)


def test_main_functions_have_an_example():
    named = {f"{module_of(path)}.{name}" for path, name, *_ in EXAMPLES}
    assert named >= {
        *(f"jaxad.metrics.roc.{name}" for name in ("auc", "tpr_at_fpr", "threshold_at_fpr")),
        *("jaxad.observables.kinematics.jet_mass", "jaxad.observables.images.jet_image"),
        *("jaxad.observables.efp.efp_function", "jaxad.observables.ordering.decision_ordering"),
        *("jaxad.data.get_config", "jaxad.data.splits.split_indices", "jaxad.inputs.get_config"),
        *("jaxad.training.loop.get_config", "jaxad.training.loop.fit", "jaxad.scorer.Scorer"),
    }


@each_page
def test_python_blocks_compile(page):
    for code in blocks(page.read_text(), "python", "py"):
        compile(code, str(page), "exec")


def test_scorer_of_the_readme_scores(monkeypatch):
    config = ConfigDict({"inputs": inputs.get_config("jet_image")})
    params = {"mean": np.zeros(256), "components": np.eye(256)[:2], "inputs": {}}
    layout, background = Layout("epxpypz", (200, 4)), np.arange(1000) / 1000
    scorer = jaxad.Scorer("pca", config, params, layout, background)
    monkeypatch.setattr(jaxad, "load", lambda run: scorer)
    (code,) = blocks((ROOT / "README.md").read_text(), "python")
    names = {"particles": np.float32([[[5, 3, 0, 4], [0, 0, 0, 0]]] * 7)}
    exec(code, names)
    assert names["s"].shape == (7,)
    assert names["s"].dtype == np.float32
    assert list(scorer.scores(names["particles"])) == ["mse"]


@each_page
def test_relative_links_lead_somewhere(page):
    for path, anchor in links(page.read_text()):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {path}"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{page.name}: {path}#{anchor}"


@functools.cache
def flags_of(program: str) -> set[str]:
    """The flags that a program's --help, or the source of a benchmark and its helpers, knows."""
    if program.startswith("benchmarks/"):
        text = (ROOT / program).read_text()
        helpers = {path.stem: path.read_text() for path in (ROOT / "benchmarks").glob("*.py")}
        text += "".join(helpers.get(n, "") for n in re.findall(r"^from (\w+) import", text, re.M))
        return set(re.findall(r'"(--[a-z][\w-]*)"', text))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as end:
        main([*program.removeprefix("jaxad ").split(), "--help"])
    assert end.value.code == 0
    return set(re.findall(r"--[a-z][\w.-]*\w", said.getvalue()))


@functools.cache
def settings_of(config: str) -> set[str]:
    """Every setting of a config, as flags name it."""

    def below(tree, prefix):
        for key, value in tree.items():
            yield f"{prefix}.{key}"
            if isinstance(value, dict):
                yield from below(value, f"{prefix}.{key}")

    module = importlib.import_module(f"jaxad.configs.{config}")
    return set(below(module.get_config().to_dict(), "--config"))


PROGRAMS = {"train.py": "jaxad train", "evaluate.py": "jaxad evaluate"}


@each_page
def test_commands_exist_and_know_their_flags(page):
    for command in commands(page.read_text()):
        program = PROGRAMS.get(command.program, command.program)
        if program.startswith("jaxad"):
            assert program.split()[1] in VERBS, command
        else:
            assert (ROOT / program).is_file(), command
        flags = {flag for flag in command.flags if not flag.startswith("--config.")}
        if flags:
            assert flags <= flags_of(program), (command, flags - flags_of(program))
        if command.config:
            settings = {flag for flag in command.flags if flag.startswith("--config.")}
            assert command.config in CONFIGS, command
            assert settings <= settings_of(command.config), command


@each_page
def test_settings_in_the_text_exist(page):
    known = set().union(*map(settings_of, CONFIGS))
    found = set(re.findall(r"--config\.[a-z][\w.]*\w", page.read_text()))
    assert found <= known, found - known


@each_page
def test_named_parts_of_the_package_exist(page):
    for span in spans(page.read_text()):
        name = re.fullmatch(r"(jaxad(?:\.\w+)+)(?:\(.*\))?", span)
        if not name:
            continue
        parts, found = name[1].split(".")[1:], jaxad
        for part in parts:
            with contextlib.suppress(ModuleNotFoundError):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part, None)
            assert found is not None, span


def rows_of_errors() -> list[list[str]]:
    lines = (ROOT / "docs" / "errors.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return [row for row in rows if row[0] not in ("text", "---")]


@functools.cache
def sources() -> str:
    return messages()


@pytest.mark.parametrize("row", rows_of_errors(), ids=lambda row: row[0][1:50])
def test_quoted_messages_are_those_of_the_source(row):
    text, cause, mend = row
    assert cause and mend
    message = re.fullmatch(r"`(.+)`", text)
    assert message, "one message in backticks"
    assert quoted(message[1]).search(sources()), "no such text in the source any more"


def test_quoting_finds_what_is_not_there():
    assert not quoted("<path>: no such fyle; give data.source a file").search(sources())
    assert not quoted("data.units: expected GeV").search(sources())
