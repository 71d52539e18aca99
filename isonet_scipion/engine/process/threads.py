"""How many threads this process may start: TensorFlow ends it without a word where one of its own can't be."""

from __future__ import annotations

import os
import threading

from isonet_scipion.engine.errors import EngineError

REMEDY = "Raise the limit on processes (ulimit -u, or the container's pids limit), or give it fewer CPUs."
MOST_ASKED = 4096  # asking for more would take them from others for a while


def cpus() -> int:
    """CPUs that this process may work on."""
    return len(os.sched_getaffinity(0))


def array_threads() -> int:
    """Threads that numpy's linear algebra starts while it is imported."""
    told = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    return min(int(told), MOST_ASKED) if told.isdecimal() else cpus()


def network_threads(workers: int = 0) -> int:
    """Threads that a network needs, measured with TensorFlow on the CPU, beside `workers` that prepare its input."""
    return 4 * cpus() + 12 + workers


def require_threads(count: int) -> None:
    """Raise an EngineError unless so many threads can be started."""
    waiting = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(min(count, MOST_ASKED)):
            thread = threading.Thread(target=waiting.wait, daemon=True)
            thread.start()
            started.append(thread)
    except (RuntimeError, MemoryError) as error:
        raise EngineError(
            "threads", f"the system lets this process start {len(started)} more, the work needs up to {count}", REMEDY
        ) from error
    finally:
        waiting.set()
        for thread in started:
            thread.join()
