"""predict where memory or the number format does not suffice, with networks that are functions."""

import dataclasses
import json
import os
import re
import sys
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.star import Star, read_star, write_star
from isonet_scipion.engine.io.tomogram_table import TomogramEntry
from isonet_scipion.engine.measure.hidden_wedge import UNSEEN_TURN
from isonet_scipion.engine.measure.wedge_power import wedge_power_ratio
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.physics.wedge_strength import WedgeStrength
from isonet_scipion.engine.process.device import Devices, choose_devices
from isonet_scipion.engine.process.workers import Turns, side_by_side

choose_devices("-1")

import keras  # noqa: E402

from isonet_scipion.engine.io.model_metadata import ModelMetadata  # noqa: E402
from isonet_scipion.engine.network import fitting_tiles  # noqa: E402
from isonet_scipion.engine.network.model_file import save_model  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.settings.correction import PredictSettings  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402
from isonet_scipion.engine.stages import predict as stage  # noqa: E402

SHAPE = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)


@pytest.fixture
def project(tmp_path, run):
    tomogram = np.random.default_rng(0).normal(size=(24, 160, 160)).astype(np.float32)
    for name in "ab":
        write_volume(tmp_path / "tomo" / f"{name}.mrc", tomogram, 10.0)
    keras.utils.set_random_seed(1)
    save_model(tmp_path / "m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0))
    assert run("prepare_star", "tomo")[0] == 0
    return tomogram


def test_tiles_that_do_not_fit_are_halved_and_stay_so_and_memory_is_asked_for_once(project, run, monkeypatch):
    largest, asked, seen = 200_000, [], []

    def network(tiles):
        seen.append(tiles.size)
        if tiles.size > largest:
            raise RuntimeError("No algorithm worked!  Error messages: CUDNN_STATUS_ALLOC_FAILED")
        return tiles

    monkeypatch.setattr(stage, "corrector", lambda *_, **__: network)
    monkeypatch.setattr(fitting_tiles, "measured_halo", lambda *_: 8)
    monkeypatch.setattr(fitting_tiles, "free_memory", lambda devices: asked.append(devices) or 1 << 30)
    status, log = run("predict", "tomograms.star", "m.keras", "--report", "False", "--gpuID", "-1")
    assert status == 0, log
    assert len(asked) == 1
    refused = sum(size > largest for size in seen)
    assert refused == log.count("going on with tiles of half the size") > 0
    assert all(size <= largest for size in seen[refused:]), "the second tomogram starts with the smaller tiles"
    for name in "ab":
        np.testing.assert_allclose(open_volume(f"corrected_tomos/{name}_corrected.mrc").data, project, atol=1e-4)


def test_other_options_in_the_same_process_leave_the_model_and_the_tiles(project, run, monkeypatch):
    loaded, asked, real = [], [], stage.load_model
    monkeypatch.setattr(stage, "load_model", lambda path: loaded.append(path) or real(path))
    monkeypatch.setattr(fitting_tiles, "free_memory", lambda devices: asked.append(devices) or 1 << 30)
    command = ("predict", "tomograms.star", "m.keras", "--report", "False", "--gpuID", "-1", "--tomo_idx", "1")
    for more in ((), ("--output_dir", "other"), ("--output_type", "float16", "--output_dir", "half")):
        status, log = run(*command, *more)
        assert status == 0, log
    assert len(loaded) == len(asked) == 1
    assert run(*command, "--cube_size", "32", "--crop_size", "56", "--output_dir", "fixed")[0] == 0
    assert len(loaded) == 2


def test_the_next_tomogram_is_read_while_one_is_on_a_gpu(project, run, monkeypatch):
    reading, order = [], []
    real = stage.see

    def see(volume, *more):
        reading.append(Path(volume.path).name)
        return real(volume, *more)

    def network(tiles):
        order.append(list(reading))
        return tiles

    def chosen(*_):
        return Devices("tensorflow", ("a GPU",), "float32")

    monkeypatch.setattr(stage, "see", see)
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: network)
    monkeypatch.setattr(stage, "choose_devices", chosen)
    monkeypatch.setattr(fitting_tiles, "free_memory", lambda devices: 1 << 34)
    monkeypatch.setattr(stage, "write_volume", lambda *words: time.sleep(0.5) or write_volume(*words))
    assert run("predict", "tomograms.star", "m.keras", "--report", "False")[0] == 0
    assert order[-1] == ["a.mrc", "b.mrc"] and reading == ["a.mrc", "b.mrc"]  # each is read once
    for name in "ab":
        np.testing.assert_allclose(open_volume(f"corrected_tomos/{name}_corrected.mrc").data, project, atol=1e-4)


def test_less_memory_than_the_smallest_tiles_need_is_one_line(project, run, monkeypatch):
    def network(tiles):
        raise RuntimeError("Dst tensor is not initialized.")

    monkeypatch.setattr(stage, "corrector", lambda *_, **__: network)
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1")
    assert status == 1 and re.search(
        r"error: tomograms\.star: 2 of 2 .*: memory: not even tiles of [0-9]+ voxels fit", log
    ), log


def test_a_report_that_memory_does_not_allow_leaves_the_other_tomograms(project, run, monkeypatch):
    real = stage.Reporter.write

    def write(reporter, entry, *words):
        if entry.name == "a":
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
        real(reporter, entry, *words)

    monkeypatch.setattr(stage.Reporter, "write", write)
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1")
    assert status == 1 and re.search(
        r"error: the report on corrected_tomos/a_corrected\.mrc: memory: .* The corrected tomogram is there", log
    ), log
    assert Path("corrected_tomos/a_corrected.mrc").exists() and Path("corrected_tomos/b_corrected_report.json").exists()
    monkeypatch.setattr(stage.Reporter, "write", real)
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1")
    assert status == 0 and "1 of 2 tomograms are corrected already" in log, log
    assert Path("corrected_tomos/a_corrected_report.json").exists()


def test_a_shortage_of_memory_that_is_over_is_forgotten(project, run, monkeypatch):
    is_short, seen = [True], []

    def network(tiles):
        if is_short[0]:
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
        seen.append(tiles.shape[1:])
        return tiles

    monkeypatch.setattr(stage, "corrector", lambda *_, **__: network)
    monkeypatch.setattr(fitting_tiles, "measured_halo", lambda *_: 8)
    command = ("predict", "tomograms.star", "m.keras", "--gpuID", "-1", "--report", "False", "--tomo_idx", "1")
    assert run(*command)[0] == 1
    is_short[0] = False
    assert run(*command)[0] == 0 and len(seen) == 1  # all in one tile


def test_a_tomogram_that_cannot_be_read_leaves_the_others(project, run, tmp_path):
    for name in "cd":
        write_volume(tmp_path / "tomo" / f"{name}.mrc", project, 10.0)
    assert run("prepare_star", "tomo")[0] == 0
    broken = np.where(project > 3, np.nan, project)
    for names in ("a", "ac"):
        for name in names:
            write_volume(tmp_path / "tomo" / f"{name}.mrc", broken, 10.0)
        status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1", "--output_dir", f"without_{names}")
        assert status == 1 and log.count("The other tomograms go on.") == len(names), log
        made = {path.name[0] for path in tmp_path.glob(f"without_{names}/*_corrected.mrc")}
        assert made == set("abcd") - set(names)
        assert (tmp_path / f"without_{names}" / "report.html").exists()
    assert "tomograms.star: 2 of 4 tomograms failed: tomo/a.mrc, tomo/c.mrc" in log, log


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            EngineError("network", "its result holds NaN", "Take another."),
            r"network: its result holds NaN\. Take another",
        ),
        (RuntimeError("CUDA_ERROR_OUT_OF_MEMORY"), "memory: not even tiles of [0-9]+ voxels fit"),
        (
            MemoryError("of a tile"),
            r"memory: there is not enough \(MemoryError: of a tile\)\. Give cube_size",
        ),
    ],
)
def test_a_tomogram_that_the_network_fails_on_leaves_the_others(project, run, tmp_path, monkeypatch, error, told):
    def network_for(*_, **__):
        return network if reading[-1] == "a.mrc" else lambda tiles: tiles

    def network(tiles):
        raise error

    reading, real = [], stage.see

    def see(volume, *more):
        reading.append(Path(volume.path).name)
        return real(volume, *more)

    monkeypatch.setattr(stage, "see", see)
    monkeypatch.setattr(stage, "corrector", network_for)
    monkeypatch.setattr(fitting_tiles, "measured_halo", lambda *_: 8)
    fixed = ("--cube_size", "32", "--crop_size", "56", "--batch_size", "1") if isinstance(error, MemoryError) else ()
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1", "--report", "False", *fixed)
    assert status == 1 and re.search(rf"error: tomo/a\.mrc: {told}", log), log
    assert log.count("The other tomograms go on.") == 1
    assert [path.name for path in tmp_path.glob("corrected_tomos/*.mrc")] == ["b_corrected.mrc"]


def test_a_result_that_cannot_be_written_ends_the_table(project, run, monkeypatch):
    seen = []

    def write(path, *_):
        seen.append(path)
        raise EngineError(str(path), "it can't be written", "Free disk space.")

    monkeypatch.setattr(stage, "corrector", lambda *_, **__: lambda tiles: tiles)
    monkeypatch.setattr(stage, "write_volume", write)
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1", "--report", "False")
    assert status == 1 and len(seen) == 1 and "a_corrected.mrc: it can't be written" in log, log


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # squares of what it makes are beyond float32 too
def test_a_network_beyond_float16_ends_with_an_error_and_no_tomogram(project, run, tmp_path):
    model = build_unet(SHAPE)
    model.set_weights([1e3 * weight for weight in model.get_weights()])  # activations beyond 65504
    save_model(tmp_path / "large.keras", model, ModelMetadata(SHAPE, voxel_size=10.0))
    try:
        command = ("predict", "tomograms.star", "large.keras", "--gpuID", "-1", "--report", "False")
        status, log = run(*command, "--precision", "mixed_float16")
        assert status == 1 and "number format mixed_float16). Give precision float32" in log, log
        assert not list(tmp_path.glob("corrected_tomos/*.mrc"))
        status, log = run(*command, "--precision", "float32")
        assert status == 0 and np.isfinite(open_volume("corrected_tomos/a_corrected.mrc").data).all(), log
    finally:
        keras.config.set_dtype_policy("float32")


def test_each_gpu_takes_the_next_tomogram_and_those_of_one_that_fails(project, run, tmp_path, monkeypatch):
    write_volume(tmp_path / "tomo" / "c.mrc", np.tile(project, (2, 1, 1)), 10.0)
    assert run("prepare_star", "tomo")[0] == 0
    shared = []
    monkeypatch.setattr(stage, "side_by_side", lambda function, jobs: shared.extend(jobs))
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "4,7,9,11", "--report", "False")
    assert status == 0 and "3 tomograms, spread over GPUs 4, 7, 9" in log, log
    assert [(name, own.gpuID) for name, _, _, own, *_ in shared] == [("GPU 4", "4"), ("GPU 7", "7"), ("GPU 9", "9")]
    assert {tuple(rows) for *_, rows, _ in shared} == {("3", "1", "2")}  # the largest first
    monkeypatch.undo()
    # for real, where there is no GPU: one process on the CPU, and one that fails
    monkeypatch.chdir(tmp_path)
    _, star, model, own, rows, turns = shared[0]
    with pytest.raises(EngineError, match="gpuID"):
        side_by_side(
            stage.predict_in_turn,
            [
                ("CPU", star, model, dataclasses.replace(own, gpuID="-1"), rows, turns),
                ("GPU 99", star, model, dataclasses.replace(own, gpuID="nonsense"), rows, turns),
            ],
        )
    named = [row["rlnCorrectedTomoName"] for row in read_star("tomograms.star").rows]
    assert len(named) == 3 and all(Path(path).exists() for path in named)
    # all of it is known to be finished
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1", "--report", "False")
    assert status == 0 and "3 of 3 tomograms are corrected already" in log, log


def test_a_process_leaves_the_others_a_tomogram_each_before_it_reads_ahead(project, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    turns, rows, left = Turns(2), ["1", "2"], []

    def network(tiles):
        left.extend(turns.of(rows))
        return tiles

    monkeypatch.setattr(stage, "corrector", lambda *_, **__: network)
    monkeypatch.setattr(stage, "choose_devices", lambda *_: Devices("tensorflow", ("a GPU",), "float32"))
    monkeypatch.setattr(fitting_tiles, "free_memory", lambda devices: 1 << 34)
    own = dataclasses.replace(PredictSettings(), tomo_idx="1,2", report=False)
    stage.predict_in_turn("tomograms.star", "m.keras", own, rows, turns)
    assert left == ["2"]


def test_gpus_that_no_tomogram_is_left_for_are_told(project, run, monkeypatch):
    monkeypatch.setattr(stage, "gpus_to_share", lambda _: ("0", "1", "3"))
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: lambda tiles: tiles)
    monkeypatch.setattr(stage, "choose_devices", lambda *_: Devices("tensorflow", (), "float32"))
    status, log = run("predict", "tomograms.star", "m.keras", "--report", "False", "--tomo_idx", "1")
    assert status == 0 and "Each tomogram is corrected by one GPU: GPU 1, GPU 3 stay idle." in log, log


def test_processes_correct_each_tomogram_once_and_tell_of_one_that_is_broken(project, run, tmp_path, monkeypatch):
    for name in "cd":
        write_volume(tmp_path / "tomo" / f"{name}.mrc", project, 10.0)
    assert run("prepare_star", "tomo")[0] == 0
    monkeypatch.chdir(tmp_path)
    own = dataclasses.replace(PredictSettings(), gpuID="-1", tomo_idx="1,2,3,4", report=False)
    broken = project.copy()
    broken[3, 4, 5] = np.nan
    write_volume(tmp_path / "tomo" / "b.mrc", broken, 10.0)
    turns, rows = Turns(2), ["1", "2", "3", "4"]
    jobs = [(name, "tomograms.star", "m.keras", own, rows, turns) for name in ("one", "other")]
    with pytest.raises(EngineError, match=r"tomo/b\.mrc"):
        side_by_side(stage.predict_in_turn, jobs)
    named = [row.get("rlnCorrectedTomoName") for row in read_star("tomograms.star").rows]
    assert [Path(str(path)).exists() for path in named] == [True, False, True, True]


@pytest.mark.parametrize(("size", "is_told"), [(3.5, True), (6.5, False), (17.0, False), (28.0, True)])
def test_voxels_that_the_builtin_model_never_saw_are_told(caplog, size, is_told):
    row = {"rlnMicrographName": "t.mrc", "rlnPixelSize": f"{size}"}
    entry = TomogramEntry("t", row, Star(list(row), [row], "t.star"))
    stage._warn_of_differences(entry, ModelMetadata(SHAPE, simulated=True))
    assert ("learned from simulated tomograms of 6.5 to 17 A" in caplog.text) is is_told
    caplog.clear()
    stage._warn_of_differences(entry, ModelMetadata(SHAPE))
    assert not caplog.text


def abort(_):
    os.abort()


def test_a_process_that_is_aborted_names_the_limits():
    with pytest.raises(EngineError, match=r"GPU 1: its process was ended by SIGABRT.*ulimit -u"):
        side_by_side(abort, [("GPU 1", None)])


@pytest.mark.parametrize(("kind", "mode"), [("float16", 12), ("int16", 1)])
def test_results_take_half_the_space_and_are_checked_after_rounding(project, run, monkeypatch, kind, mode):
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
        np.testing.assert_allclose(data * scale, project, atol=0.01)
    assert log.count(f": {kind}") == 2 and (f"column {SCALE}" in log) == (kind == "int16")
    assert 2 * Path(path).stat().st_size < project.nbytes * 1.1
    # the same table again, in single precision: nothing is left of the scale
    assert run("predict", "tomograms.star", "m.keras", *options[:-1], "float32")[0] == 0
    star = read_star("tomograms.star")
    assert [star.number(row, SCALE, 1.0) for row in star.rows] == [1, 1]


def test_a_picture_shows_grey_values_and_not_what_the_file_holds(project, run, monkeypatch):
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


def test_ome_zarr_in_and_out(project, run, tmp_path, monkeypatch):
    pytest.importorskip("zarr", minversion="3", reason="zarr 3 is optional, and needs Python 3.11")
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: lambda tiles: tiles)
    arguments = ("m.keras", "--gpuID", "-1", "--output_format", "zarr")
    status, log = run("predict", "tomograms.star", *arguments, "--report", "False", "--tomo_idx", "1")
    assert status == 0, log
    named = read_star("tomograms.star").rows[0]["rlnCorrectedTomoName"]
    assert named == "corrected_tomos/a_corrected.zarr"
    first = open_volume(named)
    assert first.voxel_size == 10.0
    np.testing.assert_allclose(first.data, project, atol=1e-4)
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
    np.testing.assert_allclose(open_volume(f"again/{stem}.zarr").data, project, atol=1e-3)
    status, log = run("report", "stores.star", "m.keras", "--gpuID", "-1")
    assert status == 0, log
    Path("other").mkdir()
    write_volume(f"other/{stem}.zarr", project, 10.0)
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


def test_ome_zarr_without_its_library_is_refused_before_the_work(project, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1", "--output_format", "zarr")
    assert status == 1
    assert "pip install 'zarr>=3'" in log
    assert not Path("corrected_tomos").exists()


@pytest.mark.parametrize("facts", [{"kept_beyond": 24}, {"simulated": True}, {}])
def test_what_the_hidden_wedge_test_does_not_support_is_weakened(project, run, tmp_path, facts):
    """The network has random weights: what it puts into the wedge is invented."""
    model, rng = build_unet(SHAPE), np.random.default_rng(0)
    model.set_weights([weight + 0.3 * rng.normal(size=weight.shape) ** 2 for weight in model.get_weights()])
    save_model(tmp_path / "own.keras", model, ModelMetadata(SHAPE, voxel_size=10.0, **facts))
    powers = {}
    for calibrate in ("False", "True", None):
        given = ["--calibrate", calibrate] if calibrate else []
        folder = f"out{calibrate}"
        wanted = ["--report", "False", "--tomo_idx", "1", "--output_dir", folder, *given]
        status, log = run("predict", "tomograms.star", "own.keras", *wanted)
        assert status == 0, log
        said = re.findall(r"a: what is filled in is multiplied by (\d.\d\d) at 100 A", log)
        assert len(said) == (calibrate == "True" or (calibrate is None and bool(facts)))
        powers[calibrate] = wedge_power_ratio(open_volume(str(tmp_path / folder / "a_corrected.mrc")).data, TiltRange())
    assert powers["True"] < 0.3 * powers["False"]
    assert powers[None] == powers["True" if facts else "False"]


def test_boxes_along_the_axes_and_along_the_diagonals_count_alike(project, run, monkeypatch):
    """The strength is the mean of that by the boxes that are not turned and that by those that are."""
    tested = []

    class Test(stage.HiddenWedgeTest):
        def __init__(self, size, tilt, turn):
            super().__init__(size, tilt, turn)
            self.turn = turn

        def add(self, parts, network, number):
            tested.append((self.turn, number))

        def strength(self, kept, transfer):
            return WedgeStrength((0.0,), (1.0 if self.turn == 0 else 0.5,))

    monkeypatch.setattr(stage, "HiddenWedgeTest", Test)
    options = ("--tomo_idx", "1", "--calibrate", "True", "--report", "False")
    status, log = run("predict", "tomograms.star", "m.keras", *options)
    assert status == 0 and "counts 0.75 at 100 A, 0.75 at 50 A" in log, log
    assert len(tested) >= 4 and tested[:4] == [(0, 0), (UNSEEN_TURN, 0), (0, 1), (UNSEEN_TURN, 1)]


@pytest.mark.parametrize("of_model", [{"halves": True, "corrects_mean": True}, {"halves": True}, {}])
def test_halves_tell_how_much_of_the_signal_is_kept(run, tmp_path, monkeypatch, of_model):
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(48, 64, 64))
    noise = rng.normal(size=(2, *signal.shape))
    for folder, volume in zip(("tomo", "even", "odd"), (signal + noise.mean(axis=0), *(signal + noise))):
        write_volume(tmp_path / folder / "a.mrc", volume.astype("f4"), 10.0)
    save_model(tmp_path / "m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0, **of_model))
    kept = []
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: lambda tiles: 0.5 * tiles)
    monkeypatch.setattr(stage.HiddenWedgeTest, "strength", lambda self, given, transfer: kept.append(given))
    assert run("prepare_star", "tomo", "--even_folder", "even", "--odd_folder", "odd")[0] == 0
    status, log = run("predict", "tomograms.star", "m.keras", "--report", "False", "--calibrate", "True")
    assert status == 0, log
    np.testing.assert_allclose(kept[0].amplitudes()[3:], 0.5, rtol=1e-3)


def halves_of_another_scale(folder, model, factor, more, kind="f4", pad=0):
    """Write a tomogram, its halves times a factor and with an offset, and a model: returns the tomogram's voxels."""
    rng = np.random.default_rng(0)
    signal, *noise = rng.normal(size=(3, 48, 64, 64))
    halves = [signal + one for one in noise]
    whole = np.pad(np.mean(halves, axis=0), ((0, 0), (pad, 0), (0, 0)), constant_values=-9)
    for name, volume in (("even", halves[0]), ("odd", halves[1])):
        volume = np.pad(volume * factor + more, ((0, 0), (pad, 0), (0, 0)), constant_values=-9 * factor + more)
        write_volume(folder / name / "a.mrc", volume.astype(kind), 10.0)
    write_volume(folder / "tomo" / "a.mrc", whole.astype("f4"), 10.0)
    save_model(folder / "m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0, **model))
    return whole


@pytest.mark.parametrize("model", [{"halves": True, "corrects_mean": True}, {"halves": True}])
@pytest.mark.parametrize(("factor", "more", "kind", "pad"), [
    (1000, 5000, "i2", 0),
    (0.5, 0, "f4", 0),  # the tomogram is their sum
    (1, 3, "f4", 7),
    (1, 0, "f4", 0),
])  # fmt: skip
def test_what_is_made_of_halves_has_the_grey_scale_of_the_tomogram(
    run, tmp_path, monkeypatch, model, factor, more, kind, pad
):
    whole, drawn = halves_of_another_scale(tmp_path, model, factor, more, kind, pad), []
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: lambda tiles: tiles)
    monkeypatch.setattr(stage, "save_comparison", lambda _, before, after, *__: drawn.append((before, after[:])))
    assert run("prepare_star", "tomo", "--even_folder", "even", "--odd_folder", "odd")[0] == 0
    command = ("predict", "tomograms.star", "m.keras", "--report", "False", "--output_dir")
    status, log = run(*command, "own")
    assert status == 0 and ("another grey scale" in log) == ((factor, more) != (1, 0)), log
    np.testing.assert_allclose(open_volume("own/a_corrected.mrc").data, whole, atol=2e-3)
    np.testing.assert_allclose(*drawn[0], atol=2e-3)
    # IsoNet 0.2's scale, in the border as in the data
    assert run(*command, "normalised", "--normalized_output", "True")[0] == 0
    made = open_volume("normalised/a_corrected.mrc").data
    np.testing.assert_allclose(np.percentile(made[:, pad:], (4, 96)), (-1, 0), atol=0.1)
    low, high = np.percentile(whole[:, pad:], (4, 96))
    np.testing.assert_allclose(made[:, :pad], (-9 - high) / (high - low), atol=0.6)


def test_halves_of_another_scale_are_shown_on_the_tomograms(run, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: np.tanh)
    monkeypatch.setattr(stage.HiddenWedgeTest, "strength", lambda self, given, transfer: kept.append(given))
    for number, (factor, more) in enumerate([(1, 0), (1000, 500)]):
        halves_of_another_scale(tmp_path, {}, factor, more)
        if not number:
            assert run("prepare_star", "tomo", "--even_folder", "even", "--odd_folder", "odd")[0] == 0
        command = ("--report", "False", "--calibrate", "True", "--output_dir", str(number))
        assert run("predict", "tomograms.star", "m.keras", *command)[0] == 0
    same, other = (one.amplitudes() for one in kept[::2])
    assert same[5:].min() > 0.1 and same[5:].max() < 0.9
    np.testing.assert_allclose(other, same, rtol=1e-3)


@pytest.mark.parametrize("model", [{"halves": True, "corrects_mean": True}, {}])
def test_a_report_and_a_confidence_do_not_depend_on_the_scale_of_halves(run, tmp_path, monkeypatch, model):
    told = []
    for number, (factor, more) in enumerate([(1, 0), (1000, 500)]):
        halves_of_another_scale(tmp_path, model, factor, more)
        if not number:
            assert run("prepare_star", "tomo", "--even_folder", "even", "--odd_folder", "odd")[0] == 0
        command = ("--confidence", "True", "--output_dir", str(number))
        status, log = run("predict", "tomograms.star", "m.keras", *command)
        assert status == 0, log
        told.append(json.loads(Path(f"{number}/a_corrected_report.json").read_text()))
    for key, value in told[0].items():
        if isinstance(value, float):
            assert told[1][key] == pytest.approx(value, abs=2e-3), key


def test_a_missing_mask_is_told_before_the_work(project, run, monkeypatch):
    monkeypatch.setattr(stage, "_loaded", lambda *_: pytest.fail("the model was loaded"))
    star = read_star("tomograms.star")
    star.set(star.rows[0], "rlnMaskName", "gone_mask.mrc")
    write_star("masked.star", star)
    status, log = run("predict", "masked.star", "m.keras", "--gpuID", "-1")
    assert status == 1 and "error: gone_mask.mrc: the volume does not exist" in log, log


@pytest.mark.parametrize("calibrate", [True, False])
def test_a_mask_that_is_none_leaves_the_other_tomograms(project, run, tmp_path, calibrate):
    star = read_star("tomograms.star")
    write_volume(tmp_path / "box.mrc", (np.abs(project) < 2).astype(np.int8), 10.0)
    for row, mask in zip(star.rows, ("tomo/b.mrc", "box.mrc")):
        star.set(row, "rlnMaskName", mask)
    write_star("masked.star", star)
    status, log = run("predict", "masked.star", "m.keras", "--gpuID", "-1", "--calibrate", calibrate)
    assert status == 1 and log.count("The other tomograms go on.") == 1, log
    assert re.search("error: tomo/b.mrc: its voxels are grey values .* not of a mask", log), log
    assert [path.name for path in tmp_path.glob("corrected_tomos/*.mrc")] == ["b_corrected.mrc"]
    assert Path("corrected_tomos/report.html").exists()
    untested = ("--report", "False", "--calibrate", "False", "--output_dir", "untested")
    assert run("predict", "masked.star", "m.keras", "--gpuID", "-1", *untested)[0] == 0  # no mask is needed


def test_halves_that_do_not_fit_are_told_before_the_work(run, tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("tomo", "even", "odd"):
        write_volume(tmp_path / folder / "a.mrc", rng.normal(size=(32, 64, 64)).astype("f4"), 10.0)
    save_model(tmp_path / "m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0))
    assert run("prepare_star", "tomo", "--even_folder", "even", "--odd_folder", "odd")[0] == 0
    write_volume(tmp_path / "odd" / "a.mrc", rng.normal(size=(32, 64, 32)).astype("f4"), 10.0)
    status, log = run("predict", "tomograms.star", "m.keras")
    assert status == 1 and re.search(r"error: odd/a.mrc: .*\(32, 64, 32\)", log), log
    assert not Path("corrected_tomos").exists()
    status, log = run("predict", "tomograms.star", "m.keras", "--report", "False", "--calibrate", "False")
    assert status == 0, log


def test_a_tomogram_too_small_for_the_test_is_left_as_it_was_filled(run, tmp_path):
    write_volume(tmp_path / "tomo" / "a.mrc", np.random.default_rng(0).normal(size=(8, 64, 64)).astype("f4"), 10.0)
    save_model(tmp_path / "own.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0, kept_beyond=24))
    assert run("prepare_star", "tomo")[0] == 0
    status, log = run("predict", "tomograms.star", "own.keras", "--report", "False")
    assert status == 0 and "kept in full" in log


def test_what_only_some_of_the_tomograms_have_is_told_before_the_work(project, run, tmp_path):
    assert run("prepare_star", "tomo", "--defocus=20000", "--output_star=own.star")[0] == 0
    for command in ("deconv", "make_mask"):
        assert run(command, "own.star", "--tomo_idx=1")[0] == 0
    write_volume(tmp_path / "corrected_tomos" / "b_corrected.mrc", project, 10.0)  # so that it ends before the work
    masks = "own.star: only some of the tomograms have masks, not b: the model is tested anywhere in these."
    kinds = "own.star: only some of the tomograms are deconvolved, not b, which are taken as they are."
    for options, told in (
        ((), (kinds, masks)),
        (("--use_deconv_tomo=False",), (masks,)),
        (("--report=False",), (kinds,)),
        (("--tomo_idx=2",), ()),
    ):
        status, log = run("predict", "own.star", "m.keras", "--gpuID=-1", *options)
        assert status == 1 and "b_corrected.mrc: it is there already" in log, log
        assert tuple(line for line in (kinds, masks) if line in log) == told, log


def test_a_state_of_the_ctf_is_of_no_use_to_another_model(project, run):
    # of an absent tomogram, so that it ends before the work
    for command in ("predict", "report"):
        status, log = run(command, "tomograms.star", "m.keras", "--ctf_state=raw", "--tomo_idx=9")
        assert status == 1 and "ctf_state has no effect without a CTF-aware model." in log, (command, log)


def test_what_another_tables_command_wrote_meanwhile_is_not_replaced(project, run, tmp_path, monkeypatch):
    write_volume(tmp_path / "other" / "a.mrc", 2 * project, 10.0)
    assert run("prepare_star", "other", "--output_star=other.star")[0] == 0
    predict = ("predict", "other.star", "m.keras", "--report=False", "--gpuID=-1", "--calibrate=False")
    assert run(*predict)[0] == 0
    result = Path("corrected_tomos/a_corrected.mrc")
    theirs = result.read_bytes()
    result.unlink()

    def network(tiles):
        result.write_bytes(theirs)
        return tiles

    monkeypatch.setattr(stage, "corrector", lambda *_, **__: network)
    status, log = run(predict[0], "tomograms.star", *predict[2:], "--tomo_idx=1")
    assert status == 1 and "a_corrected.mrc: it is there already, and tomograms.star does not name it" in log, log
    assert result.read_bytes() == theirs
