import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.physics.contrast_check import contrast_warning
from isonet_scipion.engine.physics.ctf import CtfParameters
from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve
from isonet_scipion.engine.simulation.phantom import Example


def require_told(tomogram, scale=1):
    tomogram = scale * tomogram
    assert contrast_warning([tomogram], inverted=False) is None
    assert contrast_warning([1000 * scale - tomogram], inverted=True) is None
    assert "protein seems to be bright" in contrast_warning([1000 * scale - tomogram], inverted=False)
    assert "protein seems to be dark" in contrast_warning([tomogram], inverted=True)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_simulated_tomograms(seed):
    tomogram = Example((48, 72, 72), seed=seed).make()[1]
    require_told(tomogram)
    require_told(deconvolve(tomogram, Deconvolution(10.0, CtfParameters(defocus=20000.0))), scale=1e-4)


@pytest.mark.parametrize("name", ["mpneumoniae_20A_full.mrc", "mpneumoniae_20A_odd.mrc", "microtubule_thin_10.5A.mrc"])
def test_real_tomograms(real_data, name):
    with mrcfile.open(real_data / name, permissive=True) as mrc:
        require_told(mrc.data.astype(np.float32))


def test_noise_tells_nothing():
    noise = np.random.default_rng(0).normal(size=(32, 48, 48))
    for volume in (noise, np.round(20 * noise).astype(np.int8), np.zeros((8, 8, 8))):
        assert contrast_warning([volume], inverted=False) is None
