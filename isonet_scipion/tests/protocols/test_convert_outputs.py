"""The engine's results as items of Scipion's sets."""

from __future__ import annotations

import numpy as np
import pytest
from tomo.constants import BOTTOM_LEFT_CORNER
from tomo.objects import (
    Coordinate3D,
    SetOfTomograms,
    SubTomogram,
)

from isonet_scipion.convert.acquisition import Optics
from isonet_scipion.convert.outputs import (
    orientLike,
    processedTomogram,
    scaleOf,
    setScale,
    tomoMask,
)
from isonet_scipion.convert.rows import coordinateRows, tomogramRow, writeTable
from isonet_scipion.engine.io.number_formats import SCALE

OPTICS = Optics(200.0, 2.0, 0.08, -57.0, 51.0)


def test_subtomograms_at_one_voxel_have_the_orientation_of_each_coordinate_there(tomogram):
    def at(x: float) -> Coordinate3D:
        coordinate = Coordinate3D()
        coordinate.setVolume(tomogram)
        coordinate.setPosition(x, 1, 1, BOTTOM_LEFT_CORNER)
        return coordinate

    picked, subtomograms = [at(x) for x in (1.9, 2.2, 3.0)], [SubTomogram() for _ in range(3)]
    for score, (one, subtomogram) in enumerate(zip(picked, subtomograms)):
        one.setScore(score)
        one.setMatrix(np.diag([1.0, 1.0, 1.0, 1.0]) + score * np.eye(4, k=1))
        subtomogram.setCoordinate3D(at(round(one.getPosition(BOTTOM_LEFT_CORNER)[0])))
    orientLike(subtomograms, coordinateRows(picked, 10.0, tomogram), picked, 1.0)
    assert [item.getCoordinate3D().getScore() for item in subtomograms] == [0, 1, 2]
    assert [item.getTransform().getMatrix()[0, 1] for item in subtomograms] == [0, 1, 2]


def test_processed_tomogram_keeps_the_origin_and_drops_what_no_longer_holds(tomogram):
    output = processedTomogram(tomogram, "new.mrc", ctfCorrected=True)
    assert output.getFileName() == "new.mrc"
    assert (output.getObjId(), output.getTsId(), output.getSamplingRate()) == (7, "TS_01", 10.0)
    assert output.getOrigin().getShifts() == (-5.0, -6.0, -7.0)
    assert output.ctfCorrected() and not output.hasHalfMaps()
    assert output.getAcquisition() is None
    assert tomogram.hasHalfMaps() and not tomogram.ctfCorrected()


def test_mask_names_its_tomogram(tomogram):
    mask = tomoMask(tomogram, "mask.mrc")
    assert (mask.getVolName(), mask.getFileName(), mask.getTsId()) == (tomogram.getFileName(), "mask.mrc", "TS_01")
    assert mask.getOrigin().getShifts() == (-5.0, -6.0, -7.0) and not mask.hasHalfMaps()


@pytest.mark.parametrize("scales", [(None, 0.25), (0.25, None)])
def test_a_set_holds_corrected_tomograms_of_which_only_some_are_scaled(tmp_path, tomogram, scales):
    corrected = SetOfTomograms(filename=str(tmp_path / "corrected.sqlite"))
    for number, scale in enumerate(scales):
        row = tomogramRow("TS_01", "t.mrc", 10.0, OPTICS)
        writeTable(str(tmp_path / "t.star"), [row if scale is None else {**row, SCALE: str(scale)}])
        source = tomogram.clone()
        source.setTsId(f"TS_{number}")
        source.setObjId(number + 1)
        item = processedTomogram(source, tomogram.getFileName(), ctfCorrected=False)
        setScale(item, str(tmp_path / "t.star"))
        corrected.append(item)
    corrected.write()
    assert [scaleOf(item) for item in corrected] == [1.0 if scale is None else scale for scale in scales]
    corrected.close()
