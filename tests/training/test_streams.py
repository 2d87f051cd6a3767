"""Random numbers: what is drawn for one purpose is drawn for no other."""

import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
from small_task import init, loss, rows

from jaxad.training import Task, fit, get_config, streams
from jaxad.training.streams import Purpose


def plain(key) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


@pytest.fixture(scope="module")
def keys() -> dict[str, set[tuple[int, ...]]]:
    """Every key that the engine gives to a task, of two members in two stages."""
    found: dict[str, set[tuple[int, ...]]] = {}

    def note(name):
        return lambda data: found.setdefault(name, set()).add(tuple(np.asarray(data).tolist()))

    def noted_init(key, batch):
        jax.debug.callback(note(f"{stage} init"), jax.random.key_data(key))
        return init(key, batch)

    def noted_loss(params, state, batch, key, training):
        name = f"{stage} {'training' if training else 'validation'}"
        jax.debug.callback(note(name), jax.random.key_data(key))
        return loss(params, state, batch, key, training)

    for stage in ("density", "classifier"):
        config = get_config(epochs=2, batch_size=16, ensemble=2)
        fit(Task(noted_init, noted_loss), rows(48), rows(40, 1), config, seed=3, stage=stage)
    jax.effects_barrier()
    return found


def test_init_training_and_validation_share_no_key(keys):
    assert {name: len(found) for name, found in keys.items()} == {
        f"{stage} {what}": count
        for stage in ("density", "classifier")
        for what, count in {"init": 2, "training": 2 * 2 * 3, "validation": 2 * 3}.items()
    }
    for (one, a), (other, b) in itertools.combinations(keys.items(), 2):
        assert not a & b, (one, other)


def test_no_key_is_made_of_another(keys):
    """Neither by `fold_in` of a step, an epoch or a part, nor by `split`."""
    every = set().union(*keys.values())
    parents = jax.random.wrap_key_data(np.asarray(sorted(every), np.uint32))
    folded = jax.vmap(lambda k: jax.vmap(lambda i: jax.random.fold_in(k, i))(np.arange(64)))
    split = (jax.vmap(lambda k, n=n: jax.random.split(k, n))(parents) for n in (2, 3))
    for children in (folded(parents), *split):
        made = {plain(key) for key in children.reshape(-1)}
        assert not made & every


def test_a_member_draws_as_a_run_of_its_seed():
    seeds = np.arange(3, dtype=np.uint32)
    together = jax.vmap(lambda seed: streams.key(seed, Purpose.NOISE, "a", 5))(seeds)
    assert [plain(key) for key in together] == [
        plain(streams.key(seed, Purpose.NOISE, "a", 5)) for seed in range(3)
    ]


def test_generators_differ_by_purpose_stage_and_place():
    """`default_rng([seed, 0])` is `default_rng(seed)`: zeros at the end of a place must count."""
    assert np.random.default_rng([3, 0]).random() == np.random.default_rng(3).random()
    places = [(), (0,), (0, 0), (1,), (0, 1), ("a",), ("b",), ("a", 0), ("a", 0, 0)]
    drawn = [
        streams.generator(seed, purpose, *place).random()
        for seed in (0, 1, 2**32)
        for purpose in Purpose
        for place in places
    ]
    plain_ones = [np.random.default_rng([3, *place]).random() for place in places[:5]]
    assert len(set(drawn)) == len(drawn) and not set(drawn) & set(plain_ones)


def test_random_numbers_of_a_run_come_from_streams():
    """Nothing right of the data makes a key or a generator of a bare seed of its own."""
    root = Path(streams.__file__).parents[1]
    for folder in ("training", "methods", "scorer.py", "evaluation", "search"):
        files = [root / folder] if folder.endswith(".py") else sorted((root / folder).rglob("*.py"))
        for path in files:
            if path.name != "streams.py":
                text = path.read_text(encoding="utf-8")
                assert "random.key(" not in text and "default_rng(" not in text, path
