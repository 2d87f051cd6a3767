"""Training steps multiply as the device does by itself; everything else in full precision."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_scorers import trigger_scorer
from small_task import TASK, rows

from jaxad.devices import precision
from jaxad.training import get_config
from jaxad.training.step import Block, compile_programs, make_batches


def precisions(function, *arguments) -> set[str]:
    """Of all matrix products that a function traces."""
    function = function if hasattr(function, "trace") else jax.jit(function)
    program = str(function.trace(*arguments).jaxpr)
    assert "dot_general" in program
    stated = re.findall(r"precision=(?:None|\(?Precision\.(\w+))", program)
    return {*stated} | ({"unsaid"} if len(stated) < program.count("dot_general[") else set())


def engine():
    """Compiled functions of a small training, their members, block and seeds."""
    run = compile_programs(TASK, get_config(batch_size=8), 1, 2)
    index, weight = make_batches(np.arange(16)[None], 8, run.width(8))
    block = Block(
        run.place(rows(16), "replicated"), run.place(index, "index"), run.place(weight, "weight"), 0
    )
    seeds = run.place(np.zeros((1, 2), np.uint32), "members")
    return run, run.init(block, seeds), block, seeds


def test_training_is_default_and_all_else_is_highest(monkeypatch):
    monkeypatch.delenv(precision.CHOSEN, raising=False)
    run, members, block, seeds = engine()
    assert precisions(run.train, members, block, seeds, 0, 0, 2) == {"DEFAULT"}
    sums = members.sums
    assert precisions(run.validate, members, sums, block, seeds, 0, 2) == {"HIGHEST"}
    scorer, x = trigger_scorer(), jnp.zeros((1, 19, 3))
    assert precisions(scorer.fn, scorer.params, x) == {"HIGHEST"}
    assert precisions(scorer.member_fn, scorer.params, x) == {"HIGHEST"}


def test_what_the_user_chose_stands_for_both(monkeypatch):
    monkeypatch.setenv(precision.CHOSEN, "high")
    with jax.default_matmul_precision("high"):  # what the variable sets when jax is imported
        run, members, block, seeds = engine()
        assert precisions(run.train, members, block, seeds, 0, 0, 2) == {"HIGH"}
        assert precisions(run.validate, members, members.sums, block, seeds, 0, 2) == {"HIGH"}


@pytest.mark.cpu("it is on one")
def test_what_needs_a_cpu_is_skipped_elsewhere(request, monkeypatch):
    path = Path(__file__).parents[1] / "conftest.py"
    (own,) = (
        plugin
        for plugin in request.config.pluginmanager.get_plugins()
        if getattr(plugin, "__file__", "") == str(path)
    )
    own.pytest_runtest_setup(request.node)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(pytest.skip.Exception, match="needs a CPU: it is on one"):
        own.pytest_runtest_setup(request.node)


def test_products_of_a_test_are_float32_unless_it_trains(monkeypatch):
    """So tolerances of float32 hold on every device."""
    monkeypatch.delenv(precision.CHOSEN, raising=False)
    ones = jnp.ones((2, 2))
    assert precisions(jnp.matmul, ones, ones) == {"HIGHEST"}
