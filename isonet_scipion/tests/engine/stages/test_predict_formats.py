"""Formats that predict reads and writes, and its pictures."""

import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.network import fitting_tiles  # noqa: E402
from isonet_scipion.engine.stages import predict as stage  # noqa: E402


@pytest.mark.parametrize(("kind", "mode"), [("float16", 12), ("int16", 1)])
def test_results_take_half_the_space_and_are_checked_after_rounding(noise_twice, run, monkeypatch, kind, mode):
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: lambda tiles: tiles)
    monkeypatch.setattr(fitting_tiles, "measured_halo", lambda *_: 8)
    options = ("--report", "False", "--gpuID", "-1", "--output_type", kind)
    status, log = run("predict", "tomograms.star", "m.keras", *options)
    assert status == 0, log
    star = read_star("tomograms.star")
    for name, row in zip("ab", star.rows):
        path = f"corrected_tomos/{name}_corrected.mrc"
        data = open_volume(path).data
        assert data.dtype == kind and mrcfile.open(path, header_only=True).header.mode == mode
        scale = star.number(row, SCALE, 1.0)
        assert (scale != 1) == (kind == "int16")  # whole numbers would be too coarse for a deviation of 1
        np.testing.assert_allclose(data * scale, noise_twice, atol=0.01)
    assert log.count(f": {kind}") == 2 and (f"column {SCALE}" in log) == (kind == "int16")
    assert 2 * Path(path).stat().st_size < noise_twice.nbytes * 1.1
    # the same table again, in single precision: nothing is left of the scale
    assert run("predict", "tomograms.star", "m.keras", *options[:-1], "float32")[0] == 0
    star = read_star("tomograms.star")
    assert [star.number(row, SCALE, 1.0) for row in star.rows] == [1, 1]


def test_a_picture_shows_grey_values_and_not_what_the_file_holds(noise_twice, run, monkeypatch):
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: lambda tiles: tiles)
    monkeypatch.setattr(fitting_tiles, "measured_halo", lambda *_: 8)
    shown = []
    monkeypatch.setattr(stage, "save_comparison", lambda path, before, after, *_: shown.append((before, after)))
    status, log = run(
        "predict", "tomograms.star", "m.keras", "--report", "False", "--gpuID", "-1", "--output_type=int16"
    )
    assert status == 0, log
    for before, after in shown:
        np.testing.assert_allclose(after, before, atol=0.01)


def test_ome_zarr_in_and_out(noise_twice, run, tmp_path, monkeypatch):
    pytest.importorskip("zarr", minversion="3.1", reason="zarr 3.1 is optional, and needs Python 3.11")
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: lambda tiles: tiles)
    arguments = ("m.keras", "--gpuID", "-1", "--output_format", "zarr")
    status, log = run("predict", "tomograms.star", *arguments, "--report", "False", "--tomo_idx", "1")
    assert status == 0, log
    named = read_star("tomograms.star").rows[0]["rlnCorrectedTomoName"]
    assert named == "corrected_tomos/a_corrected.zarr"
    first = open_volume(named)
    assert first.voxel_size == 10.0
    np.testing.assert_allclose(first.data, noise_twice, atol=1e-4)
    status, log = run("prepare_star", "corrected_tomos", "--output_star", "stores.star")
    assert status == 0, log
    for _ in range(2):  # what it wrote itself, it replaces
        status, log = run("predict", "stores.star", *arguments, "--output_dir", "again")
        assert status == 0, log
    names = sorted(path.name for path in Path("again").iterdir())
    stem = "a_corrected_corrected"
    assert names == [
        f"{stem}.png", f"{stem}.zarr", f"{stem}_report.json", f"{stem}_report.png",
        "report.html",
    ]  # fmt: skip
    np.testing.assert_allclose(open_volume(f"again/{stem}.zarr").data, noise_twice, atol=1e-3)
    status, log = run("report", "stores.star", "m.keras", "--gpuID", "-1")
    assert status == 0, log
    Path("other").mkdir()
    write_volume(f"other/{stem}.zarr", noise_twice, 10.0)
    status, log = run("predict", "stores.star", *arguments, "--output_dir", "other")
    assert status == 1
    assert "does not name it" in log
    status, log = run("export_relion", "stores.star")
    assert status == 1
    assert "RELION does not read" in log


def test_an_installed_viewer_is_offered_for_the_format_that_it_reads(run, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    write_volume(tmp_path / "a b.mrc", np.zeros((2, 2, 2), np.float32), 10.0)
    monkeypatch.setenv("PATH", str(tmp_path))
    for _ in range(2):
        for suffix in ("mrc", "zarr"):
            stage._tell_how_to_look(open_volume("a b.mrc"), Path(f"out.{suffix}"))
        lines = [record.getMessage().split(": ")[1] for record in caplog.records]
        for program in ("3dmod", "napari"):
            (tmp_path / program).write_text("#!/bin/sh\n")
            (tmp_path / program).chmod(0o755)
    assert lines == ["3dmod 'a b.mrc' out.mrc", "napari out.zarr"]


def test_ome_zarr_without_its_library_is_refused_before_the_work(noise_twice, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1", "--output_format", "zarr")
    assert status == 1
    assert "pip install 'zarr>=3.1'" in log
    assert not Path("corrected_tomos").exists()
