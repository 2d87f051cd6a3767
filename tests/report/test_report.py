"""What figures, tables and the page contain: single members, ensembles, gaps, many signals."""

import re

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import LogNorm, to_hex
from matplotlib.figure import Figure

from jaxad import metrics, report
from jaxad.metrics.sculpting import mass_sculpting
from jaxad.report import distributions
from jaxad.report.comparison import pareto_front
from jaxad.report.html import figure_png
from jaxad.report.style import BACKGROUND, SIGNALS
from jaxad.storage import on_disk

RNG = np.random.default_rng(0)
START = RNG.bit_generator.state
N = 2000


@pytest.fixture(autouse=True)
def same_numbers_in_any_order():
    RNG.bit_generator.state = START


def scores(shift=0.0, n=N, n_members=None):
    return RNG.normal(shift, size=n if n_members is None else (n_members, n))


def labels(axes):
    return axes.get_legend_handles_labels()[1]


def line(axes, start):
    return next(found for found in axes.lines if str(found.get_label()).startswith(start))


def test_colours_keep_grey_for_the_background_and_do_not_depend_on_the_rest():
    colors = report.class_colors(["QCD", "top", "W"])
    assert colors == {"QCD": BACKGROUND, "top": SIGNALS[0], "W": SIGNALS[1]}
    assert report.class_colors(["QCD", "top"])["top"] == colors["top"]
    assert len(set(report.class_colors([str(i) for i in range(9)]).values())) == 9


def test_drawing_leaves_the_global_style_alone():
    before = dict(mpl.rcParams)
    figure_png(report.roc_figure({"a": (scores(), scores(1))}))
    assert dict(mpl.rcParams) == before


# ROC and SIC


def test_roc_figure_of_one_member():
    background, signal = scores(), scores(1)
    figure = report.roc_figure({"top": (background, signal)}, colors={"top": "#123456"}, title="T")
    (axes,) = figure.axes
    assert axes.get_xscale() == "log" and axes.get_title(loc="left") == "T"
    assert "false positive" in axes.get_xlabel() and "true positive" in axes.get_ylabel()
    drawn = line(axes, "top")
    assert to_hex(drawn.get_color()) == "#123456"
    fpr, tpr = drawn.get_data()
    assert fpr[0] == pytest.approx(10 / N) and fpr[-1] == tpr[-1] == 1
    np.testing.assert_allclose(tpr, metrics.roc_band(background, signal, fpr)[0])
    value, error = metrics.auc_with_error(background, signal)
    assert labels(axes)[:2] == [f"top, AUC {report.value_text(value, error)}", "random"]
    assert not [c for c in axes.collections if len(c.get_paths())]  # no band for one member
    chance = line(axes, "random").get_data()
    np.testing.assert_array_equal(*chance)
    assert axes.get_xlim() == (1e-3, 1)


def test_roc_figure_of_ensembles_baselines_and_log_scale():
    curves = {
        "mse": (scores(n_members=4), scores(1, n_members=4)),
        "mass": (scores(), scores(0.3)),
    }
    (axes,) = report.roc_figure(curves, dashed=["mass"], tpr_scale="log").axes
    assert len(axes.collections) == 1  # the band of mse
    assert line(axes, "mass").get_linestyle() != line(axes, "mse").get_linestyle() == "-"
    assert axes.get_yscale() == "log"
    median, low, high = metrics.band(
        [metrics.auc(*pair) for pair in zip(*curves["mse"], strict=True)]
    )
    expected = f"mse, AUC {median:.3f} (+{high - median:.3f} −{median - low:.3f})"
    assert expected in labels(axes)


def test_many_curves_put_the_legend_beside_the_axes_and_stay_apart():
    curves = {f"signal {i}": (scores(), scores(i / 10, 50)) for i in range(20)}
    figure = report.roc_figure(curves)
    (axes,) = figure.axes
    figure.draw_without_rendering()
    legend = axes.get_legend().get_window_extent()
    assert legend.x0 > axes.get_window_extent().x1
    assert legend.y0 > 0 and legend.x1 < figure.bbox.x1
    looks = {(found.get_color(), str(found._dash_pattern)) for found in axes.lines[:20]}
    assert len(looks) == 20


def test_sic_figure_starts_at_the_statistics_cut():
    background, signal = scores(n=10_000), scores(2, 1000)
    (axes,) = report.sic_figure({"flow": (background, signal)}).axes
    fpr, sic = line(axes, "flow").get_data()
    cut = metrics.min_sic_fpr(10_000)
    assert fpr[0] == pytest.approx(cut) == pytest.approx(25e-4)
    assert line(axes, "FPR error 20").get_xdata()[0] == pytest.approx(cut)
    np.testing.assert_allclose(sic, metrics.roc_band(background, signal, fpr)[0] / np.sqrt(fpr))
    chance = line(axes, "random")
    np.testing.assert_allclose(chance.get_ydata(), np.sqrt(chance.get_xdata()))
    best = metrics.max_sic(background, signal)
    text = report.value_text(best["max_sic"], best["max_sic_err"])
    assert labels(axes)[0] == f"flow, max {text}"
    assert axes.get_ylim()[1] > sic.max()


def test_sic_figure_without_enough_background_says_so():
    (axes,) = report.sic_figure({"few": (scores(n=20), scores(2, 100))}).axes
    assert labels(axes)[0] == "few, max -, too few events"
    assert np.isnan(line(axes, "few").get_ydata()).all()


# Distributions


def test_score_figure_is_normalised_with_the_background_filled():
    background, signal = scores(), scores(2, 500)
    figure = report.score_figure(
        background, {"top": signal}, score="ln mse", background_name="QCD", colors={"top": "k"}
    )
    (axes,) = figure.axes
    assert axes.get_yscale() == "log" and axes.get_xlabel() == "ln mse"
    assert labels(axes) == ["QCD", "top"]
    filled, _, errors, drawn = (patch.get_data() for patch in axes.patches)
    assert axes.patches[0].get_fill() and not axes.patches[3].get_fill()
    counts = np.histogram(background, filled.edges)[0]
    np.testing.assert_allclose(filled.values, counts / N)
    np.testing.assert_allclose(errors.values - errors.baseline, 2 * np.sqrt(counts) / N)
    assert np.nansum(drawn.values) == pytest.approx(1, abs=0.01)
    assert axes.patches[3].get_edgecolor() == (0, 0, 0, 1)
    assert len(axes.containers) == 1  # error bars of the signal


def test_score_figure_averages_members_and_takes_a_log_axis_for_long_tails():
    background = np.exp(3 * scores(n_members=5))
    figure = report.score_figure(background, {"top": np.exp(3 * scores(1, 300, 5))})
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    values, edges, _ = axes.patches[0].get_data()
    assert values.sum() == pytest.approx(1, abs=0.01)
    member = np.mean([np.histogram(row, edges)[0] / N for row in background], 0)
    np.testing.assert_allclose(values, member)


@pytest.mark.parametrize(
    "signal",
    [np.r_[scores(1, 100), np.inf, np.nan], np.zeros(5), np.full(3, np.nan)],
    ids=["infinite", "constant", "empty"],
)
def test_score_figure_bears_odd_scores(signal):
    for background in (scores(), np.zeros(10)):
        figure = report.score_figure(background, {"odd": signal})
        assert np.isfinite(figure.axes[0].get_xlim()).all()
        figure.draw_without_rendering()


def test_score_figure_with_many_signals_drops_their_error_bars():
    (axes,) = report.score_figure(scores(), {str(i): scores(i / 5) for i in range(9)}).axes
    assert len(labels(axes)) == 10 and not axes.containers


def test_errors_of_features_are_the_means_of_each_class():
    errors = {"QCD": RNG.gamma(1, 1, (300, 4)), "top": RNG.gamma(1, [1, 2, 3, 4], (200, 4))}
    (axes,) = report.feature_error_figure(errors).axes
    drawn = {patch.get_label(): patch.get_data().values for patch in axes.patches}
    assert list(drawn) == list(errors)
    for name, values in errors.items():
        np.testing.assert_allclose(drawn[name], values.mean(axis=0))
    (axes,) = report.feature_error_figure(errors, names=["m", "pt", "n", "tau"]).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["m", "pt", "n", "tau"]


def test_latent_figure_has_a_panel_a_space_and_contours_a_class():
    space = {"QCD": RNG.normal(size=(N, 2)), "top": RNG.normal(3, size=(N, 2))}
    space["top"][:5] = np.nan
    figure = report.latent_figure({"autoencoder": space, "PCA": {"QCD": space["QCD"]}})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["autoencoder", "PCA"]
    assert len(figure.axes[0].collections) == 4 and len(figure.axes[1].collections) == 2
    assert figure.axes[0].get_xlabel() == "component 1"
    assert labels(figure.axes[0]) == ["QCD", "top"]
    points = figure.axes[0].collections[0].get_offsets()
    assert 1000 <= len(points) <= N
    low, high = figure.axes[0].get_xlim()
    assert low < -2 and high > 5


def test_latent_contours_hold_their_share_of_events():
    figure = report.latent_figure({"a": {"QCD": RNG.normal(size=(50_000, 2))}})
    contours = figure.axes[0].collections[1]
    radii = sorted(np.hypot(*p.vertices.T).mean() for p in contours.get_paths())
    np.testing.assert_allclose(radii, np.sqrt(-2 * np.log([0.32, 0.05])), rtol=0.06)


def test_sculpting_figure_shows_spectra_ratio_and_divergence():
    mass = RNG.exponential(50, 20_000)
    result = mass_sculpting(mass, mass + RNG.normal(0, 20, 20_000))
    axes, ratio = report.sculpting_figure(result, observable="jet mass").axes
    assert ratio.get_xlabel() == "jet mass [GeV]" and "GeV" in axes.get_ylabel()
    assert len(axes.patches) == 4 and len(ratio.containers) == 3
    assert ratio.get_yscale() == "log"
    assert f"50 %: JSD {result['cuts']['0.5']['jsd']:.2g} bit" in " ".join(labels(axes))
    assert [text.split(" %")[0] for text in labels(axes)[1:]] == ["50", "10", "1"]
    for patch in axes.patches:
        assert np.nansum(patch.get_data().values) == pytest.approx(1)
    flat = report.sculpting_figure(mass_sculpting(mass, RNG.normal(size=20_000))).axes[1]
    assert flat.get_yscale() == "linear" and flat.get_ylim()[0] == 0


def test_sculpting_figure_of_a_constant_score_gives_the_reason():
    axes = report.sculpting_figure(mass_sculpting(scores(), np.zeros(N))).axes[0]
    assert sum("no cut leaves" in text for text in labels(axes)) == 3


def test_profile_figure_follows_the_median():
    mass = RNG.uniform(0, 100, N)
    figure = report.profile_figure(
        {"QCD": mass, "top": mass[:30]},
        {"QCD": 2 * mass, "top": np.full(30, 7.0)},
        observable="jet mass",
        score="mse",
    )
    (axes,) = figure.axes
    assert axes.get_xlabel() == "jet mass [GeV]" and axes.get_ylabel() == "mse"
    x, y = line(axes, "QCD").get_data()
    np.testing.assert_allclose(y, 2 * np.asarray(x))
    assert labels(axes) == ["QCD (Spearman +1.00)", "top"]


def test_columns_on_disk_with_infinite_values_stay_there(tmp_path):
    score, mass = scores(n=50), np.arange(50.0)
    score[[3, 7]], mass[7:9] = np.inf, np.nan
    found = distributions._both_finite(*(on_disk.joined([v], tmp_path) for v in (score, mass)))
    kept = np.isfinite(score) & np.isfinite(mass)
    for one, values in zip(found, (score, mass), strict=True):
        assert isinstance(one, np.memmap)
        np.testing.assert_array_equal(one, values[kept])


# Images


def test_average_images_share_one_logarithmic_scale():
    images = {"QCD": RNG.exponential(size=(50, 8, 6)), "top": RNG.exponential(size=(50, 8, 6, 1))}
    images["QCD"][:, 0] = 0
    figure = report.average_image_figure(
        images, extent=(-1, 1, -2, 2), labels=("Δη", "Δφ"), unit="GeV"
    )
    drawn = [axes.images[0] for axes in figure.axes[:2]]
    np.testing.assert_allclose(drawn[0].get_array(), images["QCD"].mean(0))
    np.testing.assert_allclose(drawn[1].get_array(), images["top"].mean(0)[..., 0])
    assert drawn[0].norm is drawn[1].norm and isinstance(drawn[0].norm, LogNorm)
    assert list(drawn[0].get_extent()) == [-1, 1, -2, 2] and drawn[0].origin == "lower"
    assert drawn[0].norm.vmax == pytest.approx(max(d.get_array().max() for d in drawn))
    assert figure.axes[0].get_xlabel() == "Δη" and figure.axes[0].get_ylabel() == "Δφ"
    assert figure.axes[-1].get_ylabel() == "average pixel [GeV]"
    assert to_hex(drawn[0].cmap(drawn[0].norm(0.0))) == "#ffffff"


def test_average_images_of_many_classes_and_of_empty_ones():
    images = {str(i): np.zeros((3, 4, 4)) for i in range(6)}
    figure = report.average_image_figure(images)
    assert sum(bool(axes.images) for axes in figure.axes) == 6
    figure.draw_without_rendering()
    assert report.average_image_figure({"mean": np.ones((4, 4))}).axes[0].images


def test_reconstructions_stand_below_their_inputs_with_the_score():
    inputs = {"QCD": RNG.exponential(size=(6, 5, 5)), "top": RNG.exponential(size=(2, 5, 5, 1))}
    outputs = {name: np.asarray(images) / 2 for name, images in inputs.items()}
    values = {"QCD": np.arange(6.0), "top": np.array([0.5, 0.25])}
    figure = report.reconstruction_figure(inputs, outputs, values, score="mse", n_events=3)
    grid = np.array([axes for axes in figure.axes if axes.get_label() != "<colorbar>"])
    grid = grid.reshape(4, 3)
    assert [sum(axes.get_visible() for axes in row) for row in grid] == [3, 3, 2, 2]
    np.testing.assert_allclose(grid[0, 1].images[0].get_array(), inputs["QCD"][1])
    np.testing.assert_allclose(grid[3, 0].images[0].get_array(), outputs["top"][0, ..., 0])
    assert [axes.get_title() for axes in grid[0]] == ["mse = 0", "mse = 1", "mse = 2"]
    assert grid[2, 0].get_ylabel() == "top\ninput"
    assert grid[3, 0].get_ylabel() == "top\nreconstruction"
    assert len({id(axes.images[0].norm) for axes in grid.flat if axes.images}) == 1


def test_many_classes_stand_side_by_side():
    images = {str(i): np.full((2, 4, 4), i + 1.0) for i in range(7)}
    figure = report.reconstruction_figure(images, images, {name: np.ones(2) for name in images})
    grid = np.array([axes for axes in figure.axes if axes.get_label() != "<colorbar>"])
    grid = grid.reshape(8, 4)
    assert grid[6, 0].get_ylabel() == "3\ninput" and grid[0, 2].get_ylabel() == "4\ninput"
    np.testing.assert_allclose(grid[5, 3].images[0].get_array(), images["6"][1])
    assert not any(axes.get_visible() for axes in grid[6:, 2:].flat)
    figure.draw_without_rendering()


def test_binary_images_keep_a_scale_for_their_reconstruction():
    images = {"QCD": (RNG.uniform(size=(1, 9, 9)) > 0.8).astype(float)}
    figure = report.reconstruction_figure(images, images, {"QCD": np.ones(1)})
    norm = figure.axes[0].images[0].norm
    assert norm.vmax == 1 and norm.vmin <= 1e-2


# Training and comparison


def history(n=6, stage="ae", **more):
    return [
        {"stage": stage, "epoch": e, "train_loss": 1.0 / e, "val_loss": abs(e - 4) + 1.0, **more}
        for e in range(1, n + 1)
    ]


def test_training_figure_marks_the_best_epoch_and_leaves_gaps():
    records = history()
    records[1]["val_loss"] = None
    records[2]["train_loss"] = float("nan")
    (axes,) = report.training_figure(records).axes
    assert axes.get_xlabel() == "epoch" and axes.get_title(loc="left") == "ae"
    val = line(axes, "validation").get_ydata()
    assert np.isnan(val[1]) and np.isfinite(val[[0, 2, 3, 4, 5]]).all()
    assert np.isnan(line(axes, "training").get_ydata()[2])
    best = line(axes, "best epoch 4")
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (4, 1)


def test_training_figure_of_ensembles_and_stages_and_rates():
    records = history(learning_rate=1e-3)
    for i, record in enumerate(records):
        record["val_loss"] = [1.0 + i, 2.0 + i, 9.0 + i, None]
        record["learning_rate"] = [1e-3 / (1 + i)] * 4
    figure = report.training_figure(records + history(stage="hln"))
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_ylabel() for axes in visible] == ["loss", "loss", "learning rate"]
    np.testing.assert_allclose(line(visible[0], "validation").get_ydata(), 2.0 + np.arange(6))
    assert len(visible[0].collections) == 1 and not visible[1].collections
    many = report.training_figure([r for i in range(7) for r in history(stage=str(i))])
    assert sum(axes.get_visible() for axes in many.axes) == 7


@pytest.mark.parametrize("records", [[], history(1), [{"epoch": 1, "train_loss": None}]])
def test_training_figure_of_next_to_nothing(records):
    report.training_figure(records).draw_without_rendering()


def test_pareto_front_and_figure():
    assert pareto_front([3, 1, 2, 2], [0.9, 0.5, 0.4, 0.8]).tolist() == [1, 3, 0]
    points = {"ae": (1e-6, 0.9, 0.01), "slow": (1e-3, 0.8, None)}
    figure = report.pareto_figure({"top": points, "W": {"ae": points["ae"]}}, xlabel="time [µs]")
    axes, second = figure.axes
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "time [µs]"
    assert axes.get_title(loc="left") == "top" and len(second.containers) == 1
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["ae", "slow"]
    assert [c.lines[0].get_xdata()[0] for c in axes.containers] == pytest.approx([1, 1000])
    assert [c.lines[0].get_mfc() == "white" for c in axes.containers] == [False, True]


def test_auc_figure_has_a_row_a_run_and_a_marker_a_signal():
    values = {"run a": {"top": (0.9, 0.01), "W": (0.6, None)}, "run b": {"top": (None, None)}}
    (axes,) = report.auc_figure(values).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["run a", "run b"]
    assert labels(axes) == ["top", "W"] and axes.get_xlabel() == "AUC"
    assert axes.containers[0].lines[0].get_xdata().tolist() == [0.9]


# Tables and page


def tree(n_members=None, **options):
    return metrics.summarise_all(
        {"mse": scores(n_members=n_members)},
        {"top": {"mse": scores(1, 300, n_members)}, "W": {"mse": scores(0.2, 300, n_members)}},
        {"mass": scores()},
        {"top": {"mass": scores(2, 300)}, "W": {"mass": scores(1, 300)}},
        **options,
    )


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.91234, 0.0031, "0.9123 ± 0.0031"),
        (12.3, 1.4, "12.3 ± 1.4"),
        (1500.0, 230.0, "1500 ± 230"),
        (0.5, None, "0.5"),
        (1.0, 0.0, "1"),
        (None, None, "-"),
    ],
)
def test_value_text(value, error, text):
    assert report.value_text(value, error) == text


def test_text_table_is_aligned():
    lines = report.text_table([["a", "1"], [], ["longer", "22"]], ["name", "n"]).splitlines()
    assert lines == ["name    n", "----------", "a       1", "", "longer  22"]


def test_metrics_table_lists_scores_then_baselines_and_says_what_is_missing():
    table = report.metrics_table(tree())
    lines = [line for line in table.splitlines() if line]
    assert re.split(r"\s{2,}", lines[0])[:3] == ["signal", "score", "AUC"]
    assert [line.split()[:2] for line in lines[2:6:2]] == [["top", "mse"], ["W", "mse"]]
    assert lines[3].split()[0] == lines[5].split()[0] == "(mass)"
    assert f"-: FPR 1e-3 of {N} background events leaves 2, fewer than 10" in lines
    starts = {line.index("0.") for line in lines[2:6]}
    assert len(starts) == 1
    ensemble = report.metrics_table(tree(n_members=3))
    assert re.search(r"mse +0\.\d+ ± 0\.\d+ \[0\.\d{3}, 0\.\d{3}\]", ensemble)
    assert "over the members" in ensemble


def page(**more):
    figures = {"roc": figure_png(report.roc_figure({"top": (scores(), scores(1))}))}
    contents = {"title": "a <b> & c", "metrics": tree(), "figures": figures}
    return report.html_report(**(contents | more))


def test_page_is_self_contained_and_escaped():
    html = page(
        config={"data": {"name": "<script>alert(1)</script>"}},
        provenance={"source": "simulation & more"},
        notes=["first <note>"],
    )
    assert html.count("<script") == 1 and not re.search(r"https?:|//", html.split("<body>")[0])
    assert not re.search(r"https?:", html)
    assert set(re.findall(r'src="([^,"]*)', html)) == {"data:image/png;base64"}
    for text in (
        "a &lt;b&gt; &amp; c",
        "roc: Signal efficiency (TPR)",
        "first &lt;note&gt;",
        "&lt;script&gt;",
    ):
        assert text in html
    assert "simulation &amp; more" in html and "jaxlib" in html and "(mass)" in html
    assert len(html) < 200_000
    assert html.count("<tr") == html.count("</tr>") and html.endswith("</html>\n")


def test_files_are_written_whole(tmp_path):
    figures = {"roc": report.roc_figure({"top": (scores(), scores(1))}), "empty": Figure()}
    paths = report.save_figures(figures, tmp_path / "eval")
    assert [path.name for path in paths] == ["roc.png", "empty.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)
    drawn = {path.stem: path.read_bytes() for path in paths}
    path = report.write_report(
        tmp_path / "eval" / "report.html", title="t", metrics=tree(), figures=drawn
    )
    assert path.read_text().startswith("<!doctype html>")
    assert sorted(p.name for p in (tmp_path / "eval").iterdir()) == [
        "empty.png",
        "report.html",
        "roc.png",
    ]


def test_an_excess_is_shown_beside_both_expectations():
    fit = {"observed": 14374, "expected": 14198.0, "error": 65.0, "significance": 1.94}
    counted = {"observed": 107, "expected": 67.2, "error": 4.1, "significance": 3.9}
    failed = {"reason": "sideband fit: too few"}
    numbers = {"sideband": {"1": fit, "0.01": failed}, "template": {"0.01": counted}}
    header, rows = report.tables.excess_rows({"discovery": numbers})
    assert header == ["cut", "observed", "fit of the sidebands", "sigma", "template", "sigma"]
    assert rows == [
        ["1", "14374", "14198 ± 65", "1.9", "-", "-"],
        ["0.01", "107", "-", "-", "67.2 ± 4.1", "3.9"],
    ]
    assert report.tables.excess_rows({})[1] == []
