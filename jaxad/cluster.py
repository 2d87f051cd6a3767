"""Work done by the workers of a dask cluster; `distributed` is imported only here."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from jaxad.errors import UserError

TIMEOUT = "20s"


def completed(
    address: str, function: Callable[[Any], Any], items: Sequence[Any]
) -> Iterator[tuple[Any, Any, BaseException | None]]:
    """(item, function(item), None) in the order in which the workers finish.

    An item that no worker could do comes as (item, None, its error).

    Args:
        address: of the scheduler, tcp://HOST:PORT.
        function: what workers can import, with arguments that can be pickled.
        items: hashable.

    Raises:
        UserError: distributed is missing, or there is no scheduler.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise UserError(
            "a dask scheduler was given, but distributed is missing: pip install 'jaxad[dask]'"
        ) from None
    try:
        client = Client(address, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(f"no dask scheduler at {address} ({error})") from None
    with client:
        tasks = {client.submit(function, item, pure=False): item for item in items}
        for task in as_completed(tasks, loop=client.loop):
            if task.status == "finished":
                yield tasks[task], task.result(), None
            else:
                yield tasks[task], None, task.exception()
            task.release()
