"""How often a command opens a tomogram: once before any work, once to work on it; half tomograms likewise."""

from collections import Counter
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.io.model_metadata import ModelMetadata  # noqa: E402
from isonet_scipion.engine.network.model_file import save_model  # noqa: E402
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402

SHAPE = NetworkSettings(filter_base=2, unet_depth=1, convs_per_depth=2)
SMALL = ("--filter_base=2", "--unet_depth=1", "--convs_per_depth=2", "--stem=1", "--cube_size=16")
TRAINING = (*SMALL, "--iterations=1", "--epochs=1", "--steps_per_epoch=1", "--preprocessing_ncpus=1")
# command, and how often it may open the whole tomogram and each half
COMMANDS = {
    "deconv": (("deconv", "tomograms.star"), 2, 0),
    "make_mask": (("make_mask", "tomograms.star"), 2, 0),
    "extract": (("extract", "tomograms.star", "--cube_size=16", "--crop_size=24"), 2, 0),
    "predict": (("predict", "tomograms.star", "whole.keras", "--gpuID=-1"), 2, 2),
    "predict halves": (("predict", "tomograms.star", "halves.keras", "--gpuID=-1"), 2, 2),
    "report": (("report", "corrected.star", "whole.keras", "--gpuID=-1"), 2, 1),
    "refine": (("refine", "tomograms.star", "--gpuID=-1", *TRAINING), 2, 1),  # what is learned from, beside the whole
    "resize": (("resize", "tomograms.star", "--apix=20"), 2, 2),
    "export_relion": (("export_relion", "tomograms.star"), 1, 0),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, halves in (("whole", False), ("halves", True)):
        save_model(folder / f"{name}.keras", build_unet(SHAPE), ModelMetadata(SHAPE, voxel_size=10.0, halves=halves))
    return folder


@pytest.fixture
def project(tmp_path, run, models):
    rng = np.random.default_rng(0)
    for folder in ("tomo", "even", "odd"):
        write_volume(tmp_path / folder / "t.mrc", rng.normal(size=(48, 48, 48)).astype(np.float32), 10.0)
    for model in models.iterdir():
        (tmp_path / model.name).symlink_to(model)
    options = ("--even_folder=even", "--odd_folder=odd", "--defocus=20000", "--number_subtomos=3")
    assert run("prepare_star", "tomo", *options)[0] == 0
    table = Path("tomograms.star").read_text()
    head, row = table.rstrip().rsplit("\n", 1)
    columns = head.count("\n_") + 1
    Path("corrected.star").write_text(f"{head}\n_rlnCorrectedTomoName #{columns}\n{row} c.mrc\n")
    write_volume("c.mrc", rng.normal(size=(48, 48, 48)).astype(np.float32), 10.0)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_header_is_read_no_more_often_than_it_must(name, project, run, monkeypatch):
    opened, mmap = Counter(), mrcfile.mmap

    def counting(path, *arguments, **options):
        opened[str(path)] += 1
        return mmap(path, *arguments, **options)

    monkeypatch.setattr(mrcfile, "mmap", counting)
    command, whole, half = COMMANDS[name]
    status, log = run(*command)
    assert status == 0, log
    found = [
        sum(count for path, count in opened.items() if path.endswith(f"{folder}/t.mrc"))
        for folder in ("tomo", "even", "odd")
    ]
    assert found == [whole, half, half], opened
