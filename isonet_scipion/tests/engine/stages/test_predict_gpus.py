"""predict on several GPUs, each by a process of its own, and what is read while one works."""

import dataclasses
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import read_star, write_star
from isonet_scipion.engine.process.device import Devices, choose_devices
from isonet_scipion.engine.process.workers import Turns, side_by_side

choose_devices("-1")

from isonet_scipion.engine.network import fitting_tiles  # noqa: E402
from isonet_scipion.engine.settings.correction import PredictSettings  # noqa: E402
from isonet_scipion.engine.stages import predict as stage  # noqa: E402


def test_the_next_tomogram_is_read_while_one_is_on_a_gpu(noise_twice, run, monkeypatch):
    reading, both = [], threading.Event()
    real = stage.see

    def see(volume, *more):
        reading.append(Path(volume.path).name)
        if len(reading) == 2:
            both.set()
        return real(volume, *more)

    def network(tiles):
        assert both.wait(20)  # also on the first tomogram
        return tiles

    def chosen(*_):
        return Devices("tensorflow", ("a GPU",), "float32")

    monkeypatch.setattr(stage, "see", see)
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: network)
    monkeypatch.setattr(stage, "choose_devices", chosen)
    monkeypatch.setattr(fitting_tiles, "free_memory", lambda devices: 1 << 34)
    assert run("predict", "tomograms.star", "m.keras", "--report", "False")[0] == 0
    assert reading == ["a.mrc", "b.mrc"]  # each is read once
    for name in "ab":
        np.testing.assert_allclose(open_volume(f"corrected_tomos/{name}_corrected.mrc").data, noise_twice, atol=1e-4)


def test_each_gpu_takes_the_next_tomogram_and_those_of_one_that_fails(noise_twice, run, tmp_path, monkeypatch):
    write_volume(tmp_path / "tomo" / "c.mrc", np.tile(noise_twice, (2, 1, 1)), 10.0)
    assert run("prepare_star", "tomo")[0] == 0
    table = read_star("tomograms.star")
    table.set(table.rows[0], "rlnIndex", "1.0")  # as programs write whole numbers of a column that lacked some
    write_star("tomograms.star", table)
    shared = []
    monkeypatch.setattr(stage, "side_by_side", lambda function, jobs: shared.extend(jobs))
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "4,7,9,11", "--report", "False")
    assert status == 0 and "3 tomograms, spread over GPUs 4, 7, 9" in log, log
    assert [(name, own.gpuID) for name, _, _, own, *_ in shared] == [("GPU 4", "4"), ("GPU 7", "7"), ("GPU 9", "9")]
    assert {tuple(rows) for *_, rows, _ in shared} == {("3", "1.0", "2")}  # the largest first
    assert {own.tomo_idx for _, _, _, own, *_ in shared} == {"3,1,2"}
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
    assert status == 0 and "Corrected already" in log and "left alone: 3 of 3 tomograms." in log, log


def test_a_process_leaves_the_others_a_tomogram_each_before_it_reads_ahead(noise_twice, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    turns, rows, left = Turns(2), ["1", "2"], []

    def network(tiles):
        left.extend(turns.of(rows))
        return tiles

    monkeypatch.setattr(stage, "corrector", lambda *_, **__: network)
    monkeypatch.setattr(stage, "choose_devices", lambda *_: Devices("tensorflow", ("a GPU",), "float32"))
    monkeypatch.setattr(fitting_tiles, "free_memory", lambda devices: 1 << 34)
    own = dataclasses.replace(PredictSettings(), tomo_idx="1,2", report=False)
    star = read_star("tomograms.star")
    star.rows[1]["rlnMicrographName"] = star.rows[0]["rlnMicrographName"]
    write_star("tomograms.star", star)
    stage.predict_in_turn("tomograms.star", "m.keras", own, rows, turns)
    assert left == ["2"]
    assert "stands in the rows" not in caplog.text  # `predict` has told that


def test_gpus_that_no_tomogram_is_left_for_are_told(noise_twice, run, monkeypatch):
    monkeypatch.setattr(stage, "gpus_to_share", lambda _: ("0", "1", "3"))
    monkeypatch.setattr(stage, "corrector", lambda *_, **__: lambda tiles: tiles)
    monkeypatch.setattr(stage, "choose_devices", lambda *_: Devices("tensorflow", (), "float32"))
    status, log = run("predict", "tomograms.star", "m.keras", "--report", "False", "--tomo_idx", "1")
    assert status == 0 and "Each tomogram is corrected by one GPU: GPU 1, GPU 3 stay idle." in log, log


def test_processes_correct_each_tomogram_once_and_tell_of_one_that_is_broken(noise_twice, run, tmp_path, monkeypatch):
    for name in "cd":
        write_volume(tmp_path / "tomo" / f"{name}.mrc", noise_twice, 10.0)
    assert run("prepare_star", "tomo")[0] == 0
    monkeypatch.chdir(tmp_path)
    own = dataclasses.replace(PredictSettings(), gpuID="-1", tomo_idx="1,2,3,4", report=False)
    broken = noise_twice.copy()
    broken[3, 4, 5] = np.nan
    write_volume(tmp_path / "tomo" / "b.mrc", broken, 10.0)
    turns, rows = Turns(2), ["1", "2", "3", "4"]
    jobs = [(name, "tomograms.star", "m.keras", own, rows, turns) for name in ("one", "other")]
    with pytest.raises(EngineError, match=r"tomo/b\.mrc"):
        side_by_side(stage.predict_in_turn, jobs)
    named = [row.get("rlnCorrectedTomoName") for row in read_star("tomograms.star").rows]
    assert [Path(str(path)).exists() for path in named] == [True, False, True, True]


def abort(_):
    os.abort()


def test_a_process_that_is_aborted_names_the_limits():
    with pytest.raises(EngineError, match=r"GPU 1: its process was ended by SIGABRT.*ulimit -u"):
        side_by_side(abort, [("GPU 1", None)])
