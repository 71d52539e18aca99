"""How a tilt series was taken, of Scipion's objects: tilts, optics and defocus."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pyworkflow.utils.retry_streaming import retry_on_sqlite_lock
from tomo.objects import CTFTomo, CTFTomoSeries, SetOfCTFTomoSeries, TomoAcquisition, Tomogram

from isonet_scipion.convert.sets import enabled
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.physics.wedge import declared_range

if TYPE_CHECKING:
    from pwem.objects import EMSet

logger = logging.getLogger(__name__)

WRONG_DEFOCUS = {-999.0, -1.0}  # of U and V, by which Scipion's `setWrongDefocus` marks an estimation that failed


@dataclass(frozen=True)
class Optics:
    """What the acquisition says of a tomogram; None where it says nothing."""

    voltage: float | None = None  # kV
    sphericalAberration: float | None = None  # mm
    amplitudeContrast: float | None = None
    tiltMin: float | None = None  # degrees
    tiltMax: float | None = None

    def withTilts(self, tiltMin: float | None, tiltMax: float | None) -> Optics:
        """The same with another tilt range (degrees); None leaves what is there."""
        return replace(
            self,
            tiltMin=self.tiltMin if tiltMin is None else tiltMin,
            tiltMax=self.tiltMax if tiltMax is None else tiltMax,
        )

    @property
    def hasTilts(self) -> bool:
        """Whether the tilt range is known and possible."""
        if self.tiltMin is None or self.tiltMax is None:
            return False
        try:
            declared_range(self.tiltMin, self.tiltMax)
        except EngineError:
            return False
        return True


def readOptics(*acquisitions: TomoAcquisition | None) -> Optics:
    """Each value of the first acquisition that has it: that of the item first, then that of its set.

    The ends of a tilt range are of the same acquisition: the first that has both, else the first that has one.
    """
    present = [acquisition for acquisition in acquisitions if acquisition is not None]

    def first(getter: str) -> float | None:
        values = (getattr(acquisition, getter)() for acquisition in present if hasattr(acquisition, getter))
        return next((value for value in values if value is not None), None)

    ranges = [(a.getAngleMin(), a.getAngleMax()) for a in present if hasattr(a, "getAngleMin")]
    ranges.sort(key=lambda ends: ends.count(None))
    tilts = ranges[0] if ranges else (None, None)
    return Optics(first("getVoltage"), first("getSphericalAberration"), first("getAmplitudeContrast"), *tilts)


def ownAcquisition(items: EMSet) -> TomoAcquisition:
    """What a set itself says of its items, from its file, not to be changed.

    The set in memory is no source: Scipion's loops leave there what the last item has.
    """
    path = os.path.abspath(items.getFileName())
    setClass: Any = type(items)
    return _storedAcquisition(setClass, path, items.getPrefix() or "", os.stat(path).st_mtime_ns)


@lru_cache(maxsize=32)
@retry_on_sqlite_lock(log=logger)  # other protocols may write the set meanwhile
def _storedAcquisition(setClass: type[EMSet], path: str, prefix: str, changed: int) -> TomoAcquisition:
    """The acquisition in a set's file, as it was when it was `changed`."""
    stored = setClass(filename=path, prefix=prefix)
    stored.loadAllProperties()
    stored.close()
    return stored.getAcquisition()


def copySetInfo(output: EMSet, items: EMSet) -> None:
    """Give a new set what another of its kind says of its items."""
    output.copyInfo(items)
    output.setAcquisition(ownAcquisition(items).clone())


def lacksTiltSeries(ctfs: SetOfCTFTomoSeries) -> bool:
    """Whether the set of tilt series that CTFs belong to is not there, so that Scipion can't go through them."""
    return ctfs.getSetOfTiltSeries() is None and not ctfs.isEmpty()


def zeroTiltDefocus(series: CTFTomoSeries) -> float | None:
    """Mean of the two defoci (A) of the enabled image nearest to zero tilt that has an enabled CTF; None without.

    A CTF whose estimation has failed does not count.
    """
    images = [image.clone() for image in enabled(series.getTiltSeries()) if image.getTiltAngle() is not None]
    for image in sorted(images, key=lambda image: abs(image.getTiltAngle())):
        ctf = series.getCtfTomoFromTi(image)
        if ctf is not None and ctf.isEnabled() and not _hasFailed(ctf):
            return (ctf.getDefocusU() + ctf.getDefocusV()) / 2
    return None


def _hasFailed(ctf: CTFTomo) -> bool:
    """Whether an estimation gave no defocus; Scipion keeps NaN as None."""
    defoci = ctf.getDefocusU(), ctf.getDefocusV()
    return None in defoci or set(defoci) == WRONG_DEFOCUS


def hasPhaseShift(series: CTFTomoSeries) -> bool:
    """Whether the CTFs were estimated with a phase shift, as of a phase plate."""
    ctfs = () if series.isEmpty() else enabled(series)  # an empty one has no table
    return any(ctf.hasPhaseShift() and ctf.getPhaseShift() for ctf in ctfs)


def setTilts(tomogram: Tomogram, optics: Optics, ofAll: TomoAcquisition) -> None:
    """Store with a tomogram the tilt range that was used, in an acquisition like its own or, without, its set's."""
    own, acquisition = tomogram.getAcquisition(), TomoAcquisition()
    acquisition.copyInfo(ofAll if own is None else own)
    acquisition.setAngleMin(optics.tiltMin)
    acquisition.setAngleMax(optics.tiltMax)
    tomogram.setAcquisition(acquisition)
