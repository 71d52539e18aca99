import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.volume import read_float


def test_nan_is_refused(tmp_path):
    data = np.ones((4, 4, 4), np.float32)
    data[1, 2, 3] = np.nan
    write_volume(tmp_path / "v.mrc", data, 1.0)
    with pytest.raises(EngineError, match="NaN"):
        read_float(open_volume(tmp_path / "v.mrc"))


@pytest.mark.parametrize(("value", "said"), [(1e30, "1e+30"), (-1e30, "-1e+30"), (np.inf, "infinite")])
def test_fill_values_are_called_what_they_are(tmp_path, value, said):
    data = np.random.default_rng(0).normal(size=(6, 8, 10)).astype(np.float32)
    data[2, 3, 4] = value
    write_volume(tmp_path / "v.mrc", data, 10.0)
    with pytest.raises(EngineError, match=said.replace("+", r"\+")) as caught:
        read_float(open_volume(tmp_path / "v.mrc"))
    assert ("NaN" in str(caught.value)) == (said == "infinite")
