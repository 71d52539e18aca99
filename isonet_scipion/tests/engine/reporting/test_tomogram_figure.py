"""The picture of a tomogram's report: what it says where something is not known."""

from contextlib import contextmanager

import numpy as np
import pytest
from matplotlib.figure import Figure

from isonet_scipion.engine.measure.fourier_correlation import Curve
from isonet_scipion.engine.measure.quality import Quality
from isonet_scipion.engine.physics.wedge import TiltRange
from isonet_scipion.engine.reporting import tomogram_figure
from isonet_scipion.engine.reporting.comparison_figure import compare
from isonet_scipion.engine.reporting.picture import TITLE_ROWS

SHELLS = 17
VOLUME = np.random.default_rng(0).normal(size=(16, 20, 24)).astype(np.float32)
COMPARED = compare(VOLUME, 2 * VOLUME, 10.0, TiltRange())


@pytest.fixture
def drawn(monkeypatch):
    """Draws a report and returns the texts and the curves' labels of its figure."""
    picture, figures = tomogram_figure.picture, []

    @contextmanager
    def kept(*arguments):
        with picture(*arguments) as figure:
            yield figure
            figures.append(figure)

    monkeypatch.setattr(tomogram_figure, "picture", kept)

    def draw(path, quality, title="t"):
        tomogram_figure.save_report(path, COMPARED, 2 * VOLUME, quality, title)
        panels = figures[-1].axes
        texts = [text.get_text() for panel in panels for text in panel.texts]
        labels = [line.get_label() for panel in panels for line in panel.lines]
        return texts, labels, [panel.get_ylabel() for panel in panels], figures[-1].get_suptitle()

    draw.figures = figures
    return draw


def quality(**known):
    return Quality(10.0, TiltRange(), 0.1, 0.8, side=32, corners=((0, 0, 0),) * 4, **known)


def test_what_is_not_known_is_said(drawn, tmp_path):
    texts, _, _, title = drawn(tmp_path / "r.png", quality(), "a $x$ b")
    assert texts.count("the tomogram is too small to tell") == 2 and "no even and odd half tomograms given" in texts
    assert texts.count("unknown") == 5 and "not measured" in texts and "none" not in texts
    assert title == "a $x$ b" and (tmp_path / "r.png").stat().st_size > 10_000


def test_curves_are_drawn_with_their_numbers_and_where_noise_allows_nothing_no_ceiling(drawn, tmp_path):
    shells = np.arange(SHELLS)
    chance = np.full(SHELLS, 0.02)
    restored = Curve(np.where(shells < 9, 0.8, 0.0), chance)
    ceiling = Curve(np.where(shells < 12, 0.9, 0.01), chance)
    known = quality(restored=restored, ceiling=ceiling, agreement=Curve(np.full(SHELLS, 0.97), chance))
    texts, labels, ylabels, _ = drawn(tmp_path / "r.png", known)
    assert {"network against hidden data", "most that noise allows", "after against before, where measured"} <= set(
        labels
    )
    assert f"restored wedge correlation {known.restored_wedge[0]:.2f}" in ylabels and "agreement 0.97" in ylabels
    assert f"{known.restored_resolution:.0f} Å" in texts


def test_nothing_that_is_written_leaves_the_picture_or_meets_another_panel(drawn, tmp_path, monkeypatch):
    """Panels have fixed places, and the figure is drawn once: both halve the time of a picture."""
    draws, draw = [], Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda self, renderer: (draws.append(self), draw(self, renderer)))
    chance = np.full(SHELLS, 0.02)
    restored = Curve(np.full(SHELLS, 0.8), chance)
    drawn(tmp_path / "r.png", quality(restored=restored, agreement=restored, ceiling=restored))
    figure = drawn.figures[-1]
    assert draws == [figure]
    title = figure.texts[0].get_window_extent()
    assert title.y0 > figure.bbox.height - TITLE_ROWS
    boxes = [*(panel.get_tightbbox() for panel in figure.axes), title]
    width, height = figure.bbox.size
    for number, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
