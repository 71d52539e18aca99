"""What the summary of *sample mask* says of the masks' files."""

import numpy as np

from isonet_scipion.protocols.listing import MOST
from isonet_scipion.protocols.protocol_mask import keptLines
from isonet_scipion.tests.protocols.scene import write


def test_shares_are_told_one_by_one_or_of_many_altogether_and_bad_files_always(tmp_path):
    masks = {}
    for number in range(MOST + 1):
        masks[f"TS_{number:02d}"] = path = str(tmp_path / f"{number}.mrc")
        mask = np.zeros((1, 1, 100), np.int8)
        mask[..., : 30 + number] = 1
        write(path, mask)
    few = dict(list(masks.items())[:MOST])
    assert keptLines(few)[2] == "TS_02: 32 % of the volume kept." and len(keptLines(few)) == MOST
    missing, cut = str(tmp_path / "none.mrc"), tmp_path / "cut.mrc"
    cut.write_bytes(b"nothing")
    told = keptLines({**masks, "A": missing, "B": str(cut)})
    assert told[0] == "Of the volume kept: median 35 %, from 30 % (TS_00) to 40 % (TS_10)."
    assert told[1] == f"A: *its file is missing*: {missing}." and told[2].startswith("B: *its file can't be read*")
