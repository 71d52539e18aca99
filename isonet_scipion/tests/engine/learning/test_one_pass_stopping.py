"""The measure of a training on withheld tilts: what it says, where it is kept, and when it stops the run."""

import csv
import json
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest

from isonet_scipion.engine.process.device import choose_devices

choose_devices("-1")

from isonet_scipion.engine.io.model_metadata import ModelMetadata  # noqa: E402
from isonet_scipion.engine.io.mrc import open_volume, write_volume  # noqa: E402
from isonet_scipion.engine.io.refine_json import chosen_model  # noqa: E402
from isonet_scipion.engine.learning import one_pass_batches  # noqa: E402
from isonet_scipion.engine.learning.one_pass_batches import CropBatches  # noqa: E402
from isonet_scipion.engine.learning.withheld_test import WithheldTest  # noqa: E402
from isonet_scipion.engine.measure.history import AT_CHANCE  # noqa: E402
from isonet_scipion.engine.measure.withheld_agreement import Agreement  # noqa: E402
from isonet_scipion.engine.network.model_file import (  # noqa: E402
    STATE_FILE,
    load_model,
    read_facts,
    read_metadata,
    save_model,
)
from isonet_scipion.engine.network.unet import build_unet  # noqa: E402
from isonet_scipion.engine.physics.wedge import TiltRange  # noqa: E402
from isonet_scipion.engine.physics.withheld_tilts import withheld_part  # noqa: E402
from isonet_scipion.engine.process import disk  # noqa: E402
from isonet_scipion.engine.settings.network import NetworkSettings  # noqa: E402
from isonet_scipion.engine.simulation.phantom import make_truth  # noqa: E402

RUN = (
    "--method=one-pass", "--cube_size=8", "--filter_base=4", "--unet_depth=1", "--convs_per_depth=2",
    "--iterations=3", "--epochs=1", "--steps_per_epoch=3", "--batch_size=2", "--preprocessing_ncpus=1", "--seed=3",
    "--learning_rate=0.02", "--denoiser=0",
)  # fmt: skip
# where what is learned is of no consequence
QUICK = (*RUN, "--steps_per_epoch=1", "--batch_normalization=False", "--drop_out=0")


@pytest.fixture
def project(tmp_path, run):
    rng = np.random.default_rng(0)
    truth = make_truth((32, 40, 40), 10.0, 1)
    for folder in ("even", "odd"):
        write_volume(tmp_path / folder / "t.mrc", rng.normal(0, 0.5, truth.shape).astype(np.float32) - truth, 10.0)
    write_volume(tmp_path / "tomo" / "t.mrc", -truth, 10.0)
    assert run("prepare_star", "tomo", "--even_folder=even", "--odd_folder=odd")[0] == 0
    return tmp_path


def table(folder):
    with open(Path(folder) / "losses.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.drawn
def test_a_run_shows_it_in_log_table_picture_and_page_and_keeps_it(project, run):
    status, log = run("refine", "tomograms.star", *QUICK, "--epochs=2")
    assert status == 0, log
    rows = table("results")
    assert [bool(row["withheld_correlation"]) for row in rows] == [False, True] * 3
    tested = rows[1::2]
    page = Path("results/report.html").read_text()
    for number, row in enumerate(tested, 1):
        value, chance = float(row["withheld_correlation"]), float(row["withheld_chance"])
        assert abs(value) <= 1 and 0 < chance < 1
        assert f"Iteration {number}: correlation with the withheld tilts {value:.3f}, chance {chance:.3f}" in log
        assert f"<figcaption>{number}: <b>{value:.3f}</b></figcaption>" in page
    assert "After each iteration: tomogram t" in page and page.count("data:image/png;base64,") == 5
    chosen = json.loads(Path("results/refine_iter03.json").read_text())["chosen_iteration"]
    model = f"results/model_iter{chosen:02d}.keras"
    assert f"Correct with {model}" in log and str(chosen_model("results")) == model
    assert run("refine", "tomograms.star", *QUICK, "--epochs=2", "--iterations=4")[0] == 0
    assert table("results")[:6] == rows and table("results")[7]["withheld_correlation"]


def test_what_is_withheld_is_in_no_crop_that_it_learns_from(project, run, monkeypatch):
    drawn = []
    draw = CropBatches.__getitem__

    def spied(self, step):
        drawn.extend(volume for source in self.sources for volume in source.volumes)
        return draw(self, step)

    monkeypatch.setattr(CropBatches, "__getitem__", spied)
    assert run("refine", "tomograms.star", *QUICK, "--iterations=1", "--tilt_min=-50", "--tilt_max=64")[0] == 0
    assert drawn and all(np.abs(withheld_part(one, TiltRange(-50, 64))).max() < 1e-4 for one in drawn)
    # the model is for the whole range all the same
    assert read_metadata("results/model_iter01.keras").tilt_max == 64


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("options", [(), ("--ctf_aware=True",)])
def test_files_without_a_name_are_counted_before_any_is_made(project, run, monkeypatch, options):
    alive, most = [], [0]
    make = one_pass_batches.scratch_array

    def counted(shape, dtype, folder):
        made = make(shape, dtype, folder)
        alive.append((weakref.ref(made), made.nbytes))
        most.append(sum(size for reference, size in alive if reference() is not None))
        return made

    monkeypatch.setattr(one_pass_batches, "scratch_array", counted)
    halves = [open_volume(f"{folder}/t.mrc").data for folder in ("even", "odd")]
    write_volume("tomo/t.mrc", np.mean(halves, axis=0), 10.0)  # without noise some counts as padding
    assert run("prepare_star", "tomo", "--even_folder=even", "--odd_folder=odd", "--defocus=20000")[0] == 0
    arguments = ("refine", "tomograms.star", *QUICK, *options, "--iterations=1")
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    status, log = run(*arguments)
    assert status == 1 and "results: this needs " in log and not alive, log
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    status, log = run(*arguments)
    half = 32 * 40 * 40 * 4
    # both halves phase-flipped, of which the withheld tilts are taken into two more files
    assert status == 0 and max(most) == half * (4 if options else 2)
    assert f"Disk space: at most {max(most) / 2**20:.1f} MiB needed in results" in log, log


def measuring(monkeypatch, *values, chance=0.1):
    """Have the tests of a run find these correlations, None for what can't be told."""
    found = iter(values)
    test = WithheldTest.run

    def told(self, network):
        value = next(found)
        return test(self, lambda volumes: volumes)._replace(
            agreement=None if value is None else Agreement(value, chance)
        )

    monkeypatch.setattr(WithheldTest, "run", told)


@pytest.mark.usefixtures("untrained")
def test_a_run_stops_when_it_has_not_risen_and_names_its_last(project, run, monkeypatch):
    measuring(monkeypatch, None, 0.2, 0.4, 0.45, 0.41, 0.6)  # the first before the training
    status, log = run("refine", "tomograms.star", *QUICK, "--iterations=6", "--patience=2")
    assert status == 0 and "Stopped: no gain for 2 iterations." in log, log
    assert (
        "Correct with results/model_iter04.keras, the last: no other restores" in log and "(correlation 0.410)" in log
    )
    assert read_facts(Path("results") / STATE_FILE)["progress"]["iteration"] == 5
    assert not Path("results/model_iter05.keras").exists()


@pytest.mark.usefixtures("untrained")
def test_an_iteration_that_is_clearly_better_than_the_last_is_named(project, run, monkeypatch):
    measuring(monkeypatch, None, 0.1, 0.5, 0.2, chance=0.01)
    status, log = run("refine", "tomograms.star", *QUICK)
    assert status == 0 and "Correct with results/model_iter02.keras: it restores" in log, log
    assert "(correlation 0.500) than the last iteration (0.200)" in log
    assert chosen_model("results").name == "model_iter02.keras"


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("best", [0.2, 0.31])
def test_a_training_that_stayed_at_chance_is_told_as_such(project, run, monkeypatch, best):
    measuring(monkeypatch, None, 0.1, best, 0.15)
    status, log = run("refine", "tomograms.star", *QUICK)
    page = Path("results/report.html").read_text(encoding="utf-8")
    assert status == 0 and (AT_CHANCE in log, AT_CHANCE in page) == (best < 0.3, best < 0.3), log


@pytest.mark.usefixtures("untrained")
def test_it_does_not_stop_before_the_noise_is_through(project, run, monkeypatch):
    measuring(monkeypatch, None, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
    noise = ("--noise_level=0.05,0.1,0.2", "--noise_start_iter=2,5,20")  # the last never comes
    status, log = run("refine", "tomograms.star", *QUICK, "--iterations=8", "--patience=2", *noise)
    assert status == 0 and "Stopped: no gain for 2 iterations." in log and len(table("results")) == 7, log


@pytest.mark.usefixtures("untrained")
def test_where_nothing_can_be_told_the_last_is_named_and_nothing_stops(project, run, monkeypatch):
    measuring(monkeypatch, *[None] * 4)
    status, log = run("refine", "tomograms.star", *QUICK, "--patience=1")
    assert status == 0 and "Correct with results/model_iter03.keras, the last: there is too little data" in log, log


@pytest.mark.usefixtures("untrained")
def test_a_training_that_made_its_start_worse_gives_it_back(project, run, monkeypatch):
    start = "start/model_iter01.keras"
    small = ("--preprocessing_ncpus=1", "--seed=1", "--epochs=1", "--steps_per_epoch=1", "--batch_size=2")
    first = (*RUN[:5], *small, "--iterations=1", "--seed=2")
    assert run("refine", "tomograms.star", *first, "--result_dir=start")[0] == 0
    arguments = ("refine", "tomograms.star", *RUN[:2], *small, f"--pretrained_model={start}")
    measuring(monkeypatch, 0.4, 0.3, 0.399, 0.405, chance=0.01)
    status, log = run(*arguments, "--iterations=1")
    assert status == 0 and "Iteration 0: correlation with the withheld tilts 0.400, chance 0.010" in log, log
    assert "Correct with results/model_iter00.keras, a copy of the model that the training started from" in log, log
    for ours, theirs in zip(*(load_model(path)[0].get_weights() for path in ("results/model_iter00.keras", start))):
        np.testing.assert_array_equal(ours, theirs)
    assert chosen_model("results").name == "model_iter00.keras"
    # gone on with, it knows its start without testing it again
    status, log = run(*arguments, "--iterations=2")
    assert status == 0 and "Correct with results/model_iter00.keras" in log and "Iteration 0:" not in log, log
    status, log = run(*arguments, "--iterations=3")
    assert status == 0 and "Correct with results/model_iter03.keras, the last" in log, log
    assert read_facts(Path("results") / STATE_FILE)["progress"]["start_correlation"] == 0.4


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("simulated", [True, False])
def test_a_copy_of_the_start_has_seen_of_the_sample_what_its_original_has(project, run, simulated):
    shape = NetworkSettings(filter_base=4, unet_depth=1, convs_per_depth=2)
    facts = ModelMetadata(shape, voxel_size=20.0, normalize_percentile=False, simulated=simulated, ctf_aware=True)
    save_model("start.keras", build_unet(shape), facts)
    small = ("--preprocessing_ncpus=1", "--epochs=1", "--steps_per_epoch=1", "--batch_size=2", "--iterations=1")
    status, log = run("refine", "tomograms.star", *RUN[:2], *small, "--pretrained_model=start.keras")
    assert status == 0, log
    copy, trained = (read_metadata(f"results/model_iter0{number}.keras") for number in (0, 1))
    assert (copy.simulated, trained.simulated) == (simulated, False)
    assert (copy.voxel_size, copy.normalize_percentile, copy.ctf_aware) == (20, True, False)  # as it was tested
    assert (trained.voxel_size, trained.normalize_percentile, trained.ctf_aware) == (10, True, False)
    told = "start.keras: it was trained on or with 20 A per voxel (here 10), normalize_percentile False (here True)"
    assert told + ("," if simulated else ", ctf_aware True (here False),") in log, log


@pytest.mark.usefixtures("untrained")
def test_without_a_model_to_start_from_there_is_none_to_go_back_to(project, run):
    status, log = run("refine", "tomograms.star", *QUICK)
    assert status == 0 and "Iteration 0:" not in log and "started from" not in log, log
    assert read_facts(Path("results") / STATE_FILE)["progress"]["start_correlation"] is None
    assert not Path("results/model_iter00.keras").exists() and Path("results/slices_iter00.png").exists()
