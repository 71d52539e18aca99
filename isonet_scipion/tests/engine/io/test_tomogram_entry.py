"""What a row of the table says of its tomogram."""

import numpy as np
import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.marks import mark_of
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.origin import with_origin
from isonet_scipion.engine.io.star import Star
from isonet_scipion.engine.io.tomogram_entry import CTF_STATE, HALF_LABELS, TomogramEntry
from isonet_scipion.engine.physics.wedge import TiltRange


def entry(**values):
    row = {"rlnIndex": "1", "rlnMicrographName": "TS_1.mrc", "rlnPixelSize": "10"} | values
    return TomogramEntry("TS_1", row, Star(list(row), [row], "t.star"))


@pytest.mark.parametrize(
    ("values", "defocus"),
    [
        ({"rlnDefocus": "21000"}, 21000),
        ({"rlnDefocusU": "20000", "rlnDefocusV": "22000"}, 21000),
        ({"rlnDefocus": "0.000000", "rlnDefocusU": "20000", "rlnDefocusV": "22000"}, 21000),
        ({"rlnDefocus": "30000", "rlnDefocusU": "20000", "rlnDefocusV": "22000"}, 30000),
    ],
)
def test_the_defocus_is_rlndefocus_or_else_the_mean_of_both(values, defocus):
    assert entry(**values).defocus == entry(**values).ctf_parameters().defocus == defocus


def test_one_half_alone_is_refused():
    even, odd = "rlnTomoReconstructedTomogramHalf1", "rlnTomoReconstructedTomogramHalf2"
    assert entry(**{even: "e.mrc", odd: "o.mrc"}).halves() == ("e.mrc", "o.mrc")
    assert entry(**{even: "None", odd: "None"}).halves() == ()
    for given, missing in ((even, odd), (odd, even)):
        with pytest.raises(EngineError, match=f"t.star, {missing}: TS_1.mrc has one half only"):
            entry(**{given: "h.mrc", missing: "None"}).halves()


def test_one_end_of_the_tilts_alone_is_refused():
    assert entry(rlnTiltMin="-52", rlnTiltMax="48").tilt == TiltRange(-52, 48)
    for here, missing in (("rlnTiltMin", "rlnTiltMax"), ("rlnTiltMax", "rlnTiltMin")):
        with pytest.raises(EngineError, match=f"t.star: it has {here} of TS_1.mrc, but not {missing}"):
            _ = entry(**{here: "-52" if here == "rlnTiltMin" else "48"}).tilt


@pytest.fixture
def versions(tmp_path, monkeypatch):
    """Files of one tomogram: as it came, and as deconv wrote them."""
    monkeypatch.chdir(tmp_path)
    voxels = np.random.default_rng(0).normal(size=(8, 8, 8)).astype("f4")
    for name in ("whole", "even", "odd"):
        write_volume(f"{name}.mrc", voxels, 10.0)
        mark = with_origin(mark_of("deconv", "t.star", f"{name}.mrc", "."), "0123456789ab-012345")
        write_volume(f"d_{name}.mrc", voxels, 10.0, mark=mark)


@pytest.mark.parametrize(
    ("files", "state", "other"),
    [
        ("whole even odd", None, None),
        ("d_whole d_even d_odd", None, None),
        ("whole even odd", "corrected", None),  # by another program, which writes no mark
        ("whole d_even d_odd", "corrected", None),
        ("gone d_even d_odd", None, None),
        ("d_whole even odd", None, "even"),
        ("d_whole d_even odd", None, "odd"),
        ("whole d_even d_odd", None, "whole"),
        ("gone d_even odd", None, "odd"),
        ("whole d_even odd", "corrected", "odd"),
    ],
)
def test_a_tomogram_of_which_only_a_part_is_deconvolved_is_refused(versions, files, state, other):
    whole, *halves = (f"{name}.mrc" for name in files.split())
    one = entry(**dict(zip(HALF_LABELS, halves)), **{"rlnMicrographName": whole, CTF_STATE: str(state)})
    for take in (one.fitting_halves, lambda: one.open_halves(open_volume("whole.mrc"))):
        if other is None:
            assert take()
        else:
            with pytest.raises(EngineError, match=f"^{other}.mrc: it is not deconvolved, but (d_|whole)"):
                take()


def test_halves_of_another_size_than_their_tomogram_are_refused(tmp_path):
    voxels = np.random.default_rng(0).normal(size=(10,) * 3).astype("f4")
    for name, side, size in (("whole", 8, 10.0), ("half", 8, 10.0), ("larger", 10, 10.0), ("binned", 8, 20.0)):
        write_volume(tmp_path / f"{name}.mrc", voxels[:side, :side, :side], size)
    half = open_volume(tmp_path / "half.mrc")
    assert entry(rlnMicrographName=str(tmp_path / "whole.mrc")).whole_of(half).shape == half.shape
    assert entry(rlnMicrographName=str(tmp_path / "gone.mrc")).whole_of(half) is None
    whole = entry(rlnMicrographName=str(tmp_path / "whole.mrc"), rlnPixelSize="10")
    for name, why in (("larger", "its shape"), ("binned", "its voxel size is 20.000 A, the tomogram's 10.000 A")):
        with pytest.raises(EngineError, match=why):
            whole.whole_of(open_volume(tmp_path / f"{name}.mrc"))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "rlnDefocus: it is 0 for TS_1.mrc"),
        ({"rlnDefocus": "2.5"}, "looks like µm.* 25000"),
        ({"rlnDefocus": "2500"}, "looks like nm.* 25000"),
        ({"rlnDefocus": "-20000"}, "underfocus is positive here.* 20000"),
        ({"rlnDefocusU": "2.4", "rlnDefocusV": "2.6"}, "rlnDefocusU and rlnDefocusV: 2.5 for TS_1.mrc.* 25000"),
        ({"rlnDefocusU": "20000"}, "rlnDefocusV: it is not set for TS_1.mrc, but rlnDefocusU is"),
        ({"rlnDefocus": "0", "rlnDefocusV": "20000"}, "rlnDefocusU: it is not set for TS_1.mrc, but rlnDefocusV is"),
    ],
)
def test_what_is_no_defocus_in_angstrom_is_refused(values, said):
    with pytest.raises(EngineError, match=f"^t.star, .*{said}"):
        entry(**values).ctf_parameters()
    assert entry(**values).optics().voltage == 300  # for what needs no defocus


def test_impossible_optics_name_the_table_only_where_they_are_of_it():
    with pytest.raises(EngineError, match=r"^voltage of TS_1\.mrc, by t\.star: 300000 kV is impossible"):
        entry(rlnVoltage="300000").optics()
    with pytest.raises(EngineError, match=r"^voltage: 300000 kV is impossible"):
        entry(rlnVoltage="0").optics(300000)
    assert entry(rlnVoltage="0").optics(200).voltage == 200


def test_an_impossible_range_names_the_option_and_the_cell_that_it_is_of():
    whole = entry(rlnTiltMin="-52", rlnTiltMax="48")
    for ends, words in (
        ((70, None), "tilt_min, with rlnTiltMax of TS_1.mrc in t.star: 70..48 degrees is impossible"),
        ((None, -70), "tilt_max, with rlnTiltMin of TS_1.mrc in t.star: -52..-70 degrees is impossible"),
        ((70, -70), "tilt_min and tilt_max: 70..-70 degrees is impossible"),
    ):
        with pytest.raises(EngineError, match=words):
            whole.tilt_range(*ends)
    why = "tilt_min, with the usual 60 degrees, as there is no rlnTiltMax of TS_1.mrc in t.star: 70..60 degrees is"
    with pytest.raises(EngineError, match=why):
        entry().tilt_range(70, None)
