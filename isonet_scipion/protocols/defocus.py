"""What forms ask of the CTF, for those that correct it: the defocus of each tomogram, voltage and aberration."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Callable, Mapping, NamedTuple, Optional

from pyworkflow.protocol.params import PointerParam

from isonet_scipion.convert.acquisition import Optics, hasPhaseShift, lacksTiltSeries, zeroTiltDefocus
from isonet_scipion.convert.sets import enabled
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.physics.ctf import POSSIBLE, CtfParameters, require_plausible_defocus
from isonet_scipion.protocols.form import OPTIONAL, OptionalFloatParam, Within, addOption
from isonet_scipion.protocols.listing import named
from isonet_scipion.protocols.set_checks import isOpen, severalTimes

if TYPE_CHECKING:
    from pyworkflow.protocol import Form, Protocol
    from tomo.objects import CTFTomoSeries, Tomogram

CTF, FORM = "CTF", "form"  # where a defocus is from
PHASE_PLATE = "its CTF has the phase shift of a phase plate, which was not taken into account"


class Fact(NamedTuple):
    """A value of an acquisition that the CTF depends on."""

    of: Callable[[Optics], Optional[float]]
    words: str
    unit: str
    usual: str


FACTS = {  # by their names in CtfParameters
    name: Fact(attrgetter(attribute), words, unit, f"{getattr(CtfParameters, name):g}{unit}")
    for name, attribute, words, unit in (
        ("voltage", "voltage", "voltage", " kV"),
        ("cs", "sphericalAberration", "spherical aberration", " mm"),
        ("amplitude_contrast", "amplitudeContrast", "amplitude contrast", ""),
    )
}
Defoci = Mapping[str, Optional[float]]  # of each tomogram (tsId) in A; None where not known


def addCtfs(form: Form, condition: str | None = None) -> None:
    """Add inputCtfs."""
    form.addParam(
        "inputCtfs",
        PointerParam,
        pointerClass="SetOfCTFTomoSeries",
        allowsNull=True,
        condition=condition,
        label=f"CTFs{OPTIONAL}",
        help="From a CTF estimation of the tilt series. Each tomogram gets the defocus of the CTF with its tilt series "
        "ID (tsId), at the image nearest to zero tilt. Empty: all tomograms get the defocus below.",
    )


def addDefocus(form: Form, condition: str | None = None) -> None:
    """Add defocus, for tomograms without CTF."""
    form.addParam(
        "defocus",
        OptionalFloatParam,
        condition=condition,
        label="Defocus (Å)",
        help="Defocus at zero tilt, underfocus positive: 2 µm is 20000. Used for tomograms without CTF.",
        validators=[Within()],
    )


def addMicroscope(form: Form, settings: type, condition: str | None = None) -> None:
    """Add voltage and cs, which override the acquisition, of a stage's settings."""
    for option, label in (("voltage", "Voltage (kV)"), ("cs", "Spherical aberration (mm)")):
        addOption(
            form,
            settings,
            option,
            label,
            words=f"{label}. Empty: as in each tomogram's acquisition.",
            expert=True,
            condition=condition,
            validators=[Within(*POSSIBLE[option])],
        )


def defociById(protocol: Protocol, tsIds: Iterable[str], isLeftOut: bool = False) -> Defoci:
    """Defocus (A) of each tomogram: of its CTF, else the form's unless tomograms without CTF are left out."""
    return {tsId: defocus for tsId, (defocus, _) in sourcedDefoci(protocol, tsIds, isLeftOut).items()}


def sourcedDefoci(
    protocol: Protocol, tsIds: Iterable[str], isLeftOut: bool = False
) -> dict[str, tuple[float | None, str]]:
    """As `defociById`, each with where it is from: CTF or form."""
    known = {ctf.getTsId(): zeroTiltDefocus(ctf) for ctf in _usableCtfs(protocol)}
    rest = None if isLeftOut else protocol.defocus.get()
    return {tsId: (rest, FORM) if known.get(tsId) is None else (known[tsId], CTF) for tsId in tsIds}


def _usableCtfs(protocol: Protocol) -> Iterator[CTFTomoSeries]:
    """Those that are given and not disabled; none where their tilt series are gone, which `defocusErrors` tells."""
    ctfs = protocol.inputCtfs.get()
    if ctfs is not None and not lacksTiltSeries(ctfs):
        yield from enabled(ctfs)


def phaseRemarks(protocol: Protocol, tsId: str) -> list[str]:
    """That the CTF of a tilt series, which is taken, has a phase shift, which is not."""
    shifted = any(ctf.getTsId() == tsId and hasPhaseShift(ctf) for ctf in _usableCtfs(protocol))
    return [PHASE_PLATE] if shifted else []


def usedDefocus(defoci: Iterable[str | None], sources: Iterable[str | None]) -> str:
    """What a summary says of the defoci (A) that tables hold, and where they are from."""
    values, sources = [float(value) for value in defoci if value is not None], list(sources)
    ends = (
        " to ".join(dict.fromkeys(f"{end:.0f}" for end in (min(values), max(values)))) + " Å" if values else "unknown"
    )
    counts = {"the CTFs": sources.count(CTF), "the form": sources.count(FORM)}
    told = [f"{count} of {len(sources)} from {source}" for source, count in counts.items() if count]
    if values and not told:  # tables of version 1.0.0 do not say where they are from
        return f"Defocus: {ends}."
    return f"Defocus: {ends} ({', '.join(told) or 'none given'})."


def defocusErrors(protocol: Protocol, defoci: Defoci, isLeftOut: bool = False) -> list[str]:
    """What is wrong with the defoci of `defociById`."""
    ctfs = protocol.inputCtfs.get()
    if ctfs is None and protocol.defocus.get() is None:
        return ["*Defocus*: select CTFs or give the defocus of the tomograms in Å, such as 30000 for 3 µm."]
    if ctfs is not None and lacksTiltSeries(ctfs):
        return [
            "*CTFs*: the set of tilt series that they belong to is no longer in the project, so the image nearest to "
            "zero tilt can't be told. Make that set again by its protocol, give other CTFs, or give *Defocus* alone."
        ]
    errors, without = [], withoutCtf(defoci)
    several = severalTimes(ctf.getTsId() for ctf in _usableCtfs(protocol) if ctf.getTsId() in defoci)
    if several:
        errors.append(
            f"*CTFs*: which defocus is right can't be told, as the set has several CTFs of a tilt series: "
            f"{named(several)}. Give one CTF of each."
        )
    if ctfs is not None and not isLeftOut and without:
        errors.append(f"*Defocus* is needed for the tomograms without CTF: {named(without)}.")
    if not isOpen(protocol.inputCtfs) and defoci and len(without) == len(defoci):
        errors.append(
            "None of the tomograms has a CTF with its tilt series ID (tsId); disabled ones, and those whose estimation "
            "failed, do not count."
        )
    return errors + _implausible(defoci)


def _implausible(defoci: Defoci) -> list[str]:
    """What is wrong with the unit or sign of defoci, told once for all that have the same value."""
    told = []
    for defocus in dict.fromkeys(value for value in defoci.values() if value is not None):
        whose = named(tsId for tsId, value in defoci.items() if value == defocus)
        try:
            require_plausible_defocus(defocus, "*Defocus*", whose)
        except EngineError as error:
            told.append(str(error))
    return told


def ctfParameterErrors(protocol: Protocol, optics: Iterable[Optics]) -> list[str]:
    """Which of voltage and aberration neither form nor acquisition has, and what the form can't override."""
    optics, names = list(optics), ("voltage", "cs")
    empty = [name for name in names if getattr(protocol, name).get() is None]
    lacking = [FACTS[name] for name in empty if not all(_isPossible(name, FACTS[name].of(o)) for o in optics)]
    errors = [
        f"*{fact.words.capitalize()}*: the tomograms' acquisition does not have it (or an impossible one), so give it "
        "here (expert level)."
        for fact in lacking
    ]
    return errors + impossibleErrors(optics, names)


def impossibleErrors(optics: Iterable[Optics], overridden: Collection[str] = ()) -> list[str]:
    """Which values of acquisitions are impossible, but those that are not taken from there."""
    optics, errors = list(optics), []
    for name, fact in FACTS.items():
        known = (fact.of(o) for o in optics if name not in overridden)
        values = {value for value in known if value is not None}
        wrong = [f"{value:g}{fact.unit}" for value in sorted(values) if not _isPossible(name, value)]
        if wrong:
            errors.append(
                f"*Tomograms*: the {fact.words} of their acquisition is impossible: {', '.join(wrong)}. Import them "
                f"again with the right one, such as {fact.usual}."
            )
    return errors


def _isPossible(name: str, value: float | None) -> bool:
    """Whether a value of CtfParameters is known and possible."""
    try:
        return value is not None and bool(CtfParameters(**{name: value}))
    except EngineError:
        return False


def opticsWarnings(
    protocol: Protocol, tomograms: Mapping[str, Tomogram], remedy: str, names: Iterable[str] = ("amplitude_contrast",)
) -> list[str]:
    """Whose CTF is that of a phase plate, with a `remedy`; whose acquisition lacks these values of CtfParameters."""
    shifted = [ctf.getTsId() for ctf in _usableCtfs(protocol) if hasPhaseShift(ctf)]
    warnings = [f"Phase plate: {named(shifted)}: phase shifts are not supported. {remedy}"] if shifted else []
    optics = {tsId: protocol._optics(tomogram) for tsId, tomogram in tomograms.items()}
    for fact in (FACTS[name] for name in names):
        unknown = [tsId for tsId, own in optics.items() if fact.of(own) is None]
        if unknown:
            warnings.append(f"The acquisition of {named(unknown)} has no {fact.words}: {fact.usual} is used.")
    return warnings


def withoutCtf(defoci: Defoci) -> list[str]:
    """Those whose defocus is not known."""
    return [tsId for tsId, defocus in defoci.items() if defocus is None]
