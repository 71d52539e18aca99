"""predict: tomograms that fail leave the others, and what is told before the work."""

import re
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.star import read_star, write_star
from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.io.model_metadata import ModelMetadata  # noqa: E402
from isonet_scipion.engine.network import fitting_tiles  # noqa: E402
from isonet_scipion.engine.network.model_file import save_model  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402
from isonet_scipion.engine.stages import predict as stage  # noqa: E402

SHAPE = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)


def test_a_tomogram_that_cannot_be_read_leaves_the_others(noise_twice, run, tmp_path):
    for name in "cd":
        write_volume(tmp_path / "tomo" / f"{name}.mrc", noise_twice, 10.0)
    assert run("prepare_star", "tomo")[0] == 0
    broken = np.where(noise_twice > 3, np.nan, noise_twice)
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
def test_a_tomogram_that_the_network_fails_on_leaves_the_others(noise_twice, run, tmp_path, monkeypatch, error, told):
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


def test_a_result_that_cannot_be_written_ends_the_table(noise_twice, run, monkeypatch):
    seen = []

    def write(path, *_):
        seen.append(path)
        raise EngineError(str(path), "it can't be written", "Free disk space.")

    monkeypatch.setattr(stage, "corrector", lambda *_, **__: lambda tiles: tiles)
    monkeypatch.setattr(stage, "write_volume", write)
    status, log = run("predict", "tomograms.star", "m.keras", "--gpuID", "-1", "--report", "False")
    assert status == 1 and len(seen) == 1 and "a_corrected.mrc: it can't be written" in log, log


def test_a_missing_mask_is_told_before_the_work(noise_twice, run, monkeypatch):
    monkeypatch.setattr(stage, "_loaded", lambda *_: pytest.fail("the model was loaded"))
    star = read_star("tomograms.star")
    star.set(star.rows[0], "rlnMaskName", "gone_mask.mrc")
    write_star("masked.star", star)
    status, log = run("predict", "masked.star", "m.keras", "--gpuID", "-1")
    assert status == 1 and "error: gone_mask.mrc: the volume does not exist" in log, log


@pytest.mark.parametrize("calibrate", [True, False])
def test_a_mask_that_is_none_leaves_the_other_tomograms(noise_twice, run, tmp_path, calibrate):
    star = read_star("tomograms.star")
    write_volume(tmp_path / "box.mrc", (np.abs(noise_twice) < 2).astype(np.int8), 10.0)
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


def test_a_tomogram_too_small_for_the_test_is_left_as_it_was_filled(run, tmp_path):
    write_volume(tmp_path / "tomo" / "a.mrc", np.random.default_rng(0).normal(size=(8, 64, 64)).astype("f4"), 10.0)
    save_model(tmp_path / "own.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0, kept_beyond=24))
    assert run("prepare_star", "tomo")[0] == 0
    status, log = run("predict", "tomograms.star", "own.keras", "--report", "False")
    assert status == 0 and "kept in full" in log


def test_what_only_some_of_the_tomograms_have_is_told_before_the_work(noise_twice, run, tmp_path):
    assert run("prepare_star", "tomo", "--defocus=20000", "--output_star=own.star")[0] == 0
    for command in ("deconv", "make_mask"):
        assert run(command, "own.star", "--tomo_idx=1")[0] == 0
    write_volume(tmp_path / "corrected_tomos" / "b_corrected.mrc", noise_twice, 10.0)  # so that it ends before the work
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


def test_results_of_another_model_that_are_replaced_are_told(noise_twice, run):
    quick = ("--gpuID=-1", "--report=False", "--calibrate=False")
    assert run("predict", "tomograms.star", "m.keras", *quick, "--tomo_idx=1")[0] == 0
    save_model("other.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0))
    first, other = "m.keras", "other.keras"
    replaced = "corrected_tomos: results of another model, tilt range, voxel size or CTF are replaced there:"
    for model, options, told in (
        (other, (), f"{replaced} a."),
        (other, ("--normalized_output=True",), None),
        (first, ("--output_dir=o",), None),
        # the table names those in the other folder by now
        (first, (), f"{replaced} a, b."),
        (other, ("--output_dir=p",), None),
        (first, ("--output_dir=o",), None),
    ):
        status, log = run("predict", "tomograms.star", model, *quick, *options)
        assert status == 0 and ("are replaced" in log) == (told is not None), log
        assert told is None or f"{told} For both, give another output_dir." in log, log


def test_results_of_another_voxel_size_are_told_as_that(noise_twice, run):
    quick = ("--gpuID=-1", "--report=False", "--calibrate=False")
    for apix, told in ((12, False), (11, True)):  # the second time in place of the first
        assert run("resize", "tomograms.star", f"--apix={apix}", "--out_folder=resized")[0] == 0
        status, log = run("predict", "tomograms_resized.star", "m.keras", *quick)
        assert status == 0 and ("voxel size or CTF are replaced there: a, b." in log) == told, log


def test_a_result_in_the_other_format_whose_pictures_are_replaced_is_told(noise_twice, run, tmp_path):
    (tmp_path / "o" / "a_corrected.zarr").mkdir(parents=True)
    options = ("--gpuID=-1", "--report=False", "--calibrate=False", "--output_dir=o")
    status, log = run("predict", "tomograms.star", "m.keras", *options)
    assert status == 0 and "o: of a there are results as zarr, too, whose pictures and reports" in log, log


def test_a_state_of_the_ctf_is_of_no_use_to_another_model(noise_twice, run):
    # of an absent tomogram, so that it ends before the work
    for command in ("predict", "report"):
        status, log = run(command, "tomograms.star", "m.keras", "--ctf_state=raw", "--tomo_idx=9")
        assert status == 1 and "ctf_state has no effect without a CTF-aware model." in log, (command, log)


def test_what_another_tables_command_wrote_meanwhile_is_not_replaced(noise_twice, run, tmp_path, monkeypatch):
    write_volume(tmp_path / "other" / "a.mrc", 2 * noise_twice, 10.0)
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
