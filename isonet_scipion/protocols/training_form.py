"""The pages of the forms of the training protocols."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyworkflow.protocol.params import LEVEL_ADVANCED, BooleanParam, PointerParam

from isonet_scipion.engine.conventions import CUBE_STEP
from isonet_scipion.engine.settings.training import IterativeSettings, OnePassSettings
from isonet_scipion.protocols.ctf_history import addCtfHistory
from isonet_scipion.protocols.defocus import addCtfs, addDefocus, addMicroscope
from isonet_scipion.protocols.form import OPTIONAL, SEED, OptionalIntParam, Within, addContrast, addOption, addTiltRange

if TYPE_CHECKING:
    from pyworkflow.protocol import Form

    from isonet_scipion.engine.settings.training import TrainingSettings

AT_LEAST_ONE = Within(least=1)
FRACTION = Within(0, 0.99)
RATE = Within(1e-9, 0.99)
CTF_AWARE = (
    "Yes: the network also learns to correct the CTF. Give tomograms that were reconstructed without CTF correction "
    "(or phase-flipped only) and not deconvolved, with their defocus. The correction protocol then takes such "
    "tomograms too, and corrects CTF and missing wedge at once."
)
BATCH = "Examples that the network sees in each step. If GPU memory runs out, the number is halved automatically."
STEPS = "Steps in each epoch."
EPOCHS = "Each epoch is one pass of *Steps per epoch*; the losses are measured after each."
PATIENCE = (
    "Stop early when the correlation with the withheld tilts, measured after each iteration, has not risen for this "
    "many iterations at the last noise level, with half tomograms in the part that removes noise. Empty: all "
    "iterations are made, which is best where the learning rate falls to the end of the training."
)
PERCENTILE = "Yes: by the 4th and 96th percentile of the grey values. No: by their mean and standard deviation."


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
    _addStart(form, builtin=False)
    _addCubeSize(
        form,
        "The network sees cubes of this side, cut out of the rotated subtomograms. For the default network a "
        "multiple of 8. Empty: as chosen in the extraction; for other subtomograms about two thirds of their size, a "
        f"multiple of {CUBE_STEP}.",
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
        OptionalIntParam,
        expertLevel=LEVEL_ADVANCED,
        validators=[AT_LEAST_ONE],
        label="Train on the first tomograms only",
        help="How many of them. The training starts as soon as these, and their masks, are there, while others are "
        "still being made. Empty: it uses all tomograms, and waits until all are there.",
    )
    addContrast(form)
    form.addParam(
        "inputMasks",
        PointerParam,
        pointerClass="SetOfTomoMasks",
        allowsNull=True,
        label=f"Masks{OPTIONAL}",
        help="Crops are taken inside the mask with the tomogram's tilt series ID (tsId). Empty: anywhere.",
    )
    form.addParam(
        "useHalves",
        BooleanParam,
        default=True,
        label="Learn from the half tomograms?",
        help="Yes: if the tomograms have even and odd halves, the network sees one half and is compared with the "
        "other, so that it learns to remove noise. *Correct tomograms* then corrects the mean of the halves. "
        "Without halves this changes nothing. No: the network learns from the whole tomograms, and noise stays.",
    )
    addOption(form, OnePassSettings, "ctf_aware", "CTF-aware?", words=CTF_AWARE)
    addCtfHistory(form, "ctfAware")
    addCtfs(form, "ctfAware")
    addDefocus(form, "ctfAware")
    addMicroscope(form, OnePassSettings, "ctfAware")
    positive = [Within(least=0)]
    addOption(
        form,
        OnePassSettings,
        "bfactor",
        "B-factor (Å²)",
        words="The CTF is damped by exp(-B k²/4). 0: not damped. Larger values give a sharper result, but sharpen "
        "noise too.",
        expert=True,
        condition="ctfAware",
        validators=positive,
    )
    _addStart(form, builtin=True)
    _addCubeSize(
        form,
        "The network sees cubes of this side, cut out of rotated crops of the tomograms. Empty: 48, less in thin "
        "tomograms. In simulations, trainings from a model with cubes of 32 made it worse.",
    )
    addTiltRange(form, "each tomogram's")


def _addStart(form: Form, builtin: bool) -> None:
    form.addParam(
        "pretrainedModel",
        PointerParam,
        pointerClass="IsoNetModel",
        allowsNull=True,
        label=f"Model to start from{OPTIONAL}",
        help="A network that was trained on similar data. The training goes on with it, and keeps its layers.",
    )
    form.addParam(
        "startFromBuiltin",
        BooleanParam,
        default=builtin,
        condition="pretrainedModel is None",
        label="Start from the builtin model?",
        help="Yes: start from the network that comes with the plugin. It has learned from simulated tomograms of "
        "proteins, filaments and membranes, and adapts to your data in a few iterations. In simulations this restored "
        "more, in less time, than starting from nothing. Without half tomograms the training may restore less than its "
        "start: then the output is a copy of the builtin model, and the summary says so. No: the network sees nothing "
        "but your data, which takes several times as long. Compare both before trusting a feature that only one of "
        "them shows.",
    )


def _addCubeSize(form: Form, help: str) -> None:
    form.addParam("cubeSize", OptionalIntParam, validators=[Within(least=2)], label="Cube size (voxels)", help=help)


def addIterativeTraining(form: Form) -> None:
    """How long and how fast the iterative method learns."""
    addOption(
        form,
        IterativeSettings,
        "iterations",
        "Iterations",
        words="After each iteration a model is written. The wedge fills in the first ones; the later ones, with added "
        "noise, remove noise.",
        validators=[AT_LEAST_ONE],
    )
    addOption(form, IterativeSettings, "epochs", "Epochs per iteration", words=EPOCHS, validators=[AT_LEAST_ONE])
    more = f"{BATCH} Empty: 2 for each GPU, at least 4. A multiple of the number of GPUs."
    addOption(form, IterativeSettings, "batch_size", "Batch size", words=more, validators=[AT_LEAST_ONE])
    for option, label, words, legal in (
        (
            "steps_per_epoch",
            "Steps per epoch",
            f"{STEPS} Empty: enough for the subtomograms, at most 200.",
            [AT_LEAST_ONE],
        ),
        ("learning_rate", "Learning rate", "Lower it if the loss rises.", [RATE]),
        (
            "select_subtomo_number",
            "Use only this many subtomograms",
            "Chosen at random, for a quick trial. Empty: all.",
            [AT_LEAST_ONE],
        ),
    ):
        addOption(form, IterativeSettings, option, label, words=words, expert=True, validators=legal)
    addOption(
        form,
        IterativeSettings,
        "patience",
        "Stop after iterations without gain",
        words=PATIENCE,
        expert=True,
    )
    addOption(
        form, IterativeSettings, "normalize_percentile", "Normalise by percentiles?", words=PERCENTILE, expert=True
    )
    addOption(
        form,
        IterativeSettings,
        "remove_intermediate",
        "Delete the estimates of the iterations?",
        words="No: the corrected subtomograms of each iteration are kept, to look at how the training went. With the "
        "default 300 subtomograms and 30 iterations they take 18 GB.",
        expert=True,
        default=True,
    )
    _addUsual(form, IterativeSettings)
    group = form.addGroup("Denoising")
    addOption(
        group,
        IterativeSettings,
        "noise_level",
        "Noise levels",
        words="How much noise is added to what the network sees, so that it learns to remove noise; one level after "
        "the other, as fractions of the signal. More noise: a smoother result, with less detail. 0: the wedge is "
        "filled only.",
    )
    addOption(
        group,
        IterativeSettings,
        "noise_start_iter",
        "Noise starts at iteration",
        words="The first iteration of each noise level: as many numbers as there are levels.",
    )
    addOption(
        group,
        IterativeSettings,
        "noise_mode",
        "Noise filter",
        words="The filter of your reconstruction (back-projection), which shapes the noise.",
        expert=True,
    )


def addOnePassTraining(form: Form) -> None:
    """How long and how fast one-pass learns."""
    addOption(
        form,
        OnePassSettings,
        "iterations",
        "Iterations",
        words="After each iteration a model is written. With too many the network may learn the noise of a single "
        "tomogram.",
        validators=[AT_LEAST_ONE],
    )
    addOption(
        form,
        OnePassSettings,
        "preset",
        "Length of the training",
        words="How many steps an epoch has: medium 4 times, large 10 times as many as small. It takes as much longer "
        "and restores more. auto: small on a CPU and when it starts from a model; medium for a new network on a GPU. "
        "Without effect where *Steps per epoch* is given.",
    )
    addOption(form, OnePassSettings, "patience", "Stop after iterations without gain", words=PATIENCE, expert=True)
    addOption(
        form, OnePassSettings, "epochs", "Epochs per iteration", words=EPOCHS, expert=True, validators=[AT_LEAST_ONE]
    )
    addOption(
        form,
        OnePassSettings,
        "steps_per_epoch",
        "Steps per epoch",
        words=f"{STEPS} Empty: {OnePassSettings.STEPS}; with half tomograms, unless it starts from a model, "
        f"{OnePassSettings.STEPS_WITH_DENOISER}, as steps that remove noise take longer; more with a longer preset.",
        expert=True,
        default=None,
        validators=[AT_LEAST_ONE],
    )
    more = f"{BATCH} Empty: 2; on GPUs 4, or 2 for each, in fewer steps. A multiple of twice the number of GPUs."
    addOption(form, OnePassSettings, "batch_size", "Batch size", words=more, validators=[AT_LEAST_ONE])
    slower = "It rises at the start and falls over the whole run. Lower it if the loss rises."
    addOption(form, OnePassSettings, "learning_rate", "Learning rate", words=slower, expert=True, validators=[RATE])
    addOption(
        form,
        OnePassSettings,
        "drop_out",
        "Dropout",
        words="Fraction of the network's features that are switched off in each step, against overfitting; with half "
        "tomograms none are in the part that removes noise. Empty: "
        f"{OnePassSettings().network.drop_out:g}, or the model's when it starts from a model.",
        expert=True,
        default=None,
        validators=[FRACTION],
    )
    for option, label, words, legal in (
        (
            "filled_weight",
            "Weight of estimates",
            "How much the filled-in part of a training target counts, against 1 for the measured part.",
            Within(least=0),
        ),
        (
            "any_angle",
            "Fraction of arbitrary rotations",
            "Fraction of the training rotations that are drawn at arbitrary angles (interpolated; needs crops 1.7 "
            "times wider). The rest are exact 90-degree rotations.",
            Within(0, 1),
        ),
    ):
        addOption(form, OnePassSettings, option, label, words=words, expert=True, validators=[legal])
    addOption(form, OnePassSettings, "normalize_percentile", "Normalise by percentiles?", words=PERCENTILE, expert=True)
    _addUsual(form, OnePassSettings)


def _addUsual(form: Form, settings: type[TrainingSettings]) -> None:
    addOption(form, settings, "precision", "Precision", expert=True)
    addOption(form, settings, "check_axes", "Check the axes?", expert=True)
    addOption(form, settings, "seed", "Seed", words=SEED, expert=True)


def addNetwork(form: Form) -> None:
    """The shape of the iterative method's network."""
    fresh = "pretrainedModel is None and not startFromBuiltin"  # a model brings its own
    group = form.addGroup("Network", condition=fresh)
    addOption(
        group,
        IterativeSettings,
        "unet_depth",
        "Depth",
        words="Levels of the U-Net. Deeper: more context, slower. The cube size must be a multiple of 2 to the power "
        "of the depth.",
        condition=fresh,
        validators=[Within(1, 8)],
    )
    addOption(
        group,
        IterativeSettings,
        "filter_base",
        "Channels at the first level",
        words="Each deeper level has twice as many. Half as many: a quarter of the time. On a CPU 8 or 16.",
        condition=fresh,
        validators=[AT_LEAST_ONE],
    )
    for option, label, words, legal in (
        ("convs_per_depth", "Convolutions per level", "", [Within(least=2)]),
        ("kernel", "Kernel", "Size of the convolution kernel in z,y,x.", []),
        ("pool", "Pooling", "Sizes in z,y,x, such as 2,2,2. Empty: strided convolutions instead of pooling.", []),
        (
            "drop_out",
            "Dropout",
            "Fraction of the network's features that are switched off in each step, against overfitting.",
            [FRACTION],
        ),
        ("batch_normalization", "Batch normalisation?", "", []),
    ):
        addOption(group, IterativeSettings, option, label, words=words, expert=True, condition=fresh, validators=legal)
