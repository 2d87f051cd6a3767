"""The engine: exact ragged batches, members, devices, best epochs, and resume bit for bit."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small_task import IN_PARTS, TASK, assert_equal, init, loss, quiet, rows

from jaxad.devices import precision
from jaxad.errors import Preempted, UserError
from jaxad.storage import on_disk
from jaxad.training import Task, checkpoint, fit, get_config, loop, streams, weighted_mean
from jaxad.training import step as engine
from jaxad.training.feed import feed, order_of, shuffled
from jaxad.training.optimizer import make_optimizer
from jaxad.training.streams import Purpose


@pytest.fixture
def float32_steps(monkeypatch):
    """Training steps multiply in float32 too, so that tolerances are those of float32."""
    monkeypatch.setenv(precision.CHOSEN, "highest")


def test_an_epoch_is_the_plain_loop(float32_steps):
    """37 rows in batches of 16: the engine's SGD equals a hand-written loop over its shuffle."""
    config = get_config(epochs=2, batch_size=16, optimizer="sgd", learning_rate=0.1)
    train = rows(37)
    fitted = fit(TASK, train, rows(20, 1), config, seed=3)

    gradient = jax.jit(jax.grad(lambda p, b, k: loss(p, {}, b, k, True)[0]))
    params, _ = jax.jit(init)(streams.key(3, Purpose.INITIAL, "train"), {"x": train["x"][:1]})
    values = []
    for epoch in range(2):
        order = streams.generator(3, Purpose.ORDER, "train", epoch).permutation(37)
        for step, start in enumerate(range(0, 37, 16)):
            key = streams.key(3, Purpose.TRAINING, "train", epoch, step)
            chosen = order[start : start + 16]
            # Noise is drawn for the full batch, so the ragged one is padded here too.
            padded = np.concatenate([chosen, np.zeros(16 - len(chosen), int)])
            batch = {
                "x": jnp.asarray(train["x"][padded]),
                "weight": jnp.asarray(np.arange(16) < len(chosen), jnp.float32),
            }
            grads = gradient(params, batch, key)
            params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        values.append(params)
    best = int(np.argmin([h["val_loss"] for h in fitted.history]))
    assert_equal(jax.tree.map(lambda a: a[0, 0], fitted.params), values[best], rtol=1e-5, atol=1e-6)


def test_ragged_batches_count_every_row_once():
    history = fit(TASK, rows(37), rows(11, 1), get_config(epochs=1, batch_size=16)).history
    # Each batch reports its rows, weighted by them: (16^2 + 16^2 + 5^2) / 37.
    assert history[0]["train_rows"] == pytest.approx((16**2 + 16**2 + 5**2) / 37)


def test_few_validation_rows_are_not_padded_to_a_batch():
    """One of them may be a sample of thousands of events."""
    seen = set()

    def row_loss(params, state, batch, key, training):
        seen.add((training, len(batch["x"])))
        return loss(params, state, batch, key, training)

    fit(Task(init, row_loss), rows(37), rows(1, 1), get_config(epochs=1, batch_size=16))
    assert (False, jax.device_count()) in seen
    assert max(n for training, n in seen if not training) < 16 or jax.device_count() >= 16


@pytest.mark.cpu("no other device takes a batch in parts")
@pytest.mark.parametrize("cpu_rows", [1, 8, 13])
def test_gradients_in_parts_equal_those_of_the_batch(cpu_rows, float32_steps):
    """61 weighted rows, two members, batches of 24 with a last one of 13: the same steps."""

    sizes = []

    def row_loss(params, state, batch, key, training):
        sizes.append(len(batch["x"]))
        value, _ = loss(params, state, batch, key, False)
        count = state["count"] + batch["weight"].sum()
        largest = weighted_mean(jnp.abs(batch["x"]).max(1), batch["weight"])
        return value, ({"largest": largest}, {"count": count})

    def counting_init(key, batch):
        return init(key, batch)[0], {"count": jnp.zeros(())}

    weight = np.random.default_rng(2).random(61).astype(np.float32)
    train, val = rows(61) | {"weight": weight}, rows(40, 1)
    config = get_config(epochs=2, batch_size=24, optimizer="sgd", learning_rate=0.1, ensemble=2)
    whole = fit(Task(counting_init, row_loss), train, val, config)
    sizes.clear()
    parts = fit(Task(counting_init, row_loss, cpu_rows), train, val, config)
    # Traced once a program: of a whole batch for the metrics' names, of a part in both loops.
    assert sizes == [26 if cpu_rows == 13 else 24, cpu_rows, cpu_rows]
    assert_equal((parts.params, parts.state), (whole.params, whole.state), rtol=1e-5, atol=1e-6)
    assert_equal(parts.value, whole.value, rtol=1e-5)
    for name in ("train_largest", "val_largest"):
        for one, other in zip(parts.history, whole.history, strict=True):
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5)


def test_validation_loss_does_not_depend_on_the_batch_size():
    config = get_config(epochs=1, batch_size=200, learning_rate=0.0, optimizer="sgd")
    values = []
    for size in (200, 64, 7):
        config.batch_size = size
        values.append(fit(TASK, rows(200), rows(50, 1), config).history[0]["val_loss"])
    np.testing.assert_allclose(values, values[0], rtol=1e-5)


def test_weights_of_rows_change_the_fit_as_repetition_does(float32_steps):
    """A row of weight 2 counts as two rows, in the gradient of a full batch."""
    config = get_config(epochs=3, batch_size=1000, optimizer="sgd", learning_rate=0.1)
    base = rows(30)
    doubled = {"x": np.concatenate([base["x"], base["x"][:10]])}
    weighted = base | {"weight": np.where(np.arange(30) < 10, 2, 1).astype(np.float32)}
    results = [fit(Task(init, quiet), data, base, config).params for data in (doubled, weighted)]
    assert_equal(*results, rtol=1e-4, atol=1e-6)


def test_ensemble_equals_single_runs(float32_steps):
    config = get_config(epochs=3, batch_size=16, keep_best=2)
    config.ensemble = 5
    together = fit(TASK, rows(100), rows(40, 1), config, seed=10)
    config.ensemble = 1
    for i in range(5):
        alone = fit(TASK, rows(100), rows(40, 1), config, seed=10 + i)
        member = jax.tree.map(lambda a, i=i: a[i : i + 1], together.params)
        assert_equal(member, alone.params, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(together.value[i], alone.value[0], rtol=1e-5)


@pytest.mark.cpu("an accelerator trains all members at once")
def test_members_in_turn_are_those_at_once(float32_steps):
    """One after the other a member is, bit for bit, what it is in any company."""
    config = get_config(epochs=3, batch_size=16, keep_best=2, ensemble=3)
    data = rows(75), rows(40, 1), config, 10
    together = fit(TASK, *data)
    in_turn = fit(TASK._replace(cpu_in_turn=True), *data)
    assert_equal(in_turn.params, together.params, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(in_turn.value, together.value, rtol=1e-5)
    config.ensemble = 2
    fewer = fit(TASK._replace(cpu_in_turn=True), *data)
    assert_equal(jax.tree.map(lambda a: a[:2], in_turn.params), fewer.params)


def test_members_see_their_own_rows(float32_steps):
    data = rows(60)
    config = get_config(epochs=2, batch_size=16, ensemble=2)
    index = np.stack([np.arange(30), np.arange(30, 60)])
    together = fit(TASK, data, rows(40, 1), config, train_index=index)
    config.ensemble = 1
    second = fit(TASK, {"x": data["x"][30:]}, rows(40, 1), config, seed=1)
    assert_equal(
        jax.tree.map(lambda a: a[1:], together.params), second.params, rtol=1e-4, atol=1e-6
    )


def test_best_epochs_are_those_of_lowest_validation_loss():
    config = get_config(epochs=8, batch_size=16, keep_best=3, learning_rate=0.05)
    fitted = fit(TASK, rows(100), rows(40, 1), config)
    lowest = sorted(h["val_loss"] for h in fitted.history)[:3]
    np.testing.assert_allclose(np.sort(fitted.value[0]), lowest, rtol=1e-6)
    for k in range(3):
        params = jax.tree.map(lambda a, k=k: a[0, k], fitted.params)
        batch = rows(40, 1) | {"weight": np.ones(40, np.float32)}
        value = loss(params, {}, batch, jax.random.key(0), False)[0]
        np.testing.assert_allclose(value, fitted.value[0, k], rtol=1e-5)


def test_early_stop_and_plateau():
    """With a rate of 0 nothing improves after the first epoch."""
    config = get_config(epochs=50, optimizer="sgd", learning_rate=1e-30, batch_size=50)
    config.update(early_stop_patience=4, plateau_patience=2, plateau_factor=0.5)
    history = fit(TASK, rows(50), rows(40, 1), config).history
    assert len(history) == 5
    np.testing.assert_allclose(
        np.array([h["learning_rate"] for h in history]) / 1e-30, [1, 1, 1, 0.5, 0.5]
    )


def test_monitor_can_be_maximised():
    def task_loss(params, state, batch, key, training):
        value, _ = loss(params, state, batch, key, False)
        return value, ({"quality": -value}, state)

    config = get_config(epochs=4, batch_size=16, monitor="quality", maximize=True)
    fitted = fit(Task(init, task_loss), rows(60), rows(40, 1), config)
    best = max(h["val_quality"] for h in fitted.history)
    assert fitted.value[0, 0] == pytest.approx(-best)


def test_state_is_carried_and_kept_with_its_epoch():
    def counting_init(key, batch):
        return init(key, batch)[0], {"steps": jnp.zeros((), jnp.int32)}

    def counting_loss(params, state, batch, key, training):
        value, (metrics, _) = loss(params, state, batch, key, training)
        return value, (metrics, {"steps": state["steps"] + training})

    fitted = fit(
        Task(counting_init, counting_loss),
        rows(60),
        rows(40, 1),
        get_config(epochs=3, batch_size=20),
    )
    best = int(np.argmin([h["val_loss"] for h in fitted.history]))
    assert fitted.state["steps"][0, 0] == 3 * (best + 1)


def test_a_second_phase_starts_from_given_values(tmp_path, monkeypatch):
    """Of each member, with an optimiser that starts anew; stopped and resumed it is the same."""
    monkeypatch.setattr(loop, "SECONDS_PER_CALL", 0.0)  # one step a call
    keys = jax.random.split(jax.random.key(7), 2)
    params = jax.vmap(lambda key: init(key, {"x": jnp.zeros((1, 5))})[0])(keys)
    state = {"steps": np.int32([3, 8])}

    def counting_loss(params, state, batch, key, training):
        value, (metrics, _) = loss(params, state, batch, key, training)
        return value, (metrics, {"steps": state["steps"] + training})

    task, config = Task(None, counting_loss), get_config(epochs=2, batch_size=16, ensemble=2)
    settings = {"initial": (jax.tree.map(np.asarray, params), state)}
    still = get_config(epochs=1, batch_size=64, ensemble=2, learning_rate=0.0, optimizer="sgd")
    fitted = fit(task, rows(40), rows(20, 1), still, **settings)
    assert_equal(jax.tree.map(lambda a: a[:, 0], fitted.params), settings["initial"][0])
    np.testing.assert_array_equal(fitted.state["steps"][:, 0], [4, 9])
    undisturbed, polls = fit(task, rows(40), rows(20, 1), config, **settings), iter(range(99))
    settings["directory"] = tmp_path
    with pytest.raises(Preempted):
        stop = lambda: next(polls) >= 4  # noqa: E731
        fit(task, rows(40), rows(20, 1), config, **settings, stop=stop)
    assert_equal(fit(task, rows(40), rows(20, 1), config, **settings).params, undisturbed.params)


def test_clipping_per_tensor():
    config = get_config(optimizer="sgd", learning_rate=1.0, clip_per_tensor=1.0)
    optimizer = make_optimizer(config, 1)
    grads = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([0.3, 0.4])}
    updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
    np.testing.assert_allclose(updates["a"], [-0.6, -0.8], rtol=1e-6)
    np.testing.assert_allclose(updates["b"], [-0.3, -0.4], rtol=1e-6)


def test_cosine_schedule_ends_at_the_minimum():
    config = get_config(
        optimizer="sgd", learning_rate=1.0, schedule="cosine", min_learning_rate=0.1
    )
    optimizer = make_optimizer(config, 10)
    state = optimizer.init(jnp.ones(()))
    sizes = []
    for _ in range(11):
        update, state = optimizer.update(jnp.ones(()), state)
        sizes.append(-float(update))
    assert sizes[0] == pytest.approx(1.0)
    assert sizes[10] == pytest.approx(0.1)
    assert sizes == sorted(sizes, reverse=True)


def test_not_finite_loss_names_the_step_and_keeps_the_last_checkpoint(tmp_path):
    data = rows(64)
    config = get_config(epochs=3, batch_size=16, checkpoint_seconds=0.0)

    def sick_loss(params, state, batch, key, training):
        value, (metrics, new) = loss(params, state, batch, key, training)
        sick = training * (state["steps"] == 6)
        return jnp.where(sick, jnp.nan, value), (metrics, {"steps": new["steps"] + training})

    def sick_init(key, batch):
        return init(key, batch)[0], {"steps": jnp.zeros((), jnp.int32)}

    with pytest.raises(UserError, match=r"epoch 1, step 2.*learning_rate"):
        fit(Task(sick_init, sick_loss), data, data, config, directory=tmp_path)
    assert checkpoint.latest(tmp_path / "train") is not None


def test_only_running_members_end_an_ensemble(tmp_path):
    """The first member stops after two epochs and then has no finite loss: its best is kept."""

    def task_init(key, batch):
        return {"w": jnp.ones(())}, {"steps": jnp.zeros((), jnp.int32)}

    def task_loss(params, state, batch, key, training):
        first = batch["member"][0] == 0
        value = jnp.where(first, 1 + 0 * params["w"], params["w"] ** 2)
        value = jnp.where(first & (state["steps"] >= 6), jnp.nan, value)
        return value, ({}, {"steps": state["steps"] + training})

    data = {"member": np.repeat([0, 1], 16).astype(np.float32)}
    index = np.arange(32).reshape(2, 16)
    config = get_config(epochs=6, batch_size=8, ensemble=2, early_stop_patience=1)
    settings = {"train_index": index, "val_index": index}
    fitted = fit(Task(task_init, task_loss), data, data, config, directory=tmp_path, **settings)
    assert len(fitted.history) == 6
    np.testing.assert_array_equal(fitted.state["steps"][0], [2])
    assert fitted.value[0] == [1.0] and np.isfinite(fitted.value).all()
    config.early_stop_patience = 0
    with pytest.raises(UserError, match=r"validation of epoch 2, member 0"):
        fit(Task(task_init, task_loss), data, data, config, **settings)


@pytest.mark.parametrize(
    ("polls", "task"),
    [
        (1, TASK),
        (5, TASK._replace(cpu_in_turn=True)),
        *(pytest.param(n, TASK, marks=pytest.mark.long) for n in (2, 5, 9)),
    ],
)
def test_stop_and_resume_bit_for_bit(tmp_path, polls, task, monkeypatch):
    """Stopped at any poll, in the middle of an epoch too, and resumed: the same bits."""
    monkeypatch.setattr(loop, "SECONDS_PER_CALL", 0.0)  # one step a call
    config = get_config(epochs=3, batch_size=16, ensemble=2, keep_best=2, plateau_patience=1)
    data, val = rows(70), rows(40, 1)
    undisturbed = fit(task, data, val, config, seed=5)

    calls = iter(range(1000))
    with pytest.raises(Preempted):
        fit(task, data, val, config, seed=5, directory=tmp_path, stop=lambda: next(calls) >= polls)
    resumed = fit(task, data, val, config, seed=5, directory=tmp_path)
    assert_equal(resumed.params, undisturbed.params)
    np.testing.assert_array_equal(resumed.value, undisturbed.value)
    names = [name for name in undisturbed.history[0] if name != "seconds"]
    for one, other in zip(resumed.history, undisturbed.history, strict=True):
        assert {n: one[n] for n in names} == {n: other[n] for n in names}
    again = fit(task, data, val, config, seed=5, directory=tmp_path)
    assert_equal(again.params, undisturbed.params)


def test_blocks_from_disk_hold_the_rows_of_their_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(on_disk, "BLOCK_BYTES", 2 * 2 * 16 * 20)  # two steps of two members
    run = engine.compile_programs(TASK, get_config(batch_size=16, ensemble=2), 2, 5)
    x = rows(70)["x"]
    stored = on_disk.concatenate([x], tmp_path)
    order = shuffled(order_of(None, {"x": stored}, 2), [0, 1], "train", 0, tmp_path)
    index, weight = engine.make_batches(order.between(0, 70), 16, run.width(16))
    block_of, seen = feed(run, {"x": stored}, 16, run.width(16))(order), set()
    for step in range(5):
        block = block_of(step)
        here = step - block.first
        assert block.index.shape == (2, 2, 16) and len(block.data["x"]) == 64
        np.testing.assert_array_equal(
            np.asarray(block.data["x"])[np.asarray(block.index)[:, here]], x[index[:, step]]
        )
        np.testing.assert_array_equal(block.weight[here], weight[step])
        seen.add(block.first)
    assert seen == {0, 2, 4}


@pytest.mark.cpu("members drawn on it against those of its host")
def test_members_of_an_accelerator_are_drawn_on_its_host(monkeypatch):
    """The same bits as on a CPU, from the rows of the first batch, and from given values."""

    def of_the_batch(key, batch):
        params, state = init(key, batch)
        return params | {"scale": batch["x"].mean()}, state

    config = get_config(batch_size=16, ensemble=2)
    drawn = []
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        run = engine.compile_programs(TASK._replace(init=of_the_batch), config, 2, 5)
        order = shuffled(order_of(None, rows(70), 2), [0, 1], "train", 0)
        seeds = run.place(np.arange(4, dtype=np.uint32).reshape(2, 2), "members")
        block = feed(run, rows(70), 16, run.width(16))(order)(0)
        members = run.init(block, seeds)
        drawn.append((members, run.init(block, seeds, (members.params, members.state))))
    assert_equal(*drawn)


@pytest.mark.parametrize(
    "steps_a_block", [1, *(pytest.param(n, marks=pytest.mark.long) for n in (2, 100))]
)
def test_rows_on_disk_train_as_those_in_memory(tmp_path, steps_a_block, monkeypatch):
    """The same bits, of members with their own rows, stopped within a block and resumed too."""
    monkeypatch.setattr(loop, "SECONDS_PER_CALL", 0.0)  # one step a call
    monkeypatch.setattr(on_disk, "BLOCK_BYTES", steps_a_block * 2 * 16 * 20)
    config = get_config(epochs=3, batch_size=16, ensemble=2)
    index = np.stack([np.arange(41), np.arange(29, 70)])
    train, val = rows(70), rows(40, 1)
    in_memory = fit(TASK, train, val, config, seed=5, train_index=index)
    train, val = ({"x": on_disk.concatenate([part["x"]], tmp_path)} for part in (train, val))
    streamed = fit(TASK, train, val, config, seed=5, train_index=index)
    calls = iter(range(5))
    settings = {"seed": 5, "train_index": index, "directory": tmp_path}
    with pytest.raises(Preempted):
        fit(TASK, train, val, config, **settings, stop=lambda: next(calls, None) is None)
    resumed = fit(TASK, train, val, config, **settings)
    for found in (streamed, resumed):
        assert_equal((found.params, found.value), (in_memory.params, in_memory.value))


def test_falls_back_to_the_older_checkpoint(tmp_path, capsys):
    config = get_config(epochs=3, batch_size=16, checkpoint_seconds=0.0)
    data, val = rows(70), rows(40, 1)
    undisturbed = fit(TASK, data, val, config, directory=tmp_path)
    newest = max(int(p.name) for p in (tmp_path / "train").iterdir() if p.name.isdigit())
    for path in (tmp_path / "train" / str(newest)).rglob("*"):
        if path.is_file() and "state" in path.parts:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    resumed = fit(TASK, data, val, config, directory=tmp_path)
    assert "damaged" in capsys.readouterr().err
    assert_equal(resumed.params, undisturbed.params)


def test_only_threads_of_a_failed_checkpoint_are_silenced():
    said = []
    for text in ("Event loop is closed", "another fault"):
        unraisable = SimpleNamespace(exc_value=RuntimeError(text))
        checkpoint._unless_loop_is_closed(said.append, unraisable)
    assert [str(unraisable.exc_value) for unraisable in said] == ["another fault"]


HELPERS = Path(__file__).parents[1] / "helpers"
EIGHT_DEVICES = """
import sys, jax, numpy as np
sys.path.insert(0, sys.argv[1])
from small_task import IN_PARTS, TASK, rows
from jaxad.training import fit, get_config
assert jax.device_count() == 8
config = get_config(epochs=2, batch_size=24, optimizer="sgd", learning_rate=0.1)
single = [fit(task, rows(77), rows(40, 1), config).params for task in (TASK, IN_PARTS)]
config.ensemble = 8
members = fit(TASK, rows(77), rows(40, 1), config).params
np.savez(sys.argv[2], *jax.tree.leaves([single, members]))
"""


@pytest.mark.cpu("eight simulated CPUs against one")
def test_eight_devices_equal_one(tmp_path, float32_steps):
    """Plain SGD, so that a wrong scale of the gradient shows; batch and ensemble sharding."""
    path = tmp_path / "eight.npz"
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    subprocess.run(
        [sys.executable, "-c", EIGHT_DEVICES, str(HELPERS), str(path)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        check=True,
        timeout=300,
    )
    config = get_config(epochs=2, batch_size=24, optimizer="sgd", learning_rate=0.1)
    single = [fit(task, rows(77), rows(40, 1), config).params for task in (TASK, IN_PARTS)]
    config.ensemble = 8
    members = fit(TASK, rows(77), rows(40, 1), config).params
    expected = jax.tree.leaves([single, members])
    with np.load(path) as eight:
        for left, right in zip(eight.values(), expected, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


def test_optimizers_are_those_of_optax():
    params = {"w": jnp.arange(4.0)}
    grads = {"w": jnp.ones(4)}
    config = get_config(optimizer="adamw", learning_rate=0.1, weight_decay=0.2, b2=0.99, eps=1e-7)
    ours, theirs = (
        make_optimizer(config, 1),
        optax.adamw(0.1, b2=0.99, eps=1e-7, weight_decay=0.2),
    )
    assert_equal(
        ours.update(grads, ours.init(params), params)[0],
        theirs.update(grads, theirs.init(params), params)[0],
    )


@pytest.mark.parametrize(
    ("setting", "value"), [("optimizer", "lion"), ("schedule", "step"), ("monitor", "accuracy")]
)
def test_unknown_settings_are_refused(setting, value):
    with pytest.raises(UserError, match=setting):
        fit(TASK, rows(32), rows(32, 1), get_config(epochs=1, **{setting: value}))
    with pytest.raises(UserError, match="epoch_s"):
        get_config(epoch_s=3)
