"""The page of a training."""

import numpy as np
from PIL import Image

from isonet_scipion.engine.measure.history import AT_CHANCE, EpochRecord
from isonet_scipion.engine.reporting.loss_figure import draw_losses
from isonet_scipion.engine.reporting.training_page import save_slices, slices_name, write_training_page


def test_slices_lie_side_by_side_with_y_and_z_upwards(tmp_path):
    estimate = np.zeros((8, 8, 8), np.float32)
    estimate[7] = 1  # the top plane
    save_slices(tmp_path / "s.png", estimate)
    grey = np.asarray(Image.open(tmp_path / "s.png").convert("L"))
    assert grey.shape == (8, 3 * 8 + 2 * 2)
    assert (grey[0, 10:18] == 255).all() and (grey[1:, 10:18] == 0).all()


def test_slices_of_a_volume_with_unlike_sides_keep_to_their_own_and_large_ones_are_averaged(tmp_path):
    volume = np.random.default_rng(0).normal(size=(10, 20, 30)).astype(np.float32)
    save_slices(tmp_path / "s.png", volume)
    grey = np.asarray(Image.open(tmp_path / "s.png").convert("L")).astype(float)
    assert grey.shape == (20, 30 + 30 + 20 + 2 * 2)
    for place, plane in ((np.s_[:20, :30], volume[5, ::-1]), (np.s_[:10, 32:62], volume[::-1, 10]),
                         (np.s_[:10, 64:], volume[::-1, :, 15])):  # fmt: skip
        assert np.corrcoef(grey[place].ravel(), plane.ravel())[0, 1] > 0.98
    large = np.zeros((4, 650, 700), np.float32)
    large[:, -300:] = 1
    save_slices(tmp_path / "l.png", large)
    grey = np.asarray(Image.open(tmp_path / "l.png").convert("L"))
    assert grey.shape[0] == 216 and (grey[:100, :233] == 255).all() and (grey[101:, :233] == 0).all()


def test_the_page_has_a_row_for_each_iteration_and_its_pictures(tmp_path):
    history = [
        EpochRecord(1, 1, 0.5, 0.6, 0, 1),
        EpochRecord(1, 2, 0.4, 0.5, 0, 1, 0.5123, 0.01),
        EpochRecord(2, 1, 0.3, 0.4, 0.05, 1, 0.02, 0.01),
    ]
    draw_losses(tmp_path / "losses.png", history)
    for iteration in (0, 1):
        volume = np.random.default_rng(iteration).normal(size=(8, 8, 8)).astype(np.float32)
        save_slices(tmp_path / slices_name(iteration), volume)
    text = write_training_page(tmp_path, history, "tomogram <t>", chosen=1).read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 3
    assert "After each iteration: tomogram &lt;t&gt;" in text and "0: before the training" in text
    assert "<figcaption>0</figcaption>" in text and "<figcaption>1: <b>0.512</b></figcaption>" in text
    assert "<td>0.512 &plusmn; 0.010</td>" in text and "<td>0.020 &plusmn; 0.010: chance</td>" in text
    assert "Of what is done, correct with iteration 1</b>, clearly better than the last, correlation 0.512." in text
    text = write_training_page(tmp_path, history, "tomogram t", 0.6, 0).read_text(encoding="utf-8")
    assert "0: the model that it started from" in text and "<figcaption>0: <b>0.600</b></figcaption>" in text
    assert "Of what is done, correct with the model that the training started from</b>, no worse" in text
    text = write_training_page(tmp_path, history[:1], "tomogram t").read_text(encoding="utf-8")
    assert "correct with" not in text and "<td>0.6000</td><td>-</td>" in text
    text = write_training_page(tmp_path, history, "tomogram t").read_text(encoding="utf-8")
    assert "<td>1</td><td>0</td><td>0.4000</td>" in text and "<td>2</td><td>0.05</td><td>0.3000</td>" in text
    assert "0.5000</td><td>0.6000" not in text  # the end of an iteration counts


def test_a_training_at_chance_is_told_once_it_could_be_better(tmp_path):
    history = [EpochRecord(iteration, 1, 0.5, 0.6, 0, 1, 0.01, 0.1) for iteration in range(1, 6)]
    draw_losses(tmp_path / "losses.png", history)
    for done, iterations, told in ((2, 20, False), (2, 2, True), (5, 20, True)):
        text = write_training_page(tmp_path, history[:done], "t", iterations=iterations).read_text(encoding="utf-8")
        assert (AT_CHANCE in text) == told
