"""Every option of every stage: name, default, unit and meaning, in one place.

The command line is generated from these classes, and Scipion's forms take their defaults from them (`options`).
Names and defaults are those of IsoNet 0.2; a default of None is explained in the option's help.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Optional, Tuple, get_args, get_type_hints

from isonet_scipion.engine.conventions import (
    CROP_MARGIN,
    CTF_STATES,
    CUBE_STEP,
    ISONET_RAMP,
    OUTPUT_FORMATS,
    OUTPUT_TYPES,
    SUBTOMOGRAMS,
    TILT_RANGE,
    Normalisation,
)
from isonet_scipion.engine.errors import EngineError

if TYPE_CHECKING:
    from typing_extensions import Self

MOST_THREADS = 1024  # more are a slip, and would be taken from all other programs
# of a network: least and most of its numbers, far beyond what any machine can train
NETWORK_RANGES = {
    "filter_base": (1, 4096),
    "unet_depth": (1, 10),
    "convs_per_depth": (2, 64),
    "stem": (1, 16),
    "fine": (0, 1024),
    "denoiser": (0, 1024),
}
MOST_KERNEL = 64
Floats = Tuple[float, ...]
Ints = Tuple[int, ...]


def option(
    default: Any, text: str, choices: tuple[str, ...] = (), least: int | None = None, most: int | None = None
) -> Any:
    """A dataclass field that carries its help text, and its choices or range where not all values are legal."""
    return dataclasses.field(default=default, metadata={"help": text, "choices": choices, "least": least, "most": most})


@dataclass(frozen=True)
class Option:
    """An option of a command, as the command line and Scipion's forms show it."""

    name: str
    kind: Any  # its type, as a hint
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    from_model: Any = None  # what a training takes for default where it starts from a model, if that is another

    def allows(self, value: Any) -> bool:
        """Whether a value of its kind is among its choices or in its range; None is, where its kind allows for it."""
        if value is None:
            return True
        is_chosen = not self.choices or value in self.choices
        is_enough = self.least is None or value >= self.least
        return is_chosen and is_enough and (self.most is None or value <= self.most)

    @property
    def flag(self) -> str:
        """What is typed: its name, without the underscore after a word that Python keeps to itself."""
        return self.name.rstrip("_")

    @property
    def usual(self) -> str:
        """What is taken without it, in words; empty where the help tells."""
        if self.default is None:
            return ""
        shown = ",".join(map(str, self.default)) if isinstance(self.default, tuple) else str(self.default)
        return shown if self.from_model is None else f"{shown}, or {self.from_model} from a model"

    @property
    def full_help(self) -> str:
        """The help with the default."""
        return f"{self.help} Default: {self.usual}." if self.usual else self.help

    @property
    def value_kind(self) -> Any:
        """Its type where it is given."""
        return next((one for one in get_args(self.kind) if type(None) in get_args(self.kind)), self.kind)


def options(settings: type) -> dict[str, Option]:
    """The options of a class of settings by their names, with those of a class that is nested in it."""
    hints = get_type_hints(settings)
    found: dict[str, Option] = {}
    for field in dataclasses.fields(settings):
        if "help" in field.metadata:
            found[field.name] = Option(field.name, hints[field.name], field.default, **field.metadata)
        else:
            nested = options(hints[field.name]).values()
            found.update(
                {one.name: dataclasses.replace(one, default=getattr(field.default, one.name)) for one in nested}
            )
    return found


TOMO_IDX = "Only these tomograms: a list of rlnIndex values such as 1,2,4 or 5-10,15. Default: all."
USE_DECONV = "Work on the deconvolved tomogram where the table names one."
VOLTAGE = "Acceleration voltage in kV. Default: the table's, otherwise 300."
CS = "Spherical aberration in mm. Default: the table's, otherwise 2.7."
CTF_STATE = (
    "How the tomograms' CTF has been treated so far: raw (not at all), phase-flipped (as by IMOD's ctfphaseflip, Warp, "
    "and AreTomo3 with -CorrCTF 2) or corrected (as by AreTomo3's default, a deconvolution). Default: the table's "
    "_isonetCtfState, else raw is assumed."
)
CHECK_AXES = "Refuse tomograms whose missing wedge shows that the tilt axis is not along y, or the beam not along z."
SEED = "Seed of every random choice: the same seed gives the same result. Default: a new one each run."
LOG_LEVEL = "How much is logged."
LEVELS = ("debug", "info", "warning", "error")
CONFIDENCE = (
    "Also write NAME_corrected_confidence.mrc: for each position, from 0 to 1, how well the data filled into "
    "the missing wedge are expected to agree with the truth, averaged over about 48 voxels."
)
GPU_ID = "GPUs to use, such as 0 or 0,1. Default: all that are visible; without a GPU the CPU works."
PERCENTILE = "Normalise by the 4th and 96th percentile of the grey values. False: by mean and standard deviation."
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
PRECISION = (
    "Number format of the network's arithmetic. auto: mixed_bfloat16 on GPUs that have it and on CPUs with AMX, else "
    "float32."
)
TRAINING_PRECISION = (
    f"{PRECISION} A new network with normalised features and without layers at full resolution is trained in "
    "mixed_float16 on GPUs of compute capability 7 (V100, T4, RTX 20)."
)


@dataclass(frozen=True)
class PrepareStarSettings:
    """Make a table of the tomograms (.mrc, .rec, OME-Zarr) in a folder, or of those that another program names."""

    output_star: str = option("tomograms.star", "The table to write.")
    from_: Optional[str] = option(
        None,
        "Another program's table: tomograms.star of RELION 5 or IsoNet2, or Warp's folder of tilt series. Voxel size, "
        "tilt range, defocus and halves are taken from it. FOLDER is needed only if the tomograms are not where it "
        "says. Also a copick project or a folder of runs from the CryoET Data Portal: there FOLDER says which tomogram "
        "of each run, such as VoxelSpacing10.000/wbp.zarr, if there are several. Default: none.",
    )
    tilt_files: Optional[str] = option(
        None,
        "Folder of files with the tilt angles of each tomogram, named like it: .tlt, .rawtlt (IMOD), .aln "
        "(AreTomo), .mdoc (SerialEM), .xml (Warp, with the defocus), .star (RELION 5, with the defocus). "
        "Default: none.",
    )
    pixel_size: Optional[float] = option(
        None, "Voxel size of the tomograms in A. Default: that of the table it is from, else of their headers."
    )
    defocus: Optional[float] = option(
        None,
        "Defocus at zero tilt in A, underfocus positive. Default: that of the tilt files, of the table it is from or "
        "of the table that is replaced, else 0 (unknown).",
    )
    ctf_state: Optional[str] = option(
        None,
        "How the CTF of the tomograms has been treated so far. Default: as the table it is from, or the table that is "
        "replaced, says, else unknown; raw is assumed.",
        CTF_STATES,
    )
    number_subtomos: Optional[int] = option(
        None,
        "Number of subtomograms to extract from each tomogram. Default: as the table it is from, or the table that is "
        f"replaced, says, else {SUBTOMOGRAMS}.",
        least=1,
    )
    mask_folder_in: Optional[str] = option(
        None, "Folder of masks of your own, named like the tomograms, with or without _mask. Default: none."
    )
    tilt_min: Optional[float] = option(
        None,
        "Smallest tilt angle of the tilt series in degrees. Default: that of the tilt files, of the table it is from "
        f"or of the table that is replaced, else {TILT_RANGE[0]:g}.",
    )
    tilt_max: Optional[float] = option(
        None, f"Largest tilt angle of the tilt series in degrees. Default: as tilt_min, else {TILT_RANGE[1]:g}."
    )
    even_folder: Optional[str] = option(
        None, "Folder of the even halves, named like the tomograms, for the report and for one-pass. Default: none."
    )
    odd_folder: Optional[str] = option(None, "Folder of the odd halves. Default: none.")
    average_folder: str = option(
        "averages", "Folder of the tomograms that are made as the mean of their halves, where the table names no whole."
    )
    invert: Optional[bool] = option(
        None,
        "Protein is bright in the tomograms: all stages take that from the table. Default: as the table that is "
        "replaced says, else False.",
    )


@dataclass(frozen=True)
class PrepareSubtomoStarSettings:
    """Make a table of the subtomograms (.mrc) in a folder."""

    output_star: str = option("subtomo.star", "The table to write.")
    pixel_size: Optional[float] = option(None, "Voxel size of the subtomograms in A. Default: that of their headers.")
    cube_size: Optional[int] = option(
        None,
        "Side in voxels of the cubes that train the network. Default: the largest multiple of "
        f"{CUBE_STEP} not above crop size / 1.5 + 1.",
        least=2,
    )
    tilt_min: float = option(TILT_RANGE[0], "Smallest tilt angle of the tilt series in degrees.")
    tilt_max: float = option(TILT_RANGE[1], "Largest tilt angle of the tilt series in degrees.")


@dataclass(frozen=True)
class DeconvSettings:
    """Deconvolve the CTF from the tomograms (Wiener filter), for contrast."""

    deconv_folder: str = option("./deconv", "Folder of the deconvolved tomograms.")
    voltage: Optional[float] = option(None, VOLTAGE)
    cs: Optional[float] = option(None, CS)
    snrfalloff: Optional[float] = option(
        None,
        "How fast the signal-to-noise ratio falls with frequency; larger: smoother. Default: the table's, otherwise 1.",
    )
    deconvstrength: Optional[float] = option(
        None, "Base-10 logarithm of the signal-to-noise ratio at low frequency. Default: the table's, otherwise 1."
    )
    highpassnyquist: float = option(0.02, "Below this fraction of the Nyquist frequency the signal is taken as lost.")
    chunk_size: Optional[int] = option(
        None,
        "Keep only pieces of about this side in voxels in memory, the rest in a scratch file. Default: all in memory.",
        least=1,
    )
    overlap_rate: float = option(0.25, "Ignored; accepted for compatibility with IsoNet 0.2 command lines.")
    pad_edges: bool = option(
        False,
        "Mirror the tomogram beyond its faces, so that opposite ones do not bleed into each other. "
        "False: as IsoNet 0.2, from which that differs in the outermost voxels.",
    )
    ncpu: int = option(4, "Number of CPU threads.", least=1, most=MOST_THREADS)
    ctf_state: Optional[str] = option(None, CTF_STATE, CTF_STATES)
    tomo_idx: Optional[str] = option(None, TOMO_IDX)


@dataclass(frozen=True)
class MakeMaskSettings:
    """Mark the voxels that hold sample."""

    mask_folder: str = option("mask", "Folder of the masks.")
    patch_size: int = option(4, "Half the side in voxels (of the tomogram binned by 2) of the box that is looked at.")
    density_percentage: Optional[float] = option(
        None, "Percentage of the volume kept by density; over 99.8 keeps all. Default: the table's, otherwise 50."
    )
    std_percentage: Optional[float] = option(
        None,
        "Percentage of the volume kept by local contrast; over 99.8 keeps all. Default: the table's, otherwise 50.",
    )
    use_deconv_tomo: bool = option(True, USE_DECONV)
    z_crop: Optional[float] = option(
        None, "Fraction of the thickness that is masked out at the top and at the bottom. Default: none."
    )
    check_axes: bool = option(True, CHECK_AXES)
    tomo_idx: Optional[str] = option(None, TOMO_IDX)


COORDINATE_UNITS = ("voxels", "pixels", "angstrom", "centred_angstrom", "fraction")


@dataclass(frozen=True)
class ExtractSettings:
    """Cut subtomograms at random positions in the mask, or at given coordinates."""

    use_deconv_tomo: bool = option(True, USE_DECONV)
    subtomo_folder: str = option("subtomo", "Folder of the subtomograms.")
    subtomo_star: str = option("subtomo.star", "The table of subtomograms to write.")
    cube_size: int = option(64, "Side in voxels of the cubes that train the network; a multiple of 2^unet_depth.")
    crop_size: Optional[int] = option(None, f"Side in voxels of the subtomograms. Default: cube_size + {CROP_MARGIN}.")
    coordinates_star: Optional[str] = option(
        None,
        "Centres to use instead of random ones: a table with rlnTomoName (or rlnMicrographName) and rlnCoordinateX, Y, "
        "Z, or rlnCenteredCoordinateXAngst (RELION 5); Dynamo's .tbl, whose tomograms are those of rlnIndex; an IMOD "
        "model, or a folder of models named like the tomograms. Default: random centres.",
    )
    coordinates_unit: Optional[str] = option(
        None,
        "What the coordinates count: voxels of the tomogram from 0; pixels of coordinates_pixel_size; A from the "
        "tomogram's corner; A from its centre; fractions of its sides. Default: as the table says (RELION: pixels of "
        "the tilt series, or A from the centre), else voxels.",
        COORDINATE_UNITS,
    )
    coordinates_pixel_size: Optional[float] = option(
        None, "Size in A of the pixels that the coordinates count. Default: as the table says."
    )
    seed: Optional[int] = option(None, SEED, least=0)
    log_level: str = option("info", LOG_LEVEL, LEVELS)
    check_axes: bool = option(True, CHECK_AXES)
    tomo_idx: Optional[str] = option(None, TOMO_IDX)


@dataclass(frozen=True)
class NetworkSettings:
    """The shape of the U-Net."""

    filter_base: int = option(64, "Channels at the first level; each deeper level has twice as many.")
    unet_depth: int = option(3, "Number of levels of the U-Net.")
    convs_per_depth: int = option(3, "Convolutions at each level of the U-Net.")
    kernel: Tuple[int, int, int] = option((3, 3, 3), "Side of the convolution kernel in z,y,x.")
    pool: Optional[Tuple[int, int, int]] = option(
        None, "Max pooling z,y,x instead of strided convolution, such as 2,2,2. Default: none."
    )
    drop_out: float = option(0.3, "Fraction of the features that dropout switches off in training.")
    batch_normalization: bool = option(True, "Normalise the features over each batch.")
    stem: int = option(
        1,
        "Downsampling factor at the network's entry. 2 treats blocks of 2x2x2 voxels as one, which costs an eighth per "
        "channel.",
    )
    fine: int = option(
        0,
        "Channels of layers at full resolution around all others, which then upsample by interpolation: this removes "
        "noise better. 0: none.",
    )
    denoiser: int = option(
        0,
        "Channels of layers at full resolution that remove noise after all others. One-pass trains them in the last "
        "30 % of its run, and before that the others alone; they need half tomograms. 0: none.",
    )

    def __post_init__(self) -> None:
        for name in ("kernel", "pool"):
            value = getattr(self, name)
            if value is not None:
                if len(value) != 3 or min(value) < 1 or max(value) > MOST_KERNEL:
                    why = f"{value} is not three sizes of 1 to {MOST_KERNEL}"
                    raise EngineError(name, why, "Write it as z,y,x such as 3,3,3.")
                object.__setattr__(self, name, tuple(int(v) for v in value))
        for name, (least, most) in NETWORK_RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                # cut, as a text of so many digits is refused by Python itself
                why = f"{value} is too small" if value < least else f"{min(value, 10**20)} is too much"
                raise EngineError(name, why, f"Give {least} to {most}.")
        if not 0 <= self.drop_out < 1:
            raise EngineError("drop_out", f"{self.drop_out} is not a fraction of the features", "Give 0 to 0.9.")
        if self.fine and self.denoiser:
            raise EngineError("denoiser", "layers around all others (fine) remove noise, too", "Give one of the two.")

    @classmethod
    def among(cls, values: Mapping[str, Any]) -> NetworkSettings:
        """The shape out of a mapping that holds these names among others; what it lacks is the default."""
        return cls(**{field.name: values[field.name] for field in dataclasses.fields(cls) if field.name in values})

    @property
    def divisor(self) -> tuple[int, int, int]:
        """What each side (z, y, x) of the network's input must be a multiple of."""
        z, y, x = (self.stem * step**self.unet_depth for step in self.pool or (2, 2, 2))
        return z, y, x

    @property
    def leaves_grid(self) -> bool:
        """Whether it leaves a grid of its steps, the sides of `divisor`; with a denoiser, before that."""
        return self.stem > 1 and not self.fine

    @property
    def normalised(self) -> bool:
        """Whether all blocks of convolutions are normalised: numbers then stay small while a new network is trained."""
        return self.batch_normalization and not self.full_resolution

    @property
    def full_resolution(self) -> int:
        """Channels of its layers at full resolution beside a stem."""
        return self.fine or self.denoiser

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


class Decided(NamedTuple):
    """What the settings of a training may leave open, once its stage has decided it."""

    seed: int
    batch_size: int
    steps_per_epoch: int


@dataclass(frozen=True)
class TrainingSettings:
    """What both ways of training the network take; a field without a default has one in each of them."""

    method: ClassVar[str]

    iterations: int = option(dataclasses.MISSING, "Number of iterations, each of which ends with a model.")
    epochs: int = option(dataclasses.MISSING, "Passes of steps_per_epoch steps in each iteration.")
    steps_per_epoch: Optional[int] = option(dataclasses.MISSING, "Steps in each epoch.")
    batch_size: Optional[int] = option(dataclasses.MISSING, "Training pairs per step.")
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
    # of a new network, where the tomograms have halves: in about as much time as without, for a step with a denoiser
    # takes longer
    WITH_HALVES: ClassVar[Mapping[str, Any]] = MappingProxyType({"denoiser": 16, "steps_per_epoch": 34})

    iterations: int = own("iterations", 20, from_model=3)  # a model has learned most; more would teach it the noise
    epochs: int = own("epochs", 5)
    steps_per_epoch: Optional[int] = own("steps_per_epoch", 40)
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
        None, "Side in voxels of the cubes that train it. Default: 48, less in thin tomograms.", least=2
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


@dataclass(frozen=True)
class PredictSettings:
    """Correct whole tomograms with a trained network."""

    output_dir: str = option("./corrected_tomos", "Folder of the corrected tomograms.")
    gpuID: Optional[str] = option(None, GPU_ID)
    cube_size: Optional[int] = option(
        None, "Step in voxels between tiles. Default: chosen from the tomogram's size and the free memory.", least=1
    )
    crop_size: Optional[int] = option(
        None,
        f"Side in voxels of the tiles, at least cube_size + {ISONET_RAMP}. "
        "Default: chosen with cube_size, or 1.5 times it.",
        least=1,
    )
    use_deconv_tomo: bool = option(True, USE_DECONV + " Not with a CTF-aware model.")
    batch_size: Optional[int] = option(
        None, "Tiles per pass. Default: 1, or with cube_size or crop_size 4 times the number of GPUs.", least=1
    )
    normalize_percentile: Optional[bool] = option(None, PERCENTILE + " Default: as the model was trained, else True.")
    ctf_state: Optional[str] = option(None, "With a CTF-aware model: " + CTF_STATE, CTF_STATES)
    normalized_output: bool = option(False, "Write IsoNet 0.2's normalised grey scale instead of the input tomogram's.")
    output_type: str = option(
        "float32",
        "Number format of the corrected tomograms. float16 (MRC mode 12) and int16 (mode 1) take half the space; int16 "
        "is scaled where whole numbers would be too coarse. A result that rounding would change visibly stays float32.",
        OUTPUT_TYPES,
    )
    output_format: str = option(
        "mrc",
        "File format of the corrected tomograms: mrc, or zarr (OME-Zarr 0.4 with coarser levels, as in the CryoET Data "
        "Portal and copick; needs the package zarr).",
        OUTPUT_FORMATS,
    )
    calibrate: Optional[bool] = option(
        None,
        "Weaken what is filled into the missing wedge to what the hidden-wedge test and the halves support, at each "
        "resolution. Default: True for models of one-pass and the builtin one, else False.",
    )
    report: bool = option(
        True, "Write the quality report, which takes up to a quarter more time, in small tomograms more."
    )
    confidence: bool = option(False, CONFIDENCE)
    precision: str = option("auto", PRECISION, PRECISIONS)
    log_level: str = option("info", LOG_LEVEL, LEVELS)
    check_axes: bool = option(True, CHECK_AXES)
    tomo_idx: Optional[str] = option(None, TOMO_IDX)


@dataclass(frozen=True)
class ReportSettings:
    """Report how reliable corrected tomograms are: a picture and numbers for each, and a page on all."""

    gpuID: Optional[str] = option(None, GPU_ID)
    confidence: bool = option(False, CONFIDENCE)
    use_deconv_tomo: bool = option(True, "As in predict: the deconvolved tomogram was corrected.")
    ctf_state: Optional[str] = option(None, "With a CTF-aware model: " + CTF_STATE, CTF_STATES)
    normalize_percentile: Optional[bool] = option(None, PERCENTILE + " Default: as the model was trained, else True.")
    precision: str = option("auto", PRECISION, PRECISIONS)
    log_level: str = option("info", LOG_LEVEL, LEVELS)
    tomo_idx: Optional[str] = option(None, TOMO_IDX)


@dataclass(frozen=True)
class ResizeSettings:
    """Rescale the tomograms of a table to another voxel size."""

    apix: float = option(15.0, "Voxel size to rescale to, in A.")
    out_folder: str = option(
        "tomograms_resized", "Folder of the rescaled tomograms; their halves go into even and odd in it."
    )


@dataclass(frozen=True)
class ExportRelionSettings:
    """Write a tomograms STAR file for RELION 5, with the corrected tomograms as its denoised ones."""

    output_star: str = option("relion_tomograms.star", "The table to write.")
    relion_star: Optional[str] = option(
        None,
        "RELION's own tomograms.star: its rows and columns are kept, and get the corrected tomogram of the same "
        "rlnTomoName. Default: a table from scratch, which knows nothing of the tilt series' images.",
    )
    tilt_series_pixel_size: Optional[float] = option(
        None, "Pixel size of the tilt series in A, for a table from scratch. Default: the tomogram's voxel size."
    )
