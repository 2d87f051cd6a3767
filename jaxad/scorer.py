"""Scorers: from raw events to anomaly scores, for other people's code.

A `Scorer` is a pure function, its parameters, what its input looks like, and scores of held-out
background, for thresholds. `load` reads that of a run. Larger scores are always more anomalous.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from jaxad import methods
from jaxad.data.dataset import first_not_finite
from jaxad.data.layout import PARTICLES, Layout, from_dict
from jaxad.data.ragged import is_ragged, padded
from jaxad.data.raw_events import first_impossible, refused, require_trained_unit
from jaxad.devices import compiler, precision
from jaxad.devices.arrays import numbers
from jaxad.devices.batches import AT_ONCE, SHARDED, in_chunks, over_devices
from jaxad.devices.forks import require_unforked
from jaxad.devices.stream import gathered, stream
from jaxad.errors import DAMAGED, UserError
from jaxad.metrics import given, rate_above, threshold_at_fpr, weighted
from jaxad.storage.atomic import replacing_folder
from jaxad.storage.digest import digest
from jaxad.storage.on_disk import BLOCK_BYTES, mapped
from jaxad.storage.own import is_json_with, require_own_folder
from jaxad.storage.paths import expanded
from jaxad.storage.sorting import together
from jaxad.storage.trees import flatten, unflatten

FORMAT = 2
FILES = ("params.npz", "background.npy", "background_weight.npy", "scorer.json")


@dataclass(frozen=True, eq=False)
class Scorer:
    """A trained anomaly detector.

    Attributes:
        method: name of the method, a module of `jaxad.methods`.
        config: the run's whole config.
        params: pytree of arrays; nested dicts with string keys.
        layout: what one raw event is, e.g. particles (E, px, py, pz) in GeV.
        background: default scores of the calibration sample, sorted, for thresholds: background
            that trained nothing and chose no epoch.
        background_weight: their weights, in the same order; None: each counts once.
        info: provenance (data set, versions); "calibration", what that sample was; "energies",
            where those of the training events lie (`jaxad.data.raw_events.trained_energies`).
        default: name of the default score; "": the method's first.
        program: serialised jax.export program, raw -> (n, 3) with the default score first, which
            then stands for the method's code: no other score and no gradient.
        compiler_options: of XLA, for the programs that score; None: its own.

    Examples:
        A scorer is made by training; this one, of three features, is made by hand.

        >>> scorer = Scorer(
        ...     method="pca",
        ...     config=ConfigDict({"inputs": {"name": "features"}}),
        ...     params={
        ...         "mean": np.zeros(3),
        ...         "components": np.eye(3)[:2],
        ...         "inputs": {"shift": np.zeros(3), "scale": np.ones(3)},
        ...     },
        ...     layout=Layout("features", (3,), columns=(("a", ""), ("b", ""), ("c", ""))),
        ...     background=np.arange(1000) / 1000,
        ... )
        >>> scorer(np.array([[7.0, 8.0, 3.0], [7.0, 8.0, 0.0]]))
        array([3., 0.], dtype=float32)
        >>> scorer.threshold(fpr=0.05)["n_background"]
        50
        >>> scorer(np.array([7.0, 8.0, 3.0]))
        Traceback (most recent call last):
        jaxad.errors.UserError: input: expected shape (n, 3) (features), found (3,); one event ...
    """

    method: str
    config: ConfigDict
    params: Any
    layout: Layout
    background: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    background_weight: np.ndarray | None = None
    info: dict = field(default_factory=dict)
    default: str = ""
    program: bytes = b""
    compiler_options: dict[str, int | bool] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """The fields: what is compiled, or lies on a device, is made anew from them."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def shape(self) -> tuple[int | None, ...]:
        """Of one raw event, e.g. (None, 4); None where any length will do."""
        return methods.stage(self.method, self.config, self.layout).raw

    @cached_property
    def member_fn(self) -> Callable[[Any, Array], dict[str, Array]]:
        """Pure function (params, x) -> {score: (n,), or (members, n) for an ensemble}."""
        if self.program:
            call = jax.export.deserialize(bytearray(self.program)).call
            return lambda params, x: {"score": call(x)[:, 0]}
        return _exactly(methods.get(self.method).scores(self.config, self.layout))

    @cached_property
    def fn(self) -> Callable[[Any, Array], Array]:
        """Pure function (params, x) -> default score (n,), for your own jit, vmap or grad."""
        method = methods.get(self.method)
        if self.program or not hasattr(method, "kernel"):
            return self.plain_fn
        return method.kernel(self.config, self.layout, self.default, self.plain_fn)

    @cached_property
    def plain_fn(self) -> Callable[[Any, Array], Array]:
        """`fn` without a kernel of this device's own, for programs that run elsewhere."""

        def default_score(params: Any, x: Array) -> Array:
            found = self.member_fn(params, x)
            return _mean_over_members(found[self.default or next(iter(found))])

        return default_score

    @cached_property
    def names(self) -> list[str]:
        """Names of the scores, the default first (compiled functions sort theirs)."""
        found: list[str] = []

        def trace(params: Any, x: Array) -> None:
            found.extend(self.member_fn(params, x))

        event = jax.ShapeDtypeStruct((1, *(s or 1 for s in self.shape)), jnp.float32)
        jax.eval_shape(trace, self._device_params, event)
        return sorted(found, key=lambda name: name != self.default)

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest of everything that a score depends on, beside the event."""
        about = {"method": self.method, "config": self.config.to_json()}
        about |= {"layout": self.layout.to_dict()}
        about |= {"default": self.default} if self.default else {}
        return digest(about, flatten(self.params))

    @cached_property
    def _compiled(self) -> dict[str, Callable]:
        def all_scores(params: Any, x: Array) -> dict[str, Array]:
            return {k: _mean_over_members(v) for k, v in self.member_fn(params, x).items()}

        functions = {"default": self.fn, "scores": all_scores, "members": self.member_fn}
        if hasattr(module := methods.get(self.method), "outputs"):
            outputs = _exactly(module.outputs(self.config, self.layout))
            functions["outputs"] = lambda *a: jax.tree.map(_rows_last, outputs(*a))
        return {name: self._refusing(function) for name, function in functions.items()}

    def _refusing(self, function: Callable[[Any, Array], Any]) -> Callable[[Any, Array], Any]:
        """`function`, arrays (..., n), with NaN for refused events; in parts if large; compiled."""

        def call(params: Any, x: Array) -> Any:
            bad = refused(self.layout, x)
            return jax.tree.map(lambda a: jnp.where(bad, jnp.nan, a), function(params, x))

        def in_parts(params: Any, x: Array) -> Any:
            if len(x) <= AT_ONCE or jax.local_device_count() > 1:
                return call(params, x)
            parts = in_chunks(lambda x: jax.tree.map(_rows_first, call(params, x)), x, AT_ONCE)
            return jax.tree.map(_rows_last, parts)

        return jax.jit(in_parts, compiler_options=self.compiler_options)

    @cached_property
    def _device_params(self) -> Any:
        return jax.device_put(self.params)

    @cached_property
    def _replicated_params(self) -> Any:
        return jax.device_put(self.params, over_devices(PartitionSpec()))

    def __call__(self, x: ArrayLike, folder: Path | None = None) -> np.ndarray:
        """Default score (n,) float32 of raw events `x` (n, *shape), any n.

        NumPy, JAX (which stay on their device), or awkward arrays of particles, (n, var, columns)
        or records, which are padded; lists, data frames, and whatever else NumPy takes. Any real
        numbers, in the units of the files that it was trained on. Particles that are masked, all
        of their numbers, are padding. With a `folder` the scores lie in a nameless file of it.

        Raises:
            UserError: wrong shape, order of columns, unit or dtype, values that are masked or not
                finite, or what no event can hold; a process that was forked after JAX had started.
        """
        return self._run("default", x, folder)

    def scores(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """Every score of the method, name -> (n,) float32; ensembles are averaged."""
        found = self._run("scores", x)
        return {name: found[name] for name in self.names}

    def member_scores(self, x: ArrayLike, folder: Path | None = None) -> dict[str, np.ndarray]:
        """Every score of every ensemble member, name -> (members, n) or (n,) float32."""
        found = self._run("members", x, folder)
        return {name: found[name] for name in self.names}

    def outputs(self, x: ArrayLike) -> dict[str, np.ndarray]:
        """Inputs, reconstructions and latents as the method names them; {} if it has none."""
        if "outputs" not in self._compiled:
            return {}
        return {name: np.moveaxis(v, -1, 0) for name, v in self._run("outputs", x).items()}

    def calibrated(self, scores: ArrayLike, weight: ArrayLike | None = None) -> "Scorer":
        """The scorer with thresholds set on default scores (N,) of background, and their weights.

        Raises:
            UserError: weights of which a sample cannot be made.
        """
        columns = [given.own(numbers(scores, "background scores", "(N,)"))]
        if (w := weighted.checked(weight, len(columns[0]), "background")) is not None:
            columns.append(mapped(lambda block: block.astype(np.float64), w))
        scores, *w = together(*columns)
        return replace(self, background=scores, background_weight=w[0] if w else None)

    def with_default(
        self, name: str, background: ArrayLike, weight: np.ndarray | None = None
    ) -> "Scorer":
        """The scorer whose default score is another of its `names`, calibrated on raw background.

        Raises:
            UserError: no such score.
        """
        if name not in self.names:
            raise UserError(f"score: expected one of {', '.join(self.names)}, found {name!r}")
        chosen = replace(self, default=name)
        return chosen.calibrated(chosen(background), weight)

    def threshold(self, fpr: float) -> dict:
        """Score above which a fraction `fpr` of background lies, with its error.

        Keys as of `jaxad.metrics.threshold_at_fpr`, and "sample", the events it was set on.

        Raises:
            UserError: nothing was held out that could calibrate it.
        """
        sample = self._sample()
        cut = threshold_at_fpr(self.background, fpr, self.background_weight)
        return cut | {"sample": sample}

    def _sample(self) -> str:
        """What the thresholds are set on; refused where there is nothing."""
        sample = self.info.get("calibration", {}).get("sample", "given by the caller")
        if not len(self.background):
            raise UserError(f"threshold: no calibration sample: {sample}")
        return sample

    def rate(self, threshold: float, input_hz: float = 40e6) -> dict[str, Any]:
        """Rate [Hz] of background at or above a `threshold`, of `input_hz` [Hz] before it.

        Keys: rate and rate_error (binomial, of the calibration sample), fpr and error, all None
        where fewer than 10 of those events are flagged and `reason` says so; n_background.

        Raises:
            UserError: nothing was held out that could calibrate it.
        """
        self._sample()
        return rate_above(self.background, threshold, input_hz, self.background_weight)

    def _events(self, x: ArrayLike) -> np.ndarray | Array:
        """Raw events of the right shape, order and unit, real numbers of NumPy or JAX."""
        require_unforked()
        if isinstance(x, jax.core.Tracer):
            raise UserError("input: traced; inside jit, vmap or grad call scorer.fn(params, x)")
        if is_ragged(x):
            x = padded(x, self.shape, self.layout.format)
        wanted = "(n, " + ", ".join("any" if s is None else str(s) for s in self.shape) + ")"
        self._require_order(x)
        if not isinstance(x, Array) or not (
            x.dtype.kind in "fiub" or jnp.issubdtype(x.dtype, jnp.floating)  # bfloat16 is of "V"
        ):
            x = numbers(x, "input", wanted, padding=self.layout.format in PARTICLES)
        fits = x.ndim == len(self.shape) + 1 and all(
            s is None or s == found for s, found in zip(self.shape, x.shape[1:], strict=True)
        )
        if not fits:
            hints = {-1: "; one event needs a leading axis: x[None]", 1: "; there is an axis more"}
            hint = hints.get(x.ndim - len(self.shape) - 1, "")
            raise UserError(
                f"input: expected shape {wanted} ({self.layout.format}), found {x.shape}{hint}"
            )
        if len(x) and (trained := self.info.get("energies")):
            try:
                require_trained_unit(self.layout, x, trained, "input")
            except UserError:
                self._require_possible(np.asarray(x))  # the better reason, where there is one
                raise
        return x.astype(np.float32) if isinstance(x, Array) else x

    def _require_order(self, x: ArrayLike) -> None:
        """Refuses a data frame with the trained columns in another order."""
        found = [str(name) for name in getattr(x, "columns", ())]
        expected = [name for name, _ in self.layout.columns]
        if found != expected and sorted(found) == sorted(expected):
            raise UserError(
                f"input: expected the columns {', '.join(expected)}, found {', '.join(found)}: "
                "give them in that order"
            )

    def _run(self, which: str, x: ArrayLike, folder: Path | None = None) -> Any:
        x, function = self._events(x), self._compiled[which]
        several = jax.local_device_count() > 1

        def call(rows: np.ndarray | Array) -> Any:
            if several and len(rows) >= SHARDED:
                rows = jax.device_put(rows, over_devices(PartitionSpec("batch")))
                return function(self._replicated_params, rows)
            return function(self._device_params, rows)

        def checked() -> Iterator[tuple[int, Any]]:
            for start, result in stream(call, x):
                for values in jax.tree.leaves(result):
                    if np.isnan(values).any():
                        self._refuse(x, start, values)
                yield start, result

        return gathered(checked(), len(x), folder)

    def _refuse(self, x: np.ndarray | Array, start: int, values: np.ndarray) -> NoReturn:
        """Says what is wrong with the first event, from `start` on, whose `values` are NaN."""
        event = start + int(np.argwhere(np.isnan(values))[:, -1].min())
        one = np.asarray(x[event : event + 1])
        self._require_possible(one, event)
        raise UserError(
            f"input: the score of event {event} is not a number: its values, up to "
            f"{np.abs(one).max():.3g}, are beyond what float32 can compute with: clean or drop it"
        )

    def _require_possible(self, x: np.ndarray, start: int = 0) -> None:
        """Refuses the first event, numbers from `start` on, that no file may hold either."""
        with np.errstate(over="ignore"):
            x = x.astype(np.float32, copy=False)
        bad = first_not_finite(x)
        if bad is not None:
            raise UserError(f"input: event {start + bad} holds NaN or infinity: clean or drop it")
        found = first_impossible(self.layout, x)
        if found is not None:
            raise UserError(f"input: event {start + found[0]} holds {found[1]}")

    def save(self, folder: Path) -> None:
        """Write the scorer as `params.npz` and `scorer.json`, by a temporary folder.

        Raises:
            UserError: the folder holds something else than a scorer.
        """
        require_free(folder)
        arrays = flatten(self.params)
        description = {
            "format_version": FORMAT,
            "method": self.method,
            "config": json.loads(self.config.to_json()),
            "layout": self.layout.to_dict(),
            "info": self.info,
            "default": self.default,
        }
        description = json.loads(json.dumps(description))
        calibration = {"background": self.background}
        if self.background_weight is not None:
            calibration["background_weight"] = self.background_weight
        description["digest"] = digest(description, arrays | calibration)
        with replacing_folder(folder) as temporary:
            np.savez(temporary / "params.npz", **arrays)
            for name, values in calibration.items():
                np.save(temporary / f"{name}.npy", values)
            (temporary / "scorer.json").write_text(
                json.dumps(description, indent=2), encoding="utf-8"
            )


def _exactly(function: Callable[[Any, Array], Any]) -> Callable[[Any, Array], Any]:
    """`function` in full single precision, which a GPU or TPU would not take by itself."""

    def exact(params: Any, x: Array) -> Any:
        with precision.exact():
            return function(params, x)

    return exact


def _rows_last(values: Array) -> Array:
    return jnp.moveaxis(values, 0, -1)


def _rows_first(values: Array) -> Array:
    return jnp.moveaxis(values, -1, 0)


def require_free(folder: Path) -> None:
    """Refuses a folder that holds something else than a scorer, which `Scorer.save` would replace.

    Raises:
        UserError: what it holds.
    """
    written = is_json_with(folder / "scorer.json", "format_version", "layout")
    require_own_folder(folder, FILES if written else (), "choose another folder")


def _mean_over_members(values: Array) -> Array:
    return values if values.ndim == 1 else jnp.mean(values, axis=0)


def load(path: str | os.PathLike, name: str = "scorer") -> Scorer:
    """The scorer of a work directory (its folder `name`), or of a scorer's own folder.

    An exported folder with a StableHLO program is scored by that program.

    Raises:
        UserError: nothing there, or a format that this version does not know.
    """
    compiler.keep_programs()
    path = folder = expanded(path)
    if not (folder / "scorer.json").is_file():
        folder = folder / name
    try:
        description = json.loads((folder / "scorer.json").read_text(encoding="utf-8"))
        with np.load(folder / "params.npz", allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        calibration = {
            name: _numbers_of(folder / f"{name}.npy")
            for name in ("background", "background_weight")
            if name == "background" or (folder / f"{name}.npy").is_file()
        }
        sealed = digest(description, arrays | calibration)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"{path}: no trained scorer here ({Path(error.filename).name} is missing): "
            "train first with train.py --workdir, or give the folder of a finished run"
        ) from error
    except PermissionError as error:
        raise UserError(
            f"{error.filename}: {error.strerror}: mend the permissions of this scorer"
        ) from error
    except (*DAMAGED, AttributeError, MemoryError) as error:
        raise UserError(
            f"{folder}: damaged scorer ({error}): train again or copy it anew"
        ) from error
    if description.get("format_version") != FORMAT:
        raise UserError(
            f"{folder}/scorer.json: format_version: expected {FORMAT}, found "
            f"{description.get('format_version')!r}: use the jaxad version that wrote it"
        )
    if description.get("digest", sealed) != sealed:
        raise UserError(
            f"{folder}: damaged scorer (its files are not those that were saved together): train "
            "again or copy it anew"
        )
    program = _program(path)
    return Scorer(
        method=description["method"],
        config=ConfigDict(description["config"]),
        params=unflatten(arrays),
        layout=from_dict(description["layout"]),
        background=calibration["background"],
        background_weight=calibration.get("background_weight"),
        info=description["info"],
        default="" if program else description.get("default", ""),
        program=program,
    )


def _numbers_of(path: Path) -> np.ndarray:
    """An array that stays on the disk if it is large."""
    large = path.stat().st_size > BLOCK_BYTES
    return np.load(path, mmap_mode="r" if large else None, allow_pickle=False)


def _program(folder: Path) -> bytes:
    """The StableHLO program of an exported folder, as its export.json describes it; or b""."""
    program = folder / "scorer.stablehlo"
    if not program.is_file():
        return b""
    if find_spec("flatbuffers") is None:
        raise UserError(f"{program}: flatbuffers is missing: pip install 'jaxad[export]'")
    content = program.read_bytes()
    try:
        about = json.loads((folder / "export.json").read_text(encoding="utf-8"))
        expected = about["artefacts"]["stablehlo"].get("sha256")
    except (OSError, *DAMAGED, AttributeError) as error:
        raise UserError(f"{folder}/export.json: damaged ({error}): export again") from error
    if expected not in (None, hashlib.sha256(content).hexdigest()):
        raise UserError(f"{program}: damaged: expected SHA-256 {expected}: export again")
    return content
