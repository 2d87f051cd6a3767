"""Figures of merit from plain arrays of scores, with their errors."""

from jaxad.metrics.bands import band, band_of, bootstrap, roc_band
from jaxad.metrics.given import Array, Weights, checked_scores, checked_values, members
from jaxad.metrics.ranked import binomial_error
from jaxad.metrics.roc import (
    MIN_BACKGROUND,
    auc,
    auc_with_error,
    fpr_at_tpr,
    level_key,
    rate_above,
    roc,
    threshold_at_fpr,
    threshold_at_rate,
    tpr_at_fpr,
)
from jaxad.metrics.sic import (
    lowest_fpr,
    max_of_median_sic,
    max_sic,
    min_sic_fpr,
    sic_at_fpr,
    sic_curve,
)
from jaxad.metrics.summary import FPRS, TPRS, summarise, summarise_all

__all__ = [
    "FPRS",
    "MIN_BACKGROUND",
    "TPRS",
    "Array",
    "Weights",
    "auc",
    "auc_with_error",
    "band",
    "band_of",
    "binomial_error",
    "bootstrap",
    "checked_scores",
    "checked_values",
    "fpr_at_tpr",
    "level_key",
    "lowest_fpr",
    "max_of_median_sic",
    "max_sic",
    "members",
    "min_sic_fpr",
    "rate_above",
    "roc",
    "roc_band",
    "sic_at_fpr",
    "sic_curve",
    "summarise",
    "summarise_all",
    "threshold_at_fpr",
    "threshold_at_rate",
    "tpr_at_fpr",
]
