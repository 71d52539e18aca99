"""The pages of the form of the training protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyworkflow.protocol.params import LEVEL_ADVANCED, BooleanParam, FloatParam, IntParam, PointerParam

from isonet_scipion.engine.conventions import CUBE_STEP
from isonet_scipion.engine.settings import METHODS, ONE_PASS_DEFAULTS, ONE_PASS_FROM_A_MODEL, RefineSettings
from isonet_scipion.protocols.ctf_history import addCtfHistory
from isonet_scipion.protocols.defocus import addCtfs, addDefocus, addMicroscope
from isonet_scipion.protocols.form import Within, addContrast, addOption, addTiltRange

if TYPE_CHECKING:
    from pyworkflow.protocol import Form

ITERATIVE, ONE_PASS = (f"method == {number}" for number in range(len(METHODS)))
CTF_AWARE = f"{ONE_PASS} and ctfAware"
AT_LEAST_ONE = Within(least=1)
CTF_AWARE_HELP = (
    "Yes: give tomograms that were reconstructed without CTF correction and not deconvolved. The correction protocol "
    "then takes such tomograms too, and corrects CTF and missing wedge at once."
)


def addInputs(form: Form) -> None:
    """What is learned from, and how."""
    addOption(form, RefineSettings, "method", "Method", "One-pass needs no extraction, and less time.")
    form.addParam(
        "inputTomograms",
        PointerParam,
        pointerClass="SetOfTomograms",
        condition=ONE_PASS,
        allowsNull=True,
        important=True,
        label="Tomograms",
        help="Tomograms to learn from: protein dark, tilt axis along y.",
    )
    addContrast(form, ONE_PASS)
    form.addParam(
        "inputMasks",
        PointerParam,
        pointerClass="SetOfTomoMasks",
        condition=ONE_PASS,
        allowsNull=True,
        label="Masks",
        help="Crops are taken inside the mask with the tomogram's tilt series ID (tsId). Empty: anywhere.",
    )
    form.addParam(
        "useHalves",
        BooleanParam,
        default=False,
        condition=ONE_PASS,
        label="Learn from the half tomograms?",
        help="Yes: the network sees one half and is compared with the other, so that it learns to remove noise; "
        "the correction is then the mean of the corrected halves.",
    )
    addOption(form, RefineSettings, "ctf_aware", "CTF-aware?", CTF_AWARE_HELP, condition=ONE_PASS)
    addCtfHistory(form, CTF_AWARE)
    addCtfs(form, CTF_AWARE)
    addDefocus(form, CTF_AWARE)
    addMicroscope(form, RefineSettings, CTF_AWARE)
    positive = [Within(least=0)]
    addOption(form, RefineSettings, "bfactor", "B-factor (Å²)", expert=True, condition=CTF_AWARE, validators=positive)
    form.addParam(
        "inputSubtomograms",
        PointerParam,
        pointerClass="SetOfSubTomograms",
        condition=ITERATIVE,
        allowsNull=True,
        important=True,
        label="Subtomograms",
        help="Subtomograms to learn from, as cut from the tomograms (protein dark, not rotated, tilt axis along "
        "y): those of the extraction protocol, or of any other.",
    )
    form.addParam(
        "pretrainedModel",
        PointerParam,
        pointerClass="IsoNetModel",
        allowsNull=True,
        label="Model to start from",
        help="Optional: go on with a network trained on similar data. It must have the shape chosen below.",
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
    form.addParam(
        "cubeSize",
        IntParam,
        allowsNull=True,
        validators=[Within(least=2)],
        label="Cube size (voxels)",
        help="The network sees cubes of this side, cut out of the rotated subtomograms. A multiple of 2^depth of "
        "the network. Empty: as chosen in the extraction; for other subtomograms the largest multiple of "
        f"{CUBE_STEP} that is not above their size / 1.5 + 1. One-pass: cut out of rotated crops of the tomograms; "
        "empty: 48, less in thin tomograms.",
    )
    addTiltRange(form, "each item's")


def addTraining(form: Form) -> None:
    """How long and how fast it learns."""
    addOption(
        form,
        RefineSettings,
        "iterations",
        "Iterations",
        "The wedge fills in the first ones; the later ones, with added noise, remove noise.",
        condition=ITERATIVE,
        validators=[AT_LEAST_ONE],
    )
    form.addParam(
        "onePassIterations",
        IntParam,
        allowsNull=True,
        condition=ONE_PASS,
        validators=[AT_LEAST_ONE],
        label="Iterations of one-pass",
        help="After each one a model is written. The learning rate falls over all of them. Empty: "
        f"{ONE_PASS_DEFAULTS['iterations']}, or {ONE_PASS_FROM_A_MODEL['iterations']} from a model: with more, it may "
        "learn the noise of a single tomogram.",
    )
    form.addParam(
        "onePassSteps",
        IntParam,
        default=ONE_PASS_DEFAULTS["epochs"] * ONE_PASS_DEFAULTS["steps_per_epoch"],
        condition=ONE_PASS,
        expertLevel=LEVEL_ADVANCED,
        validators=[AT_LEAST_ONE],
        label="Steps per iteration",
        help="Training steps of one iteration.",
    )
    for name, label, option, least, most in (
        ("onePassLearningRate", "Learning rate of one-pass", "learning_rate", 1e-9, 0.99),
        ("onePassDropOut", "Dropout of one-pass", "drop_out", 0, 0.99),
    ):
        usual = ONE_PASS_DEFAULTS[option]
        form.addParam(
            name,
            FloatParam,
            allowsNull=True,
            condition=ONE_PASS,
            expertLevel=LEVEL_ADVANCED,
            validators=[Within(least, most)],
            label=label,
            help=f"Empty: {usual:g}, or {ONE_PASS_FROM_A_MODEL.get(option, 'that of the model')} from a model.",
        )
    for option, label, expert, legal in (
        ("patience", "Stop after iterations without gain", False, [AT_LEAST_ONE]),
        ("filled_weight", "Weight of estimates", True, [Within(least=0)]),
        ("any_angle", "Share of any rotations", True, [Within(0, 1)]),
    ):
        addOption(form, RefineSettings, option, label, expert=expert, condition=ONE_PASS, validators=legal)
    addOption(form, RefineSettings, "epochs", "Epochs per iteration", condition=ITERATIVE, validators=[AT_LEAST_ONE])
    addOption(
        form,
        RefineSettings,
        "batch_size",
        "Batch size",
        "Smaller if the memory of the GPU does not suffice; a multiple of the number of GPUs (one-pass: twice that).",
        validators=[AT_LEAST_ONE],
    )
    for option, label, legal in (
        ("steps_per_epoch", "Steps per epoch", [AT_LEAST_ONE]),
        ("learning_rate", "Learning rate", [Within(1e-9, 0.99)]),
        ("select_subtomo_number", "Use only so many subtomograms", [AT_LEAST_ONE]),
    ):
        addOption(form, RefineSettings, option, label, expert=True, condition=ITERATIVE, validators=legal)
    addOption(form, RefineSettings, "normalize_percentile", "Normalise by percentiles?", expert=True)
    deleting = "Delete the estimates of the iterations?"
    addOption(form, RefineSettings, "remove_intermediate", deleting, expert=True, condition=ITERATIVE)
    addOption(form, RefineSettings, "precision", "Precision", expert=True)
    addOption(form, RefineSettings, "seed", "Seed", expert=True)
    group = form.addGroup("Denoising", condition=ITERATIVE)
    addOption(
        group,
        RefineSettings,
        "noise_level",
        "Noise levels",
        "More noise: a smoother result, with less detail. 0: no denoising, the wedge is filled only.",
    )
    addOption(
        group,
        RefineSettings,
        "noise_start_iter",
        "Noise starts at iteration",
        "As many numbers as there are levels.",
    )
    addOption(group, RefineSettings, "noise_mode", "Noise filter", expert=True)


def addNetwork(form: Form) -> None:
    """The shape of the iterative method's network."""
    addOption(
        form,
        RefineSettings,
        "unet_depth",
        "Depth",
        "Deeper: more context, slower.",
        condition=ITERATIVE,
        validators=[Within(1, 8)],
    )
    addOption(
        form,
        RefineSettings,
        "filter_base",
        "Channels at the first level",
        "Half as many: a quarter of the time.",
        condition=ITERATIVE,
        validators=[AT_LEAST_ONE],
    )
    for option, label, legal in (
        ("convs_per_depth", "Convolutions per level", [Within(least=2)]),
        ("kernel", "Kernel", []),
        ("pool", "Pooling", []),
        ("drop_out", "Dropout", [Within(0, 0.99)]),
        ("batch_normalization", "Batch normalisation?", []),
    ):
        addOption(form, RefineSettings, option, label, expert=True, condition=ITERATIVE, validators=legal)
