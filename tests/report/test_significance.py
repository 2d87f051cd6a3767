"""Figures and page of a search: units, what stands in legends, what a blinded one leaves out."""

import json
import re

import numpy as np
import pytest
from matplotlib.figure import Figure
from searches import made_up

from jaxad import report
from jaxad.report import products, summary
from jaxad.report.calibration import MANY, expected_text, number_text
from jaxad.report.html import figure_png
from jaxad.report.search_page import search_report
from jaxad.report.significance import p_value_figure, power_figure
from jaxad.report.spectra import doubt, spectra_figure
from jaxad.search import results


def drawn(found):
    return report.search_results(found)


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.fixture(scope="module")
def seen():
    found, _ = made_up()
    return found, drawn(found)


def test_masses_are_in_the_users_unit(seen):
    for unit, low in (("TeV", 3.3), ("GeV", 3300)):
        found, figures = seen if unit == "TeV" else ((f := made_up(unit=unit)[0]), drawn(f))
        names = ["p_values", "closure", "template_auc", "spectra_3300-3700", "sculpting_3300-3700"]
        for name in names:
            assert figures[name].axes[-1].get_xlabel() == f"mjj [{unit}]", name
        span = figures["p_values"].axes[0].patches[0]
        assert span.get_x() == pytest.approx(low)
        assert found["windows"][0]["low"] == 3300


def test_coverage_says_mean_and_width_of_the_pulls(seen):
    found, figures = seen
    for axes, (cut, one) in zip(
        figures["coverage"].axes, found["windows"][0]["cuts"].items(), strict=True
    ):
        assert axes.get_title(loc="left") == f"background efficiency {cut}"
        assert axes.get_xscale() == axes.get_yscale() == "log"
        assert f"width {one['coverage']['width']:.2f} ±" in legend(axes)[0]
        x, y = axes.lines[0].get_data()
        shown = np.array(one["coverage"]["empirical"])
        np.testing.assert_array_equal(x, one["coverage"]["nominal"])
        np.testing.assert_array_equal(y[shown > 0], shown[shown > 0])


def test_closure_shows_the_mean_and_what_is_refused():
    found, _ = made_up()
    found["windows"][0]["cuts"]["0.1"]["closure"]["refused"] = "the template is off"
    first, second, _ = drawn(found)["closure"].axes
    one = found["windows"][0]["cuts"]["0.1"]["closure"]
    assert f"mean {one['mean']:+.2f} ± {one['sigma']:.2f}" in legend(first)[0]
    assert "no claim" in legend(first)[0] and "no claim" not in legend(second)[0]


def test_bounds_are_arrows_and_extrapolations_open():
    found, _ = made_up(n_toys=400)
    one = found["windows"][0]["cuts"]["0.01"]
    assert one["p_local"]["is_bound"]
    one["extrapolated"] = {"z": 3.4, "error": 0.16, "fit_error": 0.12, "p": 3.4e-4}
    (axes,) = p_value_figure(found).axes
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    open_marks = [line for line in marks if line.get_markerfacecolor() == "white"]
    assert [line.get_marker() for line in open_marks] == ["D"]
    assert open_marks[0].get_ydata()[0] == pytest.approx(3.37e-4, rel=1e-2)
    assert sum(line.get_marker() == "v" for line in marks) == 2
    assert any(re.fullmatch(r"global p < .* \(>\d\.\dσ\)", text) for text in legend(axes))
    assert summary.sigma_text(one) == "~3.4 ± 0.20"
    assert re.search(r"<0.0\d+ \[.*\], >\d\.\d sigma", summary.global_text(found))
    assert ">" in results.terminal(found).split("global p")[1].splitlines()[0]
    assert axes.get_ylim()[0] < 1.6e-4


def test_power_is_drawn_as_far_as_toys_reach():
    found, _ = made_up(n_toys=400)
    left, right = power_figure(found, found["windows"][0]).axes
    assert "reach of 400 toys" in legend(left) and "80%" in left.get_xlabel()
    assert legend(right)[-1] == "3σ: out of reach of 400 toys"
    found["n_toys"] = 40
    right = power_figure(found, found["windows"][0]).axes[1]
    assert right.texts[0].get_text() == "2 and 3σ: out of reach of 40 toys"
    assert not right.axison


def test_many_windows_share_a_colour_and_a_line_of_the_legend():
    found, _ = made_up(n_windows=MANY + 1, n_toys=30, flaw=1.5)
    figures = drawn(found)
    for name in ("coverage", "closure"):
        assert sum("windows" in text for text in legend(figures[name].axes[0])) == 1
    assert "without a claim" in legend(figures["closure"].axes[0])[0]
    assert len(summary.summary_text(found).splitlines()) <= summary.MAX_LINES
    assert summary.summary_text(found).endswith("more: search.json")
    assert "(10 of 15: of the smallest p" in summary.summary_text(found)
    page = search_report(found, {}, {})
    bound = found["global"]["gross_vitells"]["0.01"]["p_global"]
    assert f">Gross and Vitells, cut 0.01</th><td>p ≤ {bound:.2g}," in page
    named = [text for text in found["cannot_claim"] if "no claim" in text]
    assert named and all(re.match(r"[34]\.\d-[34]\.\d TeV, cut 0", text) for text in named)


def test_the_page_in_small_says_what_cannot_be_claimed(seen):
    found, _ = seen
    text = summary.summary_text(found)
    cut = found["windows"][0]["cuts"]["0.01"]
    row = next(
        line for line in text.splitlines() if line.startswith("3.3-3.7") and " 0.01 " in line
    )
    assert row.split()[2:6] == ["41", *expected_text(cut).split()]
    assert "400 a window" in text and "2,025 in 12.6 min" in text
    assert "400 pseudo-experiments reach p = 0.0025" in text
    assert found["settings_hash"][:16] in text


def test_a_blinded_search_draws_what_there_is_and_says_so():
    found, _ = made_up(shown=False)
    figures = drawn(found)
    assert set(figures) == {
        *("search_summary", "coverage", "closure", "template_auc", "power_3300-3700")
    }
    words = {text.get_text() for axes in figures["search_summary"].axes for text in axes.texts}
    assert {"local p: blinded", "mass spectra after cuts: blinded"} < words
    assert "BLINDED" in figures["search_summary"].get_suptitle()
    assert " blind " in summary.summary_text(found)
    page = search_report(found, {}, {})
    assert "blinded" in page and "Cross-checks" not in page


def test_without_toys_and_closure_the_panels_say_so():
    found, _ = made_up(closure=0, n_toys=0)
    figures = drawn(found)
    assert set(figures) == {"search_summary", "spectra_3300-3700", "sculpting_3300-3700"}
    words = {text.get_text() for axes in figures["search_summary"].axes for text in axes.texts}
    assert {"no pseudo-experiments", "no closure test"} < words
    assert "none without pseudo-experiments" in summary.summary_text(found)


def test_the_report_holds_every_number_and_names_no_address(seen):
    found, _ = seen
    found = found | {"features": ["<b>"]}
    found["windows"][0]["conformal"] = {"0.01": {"n": 17, "b": 19.5, "z_nominal": -0.5}}
    page = search_report(found, {"coverage": figure_png(Figure())}, {"search": {"blind": True}})
    assert "<b>" not in page and "&lt;b&gt;" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert page.count("data:image/png") == 1
    rows = re.findall(r"<tr.*?</tr>", page)
    assert any("<td>0.01</td>" in row and "<td>41</td>" in row for row in rows)
    assert any("<td>17</td>" in row and "<td>19.5</td>" in row for row in rows)
    assert "cannot claim: 400 pseudo-experiments" in page


def test_numbers_are_written_to_the_digit_of_their_error():
    errors = {"template": 0.03, "fit": 0.0, "closure": 0.04}
    for b, text in ((1392.146, "1392 ± 70"), (16.577, "16.58 ± 0.83"), (0.6, "0.600 ± 0.030")):
        assert expected_text({"b": b, "relative_errors": errors}) == text
    assert expected_text({"b": 6e-5, "relative_errors": errors}) == "6e-05 ± 3e-06"
    shown = [number_text(n) for n in (13190, 99.94, 0.0005, 3.67e-23, -250.4, 4e7)]
    assert shown == ["13190", "99.9", "0.0005", "3.67e-23", "-250", "4e+07"]


def test_a_sculpted_spectrum_has_no_fit_to_report():
    found, counts = made_up()
    (window,) = found["windows"]
    assert doubt(window, "0.1") == "" and doubt(window, "0.001") == "no fit"
    window["spectra"]["1"]["fit_p_value"] = 0.01
    window["sculpting"]["cuts"]["0.1"]["p_value"] = 0.01
    window["spectra"]["0.1"]["bumphunter"] = {"p_global": 5e-4, "exceedances": 0}
    window["spectra"]["0.01"]["bumphunter"] = {"p_global": 5e-4, "exceedances": 0}
    fits = {row[1]: (row[6], row[-1]) for row in summary.checks(found)}
    assert fits["none"] == ("poor fit", "-") and fits["0.1"] == ("sculpted", "-")
    assert fits["0.01"][1] == "<0.0005" and float(fits["0.01"][0]) > 0
    assert "cut 0.1: sculpted, template" in " ".join(legend(spectra_figure(found, window).axes[0]))
    table = json.loads(products.files(found, counts)["hepdata/spectra_3300-3700.yaml"])
    names = [column["header"]["name"] for column in table["dependent_variables"]]
    assert names.count("events") == 3 and names.count("fit of the sidebands") == 1


def test_sums_of_weights_are_called_so():
    found, _ = made_up()
    says = "all numbers are sums of weights: one event of the likelihood is 0.001"
    texts = (results.terminal, lambda f: search_report(f, {}, {}), summary.summary_text)
    assert not any(says in " ".join(text(found).split()) for text in texts)
    for one in found["windows"][0]["cuts"].values():
        one |= {"event_weight": 1e-3, "n": one["n"] * 1e-3, "b": one["b"] * 1.23456e-5}
    assert all(says in " ".join(text(found).split()) for text in texts)
    row = results.terminal(found).splitlines()[3]
    assert re.match(r" +0\.001 +\S+ ± \S+ +0\.013 ", row)
