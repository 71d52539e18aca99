"""Volumes as networks see them, and masks with what is inside decided."""

import re
from dataclasses import replace

import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.conventions import Normalisation
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.shown import (
    border_of,
    data_shape,
    open_mask,
    refuse_axes,
    require_axes,
    require_halves,
    see,
    show,
)
from isonet_scipion.engine.physics.axes_check import Axes
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.radial_filter import PhaseFlip, deconvolve
from isonet_scipion.engine.physics.transfer import Transfer
from isonet_scipion.engine.physics.wedge import TiltRange

SHAPE = (24, 28, 32)
MOMENTS = Normalisation.MOMENTS


def volume(folder, name="t.mrc", seed=0, shape=SHAPE, pad=0):
    data = np.random.default_rng(seed).normal(100, 5, size=shape).astype(np.float32)
    write_volume(folder / name, np.pad(data, ((0, 0), (pad, 0), (0, 0))), 10.0)
    return open_volume(folder / name)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_network_sees_protein_bright_whatever_the_file_has(tmp_path, inverted):
    one = volume(tmp_path)
    shown = show(one, MOMENTS, inverted=inverted)
    seen = shown.show(shown.voxels)
    sign = 1 if inverted else -1
    np.testing.assert_allclose(seen, sign * (one.data - one.data.mean()) / one.data.std(), atol=1e-4)
    np.testing.assert_allclose(shown.back(seen), one.data, rtol=1e-5)


def test_the_border_is_told_and_neither_shown_nor_counted(tmp_path, caplog):
    one = volume(tmp_path, pad=9)
    border = border_of(one)
    assert "t.mrc: " in caplog.text and data_shape(one) == (SHAPE, False) and one.shape != SHAPE
    shown = show(one, MOMENTS, border=border)
    assert shown.voxels.shape == SHAPE
    assert shown.scale.offset == pytest.approx(-one.data[:, 9:].mean(), rel=1e-6)


def test_phases_are_flipped_unless_they_are_already(tmp_path):
    one, ctf_parameters = volume(tmp_path), CtfParameters(defocus=30000.0)
    raw = show(one, MOMENTS, Transfer(10.0, ctf_parameters))
    np.testing.assert_array_equal(raw.voxels, deconvolve(one.data, PhaseFlip(10.0, ctf_parameters)))
    assert not np.allclose(raw.voxels, one.data, atol=1)
    flipped = show(one, MOMENTS, Transfer(10.0, ctf_parameters, 0.0, True))
    np.testing.assert_array_equal(flipped.voxels, one.data)


@pytest.mark.parametrize(("shape", "declared", "told"), [
    ((32, 64, 64), (-36, 66), None),
    ((32, 64, 64), (-66, 36), "seems to be mirrored"),
    ((32, 64, 64), (-36, 40), "does not fit: the data show about"),
    ((20, 64, 64), (-36, 40), None),  # too thin to tell
])  # fmt: skip
def test_a_tilt_range_is_compared_with_what_the_data_show(tmp_path, caplog, shape, declared, told):
    kz, kx = np.fft.fftfreq(shape[0])[:, None, None], np.fft.rfftfreq(shape[2])[None, None]
    angle = np.degrees(np.arctan2(np.where(kx > 0, kz, 0), np.maximum(kx, 1e-9)))
    noise = np.fft.rfftn(np.random.default_rng(3).normal(size=shape))
    data = np.fft.irfftn(noise * ((angle >= -36) & (angle <= 66)), shape).astype(np.float32)
    write_volume(tmp_path / "t.mrc", data, 10.0)
    require_axes(open_volume(tmp_path / "t.mrc"), None, False, False, TiltRange(*declared))
    assert told in caplog.text and "t.mrc: the tilt range" in caplog.text if told else "tilt range" not in caplog.text


def test_a_tomogram_whose_wedge_is_filled_is_told(tmp_path, caplog):
    require_axes(volume(tmp_path, shape=(32, 64, 64)), None, False, False, TiltRange())
    assert re.search(r"t\.mrc: its missing wedge \(.*\) is not empty, .*Give it as reconstructed", caplog.text)


@pytest.mark.parametrize(("dtype", "scale"), [("f4", 1), ("f2", 300), ("i1", 20), ("i2", 5000), ("u2", 8000)])
def test_halves_are_compared_with_each_other_and_with_the_whole(tmp_path, caplog, dtype, scale):
    rng = np.random.default_rng(4)
    sample = np.kron(rng.normal(size=(8, 12, 12)), np.ones((4, 4, 4)))
    made = {
        "even": sample + rng.normal(size=sample.shape),
        "odd": sample + rng.normal(size=sample.shape),
        "other": np.roll(sample, 16, 1) + rng.normal(size=sample.shape),
    }
    made["whole"], made["bright"] = (made["even"] + made["odd"]) / 2, -(made["even"] + made["odd"]) / 2
    for name, data in made.items():  # sums, differences and squares of their own type would overflow
        level = 4 * scale if dtype[0] == "u" else 0
        values = (scale * data + level).clip(-127, 127) if dtype == "i1" else scale * data + level
        with mrcfile.new(tmp_path / f"{name}.mrc") as file:
            file.set_data(values.clip(0, 65535).astype(dtype) if dtype[0] == "u" else values.astype(dtype))
            file.voxel_size = 10.0
    one = {name: open_volume(tmp_path / f"{name}.mrc") for name in made}
    require_halves([one["even"], one["odd"]], one["whole"])
    require_halves([], one["whole"])
    assert not caplog.records
    for halves, whole, why in ((("even", "even"), None, "same volume"), (("even", "odd"), "bright", "is dark")):
        with pytest.raises(EngineError, match=why) as refused:
            require_halves([one[name] for name in halves], whole and one[whole])
        assert "even.mrc" in refused.value.what
    with pytest.raises(EngineError, match=r"even\.mrc: it is .*whole\.mrc, not a half of it"):
        require_halves([one["even"], one["odd"]], replace(one["even"], path="whole.mrc"))
    with pytest.raises(EngineError, match=r"by their voxels .*whole\.mrc is the tomogram, and .*odd\.mrc one of its"):
        require_halves([one["even"], one["whole"]], one["odd"])
    require_halves([one["even"], one["other"]])
    assert "other.mrc have nothing in common beyond chance: are they the halves of one tomogram?" in caplog.text
    caplog.clear()
    require_halves([one["even"], one["odd"]], one["other"])
    assert "odd.mrc have nothing in common with " in caplog.text and "other.mrc: are they its halves?" in caplog.text


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_halves_that_are_mirrored_against_their_tomogram_are_told(tmp_path, caplog, is_mirrored):
    rng = np.random.default_rng(3)
    sample = np.repeat(np.repeat(np.repeat(rng.normal(size=(8, 24, 24)), 4, 0), 4, 1), 4, 2)
    sample = sample + 0.1 * sample[::-1]  # a slab of ice looks a little like its mirror image
    halves = [sample + rng.normal(size=sample.shape) for _ in range(2)]
    whole = (halves[0] + halves[1]) / 2 + 2.5 * np.repeat(rng.normal(size=(8, 96, 96)), 4, 0)
    for name, data in (("even", halves[0]), ("odd", halves[1]), ("whole", whole[::-1] if is_mirrored else whole)):
        write_volume(tmp_path / f"{name}.mrc", data.astype(np.float32), 10.0)
    even, odd, one = (open_volume(tmp_path / f"{name}.mrc") for name in ("even", "odd", "whole"))
    require_halves([even, odd], one)
    assert ("are they mirrored or shifted against it?" in caplog.text) is is_mirrored


@pytest.mark.parametrize("symmetric", [0.0, 0.1])
def test_one_half_that_is_mirrored_is_named(tmp_path, caplog, symmetric):
    rng = np.random.default_rng(3)
    sample = np.kron(rng.normal(size=(8, 24, 24)), np.ones((4, 4, 4)))
    sample = sample + symmetric * sample[::-1]
    even, odd = (sample + rng.normal(size=sample.shape) for _ in range(2))
    for name, data in (("even", even), ("odd", odd), ("mirrored", odd[::-1]), ("whole", (even + odd) / 2)):
        write_volume(tmp_path / f"{name}.mrc", data.astype(np.float32), 10.0)
    even, odd, mirrored, one = (open_volume(tmp_path / f"{name}.mrc") for name in ("even", "odd", "mirrored", "whole"))
    require_halves([even, odd], one)
    assert not caplog.records
    require_halves([even, mirrored], one)
    assert f"{mirrored.path} has far less in common with {one.path} than the other half, {even.path}" in caplog.text


def pair_with_whole(folder, factor=1.0, **origins):
    """Halves of a tomogram, the odd one scaled, and the tomogram, with origins in A along x in their headers."""
    rng = np.random.default_rng(3)
    sample = np.kron(rng.normal(size=(8, 24, 24)), np.ones((4, 4, 4)))
    even, odd = (sample + 0.5 * rng.normal(size=sample.shape) for _ in range(2))
    for name, data in (("even", even), ("odd", factor * odd), ("whole", (even + odd) / 2)):
        write_volume(folder / f"{name}.mrc", data.astype(np.float32), 10.0)
        with mrcfile.open(folder / f"{name}.mrc", "r+") as file:
            file.header.origin.x = origins.get(name, 0)
    even, odd, whole = (open_volume(folder / f"{name}.mrc") for name in ("even", "odd", "whole"))
    return [even, odd], whole


@pytest.mark.parametrize(("factor", "told"), [(1.0, False), (1.8, True), (0.6, True)])
def test_halves_on_two_grey_scales_are_told(tmp_path, caplog, factor, told):
    require_halves(*pair_with_whole(tmp_path, factor))
    assert ("even.mrc and " in caplog.text and "times as strong" in caplog.text) is told


@pytest.mark.parametrize(("origins", "told"), [
    ({}, None),
    ({"even": -500, "odd": -500, "whole": -500}, None),
    ({"whole": -500}, None),  # the halves' program wrote none
    ({"even": -504, "odd": -504, "whole": -500}, None),  # rounded
    ({"even": -300, "odd": -300, "whole": -500}, "even.mrc: by the origins"),
    ({"even": -500, "odd": -300}, "odd.mrc: by the origins"),
])  # fmt: skip
def test_halves_that_are_shifted_by_their_headers_are_told_once(tmp_path, caplog, origins, told):
    require_halves(*pair_with_whole(tmp_path, **origins))
    assert len(caplog.records) == (told is not None)
    assert told is None or (told in caplog.text and "by 20, 0, 0 voxels" in caplog.text)


def test_an_origin_of_imods_old_sign_is_no_shift(tmp_path, caplog):
    halves, whole = pair_with_whole(tmp_path, even=-500, odd=-500)
    require_halves(halves, replace(whole, origin=(500.0, 0.0, 0.0), old_origin=True))
    assert not caplog.records


@pytest.mark.parametrize("blank", [0.0, np.nan])
def test_halves_are_compared_beside_blank_boxes(tmp_path, blank):
    data = np.random.default_rng(5).normal(size=(32, 48, 200)).astype(np.float32)
    data[:, :, :60] = blank
    write_volume(tmp_path / "even.mrc", data, 10.0)
    one = open_volume(tmp_path / "even.mrc")
    with pytest.raises(EngineError, match="same volume"):
        require_halves([one, one])
    write_volume(tmp_path / "all.mrc", np.full_like(data, blank), 10.0)
    require_halves([open_volume(tmp_path / "all.mrc")] * 2)


@pytest.mark.parametrize(
    ("blank", "told"),
    [({}, None), ({"odd": 0}, "25.0 %"), ({"odd": 0, "even": 30}, "50.0 %"), ({"odd": 0, "even": 0}, None)],
)
def test_halves_of_which_one_alone_is_blank_at_places_are_told(tmp_path, caplog, blank, told):
    rng = np.random.default_rng(0)
    sample = rng.normal(size=(40, 40, 40))
    for name in ("even", "odd"):
        voxels = (sample + rng.normal(size=sample.shape)).astype(np.float32)
        if name in blank:
            voxels[:, :, blank[name] : blank[name] + 10] = 0
        write_volume(tmp_path / f"{name}.mrc", voxels, 10.0)
    require_halves([open_volume(tmp_path / "even.mrc"), open_volume(tmp_path / "odd.mrc")])
    assert ("is a border or blank and the other is not" in caplog.text) == (told is not None), caplog.text
    assert told is None or f"odd.mrc: at {told} of the voxels one of these halves" in caplog.text


def test_of_halves_the_mean_is_seen_and_measured(tmp_path):
    one, halves = volume(tmp_path), [volume(tmp_path, f"{seed}.mrc", seed) for seed in (1, 2)]
    mean = (halves[0].data + halves[1].data) / 2
    seen = see(one, halves, True, MOMENTS)
    np.testing.assert_allclose(seen.whole.voxels[:], mean, rtol=1e-6)
    assert seen.whole.scale.scale == pytest.approx(mean.std(), rel=1e-4)
    assert [half.voxels is volume.data for half, volume in zip(seen.halves, halves)] == [True, True]
    assert {half.scale for half in seen.halves} == {seen.whole.scale}


def test_a_whole_is_seen_as_it_is_and_each_half_on_its_own_scale(tmp_path):
    one, halves = volume(tmp_path), [volume(tmp_path, f"{seed}.mrc", seed) for seed in (1, 2)]
    seen = see(one, halves, False, MOMENTS)
    assert seen.whole.voxels is one.data and seen.whole.scale.scale == pytest.approx(one.data.std(), rel=1e-4)
    assert [half.scale.scale for half in seen.halves] == [pytest.approx(half.data.std(), rel=1e-4) for half in halves]
    assert see(one, [], False, MOMENTS).halves == ()


def test_a_volume_of_one_value_is_refused_by_its_name(tmp_path):
    write_volume(tmp_path / "flat.mrc", np.full(SHAPE, 3, np.float32), 10.0)
    with pytest.raises(EngineError, match=r"flat\.mrc: all its voxels are equal"):
        show(open_volume(tmp_path / "flat.mrc"), MOMENTS)


def test_a_mask_says_what_was_assumed_and_fits_or_is_refused(tmp_path, caplog):
    one, inside = volume(tmp_path), np.zeros(SHAPE, np.float32)
    inside[8:16] = 255
    write_volume(tmp_path / "mask.mrc", inside, 10.0)
    mask = open_mask(str(tmp_path / "mask.mrc"), one, 10.0)
    np.testing.assert_array_equal(mask[:], inside > 0)
    assert "mask.mrc: " in caplog.text
    write_volume(tmp_path / "mask.mrc", inside[1:], 10.0)
    with pytest.raises(EngineError, match=r"mask\.mrc: its shape"):
        open_mask(str(tmp_path / "mask.mrc"), one, 10.0)


def test_other_axes_are_refused_or_only_told(caplog):
    found = Axes("x", "z")
    with pytest.raises(EngineError, match=r"t\.mrc: "):
        refuse_axes("t.mrc", found, True)
    refuse_axes("t.mrc", found, False)
    assert f"t.mrc: {found.why}" in caplog.text
    refuse_axes("t.mrc", None, True)
