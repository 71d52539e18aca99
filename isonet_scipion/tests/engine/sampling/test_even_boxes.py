"""Boxes that stand for the whole sample."""

import numpy as np
import pytest

from isonet_scipion.engine.sampling.even_boxes import box_side, choose_boxes, cut


@pytest.mark.parametrize(
    ("shape", "divisor", "side"),
    [((200, 300, 300), (8, 8, 8), 64), ((50, 300, 300), (8, 8, 8), 48), ((50, 60, 60), (4, 6, 8), 48),
     ((15, 99, 99), (1, 1, 1), None), ((99, 99, 99), (3, 3, 3), 60)],
)  # fmt: skip
def test_side_is_the_largest_that_fits(shape, divisor, side):
    assert box_side(shape, divisor) == side


def test_boxes_are_where_the_mask_is_and_spread():
    volume = np.random.default_rng(0).normal(size=(16, 96, 96)).astype(np.float32)
    mask = np.zeros(volume.shape, np.int8)
    mask[:, :48] = 1
    corners = choose_boxes(volume, 16, 4, mask)
    assert len(set(corners)) == 4 and all(y + 16 <= 48 for _, y, _ in corners)
    assert all(cut(mask, corner, 16).mean() == 1 for corner in corners)
    assert len({x for _, _, x in corners}) > 1


def test_without_a_mask_empty_boxes_are_left_out():
    volume = np.zeros((16, 32, 32), np.float32)
    volume[:, 16:, 16:] = np.random.default_rng(0).normal(size=(16, 16, 16))
    assert choose_boxes(volume, 16, 9) == [(0, 16, 16)]


def test_boxes_leave_as_much_at_both_ends_and_few_are_in_the_middle():
    volume = np.random.default_rng(0).normal(size=(23, 16, 16 * 5 + 6)).astype(np.float32)
    assert choose_boxes(volume, 16, 9) == [(3, 0, 3 + 16 * place) for place in range(5)]
    assert choose_boxes(volume, 16, 1) == [(3, 0, 35)]


def test_boxes_of_which_less_than_half_as_much_is_sample_are_left_out():
    volume, mask = np.ones((16, 16, 48), np.float32), np.zeros((16, 16, 48), np.int8)
    mask[:14, :, :16], mask[:6, :, 16:32], mask[:8, :, 32:] = 1, 1, 1
    assert choose_boxes(volume, 16, 9, mask) == [(0, 0, 0), (0, 0, 32)]
