"""Coordinates of other programs, through extract: each takes the voxels around the same places."""

import re

import numpy as np
import pytest

from isonet_scipion.engine.io.mrc import write_volume
from isonet_scipion.engine.io.star import read_star, write_star
from isonet_scipion.tests.imod_model import write_model

SHAPE, VOXEL_SIZE = (32, 40, 48), 10.0  # z, y, x
PLACES = {"TS_1": [(20, 20, 16), (30, 22, 14)], "TS_2": [(21, 19, 16)]}  # x, y, z in voxels
EXTRACT = ("extract", "t.star", "--cube_size=8", "--crop_size=12", "--coordinates_star")


@pytest.fixture
def tomograms(tmp_path):
    """Two tomograms and their table."""
    rows = []
    for number, name in enumerate(PLACES, 1):
        data = np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)
        write_volume(tmp_path / f"{name}_10.00Apx.mrc", data, VOXEL_SIZE)
        rows.append(f"{number} {name}_10.00Apx.mrc 10 5 {name}")
    labels = ["rlnIndex", "rlnMicrographName", "rlnPixelSize", "rlnNumberSubtomo", "rlnTomoName"]
    (tmp_path / "t.star").write_text(table("", labels, rows))
    return tmp_path


def table(block, labels, rows):
    return f"\ndata_{block}\n\nloop_\n" + "".join(f"_{label}\n" for label in labels) + "\n".join(rows) + "\n"


def particles(function, labels="rlnCoordinateX rlnCoordinateY rlnCoordinateZ", name="{}", extra=""):
    """A table of particles with function(place) for coordinates."""
    rows = [
        " ".join([name.format(series), *(f"{value:g}" for value in function(np.array(place, float))), extra])
        for series, places in PLACES.items()
        for place in places
    ]
    more = ["rlnOpticsGroup"] if extra else []
    return table("particles", ["rlnTomoName", *labels.split(), *more], rows)


def optics(pixel_size, label="rlnTomoTiltSeriesPixelSize"):
    return table("optics", ["rlnOpticsGroup", "rlnOpticsGroupName", label], [f"1 a {pixel_size}"])


def centred(place):
    return (place - np.array(SHAPE[::-1]) / 2) * VOXEL_SIZE


CENTRED = "rlnCenteredCoordinateXAngst rlnCenteredCoordinateYAngst rlnCenteredCoordinateZAngst"
SIDES = np.array(SHAPE[::-1], float)
TABLES = {
    "voxels": (particles(lambda p: p), (), "voxels of the tomogram"),
    "relion4": (optics(2.5) + particles(lambda p: 4 * p, extra="1"), (), "pixels of 2.5 A"),
    "relion3.1": (
        optics(5, "rlnMicrographPixelSize") + particles(lambda p: 2 * p, extra="1"),
        (),
        "pixels of 5 A",
    ),
    "relion4_one_group": (optics(2.5) + particles(lambda p: 4 * p), (), "pixels of 2.5 A"),
    "relion5": (optics(2.5) + particles(centred, CENTRED, extra="1"), (), "A from the tomogram's centre"),
    "warp": (particles(lambda p: p / SIDES, name="{}.tomostar"), (), "fractions"),
    "warp_pixels": (
        particles(lambda p: 2 * p, name="{}.mrc.tomostar").replace("rlnTomoName", "rlnMicrographName"),
        ("--coordinates_pixel_size=5",),
        "pixels of 5 A",
    ),
    "said": (optics(2.5) + particles(lambda p: p, extra="1"), ("--coordinates_unit=voxels",), "voxels of the tomogram"),
    "corner": (particles(lambda p: 10 * p), ("--coordinates_unit=angstrom",), "A from the tomogram's corner"),
    "files": (particles(lambda p: p, name="{}_10.00Apx.mrc").replace("TomoName", "MicrographName"), (), "voxels"),
}


def found():
    star = read_star("subtomo.star")
    places = {name: [] for name in PLACES}
    for row in star.rows:
        places[row["rlnTomoName"]].append(tuple(star.integer(row, f"rlnCoordinate{axis}") for axis in "XYZ"))
    return places


@pytest.mark.parametrize("kind", TABLES)
def test_tables_by_their_unit(tomograms, run, kind):
    text, options, said = TABLES[kind]
    (tomograms / "c.star").write_text(text)
    status, log = run(*EXTRACT, "c.star", *options)
    assert status == 0 and f"c.star: coordinates are taken as {said}" in log, log
    assert found() == PLACES


def test_pixels_of_several_optics_groups_are_not_guessed(tomograms, run):
    groups = optics(2.5) + "2 b 1.35\n"
    (tomograms / "c.star").write_text(groups + particles(lambda p: 4 * p))
    status, log = run(*EXTRACT, "c.star")
    assert status == 1 and "c.star: its optics groups have pixels of 1.35, 2.5 A, and no column rlnOptics" in log, log
    status, log = run(*EXTRACT, "c.star", "--coordinates_pixel_size=2.5")
    assert status == 0 and found() == PLACES, log
    (tomograms / "c.star").write_text(groups + particles(centred, CENTRED))  # in A
    assert run(*EXTRACT, "c.star")[0] == 0 and found() == PLACES


def test_dynamos_table(tomograms, run):
    rows = np.zeros((3, 35))
    for row, (number, place) in zip(rows, [(1, PLACES["TS_1"][0]), (1, PLACES["TS_1"][1]), (2, PLACES["TS_2"][0])]):
        row[19], row[23:26] = number, np.array(place) + 1  # counted from 1
    rows[0, 3:6], rows[0, 23:26] = (2, -1, 0), rows[0, 23:26] - (2, -1, 0)  # shifts
    np.savetxt(tomograms / "c.TBL", rows, fmt="%g")
    status, log = run(*EXTRACT, "c.TBL")
    assert status == 0 and "Dynamo's tomogram 2 is that of rlnIndex 2, TS_2" in log, log
    assert found() == PLACES
    np.savetxt(tomograms / "other.tbl", rows + 10 * (np.arange(35) == 19), fmt="%g")
    status, log = run(*EXTRACT, "other.tbl")
    assert status == 1 and "its coordinates are of tomogram 11 (2), tomogram 12 (1), but" in log, log
    assert "column 20 of Dynamo's tables is rlnIndex" in log and "is that of rlnIndex" not in log
    np.savetxt(tomograms / "short.tbl", rows[:, :20])
    status, log = run(*EXTRACT, "short.tbl")
    assert status == 1 and "short.tbl: it is not a table of Dynamo" in log


def test_a_plain_list_is_refused_with_what_is_read(tomograms, run):
    (tomograms / "list.txt").write_text("10 20 5\n11 21 6\n")
    status, log = run(*EXTRACT, "list.txt")
    assert status == 1 and "list.txt: it is none of the files of coordinates that are read" in log, log
    assert "a STAR table, Dynamo's .tbl or an IMOD model .mod" in log
    (tomograms / "table.txt").write_text(particles(lambda p: p))
    assert run(*EXTRACT, "table.txt")[0] == 0 and found() == PLACES


def test_imods_models_also_of_another_binning(tomograms, run):
    folder = tomograms / "models"
    folder.mkdir()
    for (name, places), binning in zip(PLACES.items(), (1, 4)):
        drawn_on = tuple(side // binning for side in SHAPE)
        # IMOD counts x and y from a voxel's edge, z from its middle
        points = [np.add(place, 0.5) / binning - (0, 0, 0.5) for place in places]
        write_model(folder / f"{name}.mod", [points], size=drawn_on)
    status, log = run(*EXTRACT, "models")
    assert status == 0 and found() == PLACES, log
    status, log = run(*EXTRACT, "models/TS_1.mod")
    assert status == 0 and "it has no coordinates of TS_2" in log, log
    # drawn before the tomogram was trimmed in z
    write_model(folder / "TS_1.mod", [[(10, 10, 20)]], size=(2 * SHAPE[0], *SHAPE[1:]))
    status, log = run(*EXTRACT, "models/TS_1.mod")
    assert status == 1 and "it was drawn on a volume of 48 x 40 x 64 voxels, no binned" in log, log


def test_coordinates_of_tomograms_whose_names_are_alike_are_told(tomograms, run):
    (tomograms / "c.star").write_text(particles(lambda p: p))
    status, log = run(*EXTRACT, "c.star")
    assert status == 0 and "whose names are alike" not in log, log
    (tomograms / "other").mkdir()
    (tomograms / "TS_2_10.00Apx.mrc").rename(tomograms / "other" / "TS_1.mrc")
    star = read_star("t.star")
    star.set(star.rows[1], "rlnMicrographName", "other/TS_1.mrc")
    write_star("t.star", star)
    (tomograms / "c.star").write_text(particles(lambda p: p).replace("TS_1", "TS_1.mrc"))
    status, log = run(*EXTRACT, "c.star")
    assert status == 0 and "coordinates of TS_1.mrc are taken in each of TS_1, TS_2, whose names are alike" in log, log


def test_lists_of_relion_are_followed(tomograms, run):
    (tomograms / "p.star").write_text(optics(2.5) + particles(lambda p: 4 * p, extra="1"))
    (tomograms / "set.star").write_text("data_\n\n_rlnTomoParticlesFile   p.star\n_rlnTomoTomogramsFile t5.star\n")
    assert run(*EXTRACT, "set.star")[0] == 0
    assert found() == PLACES
    rows = []
    for name, places in PLACES.items():
        lines = [" ".join(map(str, place)) for place in places]
        (tomograms / f"{name}.star").write_text(table("", [f"rlnCoordinate{axis}" for axis in "XYZ"], lines))
        rows.append(f"{name} {name}.star")
    (tomograms / "list.star").write_text(table("", ["rlnTomoName", "rlnTomoImportParticleFile"], rows))
    status, log = run(*EXTRACT, "list.star")
    assert status == 0, log
    assert found() == PLACES
    # files of these names in the working directory are not those of another project
    (tomograms / "other").mkdir()
    for name in ("list.star", *(f"{name}.star" for name in PLACES)):
        (tomograms / name).rename(tomograms / "other" / name)
        (tomograms / name).write_text("data_\n")
    status, log = run(*EXTRACT, "other/list.star")
    assert status == 0 and log.count("not from the working directory, which has another") == 1, log
    assert found() == PLACES


@pytest.mark.parametrize(("label", "told"), [("rlnOriginZAngst", "25 A"), ("rlnOriginX", "25 pixels")])
def test_shifts_that_are_not_added_are_told(tomograms, run, label, told):
    for shift, words in ((0, ""), (-25, f"shifts of a refinement ({label}), of up to {told}, are not added")):
        text = particles(lambda p, shift=shift: [*p, shift], f"rlnCoordinateX rlnCoordinateY rlnCoordinateZ {label}")
        (tomograms / "points.star").write_text(text)
        status, log = run(*EXTRACT, "points.star")
        assert status == 0 and words in log and ("shifts" in log) == bool(words), log


def test_a_shift_that_is_no_number_does_not_matter(tomograms, run):
    text = particles(lambda p: [*p, np.nan], "rlnCoordinateX rlnCoordinateY rlnCoordinateZ rlnOriginXAngst")
    (tomograms / "points.star").write_text(text)
    status, log = run(*EXTRACT, "points.star")
    assert status == 0 and "shifts" not in log, log


def test_coordinates_at_one_voxel_are_told(tomograms, run):
    text = particles(lambda p: p)
    (tomograms / "points.star").write_text(text)
    status, log = run(*EXTRACT, "points.star")
    assert status == 0 and "at the voxel of another one" not in log
    (tomograms / "points.star").write_text(text.rstrip() + "\nTS_1 20.2 19.9 16\n")
    status, log = run(*EXTRACT, "points.star")
    assert status == 0 and "TS_1: at the voxel of another one: 1 of 3 coordinates;" in log, log
    assert len(read_star("subtomo.star").rows) == 4


def test_another_unit_is_told_with_both_ranges_and_what_would_fit(tomograms, run):
    (tomograms / "c.star").write_text(particles(lambda p: 4 * p))
    status, log = run(*EXTRACT, "c.star")
    assert status == 1, log
    for said in ("2 of 2 coordinates of TS_1", "x 80..120, y 80..88, z 56..64 voxels", "x 0..47, y 0..39, z 0..31"):
        assert said in log, log
    assert "--coordinates_unit angstrom" in log and "--coordinates_pixel_size, of at most 4" in log, log
    (tomograms / "c.star").write_text(optics(2.5) + particles(centred, CENTRED, extra="1"))
    status, log = run(*EXTRACT, "c.star", "--coordinates_unit=voxels")
    assert status == 1 and "Say their unit: --coordinates_unit centred_angstrom" in log, log
    (tomograms / "c.star").write_text(particles(lambda p: p))
    status, log = run(*EXTRACT, "c.star", "--coordinates_unit=pixels")
    assert status == 1 and "does not say how large its pixels are" in log


def test_names_that_match_no_tomogram_are_told(tomograms, run):
    (tomograms / "c.star").write_text(particles(lambda p: p).replace("TS_2", "TS_02"))
    status, log = run(*EXTRACT, "c.star")
    assert status == 0 and "coordinates of TS_02 (1) match none of the tomograms (TS_1, TS_2)" in log, log
    assert "it has no coordinates of TS_2" in log and found()["TS_2"] == []
    (tomograms / "c.star").write_text(particles(lambda p: p, name="other_{}"))
    status, log = run(*EXTRACT, "c.star")
    assert status == 1 and "coordinates are of other_TS_1 (2), other_TS_2 (1), but the tomograms are TS_1, TS_2" in log
    (tomograms / "c.star").write_text(particles(lambda p: p).replace("_rlnTomoName", "_rlnOther"))
    status, log = run(*EXTRACT, "c.star")
    assert status == 1 and "does not say of which tomogram" in log


def test_single_coordinates_outside_are_told_and_left_out(tomograms, run):
    rows = [f"TS_1 {x} 20 16" for x in (20, 21, 22, 23, 60)]
    (tomograms / "c.star").write_text(table("", ["rlnTomoName", *(f"rlnCoordinate{axis}" for axis in "XYZ")], rows))
    status, log = run(*EXTRACT, "c.star")
    assert status == 0 and "outside TS_1, so left out: 1 of 5 coordinates (x 20..60" in log, log
    assert len(found()["TS_1"]) == 4


def test_coordinates_in_voxels_of_a_table_in_pixels_are_noticed(tomograms, run):
    rows = [f"TS_1 {x} {x} 16 1" for x in (20, 23, 26, 29, 34)]  # 5 to 9 in voxels, if they were pixels
    labels = ["rlnTomoName", *(f"rlnCoordinate{axis}" for axis in "XYZ"), "rlnOpticsGroup"]
    (tomograms / "c.star").write_text(optics(2.5) + table("particles", labels, rows))
    status, log = run("extract", "t.star", "--cube_size=2", "--crop_size=4", "--coordinates_star=c.star")
    assert status == 0 and "all 5 coordinates of TS_1, taken as pixels of 2.5 A, from 0, lie near one corner" in log, (
        log
    )
    assert "lie near one corner" in log and "give --coordinates_unit voxels" in log
    (tomograms / "c.star").write_text(optics(2.5) + table("particles", labels, [*rows, "TS_1 150 100 100 1"]))
    status, log = run("extract", "t.star", "--cube_size=2", "--crop_size=4", "--coordinates_star=c.star")
    assert status == 0 and "corner" not in log, log


def test_coordinates_of_a_coarser_copy_are_noticed(tomograms, run):
    labels = ["rlnTomoName", *(f"rlnCoordinate{axis}" for axis in "XYZ")]
    rows = [f"TS_1 {x} {x} 11" for x in (13, 14, 15, 16, 17)]
    (tomograms / "c.star").write_text(table("", labels, rows))
    status, log = run(*EXTRACT, "c.star")
    assert status == 0 and "all 5 coordinates of TS_1, taken as voxels" in log, log
    assert "give its voxel size by --coordinates_pixel_size" in log
    status, log = run(*EXTRACT, "c.star", "--coordinates_unit=voxels")
    assert status == 0 and "corner" not in log, log
    (tomograms / "c.star").write_text(table("", labels, [*rows, "TS_1 40 15 11"]))
    status, log = run(*EXTRACT, "c.star")
    assert status == 0 and "corner" not in log, log


@pytest.mark.parametrize(("side", "status", "said"), [
    (21, 1, "cube_size: 21 is odd.* Give 16 or 24"),
    (20, 0, "20 is for networks of unet_depth up to 2; for the default one give 16 or 24"),
    (3, 1, "cube_size: 3 is odd.* Give 8"),
    (16, 0, None),
])  # fmt: skip
def test_cubes_that_no_network_takes_are_refused(tomograms, run, side, status, said):
    done, log = run("extract", "t.star", f"--cube_size={side}", "--crop_size=26")
    assert done == status, log
    assert ("cube_size" not in log) if said is None else re.search(said, log), log
