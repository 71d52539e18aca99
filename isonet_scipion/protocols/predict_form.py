"""The parts of the form of *correct tomograms*."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyworkflow.protocol.constants import LEVEL_ADVANCED
from pyworkflow.protocol.params import EnumParam, PointerParam

from isonet_scipion.engine.settings.correction import PredictSettings
from isonet_scipion.protocols.ctf_history import addCtfHistory
from isonet_scipion.protocols.defocus import addCtfs, addDefocus
from isonet_scipion.protocols.form import OPTIONAL, OneOf, OptionalIntParam, addOption, optionValues

if TYPE_CHECKING:
    from pyworkflow.protocol import Form, Protocol

CTF_AWARE = "_awaitsCtfAware if model is None else model.isCtfAware()"  # it phase-flips
NORMALIZATIONS = ("as in training", "percentiles", "mean and standard deviation")


def addModel(form: Form) -> None:
    """The network."""
    form.addParam(
        "model",
        PointerParam,
        pointerClass="IsoNetModel",
        important=True,
        allowsNull=True,
        label=f"Model instead of builtin{OPTIONAL}",
        help="A network trained on these or similar tomograms. Empty: the builtin model, which has learned from "
        "simulated tomograms, so no training is needed. The report says how well it restores yours; if that is "
        "not enough, train a network of your own with *train (one-pass)*.",
    )
    form.addParam(
        "iteration",
        OptionalIntParam,
        expertLevel=LEVEL_ADVANCED,
        label="Iteration",
        help="Take the network as it was after this iteration of its training: earlier ones have learned less, and "
        "less of the noise. Empty: the selected model, of the training's last iteration or another one that its "
        "summary names as better. The training's viewer shows all of them.",
    )


def addCtf(form: Form) -> None:
    """What a network that corrects the CTF must know."""
    addCtfHistory(form, CTF_AWARE)
    addCtfs(form, CTF_AWARE)
    addDefocus(form, CTF_AWARE)


def addConfidence(form: Form) -> None:
    """Whether there are confidence volumes."""
    addOption(
        form,
        PredictSettings,
        "confidence",
        "Confidence volumes?",
        words="Yes: a second volume for each tomogram gives for each position, from 0 to 1, how well the data "
        "filled into the missing wedge are expected to agree with the truth, averaged over about 48 voxels. It is "
        "a second output, and a colour on the slices in the report and in IsoNet slices. On a CPU it takes a fifth "
        "more time. It was calibrated on simulated tomograms and the builtin model; for other samples use it "
        "to compare positions, not as an absolute value. With a model that you trained it says how good the "
        "whole tomogram is, and little about positions.",
    )


def addTiles(form: Form) -> None:
    """What goes through the network at a time."""
    group = form.addGroup("Tiles")
    addOption(
        group,
        PredictSettings,
        "cube_size",
        "Step between tiles (voxels)",
        words="Empty: chosen from the tomogram's size and the free memory, which is best in nearly all cases.",
        expert=True,
    )
    addOption(
        group,
        PredictSettings,
        "crop_size",
        "Tile size (voxels)",
        words="Empty: chosen with the step, or 1.5 times the given step. Larger tiles give the network more "
        "surroundings and need more memory.",
        expert=True,
    )
    addOption(
        group,
        PredictSettings,
        "batch_size",
        "Tiles at once",
        words="How many tiles go through the network in one pass. Empty: one, or 4 for each GPU if you give a step "
        "or a size. If memory runs out, the number is halved automatically.",
        expert=True,
    )


def addGreyValues(form: Form) -> None:
    """The grey values that the network sees, and those of the results."""
    form.addParam(
        "normalizePercentile",
        EnumParam,
        choices=list(NORMALIZATIONS),
        validators=[OneOf(NORMALIZATIONS)],
        default=0,
        expertLevel=LEVEL_ADVANCED,
        label="Normalise by",
        help="How grey values are brought to the network's scale. Models of IsoNet 0.2 do not say how they were "
        "trained: for them 'as in training' means percentiles.",
    )
    addOption(
        form,
        PredictSettings,
        "normalized_output",
        "IsoNet 0.2's grey scale?",
        words="No: the corrected tomogram has the grey scale of the input. Yes: normalised, as IsoNet 0.2 writes it.",
        expert=True,
    )
    addOption(
        form,
        PredictSettings,
        "output_type",
        "Number format of the results",
        words="float16 and int16 take half the space of float32. float16 (MRC mode 12) needs programs that read "
        "it, such as IMOD 4.11 and newer. int16 is read by all, but scaled where whole numbers would be too "
        "coarse; the log says the scale. With *Also the half tomograms* it is refused, as each half would be "
        "scaled in its own way. A result that rounding would change visibly stays float32.",
        expert=True,
    )


def engineOptions(protocol: Protocol) -> dict[str, object]:
    """Options of `predict` and their values, as the form says."""
    options = optionValues(protocol, PredictSettings)
    options.pop("normalize_percentile")
    if protocol.normalizePercentile.get():
        options["normalize_percentile"] = protocol.normalizePercentile.get() == NORMALIZATIONS.index("percentiles")
    return options
