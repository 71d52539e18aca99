import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isonet_scipion.engine.arrays import Mean
from isonet_scipion.engine.sampling.even_boxes import choose_boxes
from isonet_scipion.engine.sampling.spikes import far_from, spike_cells, spike_limits, without_spikes


def noise(seed, side=24):
    return np.random.default_rng(seed).normal(size=(side,) * 3).astype(np.float32)


@given(st.integers(0, 99), st.floats(0.01, 100), st.floats(-1000, 1000))
def test_noise_on_any_grey_scale_has_no_spikes(seed, factor, offset):
    box = noise(seed) * np.float32(factor) + np.float32(offset)
    calm, had = without_spikes(box)
    assert calm is box and not had


@given(st.integers(0, 99), st.sampled_from([-1, 1]), st.floats(15, 1000))
def test_beads_of_either_contrast_go_and_the_rest_stays(seed, sign, height):
    box = noise(seed)
    beads = box.copy()
    beads[5:8, 10:13, 3:6] += np.float32(sign * height)
    before = beads.copy()
    calm, had = without_spikes(beads)
    assert had and calm.dtype == np.float32 and abs(calm).max() < 7
    rest = np.ones(box.shape, bool)
    rest[4:9, 9:14, 2:7] = False
    np.testing.assert_array_equal(calm[rest], box[rest])
    np.testing.assert_array_equal(beads, before)


@pytest.mark.parametrize("value", [0, 7])
def test_a_box_without_contrast_and_one_with_nan_stay(value):
    flat, broken = np.full((8, 8, 8), value, np.float32), noise(1)
    broken[0, 0, 0] = np.nan
    assert without_spikes(flat)[0] is flat
    assert without_spikes(broken)[0] is broken


def test_strong_sample_in_little_noise_is_none():
    z, y, x = np.indices((48, 48, 48))
    box = 0.1 * noise(2, 48) - 8 * ((z - 24) ** 2 + (y - 24) ** 2 + (x - 24) ** 2 < 12**2)
    assert not without_spikes(box.astype(np.float32))[1]


@given(st.floats(0.0, 0.05), st.floats(0, 1))
def test_a_sparse_sample_is_none(share, noise_level):
    rng = np.random.default_rng(3)
    volume = (noise_level * rng.normal(size=(40, 40, 40))).astype(np.float32)
    sample = rng.uniform(size=volume.shape) < share
    volume[sample] = -30
    low, high = spike_limits(volume)
    spikes = (volume < low) | (volume > high)
    if sample.mean() > 0.0105 or noise_level == 0:
        assert not spikes.any() and not without_spikes(volume)[1]
    elif sample.mean() < 0.0095 and noise_level > 0.01:
        np.testing.assert_array_equal(spikes, sample)


def test_boxes_are_not_chosen_by_their_beads():
    rng = np.random.default_rng(0)
    volume = rng.normal(size=(32, 128, 128)).astype(np.float32)
    volume[8, 8, 8] = -3000
    assert len(choose_boxes(volume, 32, 16)) == 16


@given(st.integers(0, 99), st.integers(0, 12), st.sampled_from([6, 9, 16]), st.booleans())
def test_cubes_with_beads_are_found_as_by_definition(seed, beads, side, halved):
    rng = np.random.default_rng(seed)
    volume = rng.normal(size=(30, 37, 41)).astype(np.float32)
    spikes = np.zeros(volume.shape, bool)
    for z, y, x in rng.integers(0, (26, 33, 37), (beads, 3)):
        spikes[z : z + 4, y : y + 4, x : x + 4] = True
    volume[spikes] = -40
    volume[-1, -1, -1] = 40  # alone
    centres = rng.integers(side // 2, np.array(volume.shape) - side // 2, (40, 3))
    cells = spike_cells(Mean([volume + 1, volume - 1]) if halved else volume, (-9, 9))
    for centre, is_far in zip(centres, far_from(cells, centres, side)):
        # a bead that is cut by cells counts where most of it lies
        inner, outer = (
            spikes[tuple(slice(max(0, c - side // 2 - more), c - side // 2 + side + more) for c in centre)]
            for more in (-3, 5)
        )
        assert not inner.any() if is_far else outer.any()


def test_a_cube_that_touches_a_cell_is_near_and_one_beside_it_far():
    cell = np.array([[9.5, 9.5, 9.5]])  # voxels 8 to 11
    centres = np.array([[9, 9, 19], [9, 9, 20], [9, 9, 0], [9, 9, -1]])  # of 16 voxels: from 11, 12, to 7, 6
    assert far_from(cell, centres, 16).tolist() == [False, True, False, True]
