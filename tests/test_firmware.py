"""The command that compares trained networks' integers: its own emulation, criteria and table."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
from random_scorers import integer_scorer, region_scorer, regions, trigger_data

from benchmarks import firmware
from jaxad.export.hls import image, integer, top
from jaxad.fixed import Layer, auto_accum, parsed
from jaxad.models import cicada


def small(compared: int | None) -> integer.Firmware:
    """Two inputs of 2 bits behind the point, two ReLUs, two codes; weights are whole numbers."""
    x, relu, code, whole = (
        parsed(t.replace("SAT", "RND_CONV,SAT"))
        for t in ("fixed<5,3,SAT>", "ufixed<4,3,SAT>", "fixed<5,4,SAT>", "fixed<4,4>")
    )
    exact = auto_accum(x, whole, whole, 2)
    first = Layer(np.array([[1, 2], [0, 1]]), np.array([0, -3]), whole, whole, exact, "relu", relu)
    last = Layer(np.array([[1, 0], [-1, 1]]), np.array([2, 0]), whole, whole, code)
    squared = code if compared is None else parsed("fixed<7,5>")
    own = {"offset": np.array([3, -1]), "shift": np.array([1, 0]), "scaled": x, "input": x}
    return integer.Firmware(
        **own, layers=[first, last], compared=compared, code=squared, number=False, ebops=0
    )


def by_hand(counts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Values that the layers of `small` give, of z which is never between two of its numbers."""
    z = np.clip((counts - [3, -1]) / [2, 1], -4, 3.75)
    y = np.clip(np.rint(2 * np.maximum(z @ [[1, 2], [0, 1]] + [0, -3], 0)) / 2, 0, 7.5)
    return z, y, np.clip(y @ [[1, 0], [-1, 1]] + [2, 0], -8, 7.5)


def test_scores_and_ends_are_those_by_hand():
    """Sums of squares, and differences from the inputs; a value at an end has been cut."""
    counts = np.stack(np.meshgrid(np.arange(-8, 16), np.arange(-8, 8)), -1).reshape(-1, 2)
    z, y, codes = by_hand(counts)
    scores, ends = firmware.emulated(small(None), counts)
    np.testing.assert_array_equal(scores, 4 * np.sum(codes**2, axis=1))
    np.testing.assert_array_equal(ends[0], (z == -4) | (z == 3.75))
    np.testing.assert_array_equal(ends[1], y == 7.5)
    np.testing.assert_array_equal(ends[2], (codes == -8) | (codes == 7.5))
    assert all(0 < at_end.mean() < 1 for at_end in ends)
    scores, _ = firmware.emulated(small(0), counts)
    np.testing.assert_array_equal(scores, 16 * np.sum((codes - z) ** 2, axis=1))


def test_the_other_rounding_is_of_whatever_was_half_to_even():
    found = small(0)
    up = firmware.rounded(found, "RND")
    assert {str(t) for t in (up.scaled, up.input)} == {"fixed<5,3,RND,SAT>"}
    assert str(up.layers[0].output_type) == "ufixed<4,3,RND,SAT>"
    assert str(up.layers[1].output_type) == "fixed<5,4,RND,SAT>"
    assert up.layers[0].result_type == found.layers[0].result_type  # exact
    assert (up.compared, up.number, up.code) == (0, False, found.code)
    # z = 0.5, 0, and half of it between two numbers of the ReLU's type.
    finer, exact = parsed("fixed<4,3>"), parsed("fixed<12,8>")
    half = found.layers[0]._replace(kernel=np.array([[1, 0], [0, 0]]), kernel_type=finer)
    even = found._replace(layers=[half._replace(result_type=exact), found.layers[1]], compared=None)
    for each, code in ((even, 2.0), (firmware.rounded(even, "RND"), 2.5)):
        assert firmware.emulated(each, np.array([[4, -1]]))[0] == 4 * code**2


def test_uniform_counts_reach_both_ends_and_images_have_ranges_of_their_own():
    counts = firmware.uniform(small(0), 3000)
    assert np.all(counts.min(0) >= integer.LOWEST) and np.all(counts.max(0) <= integer.HIGHEST)
    assert np.all(counts.min(0)[2::3] == 0) and np.all(counts.max(0)[1::3] > 100)
    layers = cicada.network(
        {"conv": np.ones((2, 2, 1, 4)), "dense": np.ones((252, 16))}
        | {"bias": np.zeros(16), "out": np.ones((16, 1))}
    )
    found = image.ImageFirmware((18, 14), layers, 0)
    counts = firmware.uniform(found, 500)
    assert counts[::2].max(1).min() > 900 and counts.max() <= 1023 and counts.min() == 0
    assert 0.2 < np.mean(counts[1::2].max(1) < 32) < 0.8
    up = firmware.rounded(found, "RND")
    written = top.image_sources(up, 25_600, "jaxad_net")["firmware/jaxad_net.cpp"]
    assert "ap_ufixed<16,8,AP_RND,AP_SAT> result[1];" in written


def test_what_is_not_met_is_said_and_the_table_has_it():
    differ = {"g++": 0, "da4ml": 3, "g++ and da4ml": 3, "scorer": 0}
    found = {"events": 10_000, "differ": differ, "saturated": [0.0, 0.02], "scores": 1000}
    lines = firmware.unmet("mse, RND", found)
    assert [line.removeprefix("not met: mse, RND: ") for line in lines] == [
        "3 integers differ: da4ml",
        "3 integers differ: g++ and da4ml",
        "2.00% of the values of layer 0 saturate",
        "1,000 scores of the test events",
    ]
    fine = found | {"differ": dict.fromkeys(differ, 0), "saturated": [0.009], "scores": 1001}
    assert not firmware.unmet("mse, RND", fine)
    fine |= {"uniform scores": 4000, "ebops": 7, "lut": 8, "ff": 9, "stages": 2, "seconds": 61.4}
    head, rule, row = firmware.table({"mse, RND": fine}).splitlines()
    assert head.count("|") == rule.count("|") == row.count("|")
    assert row == "| mse, RND | 10,000 | 0 | 0 | 0 | 0 | 1,001 | 4,000 | 0.9 | 7 | 8 | 9 | 2 | 61 |"


@pytest.mark.long
@pytest.mark.parametrize("score", ["mse", "distance", "student", "cicada"])
def test_emulated_integers_are_the_scorers(score):
    """Layer by layer in `jaxad.fixed`, of counts like events and of any."""
    images = score == "cicada"
    scorer = region_scorer() if images else integer_scorer(score=score)
    form = image if images else integer
    raw = regions(200, 4) if images else trigger_data(200, seed=3)
    found = form.firmware(scorer)
    counts = np.concatenate([form.counts_of(scorer, raw), firmware.uniform(found, 200)])
    scores, ends = firmware.emulated(found, counts)
    np.testing.assert_array_equal(scores, form.emulator(scorer)(counts))
    assert len(ends) == 1 + len(found.layers) and {len(at_end) for at_end in ends} == {400}


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_the_command_trains_and_compares(tmp_path, capsys):
    """Few events and epochs: no integer differs, but there are too few scores, which it says."""
    for package in ("hls4ml", "keras", "da4ml"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    command = ["--out", str(tmp_path), "--events", "400", "--epochs", "0.02", "--models"]
    assert firmware.main([*command, "mu2"]) == 1
    printed = capsys.readouterr().out
    assert "not met: mu2, RND: " in printed and "differ: " not in printed.split("| mu2")[-1]
    results = json.loads((tmp_path / "firmware.json").read_text())["results"]
    assert list(results) == ["mu2, RND_CONV", "mu2, RND"]
    for found in results.values():
        assert found["events"] == 200 and not any(found["differ"].values())
    trained = (tmp_path / "mu2" / "run" / "scorer" / "scorer.json").stat().st_mtime_ns
    assert firmware.main([*command, "mu2"]) == 1
    assert (tmp_path / "mu2" / "run" / "scorer" / "scorer.json").stat().st_mtime_ns == trained
    assert firmware.main([*command[:3], "500", *command[4:], "mu2"]) == 2  # of other settings
