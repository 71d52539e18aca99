import mrcfile
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.physics.ctf import CtfParameters, wiener_filter
from isonet_scipion.engine.physics.radial_filter import Deconvolution, deconvolve

SHAPES = st.tuples(*[st.integers(2, 23)] * 3)
STRONG = Deconvolution(10.0, CtfParameters(defocus=20000), 0.8, 1.2)


def plain(tomogram, job):
    """The same filter, straight from its definition, in double precision."""
    frequencies = np.meshgrid(*[np.fft.fftfreq(n) * 2 for n in tomogram.shape], indexing="ij", sparse=True)
    radius = np.minimum(1, np.sqrt(sum(f**2 for f in frequencies)))
    weights = wiener_filter(radius, job.voxel_size, job.ctf_parameters, job.snrfalloff, job.deconvstrength)
    result = np.fft.ifftn(np.fft.fftn(tomogram.astype(float)) * weights).real
    return (result - result.mean()) / result.std() * tomogram.std(dtype=float) + tomogram.mean(dtype=float)


def correlation(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


@pytest.mark.parametrize("shape", [(20, 31, 37), (16, 16, 16), (7, 12, 9), (64, 2, 3)])
@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint16, np.float16, np.float32])
def test_equals_its_definition_for_every_type_and_size(shape, dtype):
    tomogram = np.random.default_rng(1).normal(60, 12, shape).astype(dtype)
    result = deconvolve(tomogram, STRONG)
    assert result.dtype == np.float32
    expected = plain(tomogram.astype(np.float32), STRONG)
    np.testing.assert_allclose(result, expected, atol=2e-3 * tomogram.std(dtype=float))


@settings(max_examples=25, deadline=None)
@given(SHAPES, st.floats(0.1, 2), st.floats(0.1, 2), st.floats(-100, 100), st.floats(0.01, 100))
def test_keeps_mean_and_deviation_and_is_linear_up_to_them(shape, falloff, strength, offset, scale):
    tomogram = np.random.default_rng(2).normal(0, 1, shape).astype(np.float32)
    job = Deconvolution(10.0, CtfParameters(defocus=20000), falloff, strength)
    result = deconvolve(tomogram, job)
    assert result.mean() == pytest.approx(tomogram.mean(), abs=1e-4)
    assert result.std() == pytest.approx(tomogram.std(), rel=1e-3)
    moved = deconvolve(tomogram * np.float32(scale) + np.float32(offset), job)
    np.testing.assert_allclose((moved - offset) / scale, result, atol=5e-3 + 1e-4 * abs(offset) / scale)


@pytest.mark.parametrize("chunk_size", [4, 16, 200])
@pytest.mark.parametrize("pad_edges", [False, True])
def test_pieces_give_the_same_result_as_the_whole(tmp_path, chunk_size, pad_edges):
    tomogram = np.random.default_rng(3).normal(0, 1, (33, 40, 29)).astype(np.float32)
    job = Deconvolution(10.0, CtfParameters(defocus=20000), pad_edges=pad_edges)
    pieces = deconvolve(tomogram, job, chunk_size=chunk_size, scratch_folder=tmp_path, threads=2)
    np.testing.assert_allclose(pieces, deconvolve(tomogram, job), atol=1e-5)
    assert list(tmp_path.iterdir()) == []


def test_padded_edges_do_not_bleed_into_the_opposite_face():
    tomogram = np.zeros((48, 64, 64), np.float32)
    tomogram[:, :, :2] = 30
    bled = {}
    for pad in (False, True):
        job = Deconvolution(10.0, CtfParameters(defocus=20000), highpassnyquist=0.2, pad_edges=pad)
        result = deconvolve(tomogram, job)
        bled[pad] = abs(result[:, :, -2:].mean() - result[:, :, 30:34].mean())
    assert bled[True] < 0.1 * bled[False]


@pytest.mark.parametrize("depth", [8, 17, 18])
def test_both_faces_of_a_thin_slab_are_padded(depth):
    slab = np.random.default_rng(4).normal(size=(depth, 24, 26)).astype(np.float32)
    job = Deconvolution(10.0, CtfParameters(defocus=30000), pad_edges=True)
    np.testing.assert_allclose(deconvolve(slab[::-1], job)[::-1], deconvolve(slab, job), atol=1e-3)


def test_the_released_programs_projection_comes_out(released):
    projection = released["projection"][:, None, :]
    result = deconvolve(projection, Deconvolution(20.0, CtfParameters(defocus=18350), 0.7, 0.8))[:, 0]
    expected = released["deconvolved_projection"]
    # the released program's grey scale is that of the whole volume
    factor, offset = np.polyfit(result.ravel(), expected.ravel(), 1)
    assert correlation(result, expected) > 0.99999
    np.testing.assert_allclose(factor * result + offset, expected, atol=0.01 * np.abs(expected).max())


def test_agrees_with_the_released_program(reference):
    with mrcfile.open(reference / "cell.mrc") as cell, mrcfile.open(reference / "cell_deconv.mrc") as expected:
        result = deconvolve(cell.data, Deconvolution(20.0, CtfParameters(defocus=18350), 0.7, 0.8))
        assert correlation(result, expected.data) > 0.999999
        np.testing.assert_allclose(result, expected.data, atol=5e-3)


@pytest.mark.parametrize(
    ("value", "said"), [(1e30, "1e.30, which are not grey values"), (np.nan, "NaN"), (np.inf, "NaN")]
)
def test_voxels_that_are_no_data_are_called_what_they_are(value, said):
    tomogram = np.random.default_rng(0).normal(size=(8, 9, 10)).astype(np.float32)
    tomogram[3, 4, 5] = value
    with pytest.raises(EngineError, match=said):
        deconvolve(tomogram, Deconvolution(10.0))
