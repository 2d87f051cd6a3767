"""Trigger events in counts: units and edges, what is learnt, and the rules of fixed-point types."""

import itertools

import jax
import numpy as np
import pytest
from random_scorers import TRIGGER, trigger_data

from jaxad import inputs
from jaxad.errors import UserError
from jaxad.fixed import convert, to_float
from jaxad.fixed.types import OVERFLOWS, ROUNDINGS, FixedType
from jaxad.inputs.trigger_integer import converted, counts, scaled, scales
from jaxad.observables.trigger import CLASS, ETA_BITS, ETA_UNIT, PHI_COUNTS, PT_BITS

MET, EGAMMA, MUON, JET = 0, 1, 5, 9
TYPE = FixedType(8, 6, rounding="RND_CONV", overflow="SAT")


def counted(slot, pt, eta=0.0, phi=0.0):
    event = np.zeros((1, 19, 3), np.float32)
    event[0, slot] = pt, eta, phi
    found = np.asarray(counts(event)).reshape(19, 3)
    assert not np.delete(found, slot, axis=0).any()
    return found[slot].tolist()


@pytest.mark.parametrize(
    ("slot", "object", "expected"),
    [
        (MET, (0.5, 0, 0), [1, 0, 0]),
        (MET, (2047.4, 0, 3.2), [4094, 0, 73]),
        (MET, (9999, 0, -0.001), [4095, 0, 143]),
        (EGAMMA, (23.99, 1.0, np.pi), [47, 23, 72]),
        (EGAMMA, (300, -2.3, -1e-8), [511, -53, 143]),
        (MUON, (3.0, 2.1, 6.82), [6, 193, 49]),
        (MUON, (256, -2.1, -np.pi + 1e-3), [511, -193, 288]),
        (JET, (30.7, 4.99, 12.5), [61, 115, 142]),
        (JET, (1e6, -9.0, -6.27), [2047, -128, 0]),
        (JET, (0.49, 1.0, 1.0), [0, 0, 0]),
        (JET, (0.0, -999.0, 1e30), [0, 0, 0]),
    ],
)
def test_units_edges_and_saturation(slot, object, expected):
    assert counted(slot, *object) == expected


def test_every_count_is_found_again_from_the_middle_of_its_range():
    """Through all counts of each slot, in float32, compiled or not."""
    n = 1 << 12
    k = np.arange(n)[:, None]
    expected = np.stack(
        [
            1 + k % (2**PT_BITS - 1),
            k % 2**ETA_BITS - 2 ** (ETA_BITS - 1),
            k % PHI_COUNTS,
        ],
        -1,
    )
    raw = expected * np.stack([np.full(19, 0.5), ETA_UNIT, 2 * np.pi / PHI_COUNTS], -1)
    raw[..., 2] += np.pi / PHI_COUNTS
    raw[..., 2] -= 2 * np.pi * (k % 5 - 2)
    for function in (counts, jax.jit(counts)):
        found = function(raw.astype(np.float32))
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, expected.reshape(n, 57))


def by_the_rules(m, fraction, to):
    """Whole numbers of the type `to`, as `ap_fixed` converts m 2^-fraction to it."""
    d = fraction - to.fraction
    if d <= 0:
        q = m << -d
    else:
        q, half = m >> d, (m >> (d - 1)) & 1
        rest = (m & ((1 << (d - 1)) - 1)) != 0
        negative, odd = m < 0, q & 1 == 1
        q = q + {
            "TRN": 0 * m,
            "RND": half,
            "RND_CONV": half & (odd | rest),
            "RND_ZERO": half & (negative | rest),
            "RND_INF": half & (~negative | rest),
            "RND_MIN_INF": half & rest,
            "TRN_ZERO": negative & ((half == 1) | rest),
        }[to.rounding].astype(int)
    low = 0 if not to.signed else -(1 << (to.width - 1))
    high = (1 << (to.width - to.signed)) - 1
    if to.overflow == "WRAP":
        return (q - low) % (1 << to.width) + low
    return np.clip(q, low + (to.signed and to.overflow == "SAT_SYM"), high)


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_conversions_follow_the_rules(overflow):
    m = np.arange(-(1 << 11), 1 << 11)
    for rounding, (width, integer), signed in itertools.product(
        ROUNDINGS, [(8, 6), (8, 10), (3, -1), (10, 1), (24, 8), (1, 1)], (True, False)
    ):
        to = FixedType(width, integer, signed, rounding, overflow)
        found = np.asarray(converted(m.astype(np.float32), 5, to), np.float64)
        np.testing.assert_array_equal(found * 2.0**to.fraction, by_the_rules(m, 5, to), str(to))
        assert not np.signbit(found[found == 0]).any()


@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_conversions_are_those_of_the_integer_networks(overflow):
    m = np.arange(-(1 << 11), 1 << 11)
    for rounding in ROUNDINGS:
        to = TYPE._replace(rounding=rounding, overflow=overflow)
        found = np.asarray(converted(m.astype(np.float32), 5, to))
        np.testing.assert_array_equal(found, np.asarray(to_float(convert(m, 5, to), to)), str(to))


def random_counts(n, seed=0):
    rng = np.random.default_rng(seed)
    low = np.stack([0 * PT_BITS, -(2 ** (ETA_BITS - 1)), 0 * PHI_COUNTS], -1)
    high = np.stack([2**PT_BITS, 2 ** (ETA_BITS - 1), PHI_COUNTS], -1)
    return rng.integers(low, high, (n, 19, 3)).reshape(n, 57)


@pytest.mark.parametrize(
    "to", [TYPE, FixedType(14, 6, True, "RND_CONV", "SAT"), FixedType(6, 3), FixedType(24, 8)]
)
def test_offsets_and_shifts_as_integers_do_it(to):
    rng = np.random.default_rng(1)
    x, offset = random_counts(2000), random_counts(1, seed=2)[0].astype(np.int32)
    shift = rng.integers(-1, 9, 57).astype(np.int32)
    x[:50] = 0  # empty slots go through the same formula
    kept = np.where(shift < 0, (x - offset) * 64, ((x - offset) * 32) >> np.maximum(shift, 0))
    fitted = {"offset": offset, "shift": shift}
    for function in (scaled, jax.jit(scaled, static_argnames="to")):
        found = function(fitted, x.astype(np.float32), to=to)
        assert found.dtype == np.float32
        expected = by_the_rules(kept, 5, to)
        np.testing.assert_array_equal(np.asarray(found, np.float64) * 2.0**to.fraction, expected)


def test_offset_and_shift_are_those_of_the_objects_that_are_there():
    n = 1001
    x = np.zeros((n, 19, 3))
    x[:, MET] = np.stack([np.linspace(1, 201, n), np.zeros(n), np.linspace(0, 143, n)], -1)
    x[:500, JET] = np.stack([np.linspace(60, 63, 500), np.linspace(-80, 80, 500), [72] * 500], -1)
    x[:4, JET + 1] = 40, 7, 9  # too few: all jets stand for them
    fitted = {key: value.reshape(19, 3) for key, value in scales(x.reshape(n, 57)).items()}
    assert all(value.dtype == np.int32 for value in fitted.values())
    assert fitted["offset"][MET].tolist() == [101, 0, 72]
    assert fitted["shift"][MET].tolist() == [6, 0, 6]  # half widths 90, 0 and 64.35
    assert fitted["offset"][JET].tolist()[1:] == [0, 72]
    assert fitted["shift"][JET].tolist() == [0, 6, 0]  # 1.35, 72, 0
    np.testing.assert_array_equal(fitted["offset"][JET + 2], fitted["offset"][JET + 1])
    assert not fitted["offset"][CLASS == 3].any() and not fitted["shift"][CLASS == 3].any()


def test_the_stage_of_a_run_lies_on_the_grid():
    config = inputs.get_config("trigger_integer")
    stage = inputs.stage(config, TRIGGER, ("vector",), "m")
    raw = trigger_data(400)
    learnt, found = inputs.prepared(stage, {"train": raw, "val": raw[:9]})
    x = found["train"]
    assert x.shape == (400, 57) and x.dtype == np.float32 and len(stage.names) == 57
    np.testing.assert_array_equal(x * 4, np.rint(x * 4))
    assert np.abs(x).max() <= 32 and len(np.unique(x)) > 20
    np.testing.assert_array_equal(stage.apply({"inputs": learnt}, raw[:9]), found["val"])
    unit = np.asarray(stage.unit(learnt, stage.values(raw)))
    assert unit.min() >= 0 and unit.max() <= 1
    in_mev = TRIGGER.__class__("ptetaphi", (19, 3), unit=1e-3)
    mev = inputs.stage(config, in_mev, ("vector",), "m").values(raw * np.float32([1e3, 1, 1]))
    assert np.mean(np.asarray(mev) != np.asarray(stage.values(raw))) < 1e-3


@pytest.mark.parametrize(
    ("type", "message"),
    [
        ("float32", "inputs.type: fixed-point type: expected fixed<W,I,Q,O>"),
        ("fixed<32,16>", "inputs.type: expected at most 24 bits"),
        ("fixed<24,7>", "16 of them behind the point, found fixed<24,7,TRN,WRAP>"),
    ],
)
def test_types_that_cannot_be(type, message):
    with pytest.raises(UserError, match=message):
        inputs.stage(inputs.get_config("trigger_integer", type=type), TRIGGER, ("vector",), "m")
