"""The notebooks of the gallery run, at a size that takes seconds, and are what a page needs."""

import re
import runpy

import matplotlib as mpl
import pytest
from documents import ROOT, anchors, links

mpl.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

GALLERY = ROOT / "examples" / "gallery"
NOTEBOOKS = sorted(GALLERY.glob("*.py"))


QUICK = ("table",)
"""Those that train no network."""


def each_notebook(test):
    return pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)(test)


def cells(path):
    """(kind, text) of the cells, the comment signs of text taken off."""
    parts = re.split(r"^# %%(.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert not parts[0], "the first line begins a cell"
    for head, body in zip(parts[1::2], parts[2::2], strict=True):
        if "[markdown]" in head:
            assert all(line.startswith("#") for line in body.rstrip().splitlines()), body
            yield "text", re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip()
        else:
            yield "code", body.strip()


@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path.stem in QUICK else pytest.mark.long)
        for path in NOTEBOOKS
    ],
    ids=lambda path: path.stem,
)
def test_notebooks_run_and_label_their_axes(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAXAD_GALLERY", "smoke")
    monkeypatch.setenv("JAXAD_CACHE", str(tmp_path / "cache"))
    runpy.run_path(str(path))
    figures = [plt.figure(number) for number in plt.get_fignums()]
    plt.close("all")
    assert figures and capsys.readouterr().out.rstrip()
    for figure in figures:
        drawn = [axes for axes in figure.axes if axes.has_data()]
        assert drawn and all(axes.get_xlabel() or axes.get_ylabel() for axes in drawn)


@each_notebook
def test_notebooks_lead_from_data_to_a_note(path):
    found = list(cells(path))
    headings = [re.findall(r"^#+ .+", text, re.MULTILINE) for kind, text in found if kind == "text"]
    titles = [heading for part in headings for heading in part]
    assert titles[0].startswith("# ") and all(title.startswith("## ") for title in titles[1:])
    assert "## The data" in titles and titles[-1] == "## What a note would say"
    assert found[0][0] == "text" and found[1][1].startswith("import ")
    assert path.stat().st_size < 20_000


@each_notebook
def test_links_of_notebooks_lead_somewhere(path):
    for kind, text in cells(path):
        for target, anchor in links(text) if kind == "text" else []:
            page = (path.parent / target).resolve()
            assert page.is_file(), target
            assert not anchor or anchor in anchors(page.read_text(encoding="utf-8")), anchor


def test_the_gallery_lists_every_notebook_by_its_title():
    text = (GALLERY / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^- \[(.+)\]\((\w+\.py)\)", text, re.MULTILINE))
    titles = {next(cells(path))[1].splitlines()[0].removeprefix("# "): path for path in NOTEBOOKS}
    assert {title: path.name for title, path in titles.items()} == listed
