"""Pictures do not depend on the user's settings of matplotlib."""

import os
import subprocess
import sys

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
