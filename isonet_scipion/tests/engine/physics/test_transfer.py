"""What a phase-flipped tomogram shows."""

import numpy as np
import pytest

from isonet_scipion.engine.physics.ctf import CtfParameters, ctf, first_peak
from isonet_scipion.engine.physics.transfer import Transfer

CTF = CtfParameters(defocus=40000.0)


def test_below_the_first_peak_all_is_kept_and_above_it_the_ctf_weakens():
    peak = first_peak(CTF)
    transfer = Transfer(10.0, CTF)
    assert (transfer.at(np.linspace(0, 0.99 * peak, 9)) == 1).all()
    above = np.linspace(1.01 * peak, 0.05, 50)
    np.testing.assert_allclose(transfer.at(above), np.abs(ctf(above, CTF)))


def test_the_envelope_is_exp_of_minus_b_k2_over_4():
    ratio = Transfer(10.0, CTF, 400.0).at(np.array([0.04])) / Transfer(10.0, CTF).at(np.array([0.04]))
    assert ratio[0] == pytest.approx(np.exp(-400 / 4 * 0.04**2))


def test_a_boxs_filter_is_laid_out_by_its_voxel_size():
    values = Transfer(10.0, CTF).filter(32)
    assert values.shape == (32, 32, 17) and values.dtype == np.float32
    assert values[0, 0, 8] == pytest.approx(Transfer(10.0, CTF).at(np.array([8 / 320]))[0], abs=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        values[0] = 0
