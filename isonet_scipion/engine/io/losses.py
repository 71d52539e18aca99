"""The table of a training's epochs (losses.csv)."""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import replacing, require_file
from isonet_scipion.engine.io.json_types import kinds_of, require_kinds
from isonet_scipion.engine.measure.history import EpochRecord

LOSS_TABLE = "losses.csv"  # in the folder of a training


def require_own_losses(path: str | os.PathLike[str]) -> None:
    """Raise an EngineError if a file is there that is no table of `write_losses`, which would be replaced."""
    if not os.path.lexists(path):
        return
    with open(require_file(path, "table of losses"), encoding="utf-8", errors="replace") as file:
        if not file.readline(1000).startswith("iteration,epoch,loss"):
            raise EngineError(str(path), "it is there already, and no table of a training", "Give another result_dir.")


def write_losses(path: str | os.PathLike[str], history: Sequence[EpochRecord]) -> None:
    """Write a table (.csv) with one row per epoch."""
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in dataclasses.fields(EpochRecord))
        writer.writerows(dataclasses.astuple(record) for record in history)


def read_losses(path: str | os.PathLike[str]) -> list[EpochRecord]:
    """Read the epochs from a table of `write_losses`; no epochs where there is no such file.

    Raises
    ------
    EngineError
        If it is no such table.
    """
    if not os.path.exists(path):
        return []
    known = {field.name for field in dataclasses.fields(EpochRecord)}  # other versions have other measures
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        records = [EpochRecord(**{name: _number(name, row[name]) for name in row.keys() & known}) for row in rows]
        for record in records:
            require_kinds(dataclasses.asdict(record), kinds_of(EpochRecord))
        return records
    except (ValueError, TypeError, csv.Error) as error:
        raise EngineError(
            str(path), f"it is no table of a training's epochs ({error})", "Move it away, or give another result_dir."
        ) from error


def _number(name: str, text: str | None) -> Any:
    if text is None:
        raise ValueError("a row is cut off")
    if name in ("iteration", "epoch", "with_denoiser"):
        return int(text)
    return float(text) if text else None
