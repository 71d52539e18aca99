"""What keeps a network from being trained with the inputs and values of a form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isonet_scipion.convert.files import halfMaps, readSizes
from isonet_scipion.convert.sets import enabledIds, sidesOf
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.learning.noise_schedule import noise_level
from isonet_scipion.engine.network.model_file import BUILTIN, read_metadata
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.engine.settings.training import IterativeSettings
from isonet_scipion.protocols.ctf_history import correctedErrors, ctfStates
from isonet_scipion.protocols.defocus import ctfParameterErrors, defociById, defocusErrors
from isonet_scipion.protocols.form import numbers, optionValues
from isonet_scipion.protocols.listing import firstLines, named
from isonet_scipion.protocols.mask_checks import maskErrors
from isonet_scipion.protocols.set_checks import averageErrors, idErrors, kindErrors, missingErrors

if TYPE_CHECKING:
    from pyworkflow.protocol import Protocol


def tomogramErrors(protocol: Protocol) -> list[str]:
    """For one-pass: of the wrong kind, a tsId twice, unreadable, masks that don't fit, no halves, a CTF not known."""
    tomograms, masks = protocol.inputTomograms.get(), protocol.inputMasks.get()
    errors = kindErrors("Tomograms", tomograms) or idErrors("Tomograms", protocol._learned())
    if errors:
        return errors
    sizes, unreadable = readSizes(protocol._learned(), protocol.useHalves.get())
    errors = firstLines([str(error) for error in unreadable.values()], "can't be read, either.")
    if masks is not None:
        errors += maskErrors(masks, sizes, tomograms.getSamplingRate())
        if sizes and not set(sizes) & set(enabledIds(masks)):
            errors.append("None of the tomograms has a mask with its tilt series ID (tsId).")
    without = [tomogram.getTsId() for tomogram in protocol._learned() if not halfMaps(tomogram)]
    if protocol.useHalves and without and any(map(halfMaps, protocol._learned())):
        errors.append(
            f"*Learn from the half tomograms*: only some tomograms have an even and an odd half, not "
            f"{named(without)}. Select No, or tomograms that all have them."
        )
    return errors + (_ctfErrors(protocol) if protocol.ctfAware else [])


def _ctfErrors(protocol: Protocol) -> list[str]:
    tomograms = {tomogram.getTsId(): tomogram.clone() for tomogram in protocol._learned()}
    errors = defocusErrors(protocol, defociById(protocol, tomograms))
    errors += correctedErrors(ctfStates(protocol), tomograms, "CTF-aware")
    return errors + ctfParameterErrors(protocol, map(protocol._optics, tomograms.values()))


def subtomogramErrors(protocol: Protocol) -> list[str]:
    """For the iterative method: missing files, and cubes that don't fit subtomograms or network."""
    subtomograms = protocol.inputSubtomograms.get()
    errors = averageErrors(subtomograms) + missingErrors(subtomograms)
    try:
        sides, cubeSize = sidesOf(subtomograms), protocol._cubeSize()
    except EngineError as error:
        return errors or [str(error)]
    if len(set(sides)) > 1:
        return [f"The subtomograms are not cubic: {sides[0]} x {sides[1]} x {sides[2]} voxels."]
    if not 0 < cubeSize < sides[0]:
        errors.append(
            f"*Cube size* is {cubeSize} voxels: it must be smaller than the subtomograms, which have {sides[0]}."
        )
    try:
        step = max(network(protocol).divisor)
        if cubeSize % step:
            errors.append(f"*Cube size* is {cubeSize} voxels: for this network it must be a multiple of {step}.")
        levels = numbers(protocol.noiseLevel.get() or "")
        starts = numbers(protocol.noiseStartIter.get() or "", int)
    except EngineError as error:
        return [*errors, str(error)]
    except ValueError as error:
        return [*errors, listError(error)]
    return errors + _noiseErrors(levels, starts)


def listError(error: ValueError) -> str:
    """What is wrong with a list of numbers."""
    return f"*Noise levels*, *Kernel* and the like are lists such as 0.05,0.1 or 11,16 ({error})."


def _noiseErrors(levels: list[float], starts: list[int]) -> list[str]:
    if not levels:
        return ["*Noise levels* is empty: for no denoising give the level 0 from iteration 1."]
    if len(levels) != len(starts):
        return [f"There are {len(levels)} *Noise levels* but {len(starts)} iterations at which they start."]
    try:
        noise_level(1, levels, starts)
    except EngineError as error:
        return [str(error)]
    return []


def network(protocol: Protocol) -> NetworkSettings:
    """The network's shape, a model's where it starts from one; raises EngineError or ValueError where impossible."""
    model = protocol.pretrainedModel.get()
    if protocol.startFromBuiltin or model is not None:
        return read_metadata(BUILTIN if model is None else model.getFileName()).network
    values: dict[str, Any] = optionValues(protocol, IterativeSettings)
    lists: dict[str, Any] = {name: tuple(numbers(values[name], int)) for name in ("kernel", "pool") if name in values}
    return NetworkSettings.among({**values, **lists})
