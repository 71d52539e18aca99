"""Getting the next thing ready while one is worked on."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")
Ready = TypeVar("Ready")


def one_ahead(
    function: Callable[[Item], Ready], items: Iterable[Item], ahead: Callable[[], bool] | None = lambda: True
) -> Iterator[Ready]:
    """What a function makes of each item, the next one in a thread while the caller uses the last.

    Parameters
    ----------
    function : callable
        Its errors come when the item's turn has come.
    items : iterable
        In their order.
    ahead : callable, optional
        Asked, once an item is made, whether the next one is taken before the caller has used it. None: never, and each
        is made in the caller's thread.

    Yields
    ------
    object
        The results in the items' order.

    Examples
    --------
    >>> list(one_ahead(lambda number: number * 2, [1, 2, 3]))
    [2, 4, 6]
    """
    if ahead is None:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting: deque[Future[Ready]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            wait([waiting[0]])  # who shares the items may take some meanwhile
            while len(waiting) > 1 or (waiting and not ahead()):
                yield waiting.popleft().result()  # which nothing here holds while the caller uses it
                wait(waiting)
        while waiting:
            yield waiting.popleft().result()
