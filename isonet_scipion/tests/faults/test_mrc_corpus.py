"""Tomograms of every kind through the stages: one clear line and nothing written, or it works."""

import pytest

from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.star import read_star
from isonet_scipion.tests.faults import mrc_corpus
from isonet_scipion.tests.faults.conftest import SHAPE, contents, write_table

STAGES = {
    "deconv": ("deconv", "t.star"),
    "make_mask": ("make_mask", "t.star", "--patch_size=2", "--use_deconv_tomo=False"),
    "extract": ("extract", "t.star", "--use_deconv_tomo=False", "--cube_size=8", "--crop_size=16"),
    "predict": ("predict", "t.star", "tiny.keras"),
    "resize": ("resize", "t.star", "--apix=20"),
}


def errors(log):
    return [line for line in log.splitlines() if line.startswith("isonet-engine: error: ")]


def assert_refused(run, project, command, *words):
    """The command ends with status 1 and one line that has these words, and changes no file."""
    before = contents(project)
    status, log = run(*command)
    assert status == 1, (command, log)
    assert "Traceback" not in log, (command, log)
    assert len(errors(log)) == 1, (command, log)
    for word in words:
        assert word in errors(log)[0], (command, word, errors(log)[0])
    assert contents(project) == before, (command, contents(project).keys() ^ before.keys())


@pytest.mark.parametrize("name", mrc_corpus.broken())
def test_broken_tomograms_are_refused_by_every_stage(project, run, name):
    content, cause = mrc_corpus.broken()[name]
    (project / name).write_bytes(content)
    # a good one first: nothing of it is written either
    write_table(project / "t.star", ["good.mrc", name])
    for command in STAGES.values():
        assert_refused(run, project, command, name, cause)


@pytest.mark.filterwarnings("error::RuntimeWarning")  # the user would see it beside the error
@pytest.mark.parametrize("name", mrc_corpus.odd_voxels())
def test_tomograms_without_usable_voxels_are_refused(project, run, name):
    content, cause = mrc_corpus.odd_voxels()[name]
    (project / name).write_bytes(content)
    write_table(project / "t.star", [name], rlnDefocus=20000)
    stages = ["deconv", "make_mask", "predict"]
    if cause == "NaN or infinite":
        stages.append("resize")
    for stage in stages:
        assert_refused(run, project, STAGES[stage], name, cause)


@pytest.mark.parametrize("name", mrc_corpus.legal())
def test_odd_but_legal_tomograms_work_in_every_stage(project, run, name):
    content, warning = mrc_corpus.legal()[name]
    (project / name).write_bytes(content)
    write_table(project / "t.star", [name], rlnDefocus=20000)
    for stage in ("deconv", "make_mask", "extract", "resize"):
        status, log = run(*STAGES[stage])
        assert status == 0, (stage, log)
        told = [line for line in log.splitlines() if name in line and warning in line]
        assert len(told) == 1 or not warning, (stage, log)
    row = read_star("t.star").rows[0]
    for file in (row["rlnDeconvTomoName"], row["rlnMaskName"]):
        assert open_volume(file).shape == SHAPE


def test_big_endian_and_zipped_files_give_the_same_result(project, run):
    files = {name: mrc_corpus.legal()[name][0] for name in ("plain.mrc", "big_endian.mrc", "zipped.mrc.gz")}
    for name, content in files.items():
        (project / name).write_bytes(content)
    write_table(project / "t.star", list(files), rlnDefocus=20000)
    assert run(*STAGES["deconv"])[0] == 0
    plain, *others = (open_volume(row["rlnDeconvTomoName"]).data for row in read_star("t.star").rows)
    assert plain.std() > 0
    for other in others:
        assert (other == plain).all()
