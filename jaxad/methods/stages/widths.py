"""How many bits a quantised network's numbers have, as the settings say."""

from ml_collections import ConfigDict

from jaxad.errors import UserError
from jaxad.methods.stages.integers import FORMS
from jaxad.models.quantized import GRANULARITIES, Widths
from jaxad.models.rounding import MODES

TARGETS = ("codes", "loss", "none")
VARIANCES = ("kl", "r_z", "loss")
"""Scores of variational networks that need more than the mean of the code."""


def widths_of(config: ConfigDict) -> Widths:
    """The settings of `config.method`, checked.

    Raises:
        UserError: a name that is none of those that there are; a schedule that is none.
    """
    own = config.method
    if own.score in VARIANCES:
        raise UserError(
            f"method.score={own.score}: has an exponential of the variance, which has no integer "
            "form: set method.score=mu2"
        )
    for name, known in (
        ("score", tuple(FORMS)),
        ("granularity", GRANULARITIES),
        ("rounding", MODES),
        ("target", TARGETS),
    ):
        if own[name] not in known:
            raise UserError(
                f"method.{name}: expected one of {', '.join(known)}, found {own[name]!r}"
            )
    if own.target == "loss" and own.score == "distance":
        raise UserError(
            "method.target=loss: features that no view trains would vanish with their own "
            "reconstruction's error: set method.target=codes"
        )
    if own.learned and not 0 < own.beta_start <= own.beta:
        raise UserError(
            f"method.beta_start: expected a number above 0, up to method.beta={own.beta:g}, found "
            f"{own.beta_start:g}"
        )
    if own.granularity == "weight" and not own.learned:
        raise UserError(
            "method.granularity=weight: is for learnt widths, as all weights would have the same "
            "number of digits: set method.learned=True, or channel"
        )
    if config.train.keep_best != 1:
        raise UserError(
            f"train.keep_best: expected 1, as firmware holds one network, found "
            f"{config.train.keep_best}"
        )
    weight, activation = (
        bits if isinstance(bits, int) else tuple(bits)
        for bits in (own.weight_bits, own.activation_bits)
    )
    return Widths(
        *(weight, activation, own.code_bits),
        own.learned,
        own.granularity,
        own.rounding,
    )
