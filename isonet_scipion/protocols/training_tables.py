"""The tables of what a network is trained on, made from the inputs and values of a form."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from isonet_scipion.convert.files import (
    asMrc,
    cellName,
    fileName,
    fileOf,
    halfMaps,
    halfNames,
    linkSubtomogram,
    maskName,
    mrcName,
)
from isonet_scipion.convert.rows import subtomogramRow, tomogramRow
from isonet_scipion.convert.sets import enabled, enabledIds, filesById
from isonet_scipion.protocols.ctf_history import ctfStates
from isonet_scipion.protocols.defocus import sourcedDefoci

if TYPE_CHECKING:
    from pyworkflow.protocol import Protocol


def tomogramRows(protocol: Protocol, isPlaced: bool = True) -> list[dict[str, str]]:
    """For one-pass: tomograms, masks, halves, and the defocus where the training is CTF-aware.

    Where they are to be placed, what is no MRC file is converted, unless that is done.
    """
    tomograms, masks = protocol.inputTomograms.get(), protocol.inputMasks.get()
    files = filesById(masks)
    defoci = sourcedDefoci(protocol, enabledIds(protocol._learned())) if protocol.ctfAware else {}
    states = ctfStates(protocol)
    rate, rows = tomograms.getSamplingRate(), []

    def mrc(path: str, name: str) -> str:
        copy = protocol._getTmpPath(f"{name}.mrc")
        return asMrc(path, copy, rate) if isPlaced else mrcName(path, copy)

    for index, tomogram in enumerate(protocol._learned(), 1):
        tsId = tomogram.getTsId()
        copies = (f"{fileName(tsId)}_whole", *halfNames(tsId))
        own = (fileOf(tomogram), *(halfMaps(tomogram) if protocol.useHalves else ()))
        paths = [mrc(path, name) for path, name in zip(own, copies)]
        defocus, source = defoci.get(tsId, (None, None))
        mask = files.get(tsId)
        rows.append(
            tomogramRow(
                cellName(tsId),
                paths[0],
                rate,
                protocol._optics(tomogram),
                index,
                defocus=defocus,
                defocusSource=source,
                mask=mask and mrc(mask, maskName(tsId)),
                halves=paths[1:],
                ctfState=states.get(tsId),
                isInverted=protocol.isInverted.get(),
            )
        )
    return rows


def subtomogramRows(protocol: Protocol, cubeSize: int, cropSize: int, isPlaced: bool = True) -> list[dict[str, str]]:
    """For the iterative method: subtomograms; sizes in voxels.

    Where they are to be placed, each gets an MRC file of its own.
    """
    folder = protocol._getExtraPath("subtomograms")
    if isPlaced:
        os.makedirs(folder, exist_ok=True)
    subtomograms, rows = protocol.inputSubtomograms.get(), []
    rate = subtomograms.getSamplingRate()  # before the loop: another look at the set would start it again
    for index, subtomogram in enumerate(enabled(subtomograms), 1):
        path = os.path.join(folder, f"subtomogram_{index:06d}.mrc")
        if isPlaced:
            linkSubtomogram(subtomogram, path, rate)
        optics = protocol._optics(subtomogram)
        rows.append(subtomogramRow(index, path, subtomogram, cubeSize, cropSize, rate, optics))
    return rows
