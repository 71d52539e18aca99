"""What only some of the tomograms of a table have."""

import pytest

from isonet_scipion.engine.io.star import Star
from isonet_scipion.engine.io.table_checks import tell_assumed_tilts


@pytest.mark.parametrize(("cells", "level"), [("None", "WARNING"), ("-48", None)])
def test_a_tilt_range_that_is_assumed_is_told(caplog, cells, level):
    caplog.set_level("INFO")
    star = Star(["rlnTiltMin", "rlnTiltMax"], path="t.star")
    star.rows += [{"rlnTiltMin": "-52", "rlnTiltMax": "48"}, {"rlnTiltMin": cells, "rlnTiltMax": cells}]
    tell_assumed_tilts(star, star.rows, ["a", "b"])
    assert [record.levelname for record in caplog.records] == ([level] if level else [])
    if level:
        assert "t.star: no tilt range (rlnTiltMin and rlnTiltMax) of b: -60..60 degrees are assumed." in caplog.text
        caplog.clear()
        tell_assumed_tilts(star, star.rows[1:], ["b"])
        assert [record.levelname for record in caplog.records] == ["INFO"]
