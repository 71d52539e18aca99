"""Random damage to the files that the engine reads: an EngineError or a result, within a second and within memory.

`ISONET_FUZZ_SECONDS=600 pytest .../test_fuzz.py` goes on for so long, shared by the readers; without it, 30 s.
"""

import os
import resource
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.imod_model import read_boundary
from isonet_scipion.engine.io.mrc import open_volume, write_volume
from isonet_scipion.engine.io.star import parse_index_list, read_star, tomogram_names, write_star
from isonet_scipion.engine.io.volume import read_float
from isonet_scipion.engine.sampling.boundary import boundary_mask
from isonet_scipion.tests.faults.conftest import SHAPE, VOXEL_SIZE, table, voxels
from isonet_scipion.tests.faults.corpus import imod

SECONDS = float(os.environ.get("ISONET_FUZZ_SECONDS", "30"))
LONGEST = 5.0  # seconds of processor time for one file
MEMORY = 1 << 30  # bytes that all of them may add to the process


def damage(seed):
    """A strategy of copies of `seed` with bytes replaced, cut out, cut off, repeated or put in."""
    change = st.tuples(
        st.sampled_from(["replace", "word", "cut", "insert", "truncate", "repeat"]),
        st.integers(0, len(seed)),
        st.binary(min_size=1, max_size=8),
        st.sampled_from([0, 1, 2, 3, 127, 255, 1024, 2**15, 2**31 - 1, -1, -1024, -(2**31)]),
        st.sampled_from(["little", "big"]),
    )

    def apply(changes):
        data = seed
        for kind, place, some, word, order in changes:
            place = min(place, len(data))
            if kind == "replace":
                data = data[:place] + some + data[place + len(some) :]
            elif kind == "word":
                place -= place % 4
                data = data[:place] + word.to_bytes(4, order, signed=True) + data[place + 4 :]
            elif kind == "cut":
                data = data[:place] + data[place + 4 * len(some) :]
            elif kind == "insert":
                data = data[:place] + some + data[place:]
            elif kind == "truncate":
                data = data[:place]
            else:
                data = data + data[place : place + 4096]
        return data

    return st.lists(change, min_size=1, max_size=6).map(apply)


def star_seed(folder):
    table(folder / "seed.star", [{"rlnTomoName": "a b"}, {"rlnMaskName": "it's"}])
    return (folder / "seed.star").read_bytes()


def read_table(path):
    star = read_star(path)
    star.require(["rlnIndex", "rlnMicrographName"])
    parse_index_list("1-2", star)
    tomogram_names(star)
    write_star(path, star)
    again = read_star(path)
    assert (again.labels, again.rows) == (star.labels, star.rows)


def mrc_seed(folder):
    write_volume(folder / "seed.mrc", voxels((4, 6, 8)), VOXEL_SIZE)
    return (folder / "seed.mrc").read_bytes()


def read_tomogram(path):
    volume = open_volume(path)
    assert np.isfinite(read_float(volume)).all()
    assert volume.voxel_size >= 0


def mod_seed(_):
    return imod([np.array([[4, 4, 5], [28, 4, 5], [28, 28, 5], [4, 28, 5], [9, 9, 0], [9, 9, 20]], float)] * 2)


def read_contours(path):
    mask = boundary_mask(read_boundary(path, SHAPE), tuple(-(-side // 2) for side in SHAPE))
    assert mask.dtype == bool


READERS = {"star": (star_seed, read_table), "mrc": (mrc_seed, read_tomogram), "mod": (mod_seed, read_contours)}


@pytest.mark.timeout(2 * SECONDS + 300)
@pytest.mark.parametrize("suffix", READERS)
def test_damaged_files_are_read_or_refused(tmp_path, suffix):
    make_seed, read = READERS[suffix]
    seed, path = make_seed(tmp_path), tmp_path / f"f.{suffix}"
    until = time.monotonic() + SECONDS / len(READERS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = {"read": 0, "refused": 0}

    @settings(max_examples=500, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damage(seed))
    def one(content):
        path.write_bytes(content)
        started = time.process_time()
        try:
            read(path)
            counts["read"] += 1
        except EngineError as error:
            assert f"f.{suffix}" in str(error) or "tomo_idx" in str(error)  # noqa: PT017  most are read without an error
            counts["refused"] += 1
        assert time.process_time() - started < LONGEST

    while time.monotonic() < until:
        one()
    print(f"{suffix}: {counts['read']} read, {counts['refused']} refused in {SECONDS / len(READERS):.0f} s")
    assert min(counts.values()) > 0
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < MEMORY
