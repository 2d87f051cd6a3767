"""Figures, tables and the page of a run, from plain arrays and dictionaries; no method is known."""

from jaxad.report.comparison import auc_figure, pareto_figure
from jaxad.report.curves import roc_figure, sic_figure
from jaxad.report.decorrelated import following_figures
from jaxad.report.distributions import (
    feature_error_figure,
    latent_figure,
    profile_figure,
    score_figure,
    sculpting_figure,
)
from jaxad.report.html import figure_png, html_report, save_figures, write_report
from jaxad.report.images import average_image_figure, reconstruction_figure
from jaxad.report.mimickers import mimicker_figures
from jaxad.report.products import files
from jaxad.report.rates import plane_figure, rate_figure, stability_figure
from jaxad.report.run import output_figures, run_figures
from jaxad.report.search import scan_figure, search_figures
from jaxad.report.search_page import search_report, search_results
from jaxad.report.style import class_colors
from jaxad.report.tables import metrics_table, text_table, value_text
from jaxad.report.training import training_figure

__all__ = [
    "auc_figure",
    "average_image_figure",
    "class_colors",
    "feature_error_figure",
    "figure_png",
    "files",
    "following_figures",
    "html_report",
    "latent_figure",
    "metrics_table",
    "mimicker_figures",
    "output_figures",
    "pareto_figure",
    "plane_figure",
    "profile_figure",
    "rate_figure",
    "reconstruction_figure",
    "roc_figure",
    "run_figures",
    "save_figures",
    "scan_figure",
    "score_figure",
    "sculpting_figure",
    "search_figures",
    "search_report",
    "search_results",
    "sic_figure",
    "stability_figure",
    "text_table",
    "training_figure",
    "value_text",
    "write_report",
]
