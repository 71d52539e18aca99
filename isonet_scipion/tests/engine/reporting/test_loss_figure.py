"""The plot of losses."""

from matplotlib.figure import Figure

from isonet_scipion.engine.measure.history import EpochRecord
from isonet_scipion.engine.reporting.loss_figure import draw_losses, plot_losses


def history(agreement):
    levels = (0.0, 0.0, 0.05)
    return [
        EpochRecord(n, 1, 1 / n, 1.1 / n, level, 1, agreement, agreement and 0.01) for n, level in enumerate(levels, 1)
    ]


def test_a_rise_of_the_noise_and_the_measure_are_marked(tmp_path):
    panel = Figure().subplots()
    plot_losses(panel, history(0.5))
    assert [text.get_text() for text in panel.texts] == ["noise 0.05"]
    assert len(panel.figure.axes) == 2  # the second has the measure
    training, validation = panel.lines[:2]
    assert list(training.get_ydata()) == [1, 1 / 2, 1 / 3] and list(validation.get_ydata()) == [1.1, 1.1 / 2, 1.1 / 3]
    without = Figure().subplots()
    plot_losses(without, history(None))
    assert len(without.figure.axes) == 1
    draw_losses(tmp_path / "losses.png", history(0.5))
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")
