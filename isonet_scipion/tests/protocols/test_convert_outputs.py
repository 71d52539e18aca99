"""The engine's results as items of Scipion's sets."""

from __future__ import annotations

import numpy as np
import pytest
from pyworkflow.object import Float
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
    reportNumbers,
    scaleOf,
    setReport,
    setScale,
    tomoMask,
)
from isonet_scipion.convert.rows import coordinateRows, tomogramRow, writeTable
from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.report_file import write_report
from isonet_scipion.protocols import ProtIsoNetPredict
from isonet_scipion.protocols.protocol_predict import restoredInWords
from isonet_scipion.tests.engine.io.test_report_file import CONTENT

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


def test_a_summary_tells_what_is_restored_by_the_rule_of_the_reports_verdict():
    report = {"restored_wedge_correlation": 0.12, "restored_wedge_resolution_A": None}
    assert restoredInWords(report) == "0.12"
    report["restored_wedge_above_chance_A"] = None
    assert restoredInWords(report) == "0.12, nowhere better than chance: invention"
    report["restored_wedge_above_chance_A"] = 81.0
    assert restoredInWords(report) == "0.12, above chance to 81 Å, nowhere 0.5"
    assert restoredInWords({**report, "restored_wedge_resolution_A": 95.0}) == "0.12, correlation 0.5 at 95 Å"
    assert restoredInWords({**report, "restored_wedge_correlation": None}) == "not known: too few voxels to tell"


def test_a_summary_tells_no_invention_where_too_few_voxels_were_tested(tomogram, tmp_path):
    numbers = {"correlation": 0.3, "chance": 0.1, "resolution_A": None, "above_chance_A": None}
    words = []
    for known in (True, False):
        path = tmp_path / f"{known}_report.json"
        told = {f"restored_wedge_{name}": value for name, value in numbers.items()}
        write_report(path, {**CONTENT, **told, "restored_wedge_known": known})
        setReport(tomogram, str(path))
        words.append(restoredInWords(reportNumbers(tomogram)))
    assert "invention" in words[0] and words[1] == "not known: too few voxels to tell"


def test_invention_is_not_said_to_be_restored_well(tomogram):
    def advice(*numbers):
        output = []
        for mean, above in numbers:
            item = tomogram.clone()
            for name, value in (("Wedge", mean), ("Resolution", None), ("AboveChance", above)):
                setattr(item, f"_isonetRestored{name}", Float(value))
            output.append(item)
        return ProtIsoNetPredict._worthTraining(output)

    assert "restores these tomograms well" in advice((0.6, 40.0), (None, None))
    for poor in (0.6, None), (0.4, 40.0):
        assert "is worth trying" in advice((0.6, 40.0), poor)
    assert "is worth trying" in advice((None, None))
