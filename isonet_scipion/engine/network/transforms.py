"""Filters of volumes on the device."""

from __future__ import annotations

from typing import Any

from keras import ops


def transferred(volumes: Any, filters: Any) -> Any:
    """Filter volumes (b, z, y, x) with filters (b or 1, z, y, x // 2 + 1), laid out as transforms of real volumes."""
    rows = tuple(ops.transpose(part, (0, 3, 1, 2)) for part in ops.rfft(volumes))
    kept = ops.transpose(filters, (0, 3, 1, 2))
    rows = ops.ifft2(tuple(part * kept for part in ops.fft2(rows)))
    return ops.irfft(tuple(ops.transpose(part, (0, 2, 3, 1)) for part in rows), fft_length=volumes.shape[-1])
