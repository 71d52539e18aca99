"""Tests of the benchmark.  Run `pytest -q test_bench.py` or `python score.py --self-test`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import fft

sys.path.insert(0, str(Path(__file__).parent))

import baseline
import figure
import phantom
import project
import score as scoring
from common import read_mrc, read_tlt, tilt_angles, write_mrc, write_tlt

SHAPE, APIX, LOW, HIGH = (80, 128, 128), 10.0, -60.0, 60.0


def wedge_filter(shape, low=LOW, high=HIGH):
    """True where a tilt series measures; made here anew, apart from score.py's own regions."""
    kz = fft.fftfreq(shape[0])[:, None, None]
    kx = fft.rfftfreq(shape[2])[None, None, :]
    angle = np.degrees(np.arctan2(kz, kx))
    return np.broadcast_to((angle >= low) & (angle <= high), (shape[0], shape[1], kx.shape[-1]))


def split(volume, low=LOW, high=HIGH):
    """(measured part, wedge part) of a volume."""
    spectrum = fft.rfftn(volume)
    keep = wedge_filter(volume.shape, low, high)
    return tuple(fft.irfftn(np.where(k, spectrum, 0), volume.shape).astype(np.float32) for k in (keep, ~keep))


def with_random_phases(volume, seed=0):
    """Unrelated content with the same power spectrum."""
    noise = fft.rfftn(np.random.default_rng(seed).standard_normal(volume.shape))
    spectrum = np.abs(fft.rfftn(volume)) * noise / np.abs(noise)
    return fft.irfftn(spectrum, volume.shape).astype(np.float32)


@pytest.fixture(scope="session")
def scene():
    volume, mask, _ = phantom.make_phantom(SHAPE, APIX, seed=4)
    return volume, mask


def run(scene, low=LOW, high=HIGH, signs=None, **volumes):
    gt, mask = scene
    return scoring.score(gt, volumes, mask, APIX, low, high, signs=signs)


def one(scene, volume, sign=0, **more):
    return run(scene, signs={"input": sign}, input=volume, **more)["tomograms"]["input"]


# --- what the scores must say ---------------------------------------------------------------
def test_identical_volume_is_perfect(scene):
    r = one(scene, scene[0])
    for key in (
        "wedge_cc",
        "wedge_cc_power_weighted",
        "measured_cc",
        "measured_cc_power_weighted",
        "real_cc",
        "wedge_transfer",
        "wedge_r2",
        "anisotropy_0.5",
        "anisotropy_0.143",
        "power_ratio_vs_gt",
    ):
        assert r[key] == pytest.approx(1.0, abs=1e-4), key
    assert r["sign"] == 1 and r["shift_zyx_voxels"] == [0, 0, 0]
    assert all(r["resolution_A"][f"{a}_0.5"] == pytest.approx(20.0, abs=0.1) for a in "xyz")


def test_empty_wedge_scores_zero_in_wedge_and_one_outside(scene):
    r = one(scene, split(scene[0])[0])
    assert abs(r["wedge_cc"]) < 0.02 and abs(r["wedge_cc_power_weighted"]) < 0.02
    assert abs(r["wedge_cc_no_floor"]) < 0.1  # leakage of the soft mask, at full strength
    assert abs(r["wedge_r2"]) < 0.01 and abs(r["wedge_transfer"]) < 0.01
    assert r["measured_cc"] > 0.99 and r["power_ratio"] < 0.01
    assert r["real_cc"] < 0.95
    assert r["resolution_A"]["x_0.5"] < 25 and r["resolution_A"]["y_0.5"] < 25
    assert r["resolution_A"]["z_0.5_note"] == ">" and r["anisotropy_0.5"] > 4


def test_random_content_in_wedge_scores_zero(scene):
    measured, _ = split(scene[0])
    values = []
    for seed in range(4):
        invented = split(with_random_phases(scene[0], seed))[1]
        r = one(scene, measured + invented)
        values.append(r["wedge_cc"])
        assert r["measured_cc"] > 0.97
        assert r["wedge_r2"] < -0.5  # worse than an empty wedge
        assert r["power_ratio"] > 0.3  # though the wedge is full
        assert 0 < r["wedge_cc_chance"] < 0.06
    assert abs(np.mean(values)) < 0.04 and np.max(np.abs(values)) < 0.08


def test_partial_restoration_is_ordered(scene):
    measured, wedge = split(scene[0])
    invented = split(with_random_phases(scene[0], 9))[1]
    results = [one(scene, measured + share * wedge + (1 - share) * invented) for share in (0.0, 0.3, 0.6, 1.0)]
    for key in ("wedge_cc", "wedge_r2", "wedge_transfer", "real_cc"):
        values = [r[key] for r in results]
        assert values == sorted(values) and values[-1] - values[0] > 0.1, key
    half = one(scene, measured + 0.5 * wedge)
    assert half["wedge_transfer"] == pytest.approx(0.5, abs=0.03)
    assert half["wedge_cc"] > 0.97 and half["wedge_r2"] == pytest.approx(0.75, abs=0.05)


def test_right_phases_at_no_strength_do_not_count(scene):
    measured, wedge = split(scene[0])
    r = one(scene, measured + 1e-3 * wedge)
    assert r["wedge_cc"] < 0.05 and r["wedge_r2"] < 0.02


def test_scaling_offset_and_smoothing_change_nothing(scene):
    from scipy import ndimage as ndi

    measured, wedge = split(scene[0])
    volume = measured + 0.4 * wedge + 0.2 * with_random_phases(scene[0], 2)
    plain = one(scene, volume)
    for other in (1e4 * volume, 1e-4 * volume, volume + 50, -3 * volume - 7):
        r = one(scene, other)
        for key in (
            "wedge_cc",
            "wedge_r2",
            "wedge_transfer",
            "measured_cc",
            "real_cc",
            "power_ratio",
            "anisotropy_0.5",
        ):
            assert r[key] == pytest.approx(plain[key], abs=2e-3), key
    smooth = one(scene, ndi.gaussian_filter(volume, 0.8))
    for key in ("wedge_cc", "wedge_r2", "measured_cc"):
        assert smooth[key] == pytest.approx(plain[key], abs=0.02), key


def test_cutting_to_the_slab_does_not_fill_the_wedge(scene):
    gt, mask = scene
    r = one(scene, split(gt)[0] * mask)
    assert abs(r["wedge_cc"]) < 0.02


def test_contrast_sign(scene):
    gt, _ = scene
    assert one(scene, -gt)["sign"] == -1
    assert one(scene, -gt, sign=-1)["wedge_cc"] == pytest.approx(1, abs=1e-4)
    wrong = one(scene, -gt, sign=1)
    assert wrong["wedge_cc"] < -0.99 and wrong["measured_cc"] < -0.99 and wrong["real_cc"] < -0.9


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("y and x swapped", lambda v: v.transpose(0, 2, 1)),
        ("z flipped", lambda v: v[::-1]),
        ("x flipped", lambda v: v[:, :, ::-1]),
        ("y flipped", lambda v: v[:, ::-1]),
    ],
)
def test_swapped_or_flipped_axes_are_bad(scene, name, change):
    gt, _ = scene
    volume = np.ascontiguousarray(change(gt))
    result = run(scene, input=split(gt)[0], corrected=volume)
    r = result["tomograms"]["corrected"]
    # a flip in z leaves objects that are symmetric about the middle of the slab as they are
    assert r["measured_cc"] < (0.6 if name == "z flipped" else 0.15)
    assert r["wedge_cc"] < 0.2 and r["wedge_r2"] < -0.5 and r["real_cc"] < 0.5
    assert any("corrected" in w and name in w for w in result["warnings"]), result["warnings"]
    assert any("got worse" in w for w in result["warnings"])


def test_wedge_along_the_wrong_axis_is_bad():
    gt, mask, _ = phantom.make_phantom((64, 64, 64), APIX, seed=5)
    swapped = split(gt.transpose(2, 1, 0).copy())[0].transpose(2, 1, 0)  # the wedge lies around kx
    r = run((gt, mask), input=np.ascontiguousarray(swapped))["tomograms"]["input"]
    right = run((gt, mask), input=split(gt)[0])["tomograms"]["input"]
    assert r["measured_cc"] < right["measured_cc"] - 0.15
    assert r["anisotropy_0.5"] < 0.5 and right["anisotropy_0.5"] > 2


def test_shift_is_reported(scene):
    result = run(scene, input=np.roll(scene[0], (1, -2, 0), axis=(0, 1, 2)))
    assert result["tomograms"]["input"]["shift_zyx_voxels"] == [1, -2, 0]
    assert any("shifted" in w for w in result["warnings"])


def test_asymmetric_range_and_flip(scene):
    gt, mask = scene
    volume = split(gt, -40, 66)[0]
    right = run(scene, -40, 66, input=volume)["tomograms"]["input"]
    wrong = scoring.score(gt, {"input": volume}, mask, APIX, -40, 66, flip_tilt=True)
    wrong = wrong["tomograms"]["input"]
    assert right["wedge_cc"] < 0.03 and right["measured_cc"] > 0.99
    assert wrong["wedge_cc"] > 0.15 and wrong["measured_cc"] < 0.97


@pytest.mark.filterwarnings("error")
def test_degenerate_volumes_do_not_crash(scene):
    r = one(scene, np.full(SHAPE, 3.0, np.float32))
    assert r["wedge_cc"] == 0 and r["measured_cc"] == 0 and r["real_cc"] == 0
    broken = scene[0].copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        one(scene, broken)
    with pytest.raises(ValueError, match="shape"):
        one(scene, scene[0][1:])
    with pytest.raises(ValueError, match="Nyquist"):
        scoring.score(scene[0], {}, scene[1], APIX, LOW, HIGH, lowpass=15)


# --- phantom ------------------------------------------------------------------------------------
def test_phantom_is_deterministic_and_leaves_the_vacuum_empty(scene):
    volume, mask = scene
    again, _, objects = phantom.make_phantom(SHAPE, APIX, seed=4)
    assert np.array_equal(volume, again)
    assert not np.array_equal(volume, phantom.make_phantom(SHAPE, APIX, seed=5)[0])
    assert volume.dtype == np.float32 and volume.shape == SHAPE
    assert not mask[0].any() and not mask[-1].any() and np.all(volume[~mask] == 0)
    assert volume.max() > 0.8 and volume.min() > -0.2
    kinds = {o["kind"] for o in objects}
    assert {"membrane", "ribosome", "proteasome"} <= kinds


def test_full_size_scene_has_vlps_and_microtubules():
    _, _, objects = phantom.make_phantom((112, 200, 200), 10.0, seed=1)
    kinds = [o["kind"] for o in objects]
    for kind in ("vlp", "microtubule", "actin", "vesicle", "membrane"):
        assert kind in kinds
    assert min(o["normal_tilt_deg"] for o in objects if o["kind"] == "membrane") < 10


# --- projection and reconstruction ----------------------------------------------------------------
def test_untilted_projection_is_the_sum_along_z(scene):
    image = project.project(scene[0], [0.0])[0]
    margin = (image.shape[1] - SHAPE[2]) // 2
    total = scene[0].sum(axis=0)
    assert np.allclose(image[:, margin:-margin], total, atol=0.02 * total.max())


@pytest.mark.parametrize("tilt", [-60, -33, 0, 21, 54])
def test_a_point_lands_where_the_convention_says(tilt):
    volume = np.zeros((41, 3, 61), np.float32)
    z, x = 29, 44
    volume[z, 1, x] = 1
    image = project.project(volume, [tilt])[0]
    u = np.arange(image.shape[1]) - (image.shape[1] - 1) / 2
    centre = (image[1] * u).sum() / image[1].sum()
    t = np.radians(tilt)
    assert centre == pytest.approx((x - 30) * np.cos(t) + (z - 20) * np.sin(t), abs=0.05)
    assert image[1].sum() == pytest.approx(1, abs=0.03)


def test_clean_reconstruction(scene):
    """Near-perfect where measured, at the right amplitude; nothing in the wedge; sign convention."""
    gt, mask = scene
    tilts = tilt_angles(-48, 66, 2)
    volume, even, odd, _ = project.simulate(gt, APIX, tilts, snr=0)
    result = scoring.score(gt, {"input": volume}, mask, APIX, -48, 66)
    r = result["tomograms"]["input"]
    assert r["measured_cc"] > 0.97 and abs(r["wedge_cc"]) < 0.03 and r["power_ratio"] < 0.01
    assert np.allclose(even, odd)
    flipped = scoring.score(gt, {"input": volume}, mask, APIX, -48, 66, flip_tilt=True)
    assert flipped["tomograms"]["input"]["wedge_cc"] > 0.1
    spec_gt, spec = fft.rfftn(gt), fft.rfftn(volume)
    kz, kx = fft.fftfreq(SHAPE[0])[:, None, None], fft.rfftfreq(SHAPE[2])[None, None]
    radius = np.sqrt(kz**2 + kx**2 + fft.fftfreq(SHAPE[1])[None, :, None] ** 2)
    pick = wedge_filter(SHAPE, -40, 58) & (radius > 0.05) & (radius < 0.25)
    gain = (spec[pick] * spec_gt[pick].conj()).real.sum() / (np.abs(spec_gt[pick]) ** 2).sum()
    assert gain == pytest.approx(1, abs=0.1)


def test_noise_and_halves(scene):
    gt, _ = scene
    tilts = tilt_angles(-60, 60, 6)
    full, even, odd, series = project.simulate(gt, APIX, tilts, snr=0.5, seed=1)
    clean = project.simulate(gt, APIX, tilts, snr=0)[0]
    assert np.allclose(0.5 * (even + odd), full, atol=1e-4)
    noise_even, noise_odd = even - clean, odd - clean
    assert abs(np.corrcoef(noise_even.ravel(), noise_odd.ravel())[0, 1]) < 0.05
    assert noise_even.std() / (full - clean).std() == pytest.approx(np.sqrt(2), rel=0.1)
    assert np.array_equal(full, project.simulate(gt, APIX, tilts, snr=0.5, seed=1)[0])
    images = project.project(gt, tilts)
    sigma = (series - images).std(axis=(1, 2))
    assert sigma[0] > 1.3 * sigma[len(tilts) // 2] and sigma[-1] > 1.3 * sigma[len(tilts) // 2]
    _, by_even, by_odd, _ = project.simulate(gt, APIX, tilts, snr=0.5, halves="tilts")
    assert not np.allclose(by_even, by_odd)


def test_ctf():
    freq = np.array([0.0, 1 / 200, 1 / 60, 1 / 30])
    values = project.ctf(freq, 3.0)
    assert values[0] == pytest.approx(0.07) and np.all(values[1:] > 0)
    fine = np.linspace(1 / 40, 1 / 20, 4000)
    zero = fine[np.flatnonzero(np.diff(np.sign(project.ctf(fine, 3.0))))[0]]
    assert 1 / zero == pytest.approx(24.8, abs=0.6)  # sin(pi*lambda*df*k^2) near 24.3 A, moved by 7 %


# --- programs ---------------------------------------------------------------------------------------
def test_programs_end_to_end(tmp_path, capsys):
    at = {
        n: str(tmp_path / n)
        for n in (
            "gt.mrc",
            "mask.mrc",
            "tomo.mrc",
            "tilt.tlt",
            "fixed.mrc",
            "scores.json",
            "figure.png",
            "objects.json",
        )
    }
    phantom.main(
        [
            "--seed",
            "3",
            "--shape",
            *map(str, SHAPE),
            "--out",
            at["gt.mrc"],
            "--mask",
            at["mask.mrc"],
            "--objects",
            at["objects.json"],
        ]
    )
    project.main(
        [
            "--gt",
            at["gt.mrc"],
            "--out-dir",
            str(tmp_path),
            "--snr",
            "20",
            "--defocus",
            "2",
            "--dose-per-tilt",
            "2",
            "--outside",
            "mirror",
            "--save-series",
        ]
    )
    gt, apix = read_mrc(at["gt.mrc"])
    tomo, tomo_apix = read_mrc(at["tomo.mrc"])
    assert apix == tomo_apix == 10.0 and tomo.shape == gt.shape
    assert np.corrcoef(gt.ravel(), tomo.ravel())[0, 1] < -0.1  # dark protein
    tilts = read_tlt(at["tilt.tlt"])
    assert len(tilts) == 41 and tilts[0] == -60 and tilts[-1] == 60
    baseline.main(
        ["--input", at["tomo.mrc"], "--mask", at["mask.mrc"], "--tlt", at["tilt.tlt"], "--out", at["fixed.mrc"]]
    )
    assert (
        scoring.main(
            [
                "--gt",
                at["gt.mrc"],
                "--input",
                at["tomo.mrc"],
                "--corrected",
                at["fixed.mrc"],
                "--mask",
                at["mask.mrc"],
                "--tlt",
                at["tilt.tlt"],
                "--json",
                at["scores.json"],
            ]
        )
        == 0
    )
    assert "wedge CC" in capsys.readouterr().out
    result = json.loads(Path(at["scores.json"]).read_text())
    both = result["tomograms"]
    assert abs(both["input"]["wedge_cc"]) < 0.03
    assert both["corrected"]["wedge_cc"] > 0.15 and result["gain"]["wedge_cc"] > 0.15
    assert both["input"]["sign"] == both["corrected"]["sign"] == -1
    figure.main(
        [
            "--gt",
            at["gt.mrc"],
            "--input",
            at["tomo.mrc"],
            "--corrected",
            at["fixed.mrc"],
            "--tlt",
            at["tilt.tlt"],
            "--out",
            at["figure.png"],
        ]
    )
    assert Path(at["figure.png"]).stat().st_size > 50_000


def test_mrc_and_tlt_round_trip(tmp_path):
    volume = np.random.default_rng(0).standard_normal((4, 5, 6)).astype(np.float32)
    write_mrc(tmp_path / "a.mrc", volume, 13.48)
    back, apix = read_mrc(tmp_path / "a.mrc")
    assert np.array_equal(back, volume) and apix == pytest.approx(13.48)
    write_tlt(tmp_path / "a.tlt", [-60, -57.5, 3])
    assert read_tlt(tmp_path / "a.tlt").tolist() == [-60, -57.5, 3]
