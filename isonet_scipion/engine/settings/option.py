"""An option of a command: a field of its dataclass, and how the command line and Scipion's forms read it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Tuple, get_args, get_type_hints

MOST_THREADS = 1024  # more are a slip, and would be taken from all other programs
MOST_REPEATS = 10**6  # of iterations, epochs or steps: more end in no lifetime
MOST_PAIRS = 4096  # in a step: no GPU has memory for as many
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
GPU_ID = "GPUs to use, such as 0 or 0,1; -1: the CPU. Default: all that are visible; without a GPU the CPU works."
PERCENTILE = "Normalise by the 4th and 96th percentile of the grey values. False: by mean and standard deviation."
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
PRECISION = (
    "Number format of the network's arithmetic. auto: mixed_bfloat16 on GPUs that have it and on CPUs with AMX, else "
    "float32."
)
