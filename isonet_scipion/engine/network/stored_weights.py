"""What a model file holds in the place of weights, looked at before anything reads it.

HDF5 lets a small file claim terabytes, and lets it take its numbers out of other files of the user, who would give
them away with the next model.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from typing import TYPE_CHECKING

import h5py
import numpy as np

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

WEIGHTS = "model.weights.h5"  # member of a .keras archive
DEEPEST = 12  # groups within groups
# times the network's weights: of Adam two, one for their running average, and where the loss is scaled all twice
MOST_OPTIMIZER = 8
MOST_SEED = 8  # numbers


def require_weights(path: str | os.PathLike[str], shapes: Iterable[tuple[int, ...]]) -> None:
    """Raise a ValueError unless a .keras archive holds the weights of these shapes, as plain numbers within it.

    Beside them it may hold the state of an optimizer and of dropout's random numbers.

    Raises
    ------
    ValueError
        If there are others, or they are packed, linked, virtual, or in other files.
    """
    expected = Counter(tuple(shape) for shape in shapes)
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("it is packed, as no model is")
        content = io.BytesIO(archive.read(WEIGHTS))
    found: Counter[tuple[int, ...]] = Counter()
    beside = 0
    with h5py.File(content, "r") as file:
        for name, dataset in _datasets(file):
            require_plain(dataset, name)
            if name.startswith("/optimizer"):
                if dataset.shape != () and dataset.shape not in expected:
                    raise ValueError(f"{name} has the shape {dataset.shape}, as none of the network's weights")
                beside += dataset.size
            elif "seed_generator" in name and dataset.size <= MOST_SEED:
                continue
            else:
                found[dataset.shape] += 1
    if found != expected:
        raise ValueError("its layers have other shapes than the network")
    if beside > MOST_OPTIMIZER * sum(int(np.prod(shape, dtype=object)) * n for shape, n in expected.items()) + 100:
        raise ValueError(f"its optimizer has {beside} numbers")


def require_plain(dataset: h5py.Dataset, name: str) -> None:
    """Raise a ValueError unless a data set holds nothing but numbers, all of them, in its own file."""
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{name} lies in other files")
    if dataset.dtype.kind not in "iuf" or dataset.dtype.itemsize > 8:
        raise ValueError(f"{name} is of the kind {dataset.dtype}, no numbers")
    if dataset.chunks is not None or dataset.id.get_storage_size() != dataset.size * dataset.dtype.itemsize:
        raise ValueError(f"{name} is packed, as no model's weights are")


def _datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """All data sets with their names; raises a ValueError where something is no plain member of its group."""
    seen: set[int] = set()
    waiting: list[tuple[str, h5py.Group]] = [("", file)]
    while waiting:
        place, group = waiting.pop()
        if place.count("/") > DEEPEST:
            raise ValueError("its groups are too deep")
        for name in group:
            full = f"{place}/{name}"
            if type(group.get(name, getlink=True)) is not h5py.HardLink:
                raise ValueError(f"{full} is a link")
            member = group[name]
            address = h5py.h5o.get_info(member.id).addr
            if address in seen:
                raise ValueError(f"{full} is there twice")
            seen.add(address)
            if isinstance(member, h5py.Group):
                waiting.append((full, member))
            elif isinstance(member, h5py.Dataset):
                yield full, member
