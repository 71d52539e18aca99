"""One tomogram of a table: what its row says of its files, tilts, CTF and grey values, and whether these fit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from isonet_scipion.engine.conventions import CORRECTED, CTF_STATES, RAW, TILT_OPTIONS, TILT_RANGE
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.marks import is_marked, is_same_mark, mark_in, mark_of
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.number_formats import SCALE
from isonet_scipion.engine.io.origin import Origin, first_maker, numbers_digest, origin_in, voxels_digest
from isonet_scipion.engine.io.volume import Volume, warn_of_oddities
from isonet_scipion.engine.io.voxel_size import check_unit, require_same_grid, require_voxel_size, written_voxel_size
from isonet_scipion.engine.physics.ctf import CtfParameters, require_plausible_defocus
from isonet_scipion.engine.physics.wedge import TiltRange, declared_range

if TYPE_CHECKING:
    from isonet_scipion.engine.io.star import Star
    from isonet_scipion.engine.physics.transfer import Transfer

MASK = "rlnMaskName"
INVERTED = "isonetInverted"  # 1: protein is bright
SHOWN_NAME = "isonetShownName"  # column: what reports call a tomogram, or a half, where its outputs have another name
CTF_STATE = "isonetCtfState"  # column: what was done to the CTF of rlnMicrographName and its halves, of CTF_STATES
CORRECTED_BY = "isonetCorrectedBy"  # column: which model, by its digest, made rlnCorrectedTomoName
CORRECTED_FROM = "isonetCorrectedFrom"  # column: of what and how it was made, as a digest
DEFOCUS = ("rlnDefocus", "rlnDefocusU", "rlnDefocusV")  # columns
# columns, and what they are of `CtfParameters`
OPTICS = {"rlnVoltage": "voltage", "rlnSphericalAberration": "cs", "rlnAmplitudeContrast": "amplitude_contrast"}
TILTS = ("rlnTiltMin", "rlnTiltMax")  # columns, in degrees
HALF_LABELS = ("rlnTomoReconstructedTomogramHalf1", "rlnTomoReconstructedTomogramHalf2")  # even, odd


@dataclass(frozen=True)
class TomogramEntry:
    """One row of the table."""

    name: str  # base name of its outputs, distinct within the table
    row: dict[str, str]
    star: Star
    use_deconvolved: bool = False  # work is done on the deconvolved tomogram where `row` names one

    @property
    def shown_name(self) -> str:
        """What reports call it."""
        return self.text(SHOWN_NAME) or self.name

    @property
    def path(self) -> str:
        """File of the tomogram."""
        return self.row["rlnMicrographName"]

    @property
    def voxel_size(self) -> float:
        """In A."""
        size = self.star.number(self.row, "rlnPixelSize")
        require_voxel_size(size, self.star.path, f"_rlnPixelSize is {size} for {self.path}")
        return size

    @property
    def tilt(self) -> TiltRange:
        """Of the tilt series; the usual one where the table does not tell."""
        return self.tilt_range()

    def tilt_range(self, minimum: float | None = None, maximum: float | None = None) -> TiltRange:
        """As `tilt`; degrees that are given here override the table's."""
        return row_tilts(self.star, self.row, self.path, minimum, maximum)

    @property
    def defocus(self) -> float:
        """In A, underfocus positive: rlnDefocus, else the mean of rlnDefocusU and rlnDefocusV.

        Raises
        ------
        EngineError
            If the table has neither, or what it has is not a defocus in A; says what it would be.
        """
        whole, both = self.number("rlnDefocus", 0.0), [self.text(f"rlnDefocus{axis}") for axis in "UV"]
        if whole == 0 and any(both) and not all(both):
            here, lacking = "UV" if both[0] else "VU"
            why = f"it is not set for {self.path}, but rlnDefocus{here} is"
            remedy = "Give both, or their mean as rlnDefocus."
            raise EngineError(f"{self.star.path}, rlnDefocus{lacking}", why, remedy)
        if whole == 0 and all(both):
            mean = (self.number("rlnDefocusU", 0.0) + self.number("rlnDefocusV", 0.0)) / 2
            what = f"{self.star.path}, rlnDefocusU and rlnDefocusV"
            return require_plausible_defocus(mean, what, self.path)
        return require_plausible_defocus(whole, f"{self.star.path}, rlnDefocus", self.path)

    def ctf_parameters(self, voltage: float | None = None, cs: float | None = None) -> CtfParameters:
        """Of the tilt series; `voltage` (kV) and `cs` (mm) override the table's. Errors as of `defocus`."""
        return replace(self.optics(voltage, cs), defocus=self.defocus)

    def optics(self, voltage: float | None = None, cs: float | None = None) -> CtfParameters:
        """As `ctf_parameters`, for what needs no defocus: that is 0."""
        given = {name: value for name, value in (("voltage", voltage), ("cs", cs)) if value is not None}
        CtfParameters(**given)  # an error of the options is not the table's
        told = {name: self.number(label, getattr(CtfParameters, name)) for label, name in OPTICS.items()}
        return possible_optics({**told, **given}, f" of {self.path}, by {self.star.path}")

    @property
    def inverted(self) -> bool:
        """Whether protein is bright in its files; dark where the table does not tell."""
        return self.number(INVERTED, 0.0) != 0

    def ctf_state(self, given: str | None = None) -> str | None:
        """What was done to the CTF of `path`: `given`, else what the table or its header says; None where nothing does.

        Raises
        ------
        EngineError
            If the table says something else than `CTF_STATES`.
        """
        state = given or self.text(CTF_STATE)
        if state is None and (self.text("rlnDeconvTomoName") == self.path or first_maker(self.path) == "deconv"):
            return CORRECTED
        if state is not None and state not in CTF_STATES:
            raise EngineError(
                f"{self.star.path}, {CTF_STATE}", f"it is {state!r} for {self.path}", f"Give {', '.join(CTF_STATES)}."
            )
        return state

    def number(self, label: str, default: float) -> float:
        """A cell as a number, or the default where it is not set."""
        return self.star.number(self.row, label, default)

    def text(self, label: str) -> str | None:
        """A cell's text, None where it is not set."""
        return self.star.text(self.row, label)

    @property
    def corrected_scale(self) -> float:
        """What the voxels of rlnCorrectedTomoName are multiplied by to get grey values."""
        return self.number(SCALE, 1.0)

    def halves(self) -> tuple[str, ...]:
        """Files of its even and odd half; empty where the table does not name them.

        Raises
        ------
        EngineError
            If it names one alone.
        """
        names = [name for name in map(self.text, HALF_LABELS) if name]
        if len(names) == 1:
            label = next(label for label in HALF_LABELS if not self.text(label))
            raise EngineError(
                f"{self.star.path}, {label}", f"{self.path} has one half only", "Name its other half too, or none."
            )
        return tuple(names)

    @property
    def halves_fit(self) -> bool:
        """Whether its halves are those of `source_path`: not where only the whole is deconvolved."""
        return self.source_path == self.path

    def fitting_halves(self) -> tuple[str, ...]:
        """Files of the halves of `source_path`; empty where the table does not name both.

        Raises
        ------
        EngineError
            If they do not fit.
        """
        if self.halves() and not self.halves_fit:
            raise EngineError(
                self.source_path,
                f"it is deconvolved, but the halves that {self.star.path} names are not",
                "Deconvolve the halves too (docs/tutorial_command_line.md), give --use_deconv_tomo False to use them "
                "(refine also: --ctf_aware), or take them out of the table.",
            )
        require_alike_halves(self.path, self.halves(), self.ctf_state())
        return self.halves()

    def open_halves(self, volume: Volume) -> list[Volume]:
        """Its even and odd half where the table names both; an EngineError where they do not fit to `volume`."""
        halves = [open_volume(path) for path in self.halves()]
        for half in halves:
            require_same_grid(half, volume, self.voxel_size)
        require_alike_halves(self.path, self.halves(), self.ctf_state())
        return halves

    def whole_of(self, half: Volume) -> Volume | None:
        """The tomogram that a half of it is compared with; None where its file is gone.

        Raises
        ------
        EngineError
            If the half has another shape or voxel size.
        """
        if not os.path.exists(self.path):
            return None
        whole = open_volume(self.path)
        require_same_grid(half, whole, self.voxel_size)
        return whole

    @property
    def source_path(self) -> str:
        """File that work is done on."""
        return (self.text("rlnDeconvTomoName") if self.use_deconvolved else None) or self.path

    @property
    def deconvolved(self) -> bool:
        """Whether `source_path` is a deconvolved tomogram, of this table's or one that came so."""
        if self.source_path == self.path:
            return self.ctf_state() == CORRECTED
        return self.source_path == self.text("rlnDeconvTomoName")

    def source(self) -> Volume:
        """The volume to work on, opened anew: hundreds can't be open at once."""
        return open_volume(self.source_path)

    def checked_source(self) -> Volume:
        """As `source`, for each tomogram before the work on the first starts: what is odd with its header is told.

        Raises
        ------
        EngineError
            If it can't be read, table and header have different units, or it is deconvolved and was made of another
            tomogram or with another CTF than the table names.
        """
        volume = self.source()
        warn_of_oddities(volume)
        check_unit(self.voxel_size, volume, self.star.path)
        if self.deconvolved:
            self._require_current()
        return volume

    def origin(self, volume: Volume, ctf_state: str | None = None) -> Origin:
        """What deconv makes of it depends on, for the header of the result: its tomogram, a volume, and CTF."""
        return Origin(voxels_digest(volume), self._ctf_digest(ctf_state))

    def correction(
        self, volume: Volume, model: str, halves: Sequence[Volume] = (), transfer: Transfer | None = None
    ) -> Origin:
        """What predict's result depends on, for its header: `volume`, halves that it is made of, a model's digest.

        And of a CTF-aware model the transfer.
        """
        return Origin(voxels_digest(volume, *halves), self.correction_digest(model, transfer))

    def correction_digest(self, model: str, transfer: Transfer | None = None) -> str:
        """How predict makes its result, by a model of this digest."""
        known = [int(model[:12], 16), self.voxel_size, self.tilt.minimum, self.tilt.maximum]
        if transfer is None:
            return numbers_digest(known)
        ctf = transfer.ctf_parameters
        return numbers_digest(
            [*known, ctf.voltage, ctf.cs, ctf.amplitude_contrast, ctf.defocus, transfer.comes_flipped]
        )

    def is_made_by(self, how: str, model: str, transfer: Transfer | None = None) -> bool:
        """Whether `how` a result was made, by its header, is how a model of this digest makes it, or is not told."""
        # earlier versions told the voxels alone, or nothing of the CTF
        return how in ("", self.correction_digest(model), self.correction_digest(model, transfer))

    def is_made_of(self, voxels: str, volume: Volume) -> bool | None:
        """Whether the digest `voxels` of what a result was made of is that of `volume`, or of it and its halves.

        None where that can't be told, as halves were deleted. Of results of halves, earlier versions told the whole's.
        """
        if voxels == voxels_digest(volume):
            return True
        halves = self.halves() if volume.path == self.path else ()
        if not all(map(os.path.exists, halves)):
            return None
        return bool(halves) and voxels == voxels_digest(volume, *map(open_volume, halves))

    def _ctf_digest(self, given: str | None = None) -> str:
        optics, state = self.optics(), self.ctf_state(given) or RAW
        # nothing of tomograms that are raw, or taken so: as it was when the state did not count
        states = [] if state == RAW else [CTF_STATES.index(state)]
        return numbers_digest(
            [self.voxel_size, optics.voltage, optics.cs, optics.amplitude_contrast, *self._told_defocus(), *states]
        )

    def _told_defocus(self) -> list[float]:
        return [self.number(label, 0.0) for label in DEFOCUS]

    def _require_current(self) -> None:
        told = origin_in(self.source_path, "deconv")
        if told is None or self.source_path == self.path:
            return
        if os.path.exists(self.path) and voxels_digest(open_volume(self.path)) != told.voxels:
            raise EngineError(
                self.source_path,
                f"it was made of other voxels than {self.path} has now",
                "Run deconv again, or give --use_deconv_tomo False.",
            )
        if any(self._told_defocus()) and self._ctf_digest() != told.how:
            raise EngineError(
                self.source_path,
                f"it was made with another defocus, voltage, spherical aberration, amplitude contrast, voxel size or "
                f"{CTF_STATE} than {self.star.path} has now for {self.path}",
                "Run deconv again, or give --use_deconv_tomo False.",
            )

    def other_voxels(self, *files: str) -> str:
        """What is wrong with a result that `is_made_of` none of some files, in words."""
        made = f"it was made of other voxels than {' and '.join(files)}"
        if self.path in files and self.halves():
            return f"{made} or its halves have now"
        return f"{made} has now, or of halves that {self.star.path} does not name"

    def require_current_corrected(self, path: str) -> None:
        """Check the corrected tomogram that the table names, a file.

        Raises
        ------
        EngineError
            If it can't be read, or predict made it for this table of other voxels than the tomogram's file, or those of
            its halves, have now.
        """
        open_volume(path)
        told = origin_in(path, "predict")
        if told is None or not is_marked(path, mark_of("predict", self.star.path, self.path, os.path.dirname(path))):
            return
        sources = [file for file in (self.text("rlnDeconvTomoName"), self.path) if file]
        if not all(map(os.path.exists, sources)):  # it may be made of what was deleted
            return
        found = [self.is_made_of(told.voxels, open_volume(file)) for file in sources]
        if not any(found) and None not in found:
            raise EngineError(path, self.other_voxels(*sources), "Run predict anew.")

    def mask_is_outdated(self, voxels: str | None) -> bool:
        """Whether make_mask made its mask of other voxels than the tomogram's file has now, or for another row.

        `voxels`: the `voxels_digest` of that file; None where it is gone.
        """
        mask = self.text(MASK)
        told = origin_in(mask, "make_mask") if mask else None
        if mask is None or told is None:
            return False
        folder = os.path.dirname(mask)
        if not is_marked(mask, mark_of("make_mask", self.star.path, self.path, folder)):
            # that of another table may be of another version of the tomogram, such as the deconvolved one
            others = (row["rlnMicrographName"] for row in self.star.rows)
            found = mark_in(mask)
            return any(is_same_mark(found, mark_of("make_mask", self.star.path, path, folder)) for path in others)
        return voxels is not None and told.voxels != voxels

    def output_voxel_size(self, volume: Volume) -> float:
        """What the header of an output gets: the table's, in the digits of the input's header if that is the same."""
        return written_voxel_size(self.voxel_size, volume)


def require_alike_halves(whole: str, halves: Sequence[str], ctf_state: str | None = None) -> None:
    """Raise an EngineError where only some of a tomogram and its halves are deconvolved, as their headers tell.

    Parameters
    ----------
    whole : str
        The tomogram's file; where it is gone, the halves are compared with each other.
    halves : sequence of str
        The files of the two, or none.
    ctf_state : str, optional
        What else tells what was done to the tomogram's CTF: other programs write no mark.
    """
    marked = {path: first_maker(path) == "deconv" for path in (whole, *halves) if os.path.exists(path)}
    made = {path: is_marked or (path == whole and ctf_state == CORRECTED) for path, is_marked in marked.items()}
    if halves and any(marked.values()) and not all(made.values()):
        done, other = (next(path for path, is_made in made.items() if is_made is wanted) for wanted in (True, False))
        raise EngineError(
            other,
            f"it is not deconvolved, but {done}, of the same tomogram, is",
            "Deconvolve the tomogram and both halves in the same way (docs/tutorial_command_line.md), or none.",
        )


def have_unlike_ctfs(files: Sequence[str]) -> bool:
    """Whether deconv took different CTFs or voxel sizes for some files, as the headers of those that it made tell."""
    told = [origin.how for path in files if (origin := origin_in(path, "deconv"))]
    return len(set(told)) > 1


def possible_optics(values: dict[str, float], whose: str) -> CtfParameters:
    """What has these values; an EngineError where that is impossible, of `whose`: the words after a value's name."""
    try:
        return CtfParameters(**values)
    except EngineError as error:
        raise EngineError(f"{error.what}{whose}", error.why, error.remedy) from error


def row_tilts(
    star: Star, row: dict[str, str], path: str, minimum: float | None = None, maximum: float | None = None
) -> TiltRange:
    """The tilt range that a row of a table says of a volume; degrees that are given here override it."""
    given = None not in (minimum, maximum)
    told = [star.text(row, label) is not None for label in TILTS]
    if not given and any(told) and not all(told):
        here, lacking = TILTS if told[0] else TILTS[::-1]
        if (maximum if told[0] else minimum) is None:
            raise EngineError(star.path, f"it has {here} of {path}, but not {lacking}", "Give both, or neither.")
    what = TILT_OPTIONS if given else f"{star.path}, rlnTiltMin and rlnTiltMax of {path}"
    if (minimum is None) != (maximum is None):
        other = 0 if minimum is None else 1
        cell = f"{TILTS[other]} of {path} in {star.path}"
        what = f"{('tilt_max', 'tilt_min')[other]}, with "
        what += cell if told[other] else f"the usual {TILT_RANGE[other]:g} degrees, as there is no {cell}"
    return declared_range(
        star.number(row, "rlnTiltMin", TILT_RANGE[0]) if minimum is None else minimum,
        star.number(row, "rlnTiltMax", TILT_RANGE[1]) if maximum is None else maximum,
        what,
    )
