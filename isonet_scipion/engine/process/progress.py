"""Progress: a bar on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time

from tqdm import tqdm

from isonet_scipion.engine.errors import printable

log = logging.getLogger(__name__)
SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts the parts of a task; use it in a with statement.

    Parameters
    ----------
    task : str
        What is being done.
    total : int
        Number of parts.
    unit : str
        What a part is called.
    """

    def __init__(self, task: str, total: int, unit: str) -> None:
        self.task, self.total, self.unit = printable(task), total, unit
        self.done, self.note = 0, ""
        self.started = self.last_line = time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            self.bar = tqdm(total=total, desc=self.task, unit=unit, dynamic_ncols=True, leave=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self.bar.close()
        elif exception[0] is None and self.last_line != self.started:
            self._write_line()

    def advance(self, parts: int = 1, note: str = "") -> None:
        """Count `parts` more as done, and show a note such as the loss."""
        self.done += parts
        self.note = note
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(parts)
        elif self.done < self.total and time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self._write_line()

    def _write_line(self) -> None:
        self.last_line = time.monotonic()
        elapsed = self.last_line - self.started
        left = elapsed / max(self.done, 1) * (self.total - self.done)
        note = f", {self.note}" if self.note else ""
        log.info("%s: %d of %d %s, %s left%s", self.task, self.done, self.total, self.unit, clock(left), note)


def clock(seconds: float) -> str:
    """A duration as h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
