"""What the densities of a search may know."""

import numpy as np
import pytest
from small_task import assert_equal

from jaxad import training
from jaxad.configs import search
from jaxad.data.false_windows import Window
from jaxad.data.table import Table
from jaxad.methods import Bench
from jaxad.search import template

TRUE, FALSE = Window(3300, 3500), (Window(2900, 3100), Window(3600, 3800))


def table_of(x, mass, weight=None):
    """Of two features, the first with a spike at 0."""
    nothing = np.full(2, np.nan, np.float32)
    return Table(
        x=x.astype(np.float32),
        mass=mass,
        fold_key=np.arange(len(mass), dtype=np.uint64),
        weight=weight,
        label=None,
        ids=None,
        names=("a", "b"),
        units=("", ""),
        integer=np.zeros(2, bool),
        spikes=np.array([0, np.nan], np.float32),
        spike_widths=np.where([True, False], np.float32(0.01), nothing),
        mass_name="mjj",
        mass_unit="GeV",
        info={},
    )


def small(frame_order=0, correction=1):
    config = search.get_config("smoke")
    config.flow.update({"hidden": (4,), "n_layers": 1, "coupling": "affine"})
    config.flow.update({"frame_order": frame_order, "correction": correction})
    config.flow_train.update({"ensemble": 2, "epochs": 1, "batch_size": 200, "keep_best": 1})
    return config


@pytest.mark.parametrize("odd", ["train", "val", "false window"])
def test_a_weight_that_differs_in_few_rows_reaches_all_that_learns_from_them(odd):
    """One event of the training rows, of those that choose epochs, or of one false window."""
    config, rng = small(correction=0), np.random.default_rng(1)
    x, mass, weight = rng.random((3000, 2)), rng.uniform(2700, 4000, 3000), np.ones(3000)
    beside = template._sidebands(table_of(x, mass), [TRUE])
    train, val = template._split(config, beside, f"density {TRUE.name}")
    rows = {"train": train, "val": val, "false window": np.flatnonzero(FALSE[0].holds(mass))}
    weight[rows[odd][0]] = 7
    asked, seen = table_of(x, mass, weight), []

    def fit(task, rows, *others, **more):
        seen.append(rows["weight"].max())
        return training.fit(task, rows, *others, **more)

    bench = Bench(fit, None, None)
    fitted = template.fit(config, asked, TRUE, bench)
    template.fit_false(config, asked, TRUE, FALSE, bench)
    assert len(seen) == 2
    np.testing.assert_allclose(seen, 7, rtol=0.01)
    for one in (fitted, fitted._replace(window=FALSE[0], blinded=(TRUE, FALSE[0]))):
        assert all("weight" in rows for rows in template.beside(config, one, asked))


@pytest.mark.parametrize("frame_order", [0, pytest.param(2, marks=pytest.mark.long)])
def test_a_density_sees_no_event_of_the_windows_it_is_for(frame_order):
    """Wherever those lie, range and scale of features included, it is the same to the last bit."""
    config = small(frame_order)
    rng = np.random.default_rng(1)
    x, mass = rng.random((3000, 2)), rng.uniform(2700, 4000, 3000)
    x[rng.random(3000) < 0.1, 0] = 0
    found = []
    for shift in (0, 5):
        moved = np.where((TRUE.holds(mass) | FALSE[0].holds(mass))[:, None], 1 + shift, 1) * x
        asked = table_of(moved, mass)
        bench = Bench(training.fit, None, None)
        found.append(template.fit_false(config, asked, TRUE, FALSE, bench))
    assert_equal(found[0][0].fitted, found[1][0].fitted)
    assert (found[0][1].fitted["scaler"]["high"] != found[1][1].fitted["scaler"]["high"]).any()


def test_the_density_of_a_window_sees_no_event_there():
    config, rng = small(), np.random.default_rng(1)
    x, mass = rng.random((3000, 2)), rng.uniform(2700, 4000, 3000)
    bench, inside = Bench(training.fit, None, None), TRUE.holds(mass)[:, None]
    tables = (table_of(np.where(inside, shift + x, x), mass) for shift in (0, 5))
    assert_equal(*(template.fit(config, table, TRUE, bench).fitted for table in tables))
