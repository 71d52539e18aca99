"""The folder of an IsoNet project (of version 0.2 or of the engine) as Scipion's objects."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pwem.objects import Transform
from pyworkflow.object import String
from tomo.convert.mdoc import normalizeTSId
from tomo.objects import SubTomogram, TomoAcquisition, Tomogram, TomoMask

from isonet_scipion.constants import CTF_STATE_ATTRIBUTE, DECONVOLVED_LABEL, ORIGIN_LABELS
from isonet_scipion.convert.files import refuseForeign
from isonet_scipion.convert.outputs import setScaleOfRow, subtomogramOf
from isonet_scipion.engine.conventions import CORRECTED, PHASE_FLIPPED
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.refine_json import chosen_model
from isonet_scipion.engine.io.star import SUBTOMOGRAM_LABELS, Star, read_star, tomogram_names
from isonet_scipion.engine.io.tomogram_entry import TomogramEntry
from isonet_scipion.engine.io.voxel_size import check_unit, require_same_grid, same_voxel_size

if TYPE_CHECKING:
    from isonet_scipion.engine.io.volume import Volume

TOMOGRAM_TABLE, SUBTOMOGRAM_TABLE, RESULTS = "tomograms.star", "subtomo.star", "results"
SUBTOMOGRAM_NAME = re.compile(r"(.+)_\d{6}$")
# names of the versions of a tomogram and of their columns
VERSIONS = {
    "tomograms": "rlnMicrographName",
    "deconvolvedTomograms": "rlnDeconvTomoName",
    "correctedTomograms": "rlnCorrectedTomoName",
}
FIRST = VERSIONS["tomograms"]
MASK_LABEL = "rlnMaskName"


@dataclass
class IsoNetFolder:
    """What a project's folder holds.

    Parameters
    ----------
    path : str
        The folder in which IsoNet's commands were called; names in its tables are relative to it.
    acquisition : TomoAcquisition
        What holds where the table says nothing: voltage (kV), spherical aberration (mm), amplitude contrast and tilt
        range (degrees).
    """

    path: str
    acquisition: TomoAcquisition
    table: Star = field(init=False)
    ids: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.table = read_star(Path(self.path, TOMOGRAM_TABLE))
        self.table.require(["rlnIndex", FIRST, "rlnPixelSize"])
        self.ids = [tiltSeriesId(name) for name in tomogram_names(self.table)]
        if len(set(self.ids)) < len(self.ids):
            raise EngineError(self.table.path, "two tomograms have the same name", "Add a column rlnTomoName.")
        without = [str(place) for place, row in enumerate(self.table.rows, 1) if not self.table.text(row, FIRST)]
        if without:
            raise EngineError(
                self.table.path,
                f"row {', '.join(without)} has no {FIRST}",
                "Name the tomogram there; where only a deconvolved or corrected one is left, that one.",
            )

    @property
    def samplingRate(self) -> float:
        """Voxel size in A; raises an EngineError if the tomograms differ in it."""
        rates = [self.table.number(row, "rlnPixelSize") for row in self.table.rows]
        if not all(same_voxel_size(rate, rates[0]) for rate in rates):  # headers round it
            raise EngineError(
                self.table.path,
                f"its tomograms have different voxel sizes: {', '.join(f'{rate:g}' for rate in sorted(set(rates)))} A",
                "Rescale them to one, or import them in several tables.",
            )
        return rates[0]

    def volume(self, name: str) -> Volume:
        """A file that a table names, by its absolute path; raises an EngineError if it is not a readable volume."""
        path = os.path.abspath(os.path.join(self.path, name))
        refuseForeign(path)
        return open_volume(path)

    def tomograms(self, version: str, link: Callable[[str, str], str]) -> list[Tomogram]:
        """Tomograms of one of VERSIONS, with their halves; those that the table does not name are left out.

        Parameters
        ----------
        version : str
            A key of VERSIONS.
        link : callable
            From a file and its tsId to the path that Scipion is to have for it; of a half, with its folder before
            the tsId.
        """
        found = []
        for entry, volume in self._named(VERSIONS[version]):
            tsId, row, state = entry.name, entry.row, self._ctfState(entry, version)
            whole = self._checkedWhole(entry, volume)
            tomogram = self._item(Tomogram(), entry, volume, link)
            tomogram.setCtfCorrected(state in (PHASE_FLIPPED, CORRECTED))
            setattr(tomogram, CTF_STATE_ATTRIBUTE, String(state))
            if row[VERSIONS[version]] == entry.path:  # the halves are those of that file
                halves = list(map(self.volume, entry.halves()))
                for half in halves:
                    require_same_grid(half, whole, self.samplingRate)
                tomogram.setHalfMaps([link(half.path, f"{kind}/{tsId}") for kind, half in zip(("even", "odd"), halves)])
            if version == "correctedTomograms":
                setScaleOfRow(tomogram, self.table, row)
            found.append(tomogram)
        return found

    def masks(self, link: Callable[[str, str], str]) -> list[TomoMask]:
        """The masks that the table names; `link` as in `tomograms`."""
        found = []
        for entry, volume in self._named(MASK_LABEL):
            whole = self._checkedWhole(entry, volume)
            mask = self._item(TomoMask(), entry, volume, link)
            mask.setVolName(whole.path)
            found.append(mask)
        return found

    def subtomograms(self, tomograms: Iterable[Tomogram], link: Callable[[str, str], str]) -> list[SubTomogram]:
        """The subtomograms, each of one of `tomograms` by its name; none if there is no table. `link` as above."""
        path = Path(self.path, SUBTOMOGRAM_TABLE)
        if not path.exists():
            return []
        star, byId = read_star(path), {tomogram.getTsId(): tomogram for tomogram in tomograms}
        found: list[SubTomogram] = []
        star.require(SUBTOMOGRAM_LABELS)
        expected = self.samplingRate
        for row in star.rows:
            rate = star.number(row, "rlnPixelSize", expected)
            if not same_voxel_size(rate, expected):
                raise EngineError(
                    str(path),
                    f"its rlnPixelSize is {rate:g} A, that of {self.table.path} is {expected:g} A",
                    "Import subtomograms that were cut out of these tomograms.",
                )
            stem = Path(row["rlnImageName"]).stem
            match = SUBTOMOGRAM_NAME.fullmatch(stem)
            tsId = tiltSeriesId(star.text(row, "rlnTomoName") or (match[1] if match else stem))
            if tsId not in byId:
                raise EngineError(str(path), f"no tomogram is named {tsId}, as {stem} is", "Add it to the table.")
            if star.text(row, DECONVOLVED_LABEL) is None:
                # IsoNet 0.2 does not say it, but takes the deconvolved tomogram where there is one
                source = self.table.rows[self.ids.index(tsId)]
                star.set(row, DECONVOLVED_LABEL, int(self._isDeconvolved(source)))
            # the number, as two of other folders may have one name
            file = link(self.volume(row["rlnImageName"]).path, f"{len(found):06d}_{stem}")
            found.append(subtomogramOf(star, row, byId[tsId], byId[tsId].getAcquisition(), file))
        return found

    def invertedIds(self) -> list[str]:
        """The tomograms in which protein is bright, as the table says."""
        return [entry.name for entry in self._entries() if entry.inverted]

    def models(self) -> list[str]:
        """Of each training the model that it names, else its last one; `results` first, then the latest folder."""
        others = (path for path in Path(self.path).iterdir() if path.is_dir() and path.name != RESULTS)
        folders = sorted(others, key=os.path.getmtime)
        found = [chosen_model(folder) for folder in (Path(self.path, RESULTS), *reversed(folders))]
        return [str(model) for model in found if model is not None]

    def model(self) -> str | None:
        """The first of `models`; None if there is none."""
        return next(iter(self.models()), None)

    def _checkedWhole(self, entry: TomogramEntry, other: Volume) -> Volume:
        """A tomogram, which `other` must be like; an EngineError also if the table's or the header's unit is nm."""
        volume = self.volume(entry.path)
        check_unit(self.samplingRate, volume, self.table.path)
        require_same_grid(other, volume, self.samplingRate)
        return volume

    def _entries(self) -> Iterable[TomogramEntry]:
        return (TomogramEntry(tsId, row, self.table) for tsId, row in zip(self.ids, self.table.rows))

    def _named(self, label: str) -> Iterable[tuple[TomogramEntry, Volume]]:
        """The tomograms of which the table names a file in a column, and these files."""
        for entry in self._entries():
            if entry.text(label):
                yield entry, self.volume(entry.row[label])

    def _ctfState(self, entry: TomogramEntry, version: str) -> str | None:
        """What was done to the CTF of a version of a tomogram, of CTF_STATES; None where the table does not tell."""
        if version != "tomograms" and self._isDeconvolved(entry.row):
            return CORRECTED
        return entry.ctf_state()

    def _isDeconvolved(self, row: dict[str, str]) -> bool:
        return self.table.text(row, VERSIONS["deconvolvedTomograms"]) is not None

    def _item(
        self, target: Tomogram, entry: TomogramEntry, volume: Volume, link: Callable[[str, str], str]
    ) -> Tomogram:
        """Fill in a new item of Scipion's, of a volume of a tomogram."""
        rate, star, row = self.samplingRate, self.table, entry.row
        target.setTsId(entry.name)
        target.setLocation(link(volume.path, entry.name))
        target.setSamplingRate(rate)
        origin = Transform()
        sides = zip(ORIGIN_LABELS, volume.shape[::-1])
        origin.setShifts(*(star.number(row, label, side / -2.0 * rate) for label, side in sides))
        target.setOrigin(origin)
        acquisition = self.acquisition.clone()
        acquisition.setVoltage(star.number(row, "rlnVoltage", acquisition.getVoltage()))
        acquisition.setSphericalAberration(
            star.number(row, "rlnSphericalAberration", acquisition.getSphericalAberration())
        )
        acquisition.setAmplitudeContrast(star.number(row, "rlnAmplitudeContrast", acquisition.getAmplitudeContrast()))
        acquisition.setAngleMin(star.number(row, "rlnTiltMin", acquisition.getAngleMin()))
        acquisition.setAngleMax(star.number(row, "rlnTiltMax", acquisition.getAngleMax()))
        target.setAcquisition(acquisition)
        return target


def tiltSeriesId(name: str) -> str:
    """The tsId that Scipion's own import would give to a tomogram of this name, without suffix."""
    return normalizeTSId(name.replace(".", "_"))
