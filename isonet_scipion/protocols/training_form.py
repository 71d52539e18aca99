"""The pages of the forms of the training protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyworkflow.protocol.params import LEVEL_ADVANCED, BooleanParam, IntParam, PointerParam

from isonet_scipion.engine.conventions import CUBE_STEP
from isonet_scipion.engine.settings import IterativeSettings, OnePassSettings
from isonet_scipion.protocols.ctf_history import addCtfHistory
from isonet_scipion.protocols.defocus import addCtfs, addDefocus, addMicroscope
from isonet_scipion.protocols.form import Within, addContrast, addOption, addTiltRange

if TYPE_CHECKING:
    from pyworkflow.protocol import Form

AT_LEAST_ONE = Within(least=1)
SHARE = Within(0, 0.99)
RATE = Within(1e-9, 0.99)
BATCH_SIZE = "Smaller if the memory of the GPU does not suffice; a multiple of the number of GPUs"
CTF_AWARE_HELP = (
    "Yes: give tomograms that were reconstructed without CTF correction and not deconvolved. The correction protocol "
    "then takes such tomograms too, and corrects CTF and missing wedge at once."
)


def addSubtomograms(form: Form) -> None:
    """What the iterative method learns from."""
    form.addParam(
        "inputSubtomograms",
        PointerParam,
        pointerClass="SetOfSubTomograms",
        allowsNull=True,
        important=True,
        label="Subtomograms",
        help="Subtomograms to learn from, as cut from the tomograms (protein dark, not rotated, tilt axis along "
        "y): those of the extraction protocol, or of any other.",
    )
    _addStart(form)
    _addCubeSize(
        form,
        "The network sees cubes of this side, cut out of the rotated subtomograms. A multiple of 2^depth of the "
        "network. Empty: as chosen in the extraction; for other subtomograms the largest multiple of "
        f"{CUBE_STEP} that is not above their size / 1.5 + 1.",
    )
    addTiltRange(form, "each subtomogram's")


def addTomograms(form: Form) -> None:
    """What one-pass learns from."""
    form.addParam(
        "inputTomograms",
        PointerParam,
        pointerClass="SetOfTomograms",
        allowsNull=True,
        important=True,
        label="Tomograms",
        help="Tomograms to learn from: protein dark, tilt axis along y. They may still be coming in, if you fill in "
        "*Train on the first tomograms only*.",
    )
    form.addParam(
        "firstTomograms",
        IntParam,
        allowsNull=True,
        expertLevel=LEVEL_ADVANCED,
        validators=[AT_LEAST_ONE],
        label="Train on the first tomograms only",
        help="How many of them. The training starts as soon as these, and their masks, are there, while others are "
        "still being made. Empty: on all tomograms, once all are there.",
    )
    addContrast(form)
    form.addParam(
        "inputMasks",
        PointerParam,
        pointerClass="SetOfTomoMasks",
        allowsNull=True,
        label="Masks (optional)",
        help="Crops are taken inside the mask with the tomogram's tilt series ID (tsId). Empty: anywhere.",
    )
    form.addParam(
        "useHalves",
        BooleanParam,
        default=False,
        label="Learn from the half tomograms?",
        help="Yes: the network sees one half and is compared with the other, so that it learns to remove noise. "
        "*Correct tomograms* then takes the mean of the halves. A new network gets layers at full resolution for that, "
        "and no dropout.",
    )
    addOption(form, OnePassSettings, "ctf_aware", "CTF-aware?", CTF_AWARE_HELP)
    addCtfHistory(form, "ctfAware")
    addCtfs(form, "ctfAware", "CTFs (optional)")
    addDefocus(form, "ctfAware")
    addMicroscope(form, OnePassSettings, "ctfAware")
    positive = [Within(least=0)]
    addOption(form, OnePassSettings, "bfactor", "B-factor (Å²)", expert=True, condition="ctfAware", validators=positive)
    _addStart(form)
    _addCubeSize(
        form,
        "The network sees cubes of this side, cut out of rotated crops of the tomograms. Empty: 48, less in thin "
        "tomograms.",
    )
    addTiltRange(form, "each tomogram's")


def _addStart(form: Form) -> None:
    form.addParam(
        "pretrainedModel",
        PointerParam,
        pointerClass="IsoNetModel",
        allowsNull=True,
        label="Model to start from (optional)",
        help="Go on with a network trained on similar data. Its shape is taken.",
    )
    form.addParam(
        "startFromBuiltin",
        BooleanParam,
        default=False,
        label="Start from the builtin model?",
        help="Yes: go on with the network that comes with the plugin, whose shape is then taken. It is a prior "
        "learned from simulated tomograms of proteins, filaments and membranes: what it fills in before it has "
        "learned from your data is what such objects look like. In simulations, one-pass needs "
        "less time with it, and removes more noise (benchmarks/ONE_PASS.md).",
    )


def _addCubeSize(form: Form, help: str) -> None:
    form.addParam(
        "cubeSize", IntParam, allowsNull=True, validators=[Within(least=2)], label="Cube size (voxels)", help=help
    )


def addIterativeTraining(form: Form) -> None:
    """How long and how fast the iterative method learns."""
    addOption(
        form,
        IterativeSettings,
        "iterations",
        "Iterations",
        "The wedge fills in the first ones; the later ones, with added noise, remove noise.",
        validators=[AT_LEAST_ONE],
    )
    addOption(form, IterativeSettings, "epochs", "Epochs per iteration", validators=[AT_LEAST_ONE])
    addOption(form, IterativeSettings, "batch_size", "Batch size", f"{BATCH_SIZE}.", validators=[AT_LEAST_ONE])
    for option, label, legal in (
        ("steps_per_epoch", "Steps per epoch", [AT_LEAST_ONE]),
        ("learning_rate", "Learning rate", [RATE]),
        ("select_subtomo_number", "Use only so many subtomograms", [AT_LEAST_ONE]),
    ):
        addOption(form, IterativeSettings, option, label, expert=True, validators=legal)
    addOption(
        form,
        IterativeSettings,
        "patience",
        "Stop after iterations without gain",
        "Then about a tenth of the subtomograms is kept from training, and the wedge is measured on it.",
        expert=True,
    )
    addOption(form, IterativeSettings, "normalize_percentile", "Normalise by percentiles?", expert=True)
    deleting = "Delete the estimates of the iterations?"
    addOption(form, IterativeSettings, "remove_intermediate", deleting, expert=True)
    addOption(form, IterativeSettings, "precision", "Precision", expert=True)
    addOption(form, IterativeSettings, "check_axes", "Check the axes?", expert=True)
    addOption(form, IterativeSettings, "seed", "Seed", expert=True)
    group = form.addGroup("Denoising")
    addOption(
        group,
        IterativeSettings,
        "noise_level",
        "Noise levels",
        "More noise: a smoother result, with less detail. 0: no denoising, the wedge is filled only.",
    )
    addOption(
        group,
        IterativeSettings,
        "noise_start_iter",
        "Noise starts at iteration",
        "As many numbers as there are levels.",
    )
    addOption(group, IterativeSettings, "noise_mode", "Noise filter", expert=True)


def addOnePassTraining(form: Form) -> None:
    """How long and how fast one-pass learns."""
    addOption(
        form,
        OnePassSettings,
        "iterations",
        "Iterations",
        "After each one a model is written. The learning rate falls over all of them. With more, it may learn the "
        "noise of a single tomogram.",
        validators=[AT_LEAST_ONE],
    )
    addOption(form, OnePassSettings, "patience", "Stop after iterations without gain")
    for option, label in (("epochs", "Epochs per iteration"), ("steps_per_epoch", "Steps per epoch")):
        addOption(form, OnePassSettings, option, label, expert=True, validators=[AT_LEAST_ONE])
    more = f"{BATCH_SIZE}, times two."
    addOption(form, OnePassSettings, "batch_size", "Batch size", more, validators=[AT_LEAST_ONE])
    addOption(form, OnePassSettings, "learning_rate", "Learning rate", expert=True, validators=[RATE])
    addOption(
        form,
        OnePassSettings,
        "drop_out",
        "Dropout",
        f"Empty: {OnePassSettings().network.drop_out:g}, on halves {OnePassSettings.WITH_HALVES['drop_out']:g}; from a "
        "model the model's.",
        expert=True,
        default=None,
        validators=[SHARE],
    )
    for option, label, legal in (
        ("filled_weight", "Weight of estimates", Within(least=0)),
        ("any_angle", "Share of any rotations", Within(0, 1)),
    ):
        addOption(form, OnePassSettings, option, label, expert=True, validators=[legal])
    addOption(form, OnePassSettings, "normalize_percentile", "Normalise by percentiles?", expert=True)
    addOption(form, OnePassSettings, "precision", "Precision", expert=True)
    addOption(form, OnePassSettings, "check_axes", "Check the axes?", expert=True)
    addOption(form, OnePassSettings, "seed", "Seed", expert=True)


def addNetwork(form: Form) -> None:
    """The shape of the iterative method's network."""
    fresh = "pretrainedModel is None and not startFromBuiltin"  # a model brings its own
    deeper = "Deeper: more context, slower."
    addOption(form, IterativeSettings, "unet_depth", "Depth", deeper, condition=fresh, validators=[Within(1, 8)])
    addOption(
        form,
        IterativeSettings,
        "filter_base",
        "Channels at the first level",
        "Half as many: a quarter of the time.",
        condition=fresh,
        validators=[AT_LEAST_ONE],
    )
    for option, label, legal in (
        ("convs_per_depth", "Convolutions per level", [Within(least=2)]),
        ("kernel", "Kernel", []),
        ("pool", "Pooling", []),
        ("drop_out", "Dropout", [SHARE]),
        ("batch_normalization", "Batch normalisation?", []),
    ):
        addOption(form, IterativeSettings, option, label, expert=True, condition=fresh, validators=legal)
