"""Models and tomograms out of the folder of an IsoNet project."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tomo.objects import (
    TomoAcquisition,
)

from isonet_scipion.convert.outputs import (
    scaleOf,
)
from isonet_scipion.convert.rows import writeTable
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.star import Star, write_star
from isonet_scipion.engine.network.model_file import BUILTIN_FILE
from isonet_scipion.isonet_folder import IsoNetFolder
from isonet_scipion.protocols import ProtIsoNetImportProject
from isonet_scipion.protocols.protocol_import_model import importedModel
from isonet_scipion.protocols.protocol_import_project import modelWarnings
from isonet_scipion.tests.protocols.scene import write


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Two files of a user's outside a project, which is the working directory, and the folder of a run in it."""
    (tmp_path / "user").mkdir()
    (tmp_path / "project" / "run").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    for name, comment in (("a", b""), ("b", b"another")):
        (tmp_path / "user" / name).mkdir()
        shutil.copy(BUILTIN_FILE, tmp_path / "user" / name / "model_iter01.keras")
        with zipfile.ZipFile(tmp_path / "user" / name / "model_iter01.keras", "a") as file:
            file.comment = comment
    return [tmp_path / "user" / name / "model_iter01.keras" for name in "ab"]


@pytest.mark.parametrize(("first", "then"), [(False, True), (True, False), (True, True), (False, False)])
def test_a_model_imported_again_leaves_the_users_files_alone(models, first, then):
    before = [path.read_bytes() for path in models]
    for source, copy in ((models[0], first), (models[0], then), (models[1], then)):
        made = importedModel(str(source), "run", copy)
        assert os.path.islink(made.getFileName()) is not copy
        assert Path(made.getFileName()).read_bytes() == source.read_bytes()
        assert [path.read_bytes() for path in models] == before
    # the run's own file again, by its own name
    again = importedModel(made.getFileName(), "run", True)
    assert not os.path.islink(again.getFileName()) and Path(again.getFileName()).read_bytes() == before[1]
    assert importedModel(again.getFileName(), "run").getFileName() == again.getFileName()


def test_models_of_a_project_are_found_in_whatever_folder_they_were_trained_to(models, tmp_path):
    row = {"rlnIndex": "1", "rlnMicrographName": "a.mrc", "rlnPixelSize": "10"}
    write_star(tmp_path / "tomograms.star", Star(list(row), [row]))
    (tmp_path / "dangling").symlink_to("nowhere")
    folder = IsoNetFolder(str(tmp_path), TomoAcquisition())
    assert folder.models() == [] and folder.model() is None and modelWarnings(folder) == []
    for name, model, time in (("one_pass", models[0], 2000), ("older", models[1], 1000)):
        shutil.copytree(model.parent, tmp_path / name)
        os.utime(tmp_path / name, (time, time))
    newer, older = (str(tmp_path / name / "model_iter01.keras") for name in ("one_pass", "older"))
    assert folder.models() == [newer, older] and folder.model() == newer
    (warning,) = modelWarnings(folder)
    assert f"The model is {newer}." in warning and warning.endswith(f"{older}.")
    shutil.copytree(models[1].parent, tmp_path / "results")
    assert folder.model() == str(tmp_path / "results" / "model_iter01.keras")


def test_a_model_from_inside_the_project_is_found_after_it_was_moved(models, tmp_path, monkeypatch):
    shutil.copytree(models[0].parent, "training")
    made = importedModel(os.path.abspath("training/model_iter01.keras"), "run").getFileName()
    os.mkdir("other run")
    outside = importedModel(str(models[1]), "other run").getFileName()
    run = SimpleNamespace(_getExtraPath=lambda *names: os.path.join("run", *names))
    ofFolder = ProtIsoNetImportProject._link(run, "tomograms", os.path.abspath("training/model_iter01.keras"), "TS_01")
    (tmp_path / "project").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    assert Path(made).read_bytes() == Path(ofFolder).read_bytes() == models[0].read_bytes()
    assert os.readlink(outside) == str(models[1])


def test_voxel_sizes_of_a_folder_may_differ_as_headers_round_them(tmp_path):
    for other, isOne in (("13.480001", True), ("13.47", True), ("13.8", False)):
        sizes = ("13.48", other)
        rows = [
            {"rlnIndex": str(index), "rlnMicrographName": f"TS_{index}.mrc", "rlnPixelSize": size}
            for index, size in enumerate(sizes, 1)
        ]
        writeTable(str(tmp_path / "tomograms.star"), rows)
        folder = IsoNetFolder(str(tmp_path), TomoAcquisition())
        if isOne:
            assert folder.samplingRate == 13.48
        else:
            with pytest.raises(EngineError, match=r"different voxel sizes: 13\.48, 13\.8 A"):
                _ = folder.samplingRate


def test_corrected_tomograms_of_a_folder_have_the_scale_of_their_files(tmp_path):
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.mrc", np.zeros((2, 3, 4), np.int16))
    columns = ("rlnIndex", "rlnMicrographName", "rlnPixelSize", "rlnCorrectedTomoName", SCALE)
    rows = [("1", "a.mrc", "10", "b.mrc", "0.25"), ("2", "b.mrc", "10", "c.mrc", "None")]
    writeTable(str(tmp_path / "tomograms.star"), [dict(zip(columns, row)) for row in rows])
    folder = IsoNetFolder(
        str(tmp_path),
        TomoAcquisition(voltage=300, sphericalAberration=2.7, amplitudeContrast=0.1, angleMin=-60, angleMax=60),
    )
    corrected = folder.tomograms("correctedTomograms", lambda path, name: path)
    assert [scaleOf(tomogram) for tomogram in corrected] == [0.25, 1.0]
    plain = folder.tomograms("tomograms", lambda path, name: path)
    assert [scaleOf(tomogram) for tomogram in plain] == [1.0, 1.0]
