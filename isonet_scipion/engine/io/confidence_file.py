"""The confidence volume of a corrected tomogram as a file, and the calibration that comes with the program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isonet_scipion.engine.conventions import CONFIDENCE_SUFFIX
from isonet_scipion.engine.io.mrc import writing_volume
from isonet_scipion.engine.measure.confidence import Calibration, Term

if TYPE_CHECKING:
    import os

    from isonet_scipion.engine.io.volume import Volume
    from isonet_scipion.engine.measure.confidence import Confidence
    from isonet_scipion.engine.physics.borders import Border

CALIBRATION = Path(__file__).parent.parent / "builtin" / "confidence.json"


def confidence_path(corrected: str | os.PathLike[str]) -> Path:
    """File of the confidence volume of a corrected tomogram."""
    path = Path(corrected)
    return path.with_name(path.stem + CONFIDENCE_SUFFIX)


def read_calibration() -> Calibration:
    """The program's own calibration; its data sheet is CONFIDENCE.md beside it."""
    content = json.loads(CALIBRATION.read_text(encoding="utf-8"))
    terms = {name: Term(**values) for name, values in content["terms"].items()}
    return Calibration(content["window"], content["intercept"], terms)


def write_confidence(
    found: Confidence, corrected: Volume, border: Border | None, voxel_size: float, mark: bytes
) -> Path:
    """Write the confidence volume beside a corrected tomogram: its shape, voxel size and origin; 0 where is no data.

    Raises
    ------
    EngineError
        If it can't be written.
    """
    path = confidence_path(corrected.path)
    box = (slice(None),) * 3 if border is None else border.box
    empty = None if border is None else border.empty
    with writing_volume(path, corrected.shape, np.float32, voxel_size, corrected, mark) as voxels:
        voxels[:] = 0
        for number, plane in enumerate(found.planes()):
            voxels[box][number] = plane if empty is None else plane * ~empty[number]
    return path
