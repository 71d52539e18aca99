"""The engine's command."""

from __future__ import annotations

import sys


def engine() -> list[str]:
    """The engine's command."""
    return [sys.executable, "-m", "isonet_scipion.engine"]
