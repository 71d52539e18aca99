"""The page of a training."""

import numpy as np
from PIL import Image

from isonet_scipion.engine.measure.history import EpochRecord
from isonet_scipion.engine.reporting.loss_figure import draw_losses
from isonet_scipion.engine.reporting.training_page import save_slices, write_training_page


def test_slices_lie_side_by_side_with_z_upwards(tmp_path):
    estimate = np.zeros((8, 8, 8), np.float32)
    estimate[7] = 1  # the top plane
    save_slices(tmp_path / "s.png", estimate)
    grey = np.asarray(Image.open(tmp_path / "s.png").convert("L"))
    assert grey.shape == (8, 3 * 8 + 2 * 2)
    assert (grey[0, 10:18] == 255).all() and (grey[1:, 10:18] == 0).all()


def test_the_page_has_a_row_for_each_iteration_and_its_pictures(tmp_path):
    history = [
        EpochRecord(1, 1, 0.5, 0.6, 0, 1),
        EpochRecord(1, 2, 0.4, 0.5, 0, 1),
        EpochRecord(2, 1, 0.3, 0.4, 0.05, 1),
    ]
    draw_losses(tmp_path / "losses.png", history)
    save_slices(tmp_path / "estimate_iter01.png", np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32))
    text = write_training_page(tmp_path, history).read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 2
    assert "<td>1</td><td>0</td><td>0.4000</td>" in text and "<td>2</td><td>0.05</td><td>0.3000</td>" in text
    assert "0.5000</td><td>0.6000" not in text  # the end of an iteration counts
