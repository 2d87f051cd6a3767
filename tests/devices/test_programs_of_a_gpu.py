"""Every training step and every score, in the forms that a GPU takes, lowered for one."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

from benchmarks.accelerator.agreement import untrained
from benchmarks.accelerator.cases import CASES, experiment, write_files
from benchmarks.engine_steps import LONG, first_block
from jaxad import data, methods
from jaxad.commands import train as commands
from jaxad.data.dataset import Rows
from jaxad.scorer import Scorer
from jaxad.training import Task
from jaxad.training.step import compile_programs

H100 = AbstractDevice("NVIDIA H100 80GB HBM3", 132, "gpu")
SOME = ("autoencoder (conv)", "trigger_autoencoder (dense_vae)")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("events")
    write_files(found)
    return found


def lowered(function: Any, *arguments: Any) -> str:
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=H100)):
        return function.trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in SOME else pytest.mark.long) for n in CASES]
)
def test_a_step_and_a_score_are_lowered(name, folder, monkeypatch, capsys):
    config = experiment(CASES[name], folder)
    if name == "student" and not (folder / "teacher").exists():
        commands.train(experiment(CASES["isolation_forest"], folder), folder / "teacher")
    dataset = data.load(config.data)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")

    def fitting(task: Task, train: Rows, val: Rows, settings: Any, seed: int, **more: Any):
        """Initial parameters in the place of fitted ones."""
        members = settings.ensemble
        rows = {key: np.asarray(values) for key, values in train.items()}
        run = compile_programs(task, settings, members, LONG)
        block, seeds = first_block(run, settings.batch_size, rows, members)
        state = run.init(block, seeds, run.place(more.get("initial"), "members"))
        assert "stablehlo.while" in lowered(run.train, state, block, seeds, 0, 0, 2)
        return untrained(task, val, settings, *jax.device_get(state.best))

    method = methods.get(config.method.name)
    fitted = method.fit(config, dataset, commands.bench(fitting))
    scorer = Scorer(config.method.name, config, fitted, dataset.layout)
    x = jnp.asarray(dataset.test["x"][:16])
    assert "func.func public @main" in lowered(jax.jit(scorer.fn), scorer.params, x)
