"""Options of a training, by method."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Optional

from isonet_scipion.engine.conventions import CTF_STATES, TILT_RANGE, Normalisation
from isonet_scipion.engine.settings.network import NetworkSettings
from isonet_scipion.engine.settings.option import (
    CHECK_AXES,
    CS,
    CTF_STATE,
    GPU_ID,
    LEVELS,
    LOG_LEVEL,
    MOST_PAIRS,
    MOST_REPEATS,
    MOST_THREADS,
    PERCENTILE,
    PRECISION,
    PRECISIONS,
    SEED,
    USE_DECONV,
    VOLTAGE,
    Floats,
    Ints,
    Option,
    option,
    options,
)

if TYPE_CHECKING:
    from typing_extensions import Self

TRAINING_PRECISION = (
    f"{PRECISION} A new network with normalised features and without layers at full resolution is trained in "
    "mixed_float16 on GPUs of compute capability 7 (V100, T4, RTX 20)."
)


class Decided(NamedTuple):
    """What the settings of a training may leave open, once its stage has decided it."""

    seed: int
    batch_size: int
    steps_per_epoch: int


@dataclass(frozen=True)
class TrainingSettings:
    """What both ways of training the network take; a field without a default has one in each of them."""

    method: ClassVar[str]

    iterations: int = option(
        dataclasses.MISSING, "Number of iterations, each of which ends with a model.", most=MOST_REPEATS
    )
    epochs: int = option(dataclasses.MISSING, "Passes of steps_per_epoch steps in each iteration.", most=MOST_REPEATS)
    steps_per_epoch: Optional[int] = option(dataclasses.MISSING, "Steps in each epoch.", most=MOST_REPEATS)
    batch_size: Optional[int] = option(dataclasses.MISSING, "Training pairs per step.", most=MOST_PAIRS)
    noise_level: Floats = option(
        dataclasses.MISSING, "Levels of added noise, as fractions of the signal's scale, such as 0.05,0.1."
    )
    noise_start_iter: Ints = option(dataclasses.MISSING, "First iteration of each noise level, such as 11,16.")
    learning_rate: float = option(dataclasses.MISSING, "Learning rate of the Adam optimiser.")
    network: NetworkSettings = dataclasses.field()  # type: ignore[misc]  # the default is each method's
    gpuID: Optional[str] = option(None, GPU_ID)
    data_dir: Optional[str] = option(None, "Ignored; accepted for compatibility with IsoNet 0.2 command lines.")
    pretrained_model: Optional[str] = option(
        None,
        "Model to start from: a .keras of this program, an .h5 of IsoNet 0.2, or builtin, a prior learned from "
        "simulated tomograms. The network takes its shape. Default: a new network.",
    )
    log_level: str = option("info", LOG_LEVEL, LEVELS)
    result_dir: str = option("results", "Folder of the models, estimates, settings and losses.")
    remove_intermediate: bool = option(False, "Do not keep the estimates of each iteration.")
    preprocessing_ncpus: int = option(
        16, "Number of CPU threads that prepare training pairs.", least=1, most=MOST_THREADS
    )
    continue_from: Optional[str] = option(
        None, "A refine_iterNN.json: continue after that iteration, with its settings unless others are given."
    )
    noise_mode: str = option(
        "noFilter", "Filter of the back-projection that makes the noise.", ("noFilter", "ramp", "hamming")
    )
    noise_dir: Optional[str] = option(None, "Folder of noise volumes (.mrc) to use instead of simulated noise.")
    normalize_percentile: bool = option(True, PERCENTILE)
    tilt_min: Optional[float] = option(
        None,
        f"Smallest tilt angle in degrees, of all training data. Default: the table's, otherwise {TILT_RANGE[0]:g}.",
    )
    tilt_max: Optional[float] = option(
        None,
        f"Largest tilt angle in degrees, of all training data. Default: the table's, otherwise {TILT_RANGE[1]:g}.",
    )
    precision: str = option("auto", TRAINING_PRECISION, PRECISIONS)
    seed: Optional[int] = option(None, SEED, least=0)
    check_axes: bool = option(True, CHECK_AXES)
    patience: Optional[int] = option(
        None,
        "Stop when the correlation with the withheld tilts has not risen for this many iterations at the last noise "
        "level. Default: go on.",
        least=1,
    )

    @property
    def normalisation(self) -> Normalisation:
        """Of the grey values that it learns from."""
        return Normalisation.told(self.normalize_percentile)

    @property
    def idle(self) -> dict[str, str]:
        """Options that have no effect as the others are, and what they would have one with."""
        return {} if any(level > 0 for level in self.noise_level) else {"noise_dir": "a noise_level above 0"}

    def decided(self) -> Decided:
        """What may be left open; raises a ValueError where it still is."""
        if self.seed is None or self.batch_size is None or self.steps_per_epoch is None:
            raise ValueError("seed, batch_size or steps_per_epoch is left open")
        return Decided(self.seed, self.batch_size, self.steps_per_epoch)

    @classmethod
    def given(cls, values: Mapping[str, Any], shape: NetworkSettings | None = None) -> Self:
        """The settings out of what was given by name; what is not there takes its default.

        Parameters
        ----------
        values : mapping
            Names of options, those of the network among them, to their values. With `pretrained_model`, the others take
            the defaults of a start from a model.
        shape : NetworkSettings, optional
            What the network takes where it is not given. None: the method's own.
        """
        from_model = {
            name: one.from_model
            for name, one in options(cls).items()
            if values.get("pretrained_model") and one.from_model is not None
        }
        own = {field.name for field in dataclasses.fields(cls)} - {"network"}
        usual: Any = shape or cls.__dataclass_fields__["network"].default
        return cls(
            **{name: value for name, value in {**from_model, **values}.items() if name in own},
            network=NetworkSettings.among({**usual.as_dict(), **values}),
        )

    def as_options(self) -> dict[str, Any]:
        """All values by the names of the options, `method` among them."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "network"]
        return {"method": self.method, **{name: getattr(self, name) for name in names}, **self.network.as_dict()}


def own(name: str, default: Any, text: str | None = None, from_model: Any = None) -> Any:
    """A method's own default of a field of `TrainingSettings`, and where it needs one its own help text."""
    shared = TrainingSettings.__dataclass_fields__[name].metadata
    return dataclasses.field(
        default=default, metadata={**shared, "help": text or shared["help"], "from_model": from_model}
    )


@dataclass(frozen=True)
class IterativeSettings(TrainingSettings):
    """Train the network that fills the missing wedge as IsoNet 0.2 does, on a table of subtomograms."""

    method: ClassVar[str] = "iterative"

    iterations: int = own("iterations", 30)
    epochs: int = own("epochs", 10)
    steps_per_epoch: Optional[int] = own(
        "steps_per_epoch", None, "Steps in each epoch. Default: 6 * subtomograms / batch_size, at most 200."
    )
    batch_size: Optional[int] = own(
        "batch_size", None, "Training pairs per step. Default: twice the number of GPUs, at least 4."
    )
    noise_level: Floats = own("noise_level", (0.05, 0.10, 0.15, 0.20))
    noise_start_iter: Ints = own("noise_start_iter", (11, 16, 21, 26))
    learning_rate: float = own("learning_rate", 0.0004)
    network: NetworkSettings = NetworkSettings()
    select_subtomo_number: Optional[int] = option(
        None, "Train on this many randomly chosen subtomograms. Default: all.", least=1
    )


@dataclass(frozen=True)
class OnePassSettings(TrainingSettings):
    """Train the network on a table of tomograms; the wedge is estimated within each step, and halves are used."""

    method: ClassVar[str] = "one-pass"
    WITH_HALVES: ClassVar[Any] = MappingProxyType({"denoiser": 16})  # of a new network, where the tomograms have halves
    # of an epoch, for two pairs each; fewer with a denoiser, whose steps take longer: in all as much time
    STEPS: ClassVar[int] = 40
    STEPS_WITH_DENOISER: ClassVar[int] = 32
    PRESETS: ClassVar[Any] = MappingProxyType({"small": 1, "medium": 4, "large": 10})  # times as many steps

    iterations: int = own("iterations", 20, from_model=3)  # a model has learned most; more would teach it the noise
    epochs: int = own("epochs", 5)
    steps_per_epoch: Optional[int] = own(
        "steps_per_epoch",
        None,
        f"Steps in each epoch. Default: by preset; {STEPS} of small, {STEPS_WITH_DENOISER} with half tomograms.",
    )
    preset: str = option(
        "auto",
        "How long the network is trained: small, medium (4 times as many steps) or large (10 times). auto: small on a "
        "CPU, where it takes some 20 minutes on a core, and from a model; medium for a new network on a GPU (some 6 "
        "minutes on an H200).",
        ("auto", *PRESETS),
    )
    batch_size: Optional[int] = own(
        "batch_size",
        None,
        "Training pairs per step, a multiple of 2. Default: 2; on GPUs 4, or 2 for each, in fewer steps at a higher "
        "learning rate, so that as many pairs are seen.",
    )
    noise_level: Floats = own("noise_level", (0.0,))
    noise_start_iter: Ints = own("noise_start_iter", (1,))
    learning_rate: float = own("learning_rate", 0.004, from_model=0.002)
    # a fifth of the iterative one's cost
    network: NetworkSettings = NetworkSettings(filter_base=32, unet_depth=2, convs_per_depth=2, stem=2, drop_out=0.2)
    cube_size: Optional[int] = option(
        None,
        "Side in voxels of the cubes that train it. Default: 48, less in thin tomograms. In simulations, trainings "
        "from a model with cubes of 32 made it worse.",
        least=2,
    )
    use_deconv_tomo: bool = option(True, USE_DECONV)
    filled_weight: float = option(
        0.2, "Weight of the loss for estimated values of the target, against 1 for measured ones."
    )
    ctf_aware: bool = option(
        False,
        "Model the CTF in the training loss: tomograms are phase-flipped on reading, and the network's output is "
        "multiplied by |CTF| (set to 1 below the first peak) before comparison. Requires uncorrected tomograms and "
        "their defocus.",
    )
    bfactor: float = option(0.0, "CTF-aware: B of the envelope exp(-B k^2 / 4) on the CTF, in A^2.")
    voltage: Optional[float] = option(None, "CTF-aware: " + VOLTAGE)
    cs: Optional[float] = option(None, "CTF-aware: " + CS)
    ctf_state: Optional[str] = option(None, "CTF-aware: " + CTF_STATE, CTF_STATES)
    any_angle: float = option(
        0.0,
        "Fraction of training rotations drawn at arbitrary angles (interpolated; needs crops 1.7 times wider). The "
        "rest are exact 90-degree rotations.",
    )

    @property
    def idle(self) -> dict[str, str]:
        """As of all trainings, and what is of a CTF-aware one alone."""
        of_ctf = {} if self.ctf_aware else dict.fromkeys(("bfactor", "voltage", "cs", "ctf_state"), "ctf_aware")
        return {**super().idle, **of_ctf}


METHODS: dict[str, type[TrainingSettings]] = {kind.method: kind for kind in (IterativeSettings, OnePassSettings)}
METHOD = Option(
    "method",
    Optional[str],
    None,
    "iterative: IsoNet 0.2's, on a table of subtomograms. one-pass: on a table of tomograms; the wedge is estimated "
    "within each training step, halves of tomograms are used, and the options' defaults are others. Default: what the "
    "table is for.",
    tuple(METHODS),
)


def training_options() -> dict[str, Option]:
    """The options of all methods, with help that says what is whose and where defaults differ; `method` among them."""
    by_method = {method: options(kind) for method, kind in METHODS.items()}
    found: dict[str, Option] = {METHOD.name: METHOD}
    for method, own_options in by_method.items():
        for name, one in own_options.items():
            is_shared = all(name in others for others in by_method.values())
            if name not in found:
                told = one.full_help if is_shared else f"{method}: {one.full_help}"
                found[name] = dataclasses.replace(one, help=told)
            elif one.full_help not in found[name].help:
                other = f"{one.usual}." if found[name].help.startswith(one.help) else one.full_help
                found[name] = dataclasses.replace(found[name], help=f"{found[name].help} {method}: {other}")
    return found
