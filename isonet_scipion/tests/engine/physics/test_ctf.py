import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.physics.ctf import (
    CtfParameters,
    ctf,
    electron_wavelength,
    first_peak,
    require_plausible_defocus,
    wiener_filter,
)


def test_wavelength_of_the_textbook():
    # Reimer: 0.0197 A at 300 kV, 0.0251 A at 200 kV
    assert electron_wavelength(300) == pytest.approx(0.0197, abs=5e-5)
    assert electron_wavelength(200) == pytest.approx(0.0251, abs=5e-5)


def test_first_zero_lies_where_the_phase_is_the_amplitude_contrasts():
    ctf_parameters = CtfParameters(300, 0.0, 0.0, 30000)
    # without Cs and amplitude contrast the first zero is at k = 1/sqrt(lambda defocus)
    first_zero = 1 / np.sqrt(electron_wavelength(300) * 30000)
    assert ctf(np.array([first_zero]), ctf_parameters)[0] == pytest.approx(0, abs=1e-9)
    # underfocus: contrast is positive before it
    assert (ctf(np.linspace(0.1, 0.99, 50) * first_zero, ctf_parameters) > 0).all()


def test_wiener_filter_undoes_the_ctf_where_signal_is_strong_and_fades_where_it_is_lost():
    x = np.linspace(0, 1, 101)
    weights = wiener_filter(x, 10, CtfParameters(defocus=0.0), snrfalloff=0, deconvstrength=6, highpassnyquist=0.02)
    np.testing.assert_allclose(weights[5:], 1 / ctf(x[5:] / 20, CtfParameters()), rtol=1e-3)
    assert weights[0] == pytest.approx(0, abs=1e-6)
    assert abs(wiener_filter(np.array([1.0]), 10, CtfParameters(), snrfalloff=5)[0]) < 1e-6


@pytest.mark.parametrize(
    ("defocus", "said"),
    [
        (2.5, "looks like µm.* 25000"),
        (12.0, "looks like µm.* 120000"),
        (2500.0, "looks like nm.* 25000"),
        (300.0, "looks like nm.* 3000"),
        (3e-6, "looks like m.* 30000"),
        (-30000.0, "underfocus is positive here.* 30000"),
        (-2.5, "looks like µm; underfocus is positive here.* 25000"),
        (0.0, "it is 0 for TS_1"),
        (3e6, "is impossible: that is 300 µm"),
        (-3e6, "is impossible"),
        (float("nan"), "is impossible"),
    ],
)
def test_a_defocus_in_another_unit_or_sign_is_refused_with_its_value_in_angstrom(defocus, said):
    with pytest.raises(EngineError, match=f"^rlnDefocus: .*TS_1.*{said}" if defocus else said):
        require_plausible_defocus(defocus, "rlnDefocus", "TS_1")


@pytest.mark.parametrize("defocus", [5000.0, 18350.0, 60000.0, 150000.0])
def test_a_defocus_in_angstrom_is_taken(defocus):
    assert require_plausible_defocus(defocus) == defocus


def test_spherical_aberration_alone_reaches_its_first_peak_at_a_quarter_of_a_nanometre():
    # lambda^3 Cs k^4 = 1 with lambda = 0.019687 A and Cs = 2.7 mm, by hand
    k = np.array([(0.019687**3 * 2.7e7) ** -0.25])
    assert k[0] == pytest.approx(0.264, abs=1e-3)
    assert ctf(k, CtfParameters(300.0, 2.7, 0.0, 0.0))[0] == pytest.approx(-1, abs=1e-6)
    assert ctf(k / 2, CtfParameters(300.0, 2.7, 0.0, 0.0))[0] == pytest.approx(-np.sin(np.pi / 32), abs=1e-4)


@pytest.mark.parametrize(("defocus", "cs"), [(20000.0, 2.7), (60000.0, 0.0)])
def test_the_first_peak_is_the_first_place_of_full_contrast(defocus, cs):
    parameters = CtfParameters(cs=cs, defocus=defocus)
    peak = first_peak(parameters)
    assert ctf(peak, parameters) == pytest.approx(1, abs=1e-9)
    assert (np.diff(ctf(np.linspace(0, peak, 50), parameters)) > 0).all()
