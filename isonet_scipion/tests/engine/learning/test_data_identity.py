"""A training in a folder is gone on with on its own data, wherever they lie now, and on no other."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.arrays import size_in_words
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import read_star, write_star
from isonet_scipion.engine.learning.data_identity import data_identity
from isonet_scipion.engine.network.model_file import METADATA, STATE_FILE, read_facts

RUN = (
    "--filter_base=2", "--unet_depth=1", "--convs_per_depth=2", "--iterations=1", "--epochs=1", "--steps_per_epoch=1",
    "--batch_size=2", "--preprocessing_ncpus=1", "--noise_level=0", "--noise_start_iter=1", "--seed=3",
    "--batch_normalization=False", "--drop_out=0",
)  # fmt: skip
ONE_PASS = ("refine", "tomograms.star", "--method=one-pass", "--cube_size=8", *RUN)
ITERATIVE = ("refine", "subtomo.star", *RUN)
OTHER = "results: it holds a training on other data ("
REMEDY = "Give the same data to continue it, or another result_dir."
GOES_ON = "Going on with iteration 2"
pytestmark = pytest.mark.usefixtures("untrained")


def noise(path, seed, shape=(32, 40, 40)):
    write_volume(path, np.random.default_rng(seed).normal(size=shape).astype(np.float32), 10.0)


@pytest.fixture
def tomograms(tmp_path, run):
    """A table of two tomograms."""
    for seed, name in enumerate("ab"):
        noise(tmp_path / "tomo" / f"{name}.mrc", seed)
    assert run("prepare_star", "tomo", "--defocus=20000", "--number_subtomos=2")[0] == 0
    return Path("tomograms.star")


@pytest.fixture
def subtomograms(tomograms, run):
    """A table of two subtomograms of each of two tomograms."""
    assert run("extract", tomograms, "--cube_size=8", "--crop_size=16", "--seed=1")[0] == 0
    return Path("subtomo.star")


def put(path, values, rows=(0,)):
    table = read_star(path)
    for row in rows:
        for label, value in values.items():
            table.set(table.rows[row], label, value)
    write_star(path, table)


def forget(names):
    """Make a training's state one of a version that did not keep these facts."""
    state = Path("results") / STATE_FILE
    with zipfile.ZipFile(state) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(content[METADATA])
    metadata["run"] = {name: value for name, value in metadata["run"].items() if name not in names}
    with zipfile.ZipFile(state, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, json.dumps(metadata) if name == METADATA else data)


def test_it_is_short_for_thousands_and_tells_their_order():
    few = [{"tilt range": tilt} for tilt in ("-60..60 degrees", "-60..60 degrees", "-40..50 degrees")]
    assert data_identity(few[:2]) == {"tilt range": "-60..60 degrees"}
    told, turned = data_identity(few)["tilt range"], data_identity(few[::-1])["tilt range"]
    assert told.startswith("-60..60 degrees, -40..50 degrees (checksum ") and told != turned
    many = data_identity([{"voxels": f"{number}"} for number in range(3000)])["voxels"]
    assert many.startswith("3000 different (checksum ") and len(many) < 40
    assert size_in_words((32, 40, 48)) == "48 x 40 x 32"


def test_an_iterative_training_is_of_its_subtomograms(subtomograms, run):
    assert run(*ITERATIVE)[0] == 0
    table, model = subtomograms.read_text(), Path("results/model_iter01.keras").read_bytes()
    names = [row["rlnImageName"] for row in read_star(subtomograms).rows]
    for values, told in (
        ({"rlnTiltMin": -40, "rlnTiltMax": 45}, "tilt range: -60..60 degrees, now -40..45 degrees"),
        ({"rlnPixelSize": 12}, "voxel size: 10 A, now 12 A"),
        ({"rlnImageName": names[1], "isonetVoxels": "None"}, "voxels: 4 different (checksum "),
    ):
        put(subtomograms, values, range(4) if "rlnImageName" not in values else (0,))
        for iterations in (1, 2):
            status, log = run(*ITERATIVE, f"--iterations={iterations}")
            assert status == 1 and OTHER + told in log and REMEDY in log, log
        subtomograms.write_text(table)
    assert Path("results/model_iter01.keras").read_bytes() == model
    # cut anew, and moved
    assert run("extract", "tomograms.star", "--cube_size=8", "--crop_size=16", "--seed=1")[0] == 0
    shutil.move("subtomo", "elsewhere")
    for number, name in enumerate(names):
        put(subtomograms, {"rlnImageName": name.replace("subtomo", "elsewhere", 1)}, (number,))
    status, log = run(*ITERATIVE, "--iterations=2")
    assert status == 0 and GOES_ON in log and "earlier version" not in log, log


def test_a_one_pass_training_is_of_its_tomograms(tomograms, run):
    aware = (*ONE_PASS, "--ctf_aware=True")
    mask = np.ones((32, 40, 40), np.int8)
    write_volume("mask.mrc", mask, 10.0)
    put(tomograms, {"rlnMaskName": "mask.mrc"}, (0, 1))
    assert run(*aware)[0] == 0
    table = tomograms.read_text()
    noise("other/a.mrc", 7)
    noise("larger/a.mrc", 7, (32, 40, 44))
    mask[:, :20] = 0
    write_volume("half.mrc", mask, 10.0)
    for values, told in (
        ({"rlnTiltMin": -40}, "tilt range: -60..60 degrees, now -40..60 degrees, -60..60 degrees (checksum "),
        ({"rlnMicrographName": "other/a.mrc"}, "voxels: checksum "),
        ({"rlnMicrographName": "larger/a.mrc", "rlnMaskName": "None"}, "size: 40 x 40 x 32, now 44 x 40 x 32, 40 x"),
        ({"isonetInverted": 1}, "contrast: protein dark, now protein bright, protein dark (checksum "),
        ({"rlnMaskName": "half.mrc"}, "places of the crops (mask): checksum "),
        ({"rlnDefocus": 25000}, "CTF: defocus 20000 A, 300 kV, Cs 2.7 mm, amplitude contrast 0.07, raw, now "),
    ):
        put(tomograms, values)
        status, log = run(*aware)
        assert status == 1 and OTHER + told in log and REMEDY in log, log
        tomograms.write_text(table)
    # a link to a copy
    shutil.copytree("tomo", "copy")
    Path("link").symlink_to("copy")
    for number, name in enumerate("ab"):
        put(tomograms, {"rlnMicrographName": f"link/{name}.mrc"}, (number,))
    status, log = run(*aware, "--iterations=2")
    assert status == 0 and GOES_ON in log, log


def test_tomograms_that_were_made_anew_under_their_names_are_others(tomograms, run):
    assert run("deconv", tomograms)[0] == 0
    assert run(*ONE_PASS)[0] == 0
    assert run("deconv", tomograms)[0] == 0
    before = open_volume("deconv/a.mrc").data.copy()
    status, log = run(*ONE_PASS, "--iterations=2")
    assert status == 0 and GOES_ON in log, log
    assert run("deconv", tomograms, "--deconvstrength=2")[0] == 0
    assert not np.array_equal(before, open_volume("deconv/a.mrc").data)
    status, log = run(*ONE_PASS, "--iterations=3")
    assert status == 1 and OTHER + "voxels: checksum " in log, log


def test_a_training_is_of_its_noise(subtomograms, run):
    for name in "ab":
        noise(f"noise/{name}.mrc", ord(name), (24, 24, 24))
    noisy = (*ITERATIVE, "--noise_level=0.1", "--noise_dir=noise")
    assert run(*noisy)[0] == 0
    shutil.copytree("noise", "copy")
    noise("noise/b.mrc", 5, (24, 24, 24))
    status, log = run(*noisy, "--iterations=2")
    assert status == 1 and OTHER + "volumes in noise_dir: checksum " in log and REMEDY in log, log
    shutil.rmtree("noise")
    shutil.copytree("copy", "noise")
    status, log = run(*noisy, "--iterations=2")
    assert status == 0 and GOES_ON in log and "earlier version" not in log, log
    # other noise from an iteration on, as other settings
    shutil.rmtree("copy")
    noise("copy/a.mrc", 6, (24, 24, 24))
    again = ("refine", "subtomo.star", "--continue_from=results/refine_iter02.json", "--iterations=3")
    status, log = run(*again, "--noise_dir=copy")
    assert status == 0 and "Going on with iteration 3" in log, log


def test_the_state_of_a_version_without_a_denoiser_is_gone_on_with(subtomograms, run):
    assert run(*ITERATIVE)[0] == 0
    forget({"denoiser"})
    status, log = run(*ITERATIVE, "--iterations=2")
    assert status == 0 and GOES_ON in log, log
    forget({"denoiser"})
    status, log = run(*ITERATIVE, "--iterations=3", "--denoiser=4")
    assert status == 1 and "denoiser: the iterative method does not train it" in log, log


def test_the_state_of_a_version_that_did_not_keep_this_is_gone_on_with(subtomograms, run):
    assert run(*ITERATIVE)[0] == 0
    forget({"voxel size", "tilt range", "size", "voxels"})
    status, log = run(*ITERATIVE, "--iterations=2")
    told = "results/training_state.keras: an earlier version made it, which did not keep its data's voxel size, tilt "
    assert status == 0 and GOES_ON in log and told in log, log
    assert read_facts(Path("results") / STATE_FILE)["run"]["tilt range"] == "-60..60 degrees"
    status, log = run(*ITERATIVE, "--iterations=3")
    assert status == 0 and "earlier version" not in log, log


@pytest.mark.parametrize("more", [(), ("--continue_from=results/refine_iter01.json",)])
def test_the_state_of_version_1_is_refused_by_its_name(subtomograms, run, more):
    assert run(*ITERATIVE)[0] == 0
    forget({"withheld tilts", "check_axes"})
    status, log = run(*ITERATIVE, "--iterations=2", *more)
    assert status == 1 and "training_state.keras: it is of a training of version 1.0.0, which this" in log, log
    assert "Give another result_dir, in which continue_from goes on" in log
