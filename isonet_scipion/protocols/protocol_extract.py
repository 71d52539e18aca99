"""Extraction of subtomograms for training."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyworkflow.protocol.constants import MODE_RESTART
from pyworkflow.protocol.params import PointerParam
from tomo.objects import Coordinate3D, SetOfCoordinates3D, SetOfSubTomograms, SetOfTomograms, SubTomogram, Tomogram

from isonet_scipion.convert.acquisition import ownAcquisition
from isonet_scipion.convert.files import asMrc, fileName, fileOf, maskName, readSizes
from isonet_scipion.convert.outputs import orientLike, readSubtomograms
from isonet_scipion.convert.rows import coordinateRows, cornerShift, writeTable
from isonet_scipion.convert.sets import enabled, enabledIds, filesById, hasItems, itemsOf
from isonet_scipion.engine.conventions import CROP_MARGIN
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.shown import border_of, open_mask
from isonet_scipion.engine.network.unet import cube_size_warning
from isonet_scipion.engine.sampling.crops import fitting_count
from isonet_scipion.engine.settings.preparation import ExtractSettings
from isonet_scipion.engine.wording import counted, spread_in_words
from isonet_scipion.protocols.form import OPTIONAL, SEED, OptionalIntParam, Within, addOption, optionValues
from isonet_scipion.protocols.listing import MOST, named
from isonet_scipion.protocols.mask_checks import maskErrors
from isonet_scipion.protocols.set_checks import idErrors, isOpen, sameSampling, severalTimes
from isonet_scipion.protocols.streaming import FAILED_OUTPUT, ProtIsoNetTomograms, cells

if TYPE_CHECKING:
    from pwem.objects import EMSet
    from pyworkflow.object import Pointer
    from pyworkflow.protocol import Form

    from isonet_scipion.engine.io.star import Star
    from isonet_scipion.engine.io.volume import Volume

ENOUGH = 300  # subtomograms to train on, after IsoNet's tutorial


class ProtIsoNetExtract(ProtIsoNetTomograms):
    """Cut subtomograms out of the tomograms: the examples from which the network learns.

    They are cut at random positions of the sample, so no picking is needed; or at coordinates, if given.
    About 300 in all are usually enough.
    """

    _label = "extract subtomograms"
    _possibleOutputs = {
        "subtomograms": SetOfSubTomograms,
        "coordinates": SetOfCoordinates3D,
        FAILED_OUTPUT: SetOfTomograms,
    }
    OUTPUT = "subtomograms"
    OUTPUT_CLASS = SetOfSubTomograms
    CENTRES = "coordinates"
    MATCHED = ("inputMasks", "inputCoordinates")

    def _defineParams(self, form: Form) -> None:
        form.addSection(label="Input")
        self._addTomogramsParam(form, "Tomograms to learn from: best those with the CTF deconvolved.")
        form.addParam(
            "inputMasks",
            PointerParam,
            pointerClass="SetOfTomoMasks",
            allowsNull=True,
            label=f"Masks{OPTIONAL}",
            help="Random centres are taken inside the mask with the tomogram's tilt series ID (tsId). "
            "Empty: anywhere in the tomogram.",
        )
        form.addParam(
            "inputCoordinates",
            PointerParam,
            pointerClass="SetOfCoordinates3D",
            allowsNull=True,
            label=f"Coordinates{OPTIONAL}",
            help="Centres to use instead of random ones. Those too near to a border are left out. While the set is "
            "still growing, this waits.",
        )
        form.addParam(
            "numberSubtomos",
            OptionalIntParam,
            condition="inputCoordinates is None",
            label="Subtomograms per tomogram",
            help=f"Empty: about {ENOUGH} from all tomograms together, more from those with more sample; this waits "
            "until all tomograms are there. More than that make training longer, not better.",
        )
        addOption(
            form,
            ExtractSettings,
            "cube_size",
            "Cube size (voxels)",
            words="The network sees cubes of this side. 64 suits tomograms of 10 to 15 Å/px; thin tomograms need less. "
            "A multiple of 8 for the default network. The wand lists what suits your tomograms.",
            validators=[Within(least=2)],
        )
        addOption(
            form,
            ExtractSettings,
            "crop_size",
            "Subtomogram size (voxels)",
            words=f"Empty: the cube size + {CROP_MARGIN}. Larger than the cube, because the subtomograms are rotated "
            "before cubes are cut out of them; not more than the tomograms' thickness.",
            expert=True,
            validators=[Within(least=3)],
        )
        addOption(form, ExtractSettings, "check_axes", "Check the axes?", expert=True)
        addOption(form, ExtractSettings, "seed", "Seed", words=SEED, expert=True)
        self._addRunningParams(form)

    # ---------------------------------------------------------------- steps

    def _partners(self, tomograms: Mapping[str, Tomogram]) -> dict[str, tuple[str | None, list[Coordinate3D] | None]]:
        files, coordinates = filesById(self.inputMasks.get()), self.inputCoordinates.get()
        picked: dict[str, list[Coordinate3D]] = {}
        if coordinates is not None:
            for coordinate in enabled(self._placed(coordinates)):
                kept = coordinate.clone()
                kept.setVolume(coordinate.getVolume())
                picked.setdefault(coordinate.getTomoId(), []).append(kept)
        if isOpen(self.inputCoordinates):
            return {}  # more may come for any tomogram
        if self._isShared() and (isOpen(self.inputTomograms) or isOpen(self.inputMasks)):
            return {}  # the shares are known when all are there
        return {tsId: (files.get(tsId), picked.get(tsId)) for tsId in self._usable(tomograms)}

    def _unclearErrors(self) -> list[str]:
        errors, masks = super()._unclearErrors(), self.inputMasks.get()
        return errors if masks is None else errors + idErrors("Masks", masks)

    def _newTomograms(self) -> dict[str, tuple[Tomogram, object]]:
        """As elsewhere; first what the subtomograms are shared out by."""
        new = super()._newTomograms()
        if new and self._isShared():
            # of all tomograms, also those that are done: Continue shares in the same way
            tomograms, files = self._tomogramsById(), filesById(self.inputMasks.get())
            self._volumes = {t: self._sampleVolume(tomograms[t], files.get(t)) for t in self._usable(tomograms)}
        return new

    def _isShared(self) -> bool:
        """Whether a number of subtomograms is shared out among all tomograms."""
        return self.inputCoordinates.get() is None and not self.numberSubtomos.get()

    def _sourceOf(
        self, tomogram: Tomogram, partner: tuple[str | None, list[Coordinate3D] | None], halves: bool
    ) -> list[object]:
        mask, picked = partner
        # a mask only says where random centres are
        return super()._sourceOf(tomogram, Path(mask) if mask is not None and picked is None else picked, halves)

    def _number(self, tomogram: Tomogram, mask: str | None) -> int:
        """How many random centres: as given, else the tomogram's share, as far as there is room."""
        if self.numberSubtomos.get():
            return self.numberSubtomos.get()
        # an empty mask is the engine's to complain of
        share = ENOUGH * self._volumes[tomogram.getTsId()] / max(1, sum(self._volumes.values()))
        volume, rate = self._open(tomogram), tomogram.getSamplingRate()
        path = self._maskFile(tomogram, mask)
        inside, border = None if path is None else open_mask(path, volume, rate), border_of(volume)
        room = fitting_count(volume.shape, inside, self._cropSize(), max(1, self.cubeSize.get() // 2), border)
        return max(1, min(round(share), room))

    def _sampleVolume(self, tomogram: Tomogram, mask: str | None) -> float:
        """Voxels of a tomogram that its mask keeps, counted; all that hold data where it has none."""
        try:
            volume = self._open(tomogram)
            path = self._maskFile(tomogram, mask)
            if path is not None:
                return float(open_mask(path, volume, tomogram.getSamplingRate()).count())
            border = border_of(volume)
            return float(prod(volume.shape)) * (1.0 if border is None else 1 - border.share)
        except EngineError:
            return 0.0  # it is told when its turn comes

    def _open(self, tomogram: Tomogram) -> Volume:
        copy = self._getTmpPath(f"{fileName(tomogram.getTsId())}.mrc")
        return open_volume(asMrc(fileOf(tomogram), copy, tomogram.getSamplingRate()))

    def _maskFile(self, tomogram: Tomogram, mask: str | None) -> str | None:
        """The MRC file of its mask."""
        if mask is None:
            return None
        return asMrc(mask, self._getTmpPath(f"{maskName(tomogram.getTsId())}.mrc"), tomogram.getSamplingRate())

    def _process(self, tomogram: Tomogram, partner: tuple[str | None, list[Coordinate3D] | None]) -> None:
        tsId = tomogram.getTsId()
        name = fileName(tsId)
        mask, picked = partner
        columns: dict[str, Any] = {}
        if picked is None:  # a mask only says where random centres are
            columns = {"numberSubtomos": self._number(tomogram, mask), "mask": self._maskFile(tomogram, mask)}
        table = self._writeTable(tomogram, **columns)
        options = {
            "subtomo_folder": self._getExtraPath(name),
            "subtomo_star": self._getExtraPath(f"{name}_subtomo.star"),
            **optionValues(self, ExtractSettings),
        }
        rows = []
        if picked is not None:
            rate = self.inputCoordinates.get().getSamplingRate()
            rows = coordinateRows(picked, rate, tomogram)
            options["coordinates_star"] = self._getExtraPath(f"{name}_coordinates.star")
            options["coordinates_unit"] = "voxels"
            writeTable(options["coordinates_star"], rows)
        self._runEngine("extract", [table], options, name=tsId)
        found = self._requireOutput(options["subtomo_star"], f"The table of subtomograms of {tsId}")
        subtomograms = readSubtomograms(found, tomogram, tomogram.getAcquisition())
        if picked is not None:
            orientLike(subtomograms, rows, picked, rate / tomogram.getSamplingRate())
        self._appendSubtomograms(subtomograms)

    def _appendSubtomograms(self, subtomograms: list[SubTomogram]) -> None:
        with self._lock:
            self._appendCentres([])  # the set, to which that of the subtomograms points
            self._append(*subtomograms)
            self._appendCentres(subtomograms)

    def _appendCentres(self, subtomograms: Iterable[SubTomogram]) -> None:
        centres = self._openOutput(self.CENTRES, SetOfCoordinates3D)
        for subtomogram in subtomograms:
            centres.append(subtomogram.getCoordinate3D().clone())
        centres.write()
        self._store(centres)
        centres.close()

    def closeStep(self) -> None:
        """As elsewhere; first the centres that are missing where a run was killed between the two sets."""
        centres = getattr(self, self.CENTRES, None)
        without = self._doneIds() - (set(centres.getTSIds()) if hasItems(centres) else set())
        if without:
            items = [item.clone() for item in itemsOf(getattr(self, self.OUTPUT)) if item.getVolName() in without]
            self._appendCentres(items)
        super().closeStep()

    def _prepareOutput(self, output: EMSet) -> None:
        if isinstance(output, SetOfCoordinates3D):
            output.setPrecedents(self.inputTomograms)
            output.setBoxSize(self._cropSize())
        else:
            output.setCoordinates3D(getattr(self, self.CENTRES))
            output.setAcquisition(ownAcquisition(self.inputTomograms.get()).clone())

    def _sources(self) -> list[Pointer]:
        return [self.inputTomograms, self.inputMasks, self.inputCoordinates]

    @staticmethod
    def _idOf(item: SubTomogram) -> str:
        return item.getVolName()

    def _doneIds(self) -> set[str]:
        output = getattr(self, self.OUTPUT, None)
        return set(output.getUniqueValues(SubTomogram.VOL_NAME_FIELD)) if hasItems(output) else set()

    def _cropSize(self) -> int:
        return self.cropSize.get() or self.cubeSize.get() + CROP_MARGIN

    def _usedCropSize(self) -> int:
        return self._used("cropSize") or self._used("cubeSize") + CROP_MARGIN

    @staticmethod
    def _placed(coordinates: SetOfCoordinates3D) -> Iterator[Coordinate3D]:
        """Those with numbers, of tomograms that are in the set that they were picked in: the others have no place."""
        for tomogram in [item.clone() for item in coordinates.getPrecedents()]:
            for coordinate in coordinates.iterCoordinates(tomogram):
                if _hasNumbers(coordinate):
                    yield coordinate

    def _orphans(self) -> list[str]:
        """The tsIds of coordinates whose tomogram is not in the set that they were picked in."""
        coordinates = self.inputCoordinates.get()
        known = {tomogram.getTsId() for tomogram in coordinates.getPrecedents()}
        return sorted({coordinate.getTomoId() for coordinate in enabled(coordinates)} - known)

    def _usable(self, tomograms: Iterable[str]) -> list[str]:
        """The tsIds that have a mask or coordinates, if these are given."""
        masks, coordinates = self.inputMasks.get(), self.inputCoordinates.get()
        wanted = set(tomograms)
        if coordinates is not None:
            wanted &= {coordinate.getTomoId() for coordinate in enabled(self._placed(coordinates))}
        elif masks is not None:
            wanted &= set(enabledIds(masks))
        return [tsId for tsId in tomograms if tsId in wanted]

    # ---------------------------------------------------------------- checks and texts

    def _inputErrors(self) -> list[str]:
        errors = super()._inputErrors()
        coordinates = self.inputCoordinates.get()
        picked = None if coordinates is None else coordinates.getPrecedents()
        if picked is not None and (several := severalTimes(tomogram.getTsId() for tomogram in picked)):
            errors.append(
                "*Coordinates*: which tomogram each was picked in can't be told, as the set that they belong to has "
                f"several of one tilt series ID (tsId): {named(several)}. Pick in a set with one of each."
            )
        if coordinates is not None and picked is None:
            errors.append(
                "*Coordinates*: the set of tomograms that they were picked in is no longer in the project, so their "
                "places can't be told. Make that set again by its protocol, or give other coordinates."
            )
        elif picked is not None and not sameSampling(coordinates.getSamplingRate(), picked.getSamplingRate()):
            errors.append(
                f"*Coordinates*: the voxel size of their set is {coordinates.getSamplingRate():g} Å, but that of the "
                f"tomograms that they were picked in is {picked.getSamplingRate():g} Å, so their places can't be told. "
                "Make the set again by its protocol, or give other coordinates."
            )
        if errors:
            return errors
        tomograms, masks = self.inputTomograms.get(), self.inputMasks.get()
        byId = self._tomogramsById()
        if byId and not self._usable(byId) and not any(isOpen(getattr(self, name)) for name in self.MATCHED):
            errors.append("None of the tomograms has a mask or coordinates with its tilt series ID (tsId).")
        crop = self._cropSize()
        try:
            cube_size_warning(self.cubeSize.get())
        except EngineError as error:
            errors.append(f"*Cube size*: {error.why}. {error.remedy}")
        if crop <= self.cubeSize.get():
            errors.append("*Subtomogram size* must be larger than *Cube size*.")
        sizes, _ = readSizes(byId.values())
        thin = [f"{tsId} ({min(size)} voxels)" for tsId, size in sizes.items() if min(size) < crop]
        if thin and len(thin) == len(sizes):
            errors.append(
                f"All tomograms are thinner than the subtomograms of {crop} voxels: {named(thin)}. "
                "Choose a smaller cube size."
            )
        if masks is not None:
            errors += maskErrors(masks, sizes, tomograms.getSamplingRate())
        number = self.numberSubtomos.get()
        if self.inputCoordinates.get() is None and number is not None and number < 1:
            errors.append("*Subtomograms per tomogram* must be at least 1, or empty.")
        return errors

    def _warnings(self) -> list[str]:
        warnings = super()._warnings()
        ids = list(self._tomogramsById())
        usable = self._usable(ids)
        done = self._doneIds()
        later = [tsId for tsId in usable if tsId not in done and not os.path.exists(self._table(tsId))]
        if self._isShared() and done and later and self.runMode != MODE_RESTART:
            warnings.append(
                f"{named(later)} came after the subtomograms had been shared out: the others keep as many as they "
                "got. *Restart* shares anew."
            )
        left = [tsId for tsId in ids if tsId not in usable]
        if left and not any(isOpen(getattr(self, name)) for name in self.MATCHED):
            warnings.append(f"Left out, because they have no mask or coordinates: {named(left)}.")
        orphans = [] if self.inputCoordinates.get() is None else self._orphans()
        if orphans:
            warnings.append(
                f"The coordinates in {named(orphans)} are left out: the tomograms that the set of coordinates "
                "belongs to are without these, so their places can't be told."
            )
        without = sum(not _hasNumbers(coordinate) for coordinate in enabled(self.inputCoordinates.get()))
        if without:
            warnings.append(
                f"{without} of the coordinates are left out: they have no numbers, as where these were NaN."
            )
        return warnings + self._shiftWarnings()

    def _shiftWarnings(self) -> list[str]:
        """Which coordinates come from a tomogram that is no binned copy, and how they are placed."""
        coordinates, byId, shifted = self.inputCoordinates.get(), self._tomogramsById(), []
        for picked in () if coordinates is None else coordinates.getPrecedents():
            tsId = picked.getTsId()
            shift: tuple[float, ...] = (0.0,)
            with suppress(EngineError):  # what is gone is told elsewhere
                shift = cornerShift(picked, byId[tsId]) if tsId in byId else shift
            if max(map(abs, shift)) >= 0.5:
                shifted.append(f"{tsId} ({', '.join(f'{round(value, 1) + 0.0:+g}' for value in shift)})")
        if not shifted:
            return []
        older = " What is done already may be placed by the corners, if an earlier version did it: *Restart* then."
        return [
            "The coordinates were picked in tomograms of another size. They are placed by the origins of both, which "
            "are their centres unless an import was told otherwise. Corner of the former in voxels of these (x, y, "
            f"z): {named(shifted)}." + (older if self._doneIds() else "")
        ]

    def _results(self, output: SetOfSubTomograms, tables: Mapping[str, Star]) -> list[str]:
        counts = Counter(subtomogram.getVolName() for subtomogram in output.iterItems())
        cube, masks = self._used("cubeSize"), cells(tables, "rlnMaskName").values()
        return [
            f"{counted(output.getSize(), 'subtomograms')} of {self._usedCropSize()} voxels from "
            f"{self._ofInput(len(counts))}, for cubes of {cube} voxels.",
            f"Masks: {sum(mask is not None for mask in masks)} of {len(masks)}. Centres: "
            f"{'given coordinates' if self._used('inputCoordinates') else 'random'}.",
            (
                f"Of each tomogram: {spread_in_words(counts, '{:g}')}."
                if len(counts) > MOST
                else ", ".join(f"{tsId}: {count}" for tsId, count in counts.items())
            ),
        ]

    def _methods(self) -> list[str]:
        if not self._hasResults():
            return []
        random = "at random positions of the sample" if self._used("inputMasks") else "at random positions"
        where = "at given coordinates" if self._used("inputCoordinates") else random
        number = getattr(self, self.OUTPUT).getSize()
        what = f"{counted(number, 'subtomograms')} of {self._usedCropSize()} voxels {'was' if number == 1 else 'were'}"
        return [f"{what} extracted {where} for IsoNet [Liu2022]."]


def _hasNumbers(coordinate: Coordinate3D) -> bool:
    """Whether a coordinate says where it is; Scipion keeps NaN as None."""
    return None not in [coordinate.getAttributeValue(f"_{axis}") for axis in "xyz"]
