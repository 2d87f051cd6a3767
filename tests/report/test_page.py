"""The page of a run or a search: its structure, and in a browser what clicks and keys do."""

import base64
import hashlib
import re

import pytest
from browser import PROGRAM, browser
from matplotlib.figure import Figure
from pages import Page

from jaxad.report.comparison_page import comparison_page, differences
from jaxad.report.html import facts_html, figure_png, page, table_html

BAD = "<script>alert(1)</script>\"'&"
ROWS = [
    ["top", "mse", "0.9123 ± 0.0031", "1,387 ± 86"],
    ["", "(mass)", "-", ".052"],
    [],
    ["W", "mse", "<0.95", "1e-3"],
    ["", BAD, "~0.2 ± 0.1", "-"],
]
HEADER = ["signal", "score", "AUC", "n"]


def png(width=2.0, height=1.5):
    figure = Figure(figsize=(width, height))
    figure.add_subplot().plot([0, 1])
    return figure_png(figure)


@pytest.fixture(scope="module")
def text():
    return page(
        title=BAD,
        sections={"Results": table_html(HEADER, ROWS), BAD: facts_html({BAD: BAD})},
        images={"roc": png(), "wide": png(4.0), BAD: png()},
        config={BAD: BAD},
        provenance={BAD: BAD},
        notes=[BAD],
    )


def test_structure_is_sound_and_leads_nowhere(text):
    found = Page(text)
    assert not found.problems
    assert [len({len(row) for row in table}) for table in found.tables] == [1, 1, 1]
    scrolling = [path[-1] for tag, _, path in found.elements if tag == "table"]
    assert scrolling == ["div"] * 3 and text.count('class="scroll"') == 3
    assert [a["class"] for a in found.all("table")] == ["sortable", "facts", "facts"]
    assert all(a["scope"] in ("col", "row") for a in found.all("th"))
    assert all(a["alt"] and int(a["width"]) > int(a["height"]) for a in found.all("img"))
    assert [a.get("class") for a in found.all("figure")] == [None, "wide", None]
    assert len(found.all("h1")) == len(found.all("main")) == len(found.all("nav")) == 1
    assert not re.search(r"https?:|url\(|@import", text)


def test_all_text_is_escaped_and_no_other_script_may_run(text):
    assert len(Page(text).all("script")) == text.count("<script>") == 1
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 10
    parts = {t: re.search(rf"<{t}>(.*?)</{t}>", text, re.DOTALL)[1] for t in ("style", "script")}
    policy = next(a["content"] for a in Page(text).all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for kind, content in parts.items():
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_a_row_without_a_name_repeats_that_of_the_row_above():
    (table,) = Page(table_html(HEADER, ROWS)).tables
    assert [row[0] for row in table] == ["signal", "top", "top", "W", "W"]
    assert table_html(HEADER, ROWS).count('class="again"') == 2


def test_only_settings_that_differ_are_compared():
    settings = {"a": {"seed": 0, "width": 4, "lr": 0.1}, "b": {"seed": 0, "width": 8}}
    assert differences(settings) == [["lr", "0.1", "unset"], ["width", "4", "8"]]
    same = comparison_page(tables={}, images={}, settings={"a": {"x": 1}, "b": {"x": 1}})
    assert "none of the settings" in same and not Page(same).problems
    assert same.count('class="side"') == 1


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    if not PROGRAM:
        pytest.skip("chromium is not installed")
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def shown(tab, text, tmp_path):
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    tab.show(tmp_path / "report.html", 1366)
    return tab


def column(tab, number):
    return tab.value(
        f"[...document.querySelectorAll('table')[0].tBodies[0].rows]"
        f".map(row => row.cells[{number}].textContent)"
    )


@pytest.mark.long
def test_headers_sort_by_keys_and_clicks(shown):
    header = "document.querySelectorAll('thead th')[2]"
    given = column(shown, 2)
    shown.value(f"{header}.firstChild.focus()")
    orders = []
    for _ in range(3):
        shown.press("Enter")
        orders.append((column(shown, 2), shown.value(f"{header}.getAttribute('aria-sort')")))
    down = ["<0.95", "0.9123 ± 0.0031", "~0.2 ± 0.1", "-"]
    assert orders[0] == (down, "descending")
    assert orders[1] == ([*down[2::-1], "-"], "ascending")
    assert orders[2] == (given, None)
    shown.value("document.querySelectorAll('thead th')[3].firstChild.click()")
    assert column(shown, 3) == ["1,387 ± 86", ".052", "1e-3", "-"]
    assert column(shown, 0) == ["top", "top", "W", "W"]
    shown.value("document.querySelectorAll('thead th')[0].firstChild.click()")
    assert column(shown, 0) == ["top", "top", "W", "W"]  # words from A, capitals as others


@pytest.mark.long
def test_figures_enlarge_and_escape_closes(shown):
    opened = "document.querySelector('dialog').open"
    button = "document.querySelectorAll('button.enlarge')[1]"
    shown.value(f"{button}.focus()")
    assert not shown.value(opened)
    shown.press("Enter")
    assert shown.value(opened)
    assert shown.value("document.querySelector('dialog img').naturalWidth") == 4 * 144
    assert shown.value("document.querySelector('dialog p').textContent").startswith("wide")
    shown.press("Escape")
    assert not shown.value(opened)
    assert shown.value(f"document.activeElement === {button}")
    shown.value(f"{button}.click()")
    shown.press("Enter")  # the focus lies on "Close"
    assert not shown.value(opened)


@pytest.mark.long
@pytest.mark.parametrize("width", [390, 1366])
def test_the_page_never_scrolls_sideways(tab, tmp_path, width):
    many = [str(i) * 9 for i in range(30)]
    contents = {"Results": table_html(many, [many]), "long": facts_html({"x" * 300: "y" * 300})}
    text = page(title="t" * 200, sections=contents, images={"w": png(20, 3)}, config={"k" * 300: 1})
    (tmp_path / "wide.html").write_text(text, encoding="utf-8")
    tab.show(tmp_path / "wide.html", width)
    page_of = "document.documentElement"
    fits = f"{page_of}.scrollWidth === {page_of}.clientWidth"
    assert tab.value("innerWidth") == width and tab.value(fits)
    scrolls = "[...document.querySelectorAll('.scroll')].map(e => e.scrollWidth > e.clientWidth)"
    assert tab.value(scrolls)[0]
    tab.value("document.querySelector('button.enlarge').click()")
    assert tab.value(fits)


@pytest.mark.long
def test_print_shows_no_buttons_and_keeps_figures_whole(shown):
    shown("Emulation.setEmulatedMedia", media="print")
    style = "getComputedStyle(document.querySelector('{}'){}).{}"
    assert shown.value(style.format("nav", "", "display")) == "none"
    assert shown.value(style.format("thead button", ", '::after'", "display")) == "none"
    assert shown.value(style.format("section:has(details)", "", "display")) == "none"
    assert shown.value(style.format("figure", "", "breakInside")) == "avoid"
    shown("Emulation.setEmulatedMedia", media="")
    printed = shown("Page.printToPDF", preferCSSPageSize=True)["data"]
    assert len(re.findall(rb"/Type\s*/Page\b", base64.b64decode(printed))) <= 2
