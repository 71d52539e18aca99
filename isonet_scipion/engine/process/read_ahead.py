"""Getting the next thing ready while one is worked on."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")
Ready = TypeVar("Ready")


def one_ahead(function: Callable[[Item], Ready], items: Iterable[Item], ahead: bool = True) -> Iterator[Ready]:
    """What a function makes of each item, the next one in a thread while the caller uses the last.

    Parameters
    ----------
    function : callable
        Its errors come when the item's turn has come.
    items : iterable
        In their order.
    ahead : bool
        False: each is made when it is asked for.

    Yields
    ------
    object
        The results in the items' order.

    Examples
    --------
    >>> list(one_ahead(lambda number: number * 2, [1, 2, 3]))
    [2, 4, 6]
    """
    if not ahead:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[Ready]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 1:
                yield waiting.popleft().result()  # which nothing here holds while the caller uses it
        while waiting:
            yield waiting.popleft().result()
