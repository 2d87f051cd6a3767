"""The front of bits: interpolation at equal cost, the greedy search, points that are kept."""

import json
from dataclasses import replace

import numpy as np
import pytest
from random_scorers import TRIGGER, trigger_data
from sklearn.ensemble import HistGradientBoostingRegressor

from benchmarks.front import __main__ as front
from benchmarks.front import forest, networks, points, search, seeds, summary
from benchmarks.front.points import BACKGROUND, Point
from benchmarks.front.ways import CONTROL, FLOAT, WAYS, Way
from jaxad.configs import adc2021_quantized
from jaxad.data.dataset import Dataset
from jaxad.errors import UserError


def test_between_two_points_values_are_linear_in_the_logarithm_of_the_cost():
    costs, values = [1000, 10, 100], [3.0, 1.0, 2.0]
    assert summary.at_cost(costs, values, 10**1.5) == pytest.approx(1.5)
    assert [summary.at_cost(costs, values, cost) for cost in (10, 100, 1000)] == [1, 2, 3]
    assert summary.at_cost(costs, values, 9) is summary.at_cost(costs, values, 1001) is None
    assert summary.at_cost([10, 10], [1.0, 2.0], 10) in (1.0, 2.0)


def test_the_bit_that_costs_the_least_is_taken_away():
    """Cost 10 a + b, drift (8 - a)^2 / 10 + (8 - b)^2: a saves more and harms less, then b goes."""

    def measure(bits):
        a, b = bits
        return 10.0 * a + b, (8 - a) ** 2 / 10 + (8.0 - b) ** 2

    path = search.steps((8, 8), (6, 7), measure)
    assert [step.bits for step in path] == [(8, 8), (7, 8), (6, 8), (6, 7)]
    assert search.at_share(path, 0.8).bits == (6, 8)
    assert search.at_share(path, 0.1) == path[-1]
    # What saves nothing stays.
    assert len(search.steps((8, 8), (2, 2), lambda bits: (1.0, 0.0))) == 1


def made_up(seed: int, noise: float, ebops: int) -> Point:
    rng, own = np.random.default_rng(seed), np.random.default_rng(int(1e6 * noise))
    scores = {BACKGROUND: rng.normal(0, 1, 2000), "A": rng.normal(1, 1, 500)}
    scores = {name: np.exp(x + own.normal(0, noise, len(x))) for name, x in scores.items()}
    return Point(scores, {"ebops": ebops} if ebops else {})


def test_learnt_widths_are_compared_at_equal_cost():
    ways = {
        FLOAT: (0.0, 0),
        Way("rounding", "8"): (0.01, 1000),
        Way("rounding", "4"): (0.5, 100),
        Way("learnt", "a"): (0.02, 300),
        Way("learnt", "b"): (0.02, 30),  # below the curve of rounding
    }
    found = {way: [made_up(seed, *point) for seed in (0, 1)] for way, point in ways.items()}
    (one,) = summary.compared(found)
    assert (one["way"], one["baseline"], one["ebops"]) == ("learnt, a", "rounding", [300, 300])
    mean = one["tpr"]["1e-2"]["mean"]
    alone = [summary.compared({w: [p[seed]] for w, p in found.items()})[0] for seed in (0, 1)]
    values = [each["tpr"]["1e-2"]["mean"]["value"] for each in alone]
    assert mean["value"] == pytest.approx(np.mean(values))
    assert mean["spread"] == pytest.approx(abs(values[0] - values[1]) / 2) and mean["spread"] > 0
    assert "spread" not in alone[0]["tpr"]["1e-2"]["mean"]
    assert mean["error"] > 0 and "leaves 2" in one["tpr"]["1e-3"]["reason"]
    own, other = np.array(one["drift"]).T
    coarse = summary.drift(
        *(found[way][0].scores[BACKGROUND] for way in (Way("rounding", "4"), FLOAT))
    )
    assert np.all(own < other) and other[0] < coarse
    line = summary.verdict([one])
    assert "ahead in drift and ahead in overlap; drift lower at 1" in line
    assert "TPR at 1e-3: refused" in line
    records = summary.measured(found)
    table = summary.table(records).splitlines()
    assert len(table) == 2 + len(ways) and len({row.count("|") for row in table}) == 1
    assert records[1]["against"] == "float" and records[0]["drift"] == [0.0, 0.0]


def test_a_row_has_the_largest_change_and_the_most_significant():
    def change(value, error, **spread):
        return {"value": value, "error": error, **spread}

    signals = {"A": change(0.02, 0.02), "B": change(-0.01, 0.001), "C": change(0.0, 0.0)}
    assert summary._change({"signals": signals}) == "+0.0200 ± 0.0200 (A), −0.0100 ± 0.0010 (B)"
    signals["B"]["spread"] = 0.1
    assert summary._change({"signals": signals}) == "+0.0200 ± 0.0200 (A)"
    assert summary._change({"reason": "few"}) == "refused"


def test_points_are_whole_or_refused(tmp_path):
    assert points.kept(tmp_path) is None
    point = made_up(0, 0.1, 7)
    points.save(tmp_path, point)
    again = points.kept(tmp_path)
    assert again.costs == point.costs and list(again.scores) == list(point.scores)
    np.testing.assert_array_equal(again.scores["A"], point.scores["A"])
    path = tmp_path / "point.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"damaged .*remove it, and it is made anew"):
        points.kept(tmp_path)


def test_what_does_not_train_is_tested():
    rows = {"x": np.arange(10.0)}
    dataset = Dataset(rows, {"x": np.zeros(2)}, {"x": np.full(3, -1.0)}, {}, TRIGGER)
    cut = front.at_most(dataset, 8)
    assert cut.train["x"].tolist() == list(range(8)) and cut.test["x"].tolist() == [
        -1,
        -1,
        -1,
        8,
        9,
    ]
    assert front.at_most(dataset, 10) is dataset


def test_ways_have_names_of_their_own():
    assert len({way.folder for way in WAYS}) == len(WAYS) and CONTROL in WAYS
    assert not any(set(way.folder) & set(" /\\:%") for way in WAYS)


def test_logic_of_trees_gives_what_they_predict():
    """In adders and choices: the same multiples of 2^-10; features on a grid of 2^-2."""
    trace = pytest.importorskip("da4ml.trace")
    rng = np.random.default_rng(0)
    x = rng.integers(-32, 32, (800, 5)) / 4
    model = HistGradientBoostingRegressor(max_iter=6, max_leaf_nodes=4, early_stopping=False)
    model.fit(x, np.abs(x[:, 0]) + x[:, 1] * (x[:, 2] > 0))
    before = model.predict(x)
    forest.round_leaves(model)
    hardware, bits = trace.HWConfig(1, -1, -1), np.ones(5, int)
    symbols = trace.FixedVariableArray.from_kif(bits, 3 * bits, 2 * bits, hwconf=hardware)
    logic = trace.comb_trace(symbols, forest.total(model, symbols))
    found = logic.predict(x)[:, 0]
    np.testing.assert_array_equal(found, model.predict(x))
    np.testing.assert_allclose(found, before, atol=7 * 2.0**-11)
    assert len(np.unique(found)) > 20 and logic.cost > 18


@pytest.mark.long
def test_a_front_goes_on_from_the_points_that_it_has(tmp_path):
    parts = [{"x": trigger_data(n, seed)} for seed, n in enumerate((300, 100, 1200))]
    signal = {"A": {"x": trigger_data(200, 4) * np.float32([2, 1, 1])}}
    dataset, config = Dataset(*parts, signal, TRIGGER), adc2021_quantized.get_config("smoke")
    ways = [FLOAT, Way("rounding", "6 bits", {"weight_bits": 6, "target": "none"})]
    ways.append(Way("trees", "3 of 4 leaves", {"trees": (3, 4)}))
    first = front.made(tmp_path, config, dataset, ways[:2], 1)
    made = {way: (tmp_path / "seed0" / way.folder / "point.npz") for way in ways}
    times = {way: made[way].stat().st_mtime_ns for way in ways[:2]}
    found = front.made(tmp_path, config, dataset, ways, 1)
    assert {way: made[way].stat().st_mtime_ns for way in ways[:2]} == times
    for way in ways[:2]:
        np.testing.assert_array_equal(first[way][0].scores["A"], found[way][0].scores["A"])
    assert found[ways[2]][0].costs["comparisons"] == 9
    front.write(tmp_path, found)
    written = json.loads((tmp_path / "front.json").read_text())
    assert [record["way"] for record in written["ways"]] == [way.title for way in ways]
    assert (tmp_path / "front.png").stat().st_size > 10_000
    assert "trees, 3 of 4 leaves: 9 comparisons" in (tmp_path / "front.md").read_text()
    others = replace(dataset, test={"x": trigger_data(1200, 5)})
    with pytest.raises(UserError, match="holds points of other events: choose another --out"):
        front.made(tmp_path, config, others, ways, 1)


@pytest.mark.long
def test_seeds_that_train_at_once_are_those_of_the_front(tmp_path):
    parts = [{"x": trigger_data(n, seed)} for seed, n in enumerate((300, 100, 400))]
    signal = {"A": {"x": trigger_data(200, 4) * np.float32([2, 1, 1])}}
    dataset, config = Dataset(*parts, signal, TRIGGER), adc2021_quantized.get_config("smoke")
    together, single = config.copy_and_resolve_references(), config.copy_and_resolve_references()
    single.seed = 1
    alone = networks.Networks(single, dataset, tmp_path)
    ensemble = seeds.Ensemble(together, dataset, 2)
    for way in (
        *(FLOAT, CONTROL),
        Way("rounding", "4 bits", {"weight_bits": 4, "target": "none"}),
        Way("codes", "4 bits", {"weight_bits": 4}),
        Way("loss", "4 bits", {"weight_bits": 4, "target": "loss"}),
        Way("learnt", "a", {"learned": True, "granularity": "weight", "beta": 1e-4}),
    ):
        found, expected = ensemble.points(way)[1], alone.point(way)
        assert found.costs.get("ebops", 0) == pytest.approx(
            expected.costs.get("ebops", 0), rel=0.01
        )
        for name, scores in expected.scores.items():
            # Rounding makes steps of what differs in last bits.
            assert np.corrcoef(found.scores[name], scores)[0, 1] > 0.999, (way.title, name)
