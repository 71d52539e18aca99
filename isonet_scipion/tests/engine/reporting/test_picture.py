"""Pictures do not depend on the user's settings of matplotlib."""

import os
import subprocess
import sys

import numpy as np

from isonet_scipion.engine.reporting.picture import BETWEEN, BOTTOM, LEFT, RIGHT, TOP, panels, picture

CODE = """
import sys
from isonet_scipion.engine.reporting.picture import picture
with picture(sys.argv[1], 3, 2) as figure:
    figure.subplots().set(title="50 % of $a_b", xlabel="k (1/A)")
"""


def drawn(folder, settings):
    """The bytes of a picture that is drawn in a process with such a matplotlibrc."""
    folder.mkdir()
    (folder / "matplotlibrc").write_text(settings)
    path = folder / "picture.png"
    env = {**os.environ, "MATPLOTLIBRC": str(folder)}
    subprocess.run([sys.executable, "-c", CODE.replace("$a_b", "a"), path], env=env, check=True)
    return path.read_bytes()


def test_settings_of_the_user_do_not_count(tmp_path):
    """LaTeX, which is not there, would end in a traceback; other sizes and colours in another picture."""
    usual = drawn(tmp_path / "usual", "")
    assert drawn(tmp_path / "other", "text.usetex: True\nfont.size: 30\nsavefig.facecolor: red\n") == usual


def test_panels_lie_side_by_side_within_the_picture(tmp_path):
    with picture(tmp_path / "a.png", 9, 6) as figure:
        edges = np.array([[one.get_position().get_points() for one in row] for row in panels(figure, 2, 3)])
        (left, bottom), (right, top) = np.moveaxis(edges * figure.get_size_inches(), (2, 3), (0, 1))
    np.testing.assert_allclose([left[:, 0], 9 - right[:, -1]], [[LEFT] * 2, [RIGHT] * 2])
    np.testing.assert_allclose([bottom[-1], 6 - top[0]], [[BOTTOM] * 3, [TOP] * 3])
    np.testing.assert_allclose(left[:, 1:] - right[:, :-1], BETWEEN[0])
    np.testing.assert_allclose(bottom[:-1] - top[1:], BETWEEN[1])
