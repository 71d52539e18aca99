"""Batches that are made, and put on the device, before the training asks for them."""

from __future__ import annotations

import atexit
import functools
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import Any

import keras

from isonet_scipion.engine.process.device import placed

LOOKED_AT = 2  # first batches, from which Keras learns shapes before it goes through all


class Ahead(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """The batches of another data set, each made once, by that one's threads.

    When all are begun the threads go on with those of the data set that comes after it, so that neither the validation
    nor the next epoch begins with waiting.
    """

    def __init__(self, batches: keras.utils.PyDataset, then: Ahead | None = None) -> None:
        """Make nothing yet.

        Parameters
        ----------
        batches : keras.utils.PyDataset
            Whose `workers` say how many threads, and whose `max_queue_size` how many batches are made ahead.
        then : Ahead, optional
            What is asked for after these.
        """
        super().__init__(workers=1)  # Keras's own threads would make the first batches twice
        self.batches, self.then = batches, then
        self._results: dict[int, AsyncResult[Any]] = {}
        self._on_device: dict[int, Any] = {}
        self._begun, self._is_closed = 0, False

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> Any:
        self.begin(step + self.batches.max_queue_size)
        for kept in (self._results, self._on_device):
            for old in [number for number in kept if number <= step - LOOKED_AT]:
                del kept[old]
        batch = self._placed(step)
        coming = self._results.get(step + 1)
        if coming is not None and coming.ready() and coming.successful():
            self._placed(step + 1)  # while this one is computed
        return batch

    def begin(self, end: int) -> None:
        """Have all batches before the `end`th made."""
        for step in range(self._begun, min(end, len(self))):
            self._results[step] = _threads(self.batches.workers).apply_async(self._make, (step,))
            self._begun = step + 1
        if self.then is not None and end > len(self):
            self.then.begin(end - len(self))

    def close(self) -> None:
        """Make no more of them."""
        self._is_closed = True
        if self.then is not None:
            self.then.close()

    def _make(self, step: int) -> Any:
        return None if self._is_closed else self.batches[step]

    def _placed(self, step: int) -> Any:
        if step not in self._on_device:
            result = self._results.get(step)
            # TensorFlow with several GPUs begins again once it has seen all
            self._on_device[step] = placed(self.batches[step] if result is None else result.get())
        return self._on_device[step]


@functools.lru_cache(maxsize=None)
def _threads(count: int) -> ThreadPool:
    pool = ThreadPool(count)
    atexit.register(pool.terminate)  # one that still runs when Python ends, or forgets it, is complained of
    return pool
