"""The report of a corrected tomogram as a file: JSON that protocols, viewers, pages and benchmarks read here."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple

from isonet_scipion.engine.conventions import REPORT_SUFFIX
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import replacing, require_file
from isonet_scipion.engine.io.json_types import as_tuples, kinds_of, require_kinds
from isonet_scipion.engine.measure.verdict import Verdict

if TYPE_CHECKING:
    import os

MOST_BYTES = 1 << 20  # of a file; a report has some 20 KB
Number = Optional[float]
Numbers = Tuple[Number, ...]


@dataclass(frozen=True)
class TomogramReport:
    """What is told of one corrected tomogram; None where it is not known. Names and units as in the file.

    `confidence` is the mean of the confidence volume, over the sample; None where there is none.
    """

    name: str
    tomogram: str
    corrected: str
    model: str
    iteration: Optional[int]
    of_halves: str  # "mean": the halves' mean was corrected; "each": each half, and what came out averaged; "" neither
    phase_flipped: bool
    ctf: str
    voxel_size_A: float
    tilt_min: float
    tilt_max: float
    restored_wedge_correlation: Number
    restored_wedge_chance: Number
    restored_wedge_allows_for_noise: bool
    restored_wedge_resolution_A: Number
    restored_wedge_above_chance_A: Number
    restored_wedge_known: bool  # False where too few voxels were tested to tell that nothing is above chance
    verdict: str
    confidence: Number
    agreement_with_measured: Number
    wedge_power_before: Number
    wedge_power_after: Number
    resolution_A: Dict[str, Dict[str, Number]]
    boxes: int
    box_side: Optional[int]
    shell_resolution_A: Tuple[float, ...]
    curves: Dict[str, Dict[str, Numbers]]

    @property
    def restored_wedge(self) -> tuple[float, float] | None:
        """Restored wedge correlation and its chance level."""
        if self.restored_wedge_correlation is None or self.restored_wedge_chance is None:
            return None
        return self.restored_wedge_correlation, self.restored_wedge_chance

    @property
    def verdict_of_numbers(self) -> Verdict:
        """What can be believed; older reports lack its words, or have them by another rule."""
        mean = None if self.restored_wedge is None else self.restored_wedge_correlation
        half, above = self.restored_wedge_resolution_A, self.restored_wedge_above_chance_A
        return Verdict(mean, half, above, self.restored_wedge_known, 2 * self.voxel_size_A)


def report_path(corrected: str | os.PathLike[str]) -> Path:
    """File of the report on a corrected tomogram."""
    path = Path(corrected)
    return path.with_name(path.stem + REPORT_SUFFIX)


def write_report(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write a report; `content` has the fields of `TomogramReport`.

    Raises
    ------
    EngineError
        If it can't be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")


def read_report(path: str | os.PathLike[str]) -> TomogramReport:
    """Read a report, and check each of its values.

    Raises
    ------
    EngineError
        If it is missing, damaged, or holds a value of a wrong kind.
    """
    file = require_file(path, "report")
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has {file.stat().st_size} bytes")
        content = json.loads(file.read_text(encoding="utf-8"))
        # older reports lack them
        content = {
            "restored_wedge_above_chance_A": content["restored_wedge_resolution_A"],
            "restored_wedge_known": True,
            "verdict": "",
            "of_halves": "",
            "ctf": "",
            "confidence": None,
            **content,
        }
        values = {field.name: as_tuples(content[field.name]) for field in fields(TomogramReport)}
        require_kinds(values, kinds_of(TomogramReport))
        return TomogramReport(**values)
    except (ValueError, LookupError, TypeError, RecursionError, OSError) as error:
        why = f"its {error} is missing" if isinstance(error, KeyError) else error
        raise EngineError(
            str(path), f"it is not a whole report ({why})", "Delete it or make the report again."
        ) from error
