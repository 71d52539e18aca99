"""Rotations of the cube."""

import numpy as np

from isonet_scipion.engine.physics.cube_rotations import TRAINING_ROTATIONS, CubeRotation

CUBE = np.random.default_rng(0).normal(size=(4, 4, 4))


def test_twenty_rotations_differ_and_mirror_nothing():
    turned = [rotation.apply(CUBE) for rotation in TRAINING_ROTATIONS]
    assert len({cube.tobytes() for cube in turned}) == 20
    for rotation in TRAINING_ROTATIONS:
        matrix = np.zeros((3, 3))
        matrix[np.arange(3), rotation.axes] = rotation.signs
        assert np.linalg.det(matrix) == 1
        # the wedge, along z, goes elsewhere, or the tilt axis y does
        assert rotation.axes[0] != 0 or rotation.axes[1] != 1


def test_quarter_turns_are_numpys():
    for first, second in ((0, 1), (1, 2), (2, 0)):
        np.testing.assert_array_equal(
            CubeRotation().turned(1, first, second).apply(CUBE), np.rot90(CUBE, 1, (first, second))
        )
