"""Estimates of subtomograms: by the wedge filter before any training, then by the network."""

import numpy as np
import pytest

from isonet_scipion.engine.conventions import Normalisation
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.star import Star
from isonet_scipion.engine.io.subtomograms import read_subtomograms
from isonet_scipion.engine.learning import estimates
from isonet_scipion.engine.learning.estimates import estimate_subtomograms
from isonet_scipion.engine.learning.pairs import first_estimate
from isonet_scipion.engine.physics.grey_scale import normalise

COUNT, SIZE = 5, 11


@pytest.fixture
def subtomograms(tmp_path):
    table = Star([])
    for number in range(COUNT):
        path = tmp_path / f"s{number}.mrc"
        data = np.random.default_rng(number).gamma(2, 3, size=(SIZE,) * 3).astype(np.float32)
        write_volume(path, data, 10.0)
        row = {}
        table.rows.append(row)
        for label, value in {"rlnImageName": path, "rlnTiltMin": -50 - number, "rlnTiltMax": 60}.items():
            table.set(row, label, value)
    return read_subtomograms(table, Normalisation.MOMENTS, (None, None))


@pytest.mark.parametrize("stack_bytes", [1 << 30, 1])
@pytest.mark.parametrize("normalisation", Normalisation)
def test_before_any_training_each_is_filtered_with_its_own_wedge(
    subtomograms, tmp_path, monkeypatch, normalisation, stack_bytes
):
    monkeypatch.setattr(estimates, "STACK_BYTES", stack_bytes)
    told = []
    found = estimate_subtomograms(
        subtomograms, None, (8, 8, 8), normalisation, 2, tmp_path, lambda one, made: told.append((one, made.copy()))
    )
    assert isinstance(found, np.memmap) == (stack_bytes == 1)
    for subtomogram, made, (of, said) in zip(subtomograms, found, told):
        expected = first_estimate(subtomogram.normalised(), subtomogram.tilt, normalisation)
        np.testing.assert_allclose(made, expected, atol=1e-6)
        np.testing.assert_array_equal(said, made)
        assert of is subtomogram
    assert len(told) == COUNT


def test_later_the_network_makes_them_of_sides_that_it_takes(subtomograms, tmp_path, monkeypatch):
    seen = []

    def doubled(model, volumes):
        seen.append(volumes.shape)
        return volumes**2

    monkeypatch.setattr(estimates, "run_network", doubled)
    found = estimate_subtomograms(
        subtomograms, object(), (2, 4, 8), Normalisation.PERCENTILES, 2, tmp_path, lambda *_: None
    )
    assert seen == [(2, 12, 12, 16), (2, 12, 12, 16), (1, 12, 12, 16)]
    for subtomogram, made in zip(subtomograms, found):
        np.testing.assert_allclose(made, normalise(subtomogram.normalised() ** 2), atol=1e-5)


def test_with_less_memory_fewer_are_made_at_a_time(subtomograms, tmp_path, monkeypatch):
    seen = []

    def network(model, volumes):
        seen.append(len(volumes))
        if len(volumes) > most:
            raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")
        return volumes**2

    monkeypatch.setattr(estimates, "run_network", network)
    arguments = (subtomograms, object(), (2, 4, 8), Normalisation.PERCENTILES, 4, tmp_path, lambda *_: None)
    most = 4
    whole = estimate_subtomograms(*arguments)
    most, seen[:] = 1, []
    np.testing.assert_allclose(estimate_subtomograms(*arguments), whole, atol=1e-6)
    assert seen == [4, 2, 1, 1, 1, 1, 1]
    most = 0
    with pytest.raises(MemoryError, match="MEMORY"):
        estimate_subtomograms(*arguments)


def test_a_network_that_makes_no_numbers_is_told_before_anything_is_kept(subtomograms, tmp_path, monkeypatch):
    monkeypatch.setattr(estimates, "run_network", lambda model, volumes: np.full_like(volumes, np.nan))
    kept = []
    with pytest.raises(EngineError, match="NaN or infinite"):
        estimate_subtomograms(
            subtomograms, object(), (8, 8, 8), Normalisation.MOMENTS, 2, tmp_path, lambda *one: kept.append(one)
        )
    assert not kept
