"""Filters of volumes on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops


def transferred(volumes: Any, filters: Any) -> Any:
    """Filter volumes (b, z, y, x) with filters (b or 1, z, y, x // 2 + 1), laid out as transforms of real volumes."""
    rows = tuple(ops.transpose(part, (0, 3, 1, 2)) for part in ops.rfft(volumes))
    kept = ops.transpose(filters, (0, 3, 1, 2))
    rows = ops.ifft2(tuple(part * kept for part in ops.fft2(rows)))
    return ops.irfft(tuple(ops.transpose(part, (0, 2, 3, 1)) for part in rows), fft_length=volumes.shape[-1])


def without(volumes: Any, filters: Any, edge: int) -> Any:
    """Volumes less what filters, which pass no mean, pass of them; both as for `transferred`.

    What is taken away fades out over the `edge` outermost voxels: the steps between opposite faces, which a transform
    takes for detail, would ring in the middle.
    """
    faded = volumes - ops.mean(volumes, axis=(1, 2, 3), keepdims=True)
    for axis, length in enumerate(volumes.shape[1:]):
        place = np.minimum(np.arange(length), np.arange(length)[::-1]) + 0.5
        fade = np.sin(np.pi / 2 * np.clip(place / edge, 0, 1)) ** 2
        faded = faded * ops.convert_to_tensor(fade.astype(np.float32).reshape(-1, *[1] * (2 - axis)))
    return volumes - transferred(faded, filters)
