"""Figures, tables and the page of a run, from plain arrays and dictionaries; no method is known."""

from jaxad.report.comparison import auc_figure, pareto_figure
from jaxad.report.curves import roc_figure, sic_figure
from jaxad.report.distributions import (
    feature_error_figure,
    latent_figure,
    profile_figure,
    score_figure,
    sculpting_figure,
)
from jaxad.report.html import html_report, save_figures, write_report
from jaxad.report.images import average_image_figure, reconstruction_figure
from jaxad.report.style import class_colors
from jaxad.report.tables import metrics_table, text_table, value_text
from jaxad.report.training import training_figure

__all__ = [
    "auc_figure",
    "average_image_figure",
    "class_colors",
    "feature_error_figure",
    "html_report",
    "latent_figure",
    "metrics_table",
    "pareto_figure",
    "profile_figure",
    "reconstruction_figure",
    "roc_figure",
    "save_figures",
    "score_figure",
    "sculpting_figure",
    "sic_figure",
    "text_table",
    "training_figure",
    "value_text",
    "write_report",
]
