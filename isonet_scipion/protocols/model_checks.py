"""Whether a model, and how it is applied, suits the tomograms of *correct tomograms*."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isonet_scipion.convert.files import halfMaps
from isonet_scipion.engine.conventions import CORRECTED, ISONET_RAMP, OUTPUT_TYPES
from isonet_scipion.engine.io.ctf_aware import TOLD_OPTICS
from isonet_scipion.protocols.ctf_history import correctedErrors, ctfStates
from isonet_scipion.protocols.defocus import FACTS, defociById, defocusErrors, impossibleErrors, opticsWarnings
from isonet_scipion.protocols.form import labelOf
from isonet_scipion.protocols.listing import named
from isonet_scipion.protocols.set_checks import isOpen, sameSampling
from isonet_scipion.protocols.training_base import ProtIsoNetTraining

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyworkflow.protocol import Protocol
    from tomo.objects import Tomogram

    from isonet_scipion.engine.io.model_metadata import ModelMetadata


def unfinishedErrors(protocol: Protocol) -> list[str]:
    """That the model is not the last yet, as its training goes on."""
    training = protocol.model.getObjValue()
    if not isinstance(training, ProtIsoNetTraining) or not training.isActive() or protocol.iteration.get() is not None:
        return []
    return [
        f"*{labelOf(protocol, 'model')}*: *{training.getRunName()}* is still training. Wait for its end (*Schedule* "
        "does), stop it, or choose one of the iterations that are done by *Iteration* (expert level)."
    ]


def samplingErrors(protocol: Protocol, tomograms: Mapping[str, Tomogram]) -> list[str]:
    """That the model is for another voxel size than some tomograms have; a set that is still empty may have none."""
    trained = None if protocol.model.get() is None else protocol.model.get().getSamplingRate()
    rates = {tomogram.getSamplingRate() for tomogram in tomograms.values()} if trained else set()
    return [
        f"The model was trained at {trained:.2f} Å/px, but the tomograms have {rate:.2f}: "
        "bring the tomograms to the model's voxel size, or train on them."
        for rate in sorted(rates - {None})  # it fails by itself
        if not sameSampling(trained, rate)
    ]


def ctfErrors(protocol: Protocol, metadata: ModelMetadata) -> list[str]:
    """What a CTF-aware model lacks, or can't take."""
    isLeftOut = isOpen(protocol.inputCtfs)
    tomograms = protocol._tomogramsById()
    errors = correctedErrors(ctfStates(protocol), tomograms, "Model")
    errors += defocusErrors(protocol, defociById(protocol, tomograms, isLeftOut), isLeftOut)
    optics = map(protocol._optics, tomograms.values())
    return errors + impossibleErrors(optics, [name for name in TOLD_OPTICS if getattr(metadata, name) is not None])


def tileErrors(protocol: Protocol, divisor: int) -> list[str]:
    """Which sizes of tiles no network takes, or not this one, whose sides must be multiples of `divisor`."""
    cube, crop, errors = protocol.cubeSize.get(), protocol.cropSize.get(), []
    if cube and crop and crop < cube + ISONET_RAMP:
        errors.append(f"*Tile size* must be at least *Step between tiles* + {ISONET_RAMP}.")
    if cube and cube < ISONET_RAMP:
        errors.append(f"*Step between tiles* must be at least {ISONET_RAMP}.")
    if crop and crop % divisor:
        errors.append(f"*Tile size* is {crop} voxels: for this model it must be a multiple of {divisor}.")
    return errors


def halvesErrors(protocol: Protocol, tomograms: Mapping[str, Tomogram]) -> list[str]:
    """Why the half tomograms of some can't be corrected too, where that is asked for."""
    if not protocol.processHalves:
        return []
    errors = []
    if OUTPUT_TYPES[protocol.outputType.get()] == "int16":
        errors.append(
            "*Also the half tomograms*: as int16, each half would have a scale of its own, which the set can't "
            "store, so that their voxels could not be compared. Choose float16 or float32 at *Number format of "
            "the results*, or No here."
        )
    without = [tsId for tsId, tomogram in tomograms.items() if not halfMaps(tomogram)]
    if without:
        errors.append(f"*Also the half tomograms*: there is no even and odd half of {named(without)}.")
    return errors


def tiltWarnings(protocol: Protocol, metadata: ModelMetadata, tomograms: Mapping[str, Tomogram]) -> list[str]:
    """Whose tilt range the model was not trained for."""
    other = []
    for tsId, tomogram in tomograms.items():
        optics = protocol._optics(tomogram)
        if optics.hasTilts and not metadata.knows_tilts(optics.tiltMin, optics.tiltMax):
            other.append(f"{tsId} ({optics.tiltMin:g}..{optics.tiltMax:g})")
    if not other:
        return []
    return [
        f"The model was trained for tilts of {metadata.tilts_in_words} degrees, but these tomograms have others: "
        f"{named(other)}."
    ]


def ctfWarnings(protocol: Protocol, metadata: ModelMetadata, tomograms: Mapping[str, Tomogram]) -> list[str]:
    """Whose CTF was treated otherwise than that of the model's tomograms, or is not known in full."""
    warnings = []
    if metadata.ctf_aware:
        assumed = [name for name in FACTS if getattr(metadata, name, None) is None]
        warnings = opticsWarnings(protocol, tomograms, "Take a model that is not CTF-aware for them.", assumed)
    trained = None if protocol.model.get() is None else protocol.model.get().ctfCorrected()
    states = ctfStates(protocol)
    other = [tsId for tsId in tomograms if (states.get(tsId) == CORRECTED) != trained]
    if trained is None or not other:
        return warnings
    kinds = {True: "with", False: "without"}
    return [
        *warnings,
        f"The model was trained on tomograms {kinds[trained]} CTF correction, but these are {kinds[not trained]}: "
        f"{named(other)}.",
    ]
