"""Threads whose commands are run together: as one job of a queue, with one start of the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

Command = TypeVar("Command")


class Together(Generic[Command]):
    """Tasks in threads of their own, and the commands that they wait for."""

    def __init__(self, run: Callable[[list[Command]], list[str]]) -> None:
        """With what runs commands, in the thread that calls `do`, and tells how each ended."""
        self._run = run
        self._changed = threading.Condition()
        self._waiting: dict[Task, Command] = {}
        self._ends: dict[Task, str] = {}

    def do(self, functions: Sequence[Callable[[], None]]) -> list[Exception | None]:
        """Call functions at once, and run what they pass to `end` when all that still work have come to it.

        Returns
        -------
        list of Exception or None
            What each raised.
        """
        tasks = [Task(self, function) for function in functions]
        for task in tasks:
            task.start()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: all(task.isDone or task in self._waiting for task in tasks))
                waiting = {task: self._waiting[task] for task in tasks if task in self._waiting}  # in the tasks' order
                self._waiting.clear()
            if not waiting:
                return [task.error for task in tasks]
            try:
                ends = self._run(list(waiting.values()))
            except Exception as error:  # each of them has it
                for task in waiting:
                    task.error = error
                ends = [""] * len(waiting)
            with self._changed:
                self._ends.update(zip(waiting, ends))
                self._changed.notify_all()

    def end(self, task: Task, command: Command) -> str:
        """How a command ended, once it has been run with those of the others."""
        with self._changed:
            self._waiting[task] = command
            self._changed.notify_all()
            self._changed.wait_for(lambda: task in self._ends)
            end = self._ends.pop(task)
        if task.error is not None:
            raise task.error
        return end

    def ended(self, task: Task) -> None:
        """Take no more commands from a task."""
        with self._changed:
            task.isDone = True
            self._changed.notify_all()


class Task(threading.Thread):
    """One of them; which one runs is told by `threading.current_thread`."""

    def __init__(self, together: Together[Any], function: Callable[[], None]) -> None:
        """Not yet started."""
        super().__init__(daemon=True)
        self.together = together
        self.isDone = False
        self.error: Exception | None = None
        self._function = function

    def run(self) -> None:
        """Keep what the function raises."""
        try:
            self._function()
        except Exception as error:
            self.error = error
        finally:
            self.together.ended(self)
