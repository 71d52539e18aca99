"""IsoNet's stages as a command (`isonet-engine`) and as pure functions on arrays.

Nothing below this package imports Scipion. Arrays are (z, y, x) float32, the tilt axis lies along y.
Units: A, degrees, kV, mm; a name that holds another unit says so.

The names in `__all__` are for programs of others; they are imported when they are first used, Keras with `load_model`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isonet_scipion.engine.conventions import Normalisation
    from isonet_scipion.engine.errors import EngineError
    from isonet_scipion.engine.io.mrc import open_volume, write_volume
    from isonet_scipion.engine.measure.quality import Evidence, Quality, measure_quality
    from isonet_scipion.engine.network.correction import correct, corrector
    from isonet_scipion.engine.network.model_file import load_model
    from isonet_scipion.engine.network.tiling import isonet_tiling
    from isonet_scipion.engine.physics.ctf import CtfParameters
    from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve
    from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge
    from isonet_scipion.engine.sampling.mask import sample_mask

__all__ = [
    "CtfParameters",
    "Deconvolution",
    "EngineError",
    "Evidence",
    "Normalisation",
    "Quality",
    "TiltRange",
    "apply_wedge",
    "correct",
    "corrector",
    "deconvolve",
    "isonet_tiling",
    "load_model",
    "measure_quality",
    "open_volume",
    "sample_mask",
    "write_volume",
]
_ROOMS = {
    "conventions": ("Normalisation",),
    "errors": ("EngineError",),
    "io.mrc": ("open_volume", "write_volume"),
    "measure.quality": ("Evidence", "Quality", "measure_quality"),
    "network.correction": ("correct", "corrector"),
    "network.model_file": ("load_model",),
    "network.tiling": ("isonet_tiling",),
    "physics.ctf": ("CtfParameters",),
    "physics.radial_filter": ("Deconvolution", "deconvolve"),
    "physics.wedge": ("TiltRange", "apply_wedge"),
    "sampling.mask": ("sample_mask",),
}


def __getattr__(name: str) -> Any:
    for module, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
