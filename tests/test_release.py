"""What is released says the same everywhere: versions, dependencies, extras, files."""

import re
import tomllib

import pytest
from documents import ROOT

from jaxad import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA = {"blosc2": "python-blosc2", "matplotlib": "matplotlib-base"}
"""Names that differ there."""


def specs(requirements) -> dict[str, set[str]]:
    """Name -> its bounds, of lines like "jax>=0.10,<0.13" or "jax >=0.10,<0.13"."""
    found = [re.fullmatch(r"([\w-]+) ?(.*)", line).groups() for line in requirements]
    return {name: set(filter(None, bounds.split(","))) for name, bounds in found}


def test_the_version_is_one():
    assert PROJECT["dynamic"] == ["version"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.+)$", citation, re.M)[1] == __version__
    (date,) = re.findall(r"^date-released: (.+)$", citation, re.M)
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {__version__} ({date})" in changes


def test_the_conda_recipe_asks_for_what_pip_asks_for():
    yaml = pytest.importorskip("yaml")
    recipe = yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))
    assert recipe["context"]["version"] == __version__
    of_pip = specs(re.findall(r'"([^"]+)"', recipe["build"]["script"][1]))
    assert set(of_pip) == {"distrax", "tfp-nightly"}
    run = specs(recipe["requirements"]["run"])
    assert run.pop("python") == {PROJECT["requires-python"]}
    theirs = {"chex", "cloudpickle", "decorator", "dm-tree", "gast", "six"}
    expected = {CONDA.get(name, name): s for name, s in specs(PROJECT["dependencies"]).items()}
    assert {name: s for name, s in run.items() if name not in theirs} | of_pip == expected
    assert theirs <= set(run)
    (entry,) = recipe["build"]["python"]["entry_points"]
    assert entry.replace(" ", "").split("=") == ["jaxad", PROJECT["scripts"]["jaxad"]]


def test_extras_are_those_that_make_tries():
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    tried = re.search(r"^EXTRAS := (.+)$", make, re.M)[1].split()
    assert {*tried, "bench"} == set(PROJECT["optional-dependencies"])


def test_the_container_copies_and_installs_what_there_is():
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    assert re.search(r"^FROM docker.io/library/python:3.1\d-slim$", text, re.M)
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for name in line.split()]
    let_in = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.M)
    assert copied == let_in and all((ROOT / name).exists() for name in copied)
    extras = re.search(r'"\.\[(.+)\]"', text)[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])


def test_the_citation_has_what_its_schema_requires():
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["authors"] == [{"name": "The jaxad developers"}]
    assert citation["license"] == PROJECT["license"]
    assert {"message", "title"} <= set(citation)
    for reference in citation["references"]:
        assert {"type", "title", "authors"} <= set(reference)
