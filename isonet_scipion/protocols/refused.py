"""What the system refuses Scipion's own process, told with what to do."""

from __future__ import annotations

import errno
import functools
import sqlite3
import traceback
from collections.abc import Callable

from pwem.protocols import EMProtocol
from pyworkflow.exceptions import PyworkflowException

from isonet_scipion.engine.errors import NO_THREAD, SYSTEM_REMEDIES, EngineError, system_error

NO_MEMORY = (errno.ENOMEM, errno.EAGAIN)  # for a thread, a process or an array
# in SQLite's words, and what to do: a disk; a quota; a permission or mount that changed since the run began
DATABASE_REMEDIES = {
    **dict.fromkeys(("disk is full", "disk I/O error"), SYSTEM_REMEDIES[errno.ENOSPC]),
    **dict.fromkeys(("readonly database", "unable to open"), "Check the disk, and the permissions of the folder."),
}


class EngineFailure(PyworkflowException):
    """The engine's one-line error; Scipion shows it as the protocol's error message."""


class ProtIsoNetPlain(EMProtocol):
    """Tells what the system refuses within a step, with what to do."""

    def _insertFunctionStep(self, func: Callable[..., object], *words: object, **options: object) -> int:
        """As Scipion, but for that."""

        @functools.wraps(func)
        def step(*words: object) -> object:
            try:
                return func(*words)
            except Exception as error:
                if (refused := refusal(error, self.getPath())) is None:
                    raise
                self.error(traceback.format_exc())
                raise refused from error

        return super()._insertFunctionStep(step, *words, **options)


def refusal(error: Exception, folder: str) -> EngineFailure | None:
    """What an error says that the system caused in Scipion's own process, with what to do; None of any other.

    Parameters
    ----------
    error : Exception
        As Python raised it.
    folder : str
        The run's, in which the databases are.
    """
    isNoThread = isinstance(error, RuntimeError) and NO_THREAD in str(error)  # else the engine's words, told already
    if isinstance(error, MemoryError) or isNoThread or getattr(error, "errno", None) in NO_MEMORY:
        why = f"there is not enough for Scipion's process ({str(error) or type(error).__name__})"
        told = EngineError("memory", why, SYSTEM_REMEDIES[errno.ENOMEM])
    elif isinstance(error, OSError) and error.errno in SYSTEM_REMEDIES:
        told = system_error(error)
    elif isinstance(error, sqlite3.OperationalError):
        remedy = next((remedy for words, remedy in DATABASE_REMEDIES.items() if words in str(error)), None)
        if remedy is None:
            return None
        told = EngineError(folder, f"a database there can't be used ({error})", remedy)
    else:
        return None
    return EngineFailure(f"{told} Continue goes on with what is missing.")
