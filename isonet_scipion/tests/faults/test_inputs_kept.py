"""No command replaces what it was given: tomograms, their tables, models, results of earlier stages."""

import pytest

from isonet_scipion.tests.faults.conftest import contents, table, the_error

REPLACING = {
    "t1.mrc": [
        ("deconv", "t.star", "--deconv_folder=."),
        ("deconv", "t.star", "--deconv_folder=cubes/.."),
        ("deconv", "t.star", "--deconv_folder=linked"),
        ("resize", "t.star", "--out_folder=."),
        ("deconv", "elsewhere.star", "--deconv_folder=."),  # the table names the tomogram by a link
    ],
    "t1_mask.mrc": [("make_mask", "masked.star", "--mask_folder=.")],
    "t1_corrected.mrc": [("predict", "masked.star", "m.keras", "--output_dir=.")],
    "kept/t1.mrc": [("resize", "deconvolved.star", "--out_folder=kept")],
    "t.star": [
        ("extract", "t.star", "--cube_size=8", "--subtomo_star=t.star"),
        ("export_relion", "t.star", "--output_star=t.star"),
    ],
    "m.h5": [("export_model", "m.h5", "m.h5")],
}


@pytest.mark.parametrize(("kept", "command"), [(kept, command) for kept in REPLACING for command in REPLACING[kept]])
def test_an_input_is_never_replaced(scene, run, kept, command):
    (scene / "linked").symlink_to(".")
    (scene / "links").mkdir()
    (scene / "links" / "t1.mrc").symlink_to("../t1.mrc")
    (scene / "kept").mkdir()
    for copy in ("t1_mask.mrc", "t1_corrected.mrc", "kept/t1.mrc"):
        (scene / copy).write_bytes((scene / "t1.mrc").read_bytes())
    table(scene / "elsewhere.star", [{"rlnMicrographName": "links/t1.mrc"}])
    names = ("t1.mrc", "t1_mask.mrc", "t1_corrected.mrc")
    table(scene / "masked.star", [{"rlnMicrographName": name} for name in names])
    table(scene / "deconvolved.star", [{"rlnDeconvTomoName": "kept/t1.mrc"}])
    assert run("export_model", "m.keras", "m.h5")[0] == 0
    before = contents(scene)
    status, log = run(*command)
    assert status == 1
    assert kept.rsplit("/", 1)[-1] + ": the output would replace this input" in the_error(log)
    assert contents(scene) == before


def test_stages_replace_their_own_earlier_output(scene, run):
    for command in (("deconv", "t.star"), ("make_mask", "t.star", "--patch_size=2"), ("predict", "t.star", "m.keras")):
        assert run(*command)[0] == 0
        assert run(*command)[0] == 0
