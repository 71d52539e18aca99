"""What the measures of usefulness.py and confidence.py must say of cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from calibration.results import put
from calibration.trial import calibration_error
from calibration.truth import true_correlation
from uses import averages, membranes, picking, results, scenes


def test_orientations_are_rotations_spread_evenly():
    matrices = picking.orientations(picking.ORIENTATIONS)
    assert np.allclose(matrices @ matrices.swapaxes(1, 2), np.eye(3), atol=1e-6)
    cosine = (np.einsum("aij,bij->ab", matrices, matrices) - 1) / 2
    nearest = np.degrees(np.arccos(np.clip(np.sort(cosine, axis=1)[:, -2], -1, 1)))
    assert nearest.min() > 15 and nearest.max() < 45


def test_precision_and_recall_count_each_particle_once():
    true = np.array([[0.0, 0, 0], [10, 0, 0]])
    found = np.array([[0.5, 0, 0], [0.6, 0, 0], [10, 1, 0], [50, 0, 0]])
    precision, recall = picking.precision_recall(found, true, 2.0)
    assert precision == pytest.approx([1, 1 / 2, 2 / 3, 2 / 4])
    assert recall == pytest.approx([0.5, 0.5, 1, 1])


def test_a_particle_is_found_where_it_is():
    rng = np.random.default_rng(0)
    template = np.zeros((12, 12, 12), np.float32)
    template[2:10, 4:6, 5:8] = 1
    volume = 0.1 * rng.normal(size=(48, 40, 56)).astype(np.float32)
    patch = scenes.rotated(template, picking.orientations(picking.ORIENTATIONS)[7])
    volume[20:32, 10:22, 30:42] += patch
    scores = picking.correlation_map(volume, template, None)
    place = np.unravel_index(scores.argmax(), scores.shape)
    assert np.abs(np.array(place) - (26, 16, 36)).max() <= 1 and scores.max() > 0.7


def test_a_subtomogram_is_turned_back_to_its_map():
    data = np.zeros((40, 40, 40), np.float32)
    data[10:30, 15:20, 12:25] = 1
    rotation = picking.orientations(50)[11]
    volume = np.zeros((60, 60, 60), np.float32)
    volume[10:50, 8:48, 12:52] = scenes.rotated(data, rotation)
    centre = np.array([10, 8, 12]) + 19.5
    truth = scenes.Truth(volume, volume > -1, volume, {averages.AVERAGED: [(centre, rotation)]}, {})
    spectra, weights = averages.boxes(volume, truth, (-60, 60))
    real = np.fft.fftshift(np.fft.fftn(data - data.mean()))
    assert averages.shell_correlation(spectra[0], real)[1:8].min() > 0.9
    ball = (np.indices((40, 40, 40)) - 20) ** 2
    assert weights[0][ball.sum(axis=0) < 19**2].mean() == pytest.approx(120 / 180, abs=0.05)


def test_a_flat_membrane_is_a_sheet_with_its_normal_along_z():
    volume = np.zeros((32, 40, 40), np.float32)
    volume[15:17] = 1
    strength, axis = membranes.sheets(volume, 2.0)
    assert strength[15, 20, 20] > 10 * strength[5].max() and axis[15, 20, 20] == 0


def test_truth_in_the_wedge_is_right_for_the_same_and_0_for_another_volume():
    rng = np.random.default_rng(1)
    first, second = (rng.normal(size=(48, 64, 64)).astype(np.float32) for _ in range(2))
    slab = np.ones(first.shape, bool)
    assert true_correlation(first, 3 * first, slab, 48)[2] == pytest.approx(1, abs=1e-3)
    assert np.abs(true_correlation(first, second, slab, 48)[2]).max() < 0.2


def test_a_calibration_error_is_the_distance_of_the_bins():
    values = np.linspace(0, 1, 100)
    assert calibration_error(values, values) == 0
    assert calibration_error(values, values + 0.2) == pytest.approx(0.2)


def test_a_table_takes_the_place_of_the_one_with_its_heading():
    page = "words\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nmore | words\n\n| c |\n|---|\n| 5 |\n\nend\n"
    new = "| a | b |\n|---|---|\n| 3 | 4 |\n| 3 | 4 |"
    assert put(page, new) == page.replace("| 1 | 2 |", "| 3 | 4 |\n| 3 | 4 |")


def test_what_a_method_was_not_run_on_is_an_empty_cell():
    def found(value):
        membranes = {"IoU": value, "by_axis": dict.fromkeys("xyz", value)}
        return {"picking": {name: {"particles": 9, "F1": value} for name in scenes.PICKED}, "membranes": membranes}

    truth = {"membranes": found(0.4)["membranes"]}
    made = {
        "one": {"before": found(0.1), "one-pass": found(0.2), "truth": truth},
        "two": {"before": found(0.1), "builtin": found(0.3), "truth": truth},
    }
    average = {"particles": 9, "claimed_resolution_A": 30.0, "true_resolution_A": 40.0}
    lines = results.table({"scenes": made, "averages": {"one": {"before": average}}}).splitlines()
    assert lines[0] == "| scene | what | before | builtin | one-pass | the truth itself |"
    assert lines[2].startswith("| one | picking") and lines[2].endswith("| 0.10 |  | 0.20 |  |")
    assert lines[5] == "| one | membranes, IoU | 0.10 |  | 0.20 | 0.40 |"
    assert lines[-1] == "| one | average of 9 4v4r, resolution in truth | 40.0 Å |  |  |  |"
