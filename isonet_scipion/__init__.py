"""Scipion plugin for the missing-wedge correction of cryo-ET tomograms with IsoNet's method, with its own engine.

The engine (`isonet_scipion.engine`) also runs where Scipion is not installed, so nothing here imports Scipion.
"""

from __future__ import annotations

__version__ = "1.0.0"
_logo = "icon.png"
_references = ["Liu2022", "Wiedemann2024"]


def __getattr__(name: str) -> object:
    # Scipion asks for Plugin when it registers the package (PEP 562)
    if name == "Plugin":
        from isonet_scipion.plugin import Plugin

        return Plugin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
