"""What voxels mean, from the files to the results: borders, contrast, axes, masks and bytes of other programs."""

import json
import re
from pathlib import Path

import mrcfile
import numpy as np
import pytest

keras = pytest.importorskip("keras")

from isonet_scipion.engine.conventions import Normalisation  # noqa: E402
from isonet_scipion.engine.io.model_metadata import ModelMetadata  # noqa: E402
from isonet_scipion.engine.io.mrc import open_volume, write_volume  # noqa: E402
from isonet_scipion.engine.io.star import read_star, write_star  # noqa: E402
from isonet_scipion.engine.io.tomogram_table import TomogramTable  # noqa: E402
from isonet_scipion.engine.learning.one_pass_batches import read_source  # noqa: E402
from isonet_scipion.engine.network.model_file import save_model  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.physics.grey_scale import measure  # noqa: E402
from isonet_scipion.engine.physics.wedge import TiltRange  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402
from isonet_scipion.engine.simulation.phantom import Example  # noqa: E402

BEFORE, AFTER = 12, 16  # voxels of padding along y
INSIDE = (slice(None), slice(BEFORE, -AFTER))


@pytest.fixture(scope="module")
def tomogram():
    """(z, y, x) float32, protein dark, mean 1000."""
    made = Example((32, 48, 56)).make()[1]
    return (1000 + 50 * made / made.std()).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network that answers to grey values and edges."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    keras.utils.set_random_seed(2)
    shape = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)
    made = build_unet(shape)
    weights = made.get_weights()
    made.set_weights([w + 0.2 * np.random.default_rng(i).normal(size=w.shape) ** 2 for i, w in enumerate(weights)])
    save_model(path, made, ModelMetadata(shape, normalize_percentile=True))
    return path


def padded(volume, value=0.0):
    return np.pad(volume, ((0, 0), (BEFORE, AFTER), (0, 0)), constant_values=value)


def project(run, folder, volume, *options):
    """A folder with one tomogram and its table."""
    write_volume(folder / "tomo" / "t.mrc", volume, 10.0)
    status, log = run("prepare_star", "tomo", "--pixel_size=10", "--defocus=20000", "--number_subtomos=20", *options)
    assert status == 0, log


def result(run, *command):
    status, log = run(*command)
    assert status == 0, log
    return log


def corrected(run, model, *options):
    log = result(run, "predict", "tomograms.star", model, *options)
    return open_volume("corrected_tomos/t_corrected.mrc").data.copy(), log


@pytest.mark.parametrize("value", [0.0, 500.0])
def test_the_correction_is_that_without_the_border(run, tmp_path, tomogram, model, value):
    project(run, tmp_path, tomogram)
    expected, _ = corrected(run, model)
    report = read_report()
    project(run, tmp_path, padded(tomogram, value))
    found, log = corrected(run, model)
    assert log.count("are a border or blank") == 1
    np.testing.assert_allclose(found[INSIDE], expected, rtol=1e-5, atol=1e-3)
    assert (found[:, :BEFORE] == value).all() and (found[:, -AFTER:] == value).all()
    assert read_report()["agreement_with_measured"] == pytest.approx(report["agreement_with_measured"], abs=1e-4)


def read_report():
    return json.loads(Path("corrected_tomos/t_corrected_report.json").read_text(encoding="utf-8"))


def test_a_normalised_output_has_a_normalised_border(run, tmp_path, tomogram, model):
    project(run, tmp_path, padded(tomogram))
    found, _ = corrected(run, model, "--normalized_output=True", "--report=False")
    expected = -measure(-tomogram).apply(np.float32(-0.0))
    np.testing.assert_allclose(found[:, :BEFORE], expected, rtol=1e-4)


def test_a_turned_border_hardly_changes_the_correction(run, tmp_path, tomogram, model):
    project(run, tmp_path, tomogram)
    expected, _ = corrected(run, model, "--report=False")
    y, x = np.indices(tomogram.shape[1:])
    outside, near = x + y < 30, x + y < 40
    project(run, tmp_path, np.where(outside, np.float32(0), tomogram))
    found, _ = corrected(run, model)
    added, wanted = (volume[:, ~near] - tomogram[:, ~near] for volume in (found, expected))
    assert np.corrcoef(added.ravel(), wanted.ravel())[0, 1] > 0.98
    assert (found[:, outside] == 0).all()


def test_deconvolution_mask_and_subtomograms_take_nothing_of_the_border(run, tmp_path, tomogram):
    project(run, tmp_path, tomogram)
    for stage in ("deconv", "make_mask"):
        result(run, stage, "tomograms.star")
    expected = [open_volume(path).data.copy() for path in ("deconv/t.mrc", "mask/t_mask.mrc")]
    project(run, tmp_path, padded(tomogram))
    for stage in ("deconv", "make_mask"):
        assert "are a border or blank" in result(run, stage, "tomograms.star")
    found = [open_volume(path).data.copy() for path in ("deconv/t.mrc", "mask/t_mask.mrc")]
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one[INSIDE], other, rtol=1e-5)
        assert (one[:, :BEFORE] == 0).all() and (one[:, -AFTER:] == 0).all()
    for mask in ("mask/t_mask.mrc", "None"):
        table = read_star("tomograms.star")
        table.rows[0]["rlnMaskName"] = mask
        write_star("tomograms.star", table)
        result(run, "extract", "tomograms.star", "--cube_size=8", "--crop_size=16")
        rows = read_star("subtomo.star").rows
        assert len(rows) == 20
        for row in rows:
            assert BEFORE + 8 <= int(row["rlnCoordinateY"]) <= BEFORE + tomogram.shape[1] - 8
            assert open_volume(row["rlnImageName"]).data.min() > 0


def test_bright_protein_gives_the_same_but_bright(run, tmp_path, tomogram, model):
    project(run, tmp_path, tomogram)
    result(run, "make_mask", "tomograms.star")
    expected, mask = corrected(run, model)[0], open_volume("mask/t_mask.mrc").data.copy()
    report = read_report()
    project(run, tmp_path, -tomogram, "--invert=True")
    result(run, "make_mask", "tomograms.star")
    np.testing.assert_array_equal(open_volume("mask/t_mask.mrc").data, mask)
    np.testing.assert_allclose(corrected(run, model)[0], -expected, rtol=1e-5, atol=1e-2)
    assert read_report()["restored_wedge_correlation"] == pytest.approx(report["restored_wedge_correlation"], abs=1e-3)
    result(run, "extract", "tomograms.star", "--cube_size=8", "--crop_size=16")
    assert open_volume(read_star("subtomo.star").rows[0]["rlnImageName"]).data.mean() > 0  # dark, as all of them


@pytest.mark.parametrize("stage", [("make_mask",), ("extract", "--cube_size=8", "--crop_size=16"), ("predict",)])
def test_swapped_axes_are_refused_before_work_unless_overridden(run, tmp_path, tomogram, model, stage):
    project(run, tmp_path, np.ascontiguousarray(np.swapaxes(tomogram, 0, 1)))
    files = [str(model)] if stage[0] == "predict" else []
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    status, log = run(stage[0], "tomograms.star", *files, *stage[1:])
    assert status == 1
    assert "tilt axis along z and the beam along y" in log and "clip rotx" in log and "--check_axes False" in log
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
    assert "y and z are swapped" in result(run, stage[0], "tomograms.star", *files, *stage[1:], "--check_axes=False")


TINY = (
    "--filter_base=2", "--unet_depth=1", "--convs_per_depth=2", "--iterations=1", "--epochs=1", "--steps_per_epoch=1",
    "--batch_size=2", "--seed=1",
)  # fmt: skip


def test_training_refuses_swapped_axes_and_takes_nothing_of_a_border(run, tmp_path, tomogram):
    swapped = np.ascontiguousarray(np.swapaxes(tomogram, 0, 1))
    project(run, tmp_path, swapped)
    status, log = run("refine", "tomograms.star", "--cube_size=8", *TINY)
    assert status == 1 and "tilt axis along z and the beam along y" in log
    result(run, "extract", "tomograms.star", "--cube_size=8", "--crop_size=28", "--seed=1", "--check_axes=False")
    status, log = run("refine", "subtomo.star", *TINY)
    assert status == 1 and "tilt axis along z and the beam along y" in log
    project(run, tmp_path, padded(tomogram))
    source = read_source(
        TomogramTable("tomograms.star").select(None)[0], 24, Normalisation.PERCENTILES, TiltRange(), 1, None, "s"
    )
    crops = [source.crops(centre, 24) for centre in source.centres[:50]]
    assert max(np.abs(crop).max() for crop in crops) < 5  # zeros of the border would be 20 away
    assert source.grey_scale.scale == pytest.approx(measure(-tomogram).scale)


def test_training_keeps_away_from_gold_beads_or_tells_that_it_can_not(run, tmp_path, tomogram, capfd):
    def centres(voxels, side=8):
        project(run, tmp_path, voxels)
        entry = TomogramTable("tomograms.star").select(None)[0]
        capfd.readouterr()
        source = read_source(entry, side, Normalisation.PERCENTILES, TiltRange(), 1, None, "s")
        return source.centres, capfd.readouterr().err

    before, log = centres(tomogram)
    assert "gold" not in log
    gold = tomogram.copy()
    gold[12:15, 12:15, 12:15] -= 40 * tomogram.std()
    kept, log = centres(gold)
    assert 0 < len(kept) < len(before) == 4000
    assert abs(kept - 13).max(axis=1).min() > 4  # half of the crop
    assert f"{4000 - len(kept)} of 4000 crop positions are left out: voxels far beyond all others, such as gold" in log
    for z, y, x in np.ndindex(2, 3, 4):
        gold[8 + 16 * z :, 8 + 16 * y :, 8 + 14 * x :][:3, :3, :3] -= 40 * tomogram.std()
    kept, log = centres(gold, 14)
    assert len(kept) == 4000
    assert "too many to leave out" in log and "Erase gold before the reconstruction." in log


def test_subtomograms_keep_away_from_gold_beads_and_are_as_many(run, tmp_path, tomogram):
    gold = padded(tomogram)
    y = BEFORE + 13
    gold[12:15, y : y + 3, 12:15] -= 40 * tomogram.std()
    project(run, tmp_path, gold, "--number_subtomos", 200)
    log = result(run, "extract", "tomograms.star", "--cube_size=8", "--crop_size=8", "--seed=1")
    rows = read_star("subtomo.star").rows
    centres = np.array([[float(row[f"rlnCoordinate{axis}"]) for axis in "ZYX"] for row in rows])
    assert len(centres) == 200
    assert abs(centres - [13, y + 1, 13]).max(axis=1).min() > 4
    assert re.search(r"t.mrc: \d+ of \d+ crop positions are left out: voxels far beyond all others, such as gold", log)


@pytest.mark.parametrize("kind", ["IMOD", "255", "labels"])
def test_subtomograms_come_from_inside_any_mask(run, tmp_path, tomogram, kind):
    inside = np.zeros(tomogram.shape, bool)
    inside[10:20, 12:20, 30:40] = True
    stored = {
        "IMOD": (inside - 128).astype(np.int8),
        "255": (255 * inside).astype(np.uint16),
        "labels": (inside * (1 + (np.indices(inside.shape)[0] > 14))).astype(np.float32),
    }
    (tmp_path / "own").mkdir()
    with mrcfile.new(tmp_path / "own" / "t_mask.mrc") as mrc:
        mrc.set_data(stored[kind])
    project(run, tmp_path, tomogram, "--mask_folder_in=own")
    log = result(run, "extract", "tomograms.star", "--cube_size=8", "--crop_size=16")
    assert "taken as inside" in log
    for row in read_star("subtomo.star").rows:
        assert inside[tuple(int(row[f"rlnCoordinate{axis}"]) for axis in "ZYX")]
