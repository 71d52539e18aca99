"""Form parameters made from the engine's settings, and the engine's options made from form parameters."""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Iterable, Sequence

from pyworkflow.object import Float, Integer
from pyworkflow.protocol.params import (
    LEVEL_ADVANCED,
    BooleanParam,
    Conditional,
    EnumParam,
    FloatParam,
    IntParam,
    StringParam,
)

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.physics.wedge import declared_range
from isonet_scipion.engine.settings.option import options

if typing.TYPE_CHECKING:
    from pyworkflow.protocol import Form, Protocol

# IsoNet 0.2 writes these options in one word
SPELLING = {"snrfalloff": "snrFalloff", "deconvstrength": "deconvStrength", "highpassnyquist": "highpassNyquist"}
OPTIONAL = " (optional)"  # at the end of labels
SEED = "Makes random choices repeatable: the same seed gives the same result. Empty: a new one for each run."
TILT_PARAMETERS = ("tiltMin", "tiltMax")
GPU_ROW = "GPU IDs"  # what Scipion's windows call the row with Yes, No and the numbers
ELSEWHERE = {"gpuID": GPU_ROW}  # labels of options whose parameters are those of Scipion's forms
# in place of the engine's remedies by options that no form has, which end its messages: by how they begin
REMEDIES = {
    "Say their unit": "Select coordinates of these tomograms; the voxel sizes of both sets must be right.",
    # a training has no other folder, and *Restart* deletes the models
    "Give another result_dir": "*Restart* trains anew. To go on from its last model instead, import that with "
    "*import model* before, and choose it as *Model to start from*.",
    # a protocol writes to its own folder alone
    "Give another folder with --": "Delete it, or *Restart*, which makes everything anew.",
    ", or give another folder": ".",
    ", or write to another folder": ", or move the project to a larger disk.",
    "give a result_dir elsewhere": "move the project to a larger disk, or train on fewer tomograms.",
    ", or give another output": ".",
}
# as a word of its own, not a part of a path
OPTION = re.compile(
    r"(?<![\w/\\.*-])(?P<dashes>--)?(?P<option>[a-zA-Z_]+)(?![\w/\\*]|[.-]\w)(?P<value> (?:to )?(?:True|False)\b)?"
)
NUMBERS = {int: IntParam, float: FloatParam}


class Within(Conditional):
    """The legal values of a number, its ends included; Scipion's own validators fail where a number is not given."""

    def __init__(self, least: float = -math.inf, most: float = math.inf) -> None:
        ends = [f"at least {least:g}"] * (least > -math.inf) + [f"at most {most:.9g}"] * (most < math.inf)
        super().__init__(f"must be {' and '.join(ends) or 'a number'}.", allowsNull=True)
        self._condition = lambda value: least <= value <= most and abs(value) < math.inf

    def __call__(self, value: float | None) -> list[str]:
        """What is wrong with a value."""
        if value is not None and value != value:
            return [f"{self.error[:-1]}, with a point before its decimals."]
        return super().__call__(value)


class OneOf(Within):
    """A number of a choice; a workflow's file may hold any."""

    def __init__(self, choices: Sequence[str]) -> None:
        super().__init__(0, len(choices) - 1)
        self.error = f"must be one of: {', '.join(choices)}."


class _AnyText:
    """A number of a field that may be empty, of which text that is none makes NaN, which `Within` refuses.

    Scipion's form takes such text, a decimal comma for example, for an empty field, and goes on showing it.
    """

    def _convertValue(self, value: object) -> float:
        try:
            return super()._convertValue(value)  # type: ignore[misc]  # it stands before a class of Scipion
        except ValueError:
            if not str(value).strip():
                raise
            return math.nan

    def getObjValue(self) -> float | str | None:
        """As a project's database takes it, which would keep NaN as an empty field."""
        value = super().getObjValue()  # type: ignore[misc]
        return str(value) if value is not None and value != value else value


class OptionalFloat(_AnyText, Float):
    """A value in A, degrees or the like."""


class OptionalInteger(_AnyText, Integer):
    """A whole number."""


class OptionalFloatParam(FloatParam):
    """A number that may be left out."""

    def __init__(self, **args: object) -> None:
        args.setdefault("validators", [Within()])
        super().__init__(**{**args, "allowsNull": True})
        self.paramClass = OptionalFloat


class OptionalIntParam(IntParam):
    """A whole number that may be left out."""

    def __init__(self, **args: object) -> None:
        super().__init__(**{**args, "allowsNull": True})
        self.paramClass = OptionalInteger


OPTIONAL_NUMBERS = {int: OptionalIntParam, float: OptionalFloatParam}


def isFilledIn(protocol: Protocol) -> bool:
    """Whether each value of a form is legal by itself; if not, Scipion's `validate` has told it before `_validate`."""
    for name, param in protocol.getDefinition().iterParams():
        value = getattr(protocol, name)
        if not protocol.evalParamCondition(name):
            continue
        if value.isPointer():
            if value.get() is None and not param.allowsNull:
                return False
        elif param.validate(value.get()):
            return False
    return True


def valueErrors(protocol: Protocol, names: Iterable[str]) -> list[str]:
    """Which of these fields, where the form shows them, hold no legal value, in the words of Scipion's `validate`."""
    errors = []
    for name in names:
        param = protocol.getParam(name)
        if param is not None and protocol.evalParamCondition(name):
            errors += [f"*{param.label.get()}* {error}" for error in param.validate(getattr(protocol, name).get())]
    return errors


def paramName(option: str) -> str:
    """The form parameter of an engine's option: noise_start_iter -> noiseStartIter."""
    first, *rest = option.split("_")
    return SPELLING.get(option) or first + "".join(word.capitalize() for word in rest)


def labelOf(protocol: Protocol, name: str) -> str:
    """What messages call a parameter: its label, without the word that it may be left out."""
    return protocol.getParam(name).label.get().replace(OPTIONAL, "")


def inFormWords(protocol: Protocol, text: str) -> str:
    """A message of the engine, which names options, with the labels of those that the form shows.

    `--check_axes False` becomes `*Check the axes?* No`. Names that are plain words (`precision`) are only replaced with
    dashes, or before the message's first colon. Remedies by options that no form has are replaced by others.
    """

    def labelled(found: re.Match[str]) -> str:
        option, value = found["option"], found["value"]
        name = paramName(option)
        isNamed = found["dashes"] or "_" in option or text.startswith(f"{option}: ")
        param = protocol.getParam(name) if isNamed else None
        if isNamed and option in ELSEWHERE:
            return f"*{ELSEWHERE[option]}*{value or ''}"
        if param is None or not protocol.evalParamCondition(name):
            return found[0]
        if value and isinstance(param, BooleanParam):
            value = value.replace("True", "Yes").replace("False", "No")
        line = "Tilt range, " if name in TILT_PARAMETERS else ""
        return f"*{line}{labelOf(protocol, name)}*{value or ''}"

    for beginning, remedy in REMEDIES.items():
        before, found, _ = text.partition(beginning)
        text = before + remedy if found else text
    return OPTION.sub(labelled, text)


def addOption(
    form: Form,
    settings: type,
    option: str,
    label: str,
    help: str = "",
    expert: bool = False,
    words: str = "",
    **kwargs: typing.Any,
) -> None:
    """Add the parameter of an engine's option, with its type, default and help.

    Parameters
    ----------
    form : Form
        The form, or a group or line of it.
    settings : type
        The stage's class in `isonet_scipion.engine.settings`.
    option : str
        The option's name there.
    label : str
        What the form shows.
    help : str
        What is to be said beyond the engine's own help.
    expert : bool
        Shown at the expert level only.
    words : str
        What a form says in place of the engine's help, which speaks of tables and other options.
    **kwargs
        Passed on to addParam; `default` replaces that of the settings.
    """
    known = options(settings)[option]
    kind, choices = known.value_kind, known.choices
    empty = ""
    if known.from_model is not None:
        kwargs["default"] = None
        empty = f"Empty: {known.default:g}, or {known.from_model:g} when it starts from a model."
    kwargs.setdefault("default", known.default)
    # what the command line takes by default is no concern of a form, which shows its own values
    text = words or known.help.split("Default: ")[0].strip()
    kwargs["help"] = "\n\n".join(part for part in (text, empty, help) if part)
    kwargs["label"] = label
    if expert:
        kwargs["expertLevel"] = LEVEL_ADVANCED
    if kwargs["default"] is None:
        kwargs["allowsNull"] = True
    if "validators" not in kwargs and known.least is not None:
        kwargs["validators"] = [Within(known.least, math.inf if known.most is None else known.most)]
    elif known.most is not None:
        kwargs["validators"] = [*kwargs.get("validators", ()), Within(most=known.most)]
    if choices:
        kwargs["default"] = choices.index(kwargs["default"])
        form.addParam(paramName(option), EnumParam, choices=list(choices), validators=[OneOf(choices)], **kwargs)
    elif kind is bool:
        form.addParam(paramName(option), BooleanParam, **kwargs)
    elif kind in NUMBERS:
        numbers = OPTIONAL_NUMBERS if kwargs["default"] is None else NUMBERS
        form.addParam(paramName(option), numbers[kind], **kwargs)
    else:
        if isinstance(kwargs["default"], tuple):
            kwargs["default"] = ",".join(f"{value:g}" for value in kwargs["default"])
        form.addParam(paramName(option), StringParam, **kwargs)


def addContrast(form: Form, condition: str = "True") -> None:
    """Add isInverted, for tomograms in which protein is bright."""
    form.addParam(
        "isInverted",
        BooleanParam,
        default=False,
        condition=condition,
        expertLevel=LEVEL_ADVANCED,
        label="Is protein bright?",
        help="In most tomograms protein is dark. Yes: the contrast is inverted on reading. Results have the contrast "
        "of the input; only subtomograms are always dark.",
    )


def addTiltRange(form: Form, whose: str) -> None:
    """Add tiltMin and tiltMax, which override the acquisition of what `whose` tells."""
    line = form.addLine(
        "Tilt range (degrees)",
        help=f"Smallest and largest tilt angle. Empty: as in {whose} acquisition.",
    )
    for name, label in zip(TILT_PARAMETERS, ("from", "to")):
        line.addParam(name, OptionalFloatParam, label=label, validators=[Within(-90, 90)])


def tiltErrors(protocol: Protocol, without: str) -> list[str]:
    """What is wrong with a form's tilt range; `without` tells who has no possible range, if any."""
    low, high = protocol.tiltMin.get(), protocol.tiltMax.get()
    if low is not None and high is not None and low >= high:
        return ["*Tilt range*: 'from' must be smaller than 'to'."]
    try:
        if low is not None and high is not None:
            declared_range(low, high)
    except EngineError as error:
        return [f"*Tilt range*: {error.why}. {error.remedy}"]
    if without:
        return [f"*Tilt range*: the acquisition of {without} does not have it (or an impossible one), so give it here."]
    return []


def optionValues(protocol: Protocol, settings: type) -> dict[str, object]:
    """The options of a stage that the form shows; those left empty are not there."""
    values = {}
    for option in options(settings):
        name = paramName(option)
        param = protocol.getParam(name)
        if param is None or not protocol.evalParamCondition(name):
            continue
        value = protocol.getEnumText(name) if isinstance(param, EnumParam) else getattr(protocol, name).get()
        if value not in (None, ""):
            values[option] = value
    return values


def commandOptions(values: dict[str, object]) -> list[str]:
    """Options as words of a command line."""
    return [word for option, value in values.items() for word in (f"--{option}", str(value))]


def numbers(text: str, kind: type = float) -> list:
    """The numbers of a list such as `0.05,0.1`.

    Raises
    ------
    ValueError
        If one is no number.
    """
    return [kind(part) for part in text.split(",") if part.strip()]
