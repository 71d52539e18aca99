"""export_model on files."""

import numpy as np
import pytest

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.io.model_metadata import ModelMetadata  # noqa: E402
from isonet_scipion.engine.network.model_file import load_model, save_model  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet, run_network  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402

SHAPE = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)


def test_what_is_written_makes_the_same_of_a_cube_and_replaces_no_input(run, tmp_path):
    model = build_unet(SHAPE)
    rng = np.random.default_rng(0)
    model.set_weights([weight + 0.1 * rng.normal(size=weight.shape) for weight in model.get_weights()])
    save_model(tmp_path / "m.keras", model, ModelMetadata(SHAPE))
    status, log = run("export_model", "m.keras", "m.h5")
    assert status == 0 and "m.h5: model for IsoNet 0.2" in log, log
    cubes = rng.normal(size=(1, 16, 16, 16)).astype(np.float32)
    np.testing.assert_allclose(run_network(load_model("m.h5")[0], cubes), run_network(model, cubes), atol=1e-5)
    before = (tmp_path / "m.h5").read_bytes()
    status, log = run("export_model", "m.h5", "m.h5")
    assert status == 1 and "m.h5: " in log and (tmp_path / "m.h5").read_bytes() == before


@pytest.mark.parametrize("percentile", [None, True, False])
def test_a_normalisation_that_isonet_has_to_be_told_is_named(run, tmp_path, percentile):
    save_model(tmp_path / "m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, normalize_percentile=percentile))
    status, log = run("export_model", "m.keras", "m.h5")
    assert status == 0 and ("give IsoNet 0.2 --normalize_percentile False" in log) == (percentile is False), log


def test_a_model_for_phase_flipped_tomograms_is_refused(run, tmp_path):
    save_model(tmp_path / "m.keras", build_unet(SHAPE), ModelMetadata(SHAPE, ctf_aware=True))
    status, log = run("export_model", "m.keras", "m.h5")
    assert status == 1 and "m.keras: it is CTF-aware" in log, log
    assert not (tmp_path / "m.h5").exists()
