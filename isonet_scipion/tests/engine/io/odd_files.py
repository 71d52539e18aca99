"""MRC files with headers as other programs write them."""

import mrcfile
import numpy as np

from isonet_scipion.engine.io.mrc import open_volume

IMOD_STAMP = 1146047817


def byte_file(path, stored, low=0.0, high=-1.0, flags=None):
    """A volume of mode 0 with these statistics and, unless None, IMOD's stamp and these flags."""
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(stored.astype(np.uint8).view(np.int8))
        mrc.header.dmin, mrc.header.dmax, mrc.header.dmean = low, high, -2
    if flags is not None:
        content = bytearray(path.read_bytes())
        content[152:160] = np.array([IMOD_STAMP, flags], "<i4").tobytes()
        path.write_bytes(content)
    return open_volume(path)


def grey_bytes(centre):
    """Grey values around a centre, with a few cut off at both ends."""
    values = np.random.default_rng(2).normal(centre, 20, (8, 30, 30)).round()
    values[0, 0, :4] = 0, 0, 255, 255
    return np.clip(values, 0, 255)


def with_cell(path, cell, intervals=None):
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(np.random.default_rng(0).normal(size=(6, 8, 10)).astype(np.float32))
        mrc.header.cella = cell
        if intervals:
            mrc.header.mx, mrc.header.my, mrc.header.mz = intervals
    return path
