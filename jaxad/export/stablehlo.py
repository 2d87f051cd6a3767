"""A scorer as a StableHLO program: any number of events, on CPU, CUDA and TPU.

jax.export promises to read its programs for six months, and only newer versions read older ones:
this is a cache. The archive is the folder `scorer` beside it.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import jax
import numpy as np
from jax import export

from jaxad.errors import UserError
from jaxad.export.jaxpr import pruned

PLATFORMS = ("cpu", "cuda", "tpu")


def require_flatbuffers() -> None:
    """Refuses to go on without the library that these programs are written and read with."""
    if find_spec("flatbuffers") is None:
        raise UserError("stablehlo: flatbuffers is missing: pip install 'jaxad[export]'")


def program(function: Callable[[jax.Array], jax.Array], shape: Sequence[int | None]) -> bytearray:
    """Serialised function(raw) of any number of events (n, *shape), and of particles.

    Holds what the outputs need, and no other parameters.
    """
    require_flatbuffers()
    sizes = export.symbolic_shape(", ".join(["n", *(str(size or "p") for size in shape)]))

    # Event by event: what asks for the length of a batch finds a number, 1.
    def each(raw: jax.Array) -> jax.Array:
        return jax.vmap(pruned(lambda event: function(event[None])[0]))(raw)

    each.__name__ = function.__name__  # what the program is called
    try:
        exported = export.export(jax.jit(each), platforms=PLATFORMS)(
            jax.ShapeDtypeStruct(sizes, np.float32)
        )
    except (TypeError, ValueError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"stablehlo: this scorer cannot be exported ({reason})") from error
    return exported.serialize()


def loaded(content: bytes) -> Callable[[jax.Array], jax.Array]:
    """The function of a serialised program, for a jit around it."""
    require_flatbuffers()
    return export.deserialize(bytearray(content)).call
