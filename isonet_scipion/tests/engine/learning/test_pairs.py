"""Wedge, rotations and training pairs belong together: the reference tests them as one."""

import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.learning.pairs import filled_target, first_estimate, prepare
from isonet_scipion.engine.physics.cube_rotations import TRAINING_ROTATIONS, CubeRotation
from isonet_scipion.engine.physics.grey_scale import normalise
from isonet_scipion.engine.physics.wedge import TiltRange, apply_wedge, measured
from isonet_scipion.engine.sampling.crops import centre_crop

TILTS = st.builds(TiltRange, st.floats(-80, -1), st.floats(1, 80))


def cube(size=12, seed=0):
    return np.random.default_rng(seed).normal(size=(size,) * 3).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 17), TILTS)
def test_wedge_filter_is_a_projection(size, tilt):
    once = apply_wedge(cube(size), tilt)
    np.testing.assert_allclose(apply_wedge(once, tilt), once, atol=1e-5)
    assert np.linalg.norm(once) <= np.linalg.norm(cube(size)) * (1 + 1e-6)


def test_positive_tilts_fill_the_quadrants_of_equal_sign():
    k = np.array([1.0, -1.0])
    tilt = TiltRange(-30, 66)
    assert measured(k, k, tilt).all()  # kz/kx = tan(45)
    assert not measured(k, -k, tilt).any()  # tan(-45)
    assert measured(np.array([0.0]), np.array([0.0]), tilt).all()
    assert not measured(np.array([5.0]), np.array([0.0]), tilt).any()


@pytest.mark.parametrize("ends", [(60, -60), (10, 10), (-95, 60), (-60, 91)])
def test_impossible_tilt_ranges_are_refused(ends):
    with pytest.raises(EngineError, match="tilt"):
        TiltRange(*ends)


def test_twenty_distinct_rotations_without_those_that_keep_the_wedge():
    assert len(set(TRAINING_ROTATIONS)) == 20
    volume = cube(3)
    rotated = [turn.apply(volume).tobytes() for turn in TRAINING_ROTATIONS]
    kept = [np.rot90(volume, 2, axes).tobytes() for axes in ((0, 1), (0, 2), (1, 2))] + [volume.tobytes()]
    assert len(set(rotated + kept)) == 24
    for turn in TRAINING_ROTATIONS:
        matrix = np.zeros((3, 3))
        matrix[range(3), turn.axes] = turn.signs
        assert np.linalg.det(matrix) == pytest.approx(1)


AXES = st.sampled_from([(0, 1), (0, 2), (1, 2), (2, 0)])


@given(st.integers(0, 3), AXES, st.integers(0, 3), AXES)
def test_turns_are_numpys(first, axes, second, others):
    volume = cube(4)
    turn = CubeRotation().turned(first, *axes).turned(second, *others)
    np.testing.assert_array_equal(turn.apply(volume), np.rot90(np.rot90(volume, first, axes), second, others))


@pytest.mark.parametrize("tilt", [TiltRange(), TiltRange(-30, 66), TiltRange(-70, 10)])
@pytest.mark.parametrize("size", [16, 17])
def test_pairs_equal_their_definition(tilt, size):
    target = cube(size)
    prepared = prepare(target, tilt, size - 4)
    for number, turn in enumerate(TRAINING_ROTATIONS):
        rotated = np.ascontiguousarray(turn.apply(target))
        x, y = prepared.pair(number)
        np.testing.assert_array_equal(y, centre_crop(rotated, size - 4))
        np.testing.assert_allclose(x, centre_crop(apply_wedge(rotated, tilt), size - 4), atol=2e-5)


def test_target_holds_the_data_where_measured_and_the_estimate_elsewhere():
    data, estimate, tilt = cube(16, 1), cube(16, 2), TiltRange(-40, 60)
    target = filled_target(data, estimate, tilt)
    expected = normalise(apply_wedge(data, tilt) + estimate - apply_wedge(estimate, tilt))
    np.testing.assert_allclose(target, expected, atol=1e-5)
    np.testing.assert_allclose(np.percentile(target, [4, 96]), [0, 1], atol=1e-5)


def test_the_released_programs_pairs_come_out(released):
    subtomogram, tilt = normalise(-released["subtomogram"]), TiltRange()
    prepared = prepare(filled_target(subtomogram, normalise(first_estimate(subtomogram, tilt)), tilt), tilt, 24)
    for number, names in ((0, ("input_0",)), (7, ("input_7", "target_7"))):
        for name, made in zip(names, prepared.pair(number)):
            np.testing.assert_allclose(made, released[name], atol=2e-3, err_msg=name)


def test_pairs_agree_with_the_released_program(reference):
    folder = reference / "pairs"
    with mrcfile.open(folder / "subtomogram.mrc", permissive=True) as mrc:
        subtomogram = normalise(-mrc.data)
    with mrcfile.open(folder / "estimate_iter00.mrc", permissive=True) as mrc:
        estimate = -mrc.data
    expected = np.load(folder / "pairs_iteration1.npz")
    tilt = TiltRange()
    np.testing.assert_allclose(first_estimate(subtomogram, tilt), estimate, atol=1e-5)
    prepared = prepare(filled_target(subtomogram, normalise(estimate), tilt), tilt, 32)
    for number in range(20):
        x, y = prepared.pair(number)
        np.testing.assert_allclose(x, expected["x"][number], atol=1e-5)
        np.testing.assert_allclose(y, expected["y"][number], atol=1e-5)
