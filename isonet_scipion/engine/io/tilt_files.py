"""Tilt angles, and defocus where it is there, from the files that other programs keep for each tilt series.

IMOD (.tlt, .rawtlt), AreTomo (.aln, _TLT.txt), SerialEM and Tomo5 (.mdoc), Warp (.xml, .tomostar), RELION 5 (.star).
Angles have IMOD's sign. Warp's are the negative of that.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import require_file, require_folder
from isonet_scipion.engine.io.star import find_table
from isonet_scipion.engine.physics.wedge import TiltRange, declared_range

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Doubles, Flags

log = logging.getLogger(__name__)
MICROMETRE = 1e4  # A
MOST_TILT = 90.0  # degrees
WARP_OPTICS = {"Voltage": "rlnVoltage", "Cs": "rlnSphericalAberration", "Amplitude": "rlnAmplitudeContrast"}
TILT_COMMANDS = ("tilt.com", "tilta.com", "tiltb.com")  # IMOD's: of a tilt series of one axis, or of one of two
DEFOCI = "_CTF.txt"  # how AreTomo's files of defoci end, whose first column counts the images
GAP = 10.0, 3.0  # degrees, and steps of the series, that the tilts on both sides of a gap are further apart than
LEAST_SHIFT = 9.0  # degrees; less is no phase plate's
# what programs add to the name of a tilt series: voxel size, binning, kind of volume, kind of file
ADDED = re.compile(
    r"^rec_|(_\d+(\.\d+)?Apx|_bin\d+|\.(mrc|mrcs|rec|st|ali|tomostar|eer|tif|tiff)|_(TLT|Vol|rec|full|st|fid|ali))$",
    re.IGNORECASE,
)
# how AreTomo3 marks other binnings and the spectra of a tilt series, which tilt series of a user may be called too
FURTHER = re.compile(r"_(2ND|3RD|CTF)$", re.IGNORECASE)
HALF = "(EVN|even|odd|half[12])"
BESIDE_HALVES = re.compile(  # holes, parts and words may end so too
    "[_.-](h[12]|half[_-][12])$|(?<=[^_.-])(evn|even|odd)$", re.IGNORECASE
)
HALVES = re.compile(rf"[_.-]{HALF}(?=[_.-]|$)|^{HALF}[_.-]", re.IGNORECASE)


@dataclass(frozen=True)
class TiltSeries:
    """What a file says of a tilt series."""

    angles: Doubles  # degrees, of the images that were used
    defocus: float | None = None  # A, underfocus positive, of the image nearest to zero tilt
    optics: tuple[tuple[str, float], ...] = ()  # labels of RELION's columns and their values

    @property
    def tilt(self) -> TiltRange:
        """From the smallest to the largest angle."""
        return TiltRange(float(self.angles.min()), float(self.angles.max()))

    @property
    def gap(self) -> tuple[float, float] | None:
        """The tilts on both sides of the widest gap, in degrees; None where the series has none.

        Examples
        --------
        >>> TiltSeries(np.array([-60.0, -40, -20, 0, 40, 60])).gap, TiltSeries(np.arange(-60.0, 61, 10)).gap
        (None, None)
        >>> TiltSeries(np.concatenate([np.arange(-60.0, 1, 3), np.arange(24.0, 61, 3)])).gap
        (0.0, 24.0)
        """
        angles = np.sort(self.angles)
        steps = np.diff(angles)
        widest = int(steps.argmax())
        degrees, times = GAP
        if steps[widest] <= max(degrees, times * float(np.median(steps))):
            return None
        return float(angles[widest]), float(angles[widest + 1])


def series_name(path: str | os.PathLike[str]) -> str:
    """Name of the tilt series that a file or a cell is of: without folder, suffix, and what programs add."""
    return _without_additions(Path(path).name)


@functools.lru_cache(maxsize=1 << 14)  # of hundreds of files, each is compared with each
def _without_additions(name: str) -> str:
    while (shorter := ADDED.sub("", name)) not in ("", name):
        name = shorter
    return name


def half_name(path: str | os.PathLike[str]) -> str:
    """As `series_name`, also without what tells an even from an odd half."""
    return series_name(HALVES.sub("", series_name(path)))


def common_name(path: str | os.PathLike[str]) -> str:
    """As `series_name`, also without what AreTomo3 adds to what else it makes of a tilt series."""
    return series_name(FURTHER.sub("", series_name(path)))


def grouped(paths: Iterable[Path], name: Callable[[Path], str]) -> dict[str, list[Path]]:
    """Files by what a function, such as those above, calls them."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(name(path), []).append(path)
    return groups


def read_tilt_file(path: str | os.PathLike[str]) -> TiltSeries:
    """Read the tilt angles of a series.

    Parameters
    ----------
    path : path
        Of a kind in READERS, by its suffix.

    Returns
    -------
    TiltSeries

    Raises
    ------
    EngineError
        If it can't be read, or holds fewer than two angles, or angles that are impossible or in radians.
    """
    file = require_file(path, "tilt file")
    try:
        series = READERS[file.suffix.lower()](file)
    except EngineError:
        raise
    except Exception as error:  # parsers of text, tables and XML raise their own kinds
        raise EngineError(str(path), f"its tilt angles can't be read ({error})", "Copy or write it again.") from error
    angles = series.angles
    if len(angles) < 2 or not (np.abs(angles) <= MOST_TILT).all() or angles.min() == angles.max():
        shown = f"{angles.min():g} to {angles.max():g} degrees" if len(angles) else "none"
        raise EngineError(
            str(path),
            f"its {len(angles)} tilt angles ({shown}) are not those of a tilt series",
            "Correct it, or give --tilt_min and --tilt_max.",
        )
    declared_range(float(angles.min()), float(angles.max()), str(path))
    if series.gap:
        log.warning(
            "%s: no tilts between %g and %g degrees, which count as measured and stay empty.", path, *series.gap
        )
    return series


def find_tilt_files(folder: str, names: Sequence[str]) -> list[Path]:
    """The tilt file of each of some tilt series, in a folder or in the folders there.

    Those that serve several tilt series are told.

    Parameters
    ----------
    folder : str
        Where to look; files are named like the tilt series, or begin so.
    names : sequence of str
        Of the tilt series, or of their tomograms.

    Raises
    ------
    EngineError
        If there is none of one, or several are as good.
    """
    require_folder(folder, "the tilt files")
    there = (*Path(folder).glob("*"), *Path(folder).glob("*/*"))
    known = [path for path in there if path.suffix.lower() in READERS and not path.name.endswith(DEFOCI)]
    by_series = grouped(known, lambda path: series_name(path.stem))
    files = [_best_file(folder, name, by_series) for name in names]
    served: dict[Path, list[str]] = {}
    for name, file in zip(names, files):
        served.setdefault(file, []).append(half_name(name))
    for file, series in served.items():
        if len(set(series)) > 1:
            log.warning(
                "%s: it is taken for %s, whose names begin alike. If they are different tilt series, put a tilt file "
                "for each there",
                file,
                " and ".join(dict.fromkeys(series)),
            )
    return files


def _best_file(folder: str, name: str, by_series: Mapping[str, Sequence[Path]]) -> Path:
    """That which fits a name best, of files in a folder by their tilt series."""
    wanted = series_name(name)
    by_fit: dict[tuple[int, bool, int, int], list[Path]] = {}
    for own, files in by_series.items():
        if _begins(wanted, own) or _begins(own, wanted):
            for path in files:
                kind = list(READERS).index(path.suffix.lower())
                fit = (-min(len(own), len(wanted)), own != wanted, kind, len(path.stem))  # TS_1.tlt before TS_1_fid.tlt
                by_fit.setdefault(fit, []).append(path)
    best = by_fit[min(by_fit)] if by_fit else []
    if len(best) != 1:
        several = f"several could be that of {wanted}: {', '.join(sorted(map(str, best)))}"
        why = several if best else f"it has no tilt file ({', '.join(READERS)}) of {wanted}"
        raise EngineError(folder, why, "Name one for each tomogram, like the tomogram.")
    return best[0]


def _begins(name: str, beginning: str) -> bool:
    """Whether a name is `beginning`, or goes on with something that is neither letter nor digit: TS_1 is not TS_10."""
    return name.startswith(beginning) and not name[len(beginning) : len(beginning) + 1].isalnum()


def warn_of_phase_plate(path: str | os.PathLike[str], shift: float) -> None:
    """Log one line where a phase shift, in degrees, is one of a phase plate, which no CTF here allows for."""
    if abs(shift) > LEAST_SHIFT:
        log.warning("%s: its phase plate (phase shift %g degrees) is not modelled", path, shift)


def _column(path: Path) -> TiltSeries:
    """The first column; of CTFFIND's files, AreTomo's _CTF.txt and lists of an order it counts the images."""
    angles = np.loadtxt(path, ndmin=2, usecols=0).ravel()
    if len(angles) > 1 and angles[0] in (0, 1) and (np.diff(angles) == 1).all():
        raise EngineError(
            str(path),
            f"its first column seems to count the images ({angles[0]:g} to {angles[-1]:g}) and to hold no tilt angles",
            "Give a file of tilt angles, such as IMOD's .tlt, or --tilt_min and --tilt_max.",
        )
    return TiltSeries(angles)


def _tlt(path: Path) -> TiltSeries:
    """IMOD's angles of all images, less those that its command file beside it excludes, plus the OFFSET there."""
    angles = _column(path).angles
    commands = (path.with_name(name) for name in TILT_COMMANDS)
    of_files = [list(map(str.split, one.read_text(errors="replace").splitlines())) for one in commands if one.is_file()]
    lines = next((one for one in of_files if any(_names_tilts(words, path) for words in one)), [])
    excluded = " ".join(" ".join(words[1:]) for words in lines if words and words[0].startswith("EXCLUDELIST"))
    kept = np.ones(len(angles), bool)
    for first, last in re.findall(r"(\d+)(?:\s*-\s*(\d+))?", excluded):  # counted from 1
        kept[int(first) - 1 : int(last or first)] = False
    added = sum(float(words[1]) for words in lines if words[:1] == ["OFFSET"] and len(words) > 1)
    return TiltSeries(angles[kept] + added)


def _names_tilts(words: list[str], path: Path) -> bool:
    """Whether a line of IMOD's command file names a file of angles."""
    return words[:1] == ["TILTFILE"] and Path(words[-1]).name == path.name


def _aln(path: Path) -> TiltSeries:
    """AreTomo's: ten columns, the last of them the angle, up to the local alignment; dark images are comments."""
    lines = path.read_text().split("# Local Alignment")[0].splitlines()
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return TiltSeries(np.array([float(row[9]) for row in rows]))


def _mdoc(path: Path) -> TiltSeries:
    """SerialEM's: a section [ZValue = n] for each image, with its TiltAngle."""
    text = path.read_text(errors="replace")
    angles = re.findall(r"^\s*TiltAngle\s*=\s*(\S+)", text.partition("[ZValue")[2], re.MULTILINE)
    return TiltSeries(np.array(angles, float))


def _xml(path: Path) -> TiltSeries:
    """Warp's: lines of numbers in elements, and the defocus of each image, in micrometres, in the grid GridCTF."""
    root = ElementTree.parse(path).getroot()
    level = float(root.get("LevelAngleY", 0))  # the sample's own tilt about the axis, which Warp adds to each angle
    angles = -(np.array((root.findtext("Angles") or "").split(), float) + level)
    used = [word.lower() != "false" for word in (root.findtext("UseTilt") or "").split()]
    kept = np.array(used) if len(used) == len(angles) else np.ones(len(angles), bool)
    nodes = root.findall("GridCTF/Node")
    by_image: dict[int, list[float]] = {}
    for node in nodes:
        by_image.setdefault(int(node.get("Z", 0)), []).append(float(node.get("Value", "nan")))
    defocus = None
    if len(by_image) == len(angles):
        defocus = float(np.mean(by_image[sorted(by_image)[_lowest(angles, kept)]])) * MICROMETRE
    wanted = (*WARP_OPTICS, "Defocus", "PhaseShift")
    params = {param.get("Name", ""): param.get("Value", "nan") for param in root.findall("CTF/Param")}
    values = {name: float(value) for name, value in params.items() if name in wanted}
    if len(by_image) != len(angles) and "Defocus" in values:
        defocus = values["Defocus"] * MICROMETRE
    warn_of_phase_plate(path, 180 * values.get("PhaseShift", 0.0))
    optics = tuple((label, values[name]) for name, label in WARP_OPTICS.items() if name in values)
    return TiltSeries(angles[kept], defocus, optics)


def _star(path: Path) -> TiltSeries:
    """RELION 5's table of a tilt series: refined angles where there are any; defoci in A. Or Warp's .tomostar."""
    signs = {"rlnTomoYTilt": 1.0, "rlnTomoNominalStageTiltAngle": 1.0, "wrpAngleTilt": -1.0}
    table = find_table(path, *([name] for name in signs))
    if table is None:
        raise EngineError(str(path), "it has no column _rlnTomoYTilt or _rlnTomoNominalStageTiltAngle", "Check it.")
    label = next(name for name in signs if name in table.labels)
    angles = signs[label] * np.array([table.number(row, label) for row in table.rows])
    shift = max((abs(table.number(row, "rlnPhaseShift", 0)) for row in table.rows), default=0)
    warn_of_phase_plate(path, shift)
    if not len(angles) or not {"rlnDefocusU", "rlnDefocusV"} <= set(table.labels):
        return TiltSeries(angles)
    row = table.rows[_lowest(angles, np.ones(len(angles), bool))]
    return TiltSeries(angles, (table.number(row, "rlnDefocusU") + table.number(row, "rlnDefocusV")) / 2)


def _lowest(angles: Doubles, kept: Flags) -> int:
    """Index of the image nearest to zero tilt among those that are kept."""
    return int(np.argmin(np.where(kept, np.abs(angles), np.inf)))


# by suffix, what was refined before what was only recorded
READERS: dict[str, Callable[[Path], TiltSeries]] = {
    ".tlt": _tlt,
    ".aln": _aln,
    ".xml": _xml,
    ".star": _star,
    ".tomostar": _star,
    ".rawtlt": _column,
    ".mdoc": _mdoc,
    ".txt": _column,
}
