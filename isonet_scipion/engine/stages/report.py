"""report: how far the corrected tomograms of a table can be believed."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isonet_scipion.engine.command import Command
from isonet_scipion.engine.conventions import CORRECTED, Normalisation
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.confidence_file import confidence_path, read_calibration, write_confidence
from isonet_scipion.engine.io.ctf_aware import (
    ctf_in_words,
    known_state,
    known_transfer,
    takes_deconvolved,
    tell_of_deconvolved,
    tell_states,
    warn_of_idle_state,
)
from isonet_scipion.engine.io.files import content_digest
from isonet_scipion.engine.io.marks import made_by
from isonet_scipion.engine.io.mrc import open_volume
from isonet_scipion.engine.io.number_formats import grey_values
from isonet_scipion.engine.io.origin import origin_in
from isonet_scipion.engine.io.report_file import report_path, write_report
from isonet_scipion.engine.io.shown import Seen, border_of, open_mask, require_halves, see
from isonet_scipion.engine.io.tomogram_entry import CORRECTED_BY, TomogramEntry
from isonet_scipion.engine.io.tomogram_table import TomogramTable
from isonet_scipion.engine.measure.confidence import Confidence, confidence
from isonet_scipion.engine.measure.hidden_wedge import UNSEEN_TURN
from isonet_scipion.engine.measure.quality import Evidence, Quality, measure_quality
from isonet_scipion.engine.measure.verdict import is_far_above
from isonet_scipion.engine.network.correction import corrector
from isonet_scipion.engine.network.model_file import load_model, model_path, read_metadata
from isonet_scipion.engine.process.device import choose_devices
from isonet_scipion.engine.reporting.comparison_figure import Comparison, compare
from isonet_scipion.engine.reporting.pages import require_own_page
from isonet_scipion.engine.reporting.tomogram_figure import save_report
from isonet_scipion.engine.reporting.tomograms_page import write_tomograms_page
from isonet_scipion.engine.settings.correction import ReportSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import keras

    from isonet_scipion.engine.arrays import Doubles, Reals
    from isonet_scipion.engine.io.model_metadata import ModelMetadata
    from isonet_scipion.engine.io.volume import Volume
    from isonet_scipion.engine.physics.borders import Border
    from isonet_scipion.engine.physics.transfer import Transfer
    from isonet_scipion.engine.sampling.mask_values import Mask
    from isonet_scipion.engine.settings.correction import PredictSettings

log = logging.getLogger(__name__)


def report(star_file: str, model_file: str, settings: ReportSettings) -> None:
    """Write the reports of corrected tomograms, and their page; errors as `EngineError`."""
    metadata = read_metadata(model_file)
    warn_of_idle_state(metadata, settings.ctf_state)
    tell_of_deconvolved(settings.use_deconv_tomo, metadata.ctf_aware)
    table = TomogramTable(star_file, takes_deconvolved(settings.use_deconv_tomo, metadata.ctf_aware))
    entries = table.select(settings.tomo_idx, needs_tilts=True)
    own = content_digest(model_path(model_file), "model")
    transfers = []
    for entry in entries:
        volume = entry.checked_source()
        if not entry.text("rlnCorrectedTomoName"):
            raise EngineError(star_file, f"{entry.path} has no rlnCorrectedTomoName", "Run predict first.")
        if entry.text(CORRECTED_BY) not in (None, own):
            raise EngineError(
                entry.row["rlnCorrectedTomoName"],
                f"another model than {model_file} made it",
                "Give the model that did, or predict anew.",
            )
        transfers.append(known_transfer(entry, metadata, settings.ctf_state))
        _require_made_of(entry, volume, own, transfers[-1])
        require_own_page(Path(entry.row["rlnCorrectedTomoName"]).parent)
    tell_states(entries, metadata, settings.ctf_state)
    normalisation = Normalisation.told(settings.normalize_percentile, metadata.normalize_percentile)
    choose_devices(settings.gpuID, settings.precision)
    marks = claim_confidence(table, {Path(entry.row["rlnCorrectedTomoName"]): entry for entry in entries}, settings)
    reporter = Reporter(model_file, load_model(model_file)[0], metadata, settings.ctf_state)
    for entry, transfer in zip(entries, transfers):
        volume = entry.source()
        corrected = open_volume(entry.row["rlnCorrectedTomoName"])
        mark = marks.get(confidence_path(corrected.path))
        border, halves = border_of(volume), entry.open_halves(volume)
        require_halves(halves, volume)
        is_mean = bool(halves) and entry.halves_fit and metadata.corrects_mean
        seen = see(volume, halves, is_mean, normalisation, transfer, border, entry.inverted)
        reporter.write(Corrected(entry, volume, corrected, seen, border, sample_of(entry, volume, border)), mark)
    for folder in dict.fromkeys(Path(entry.row["rlnCorrectedTomoName"]).parent for entry in entries):
        log.info("%s", write_tomograms_page(folder))


def _require_made_of(entry: TomogramEntry, tomogram: Volume, model: str, transfer: Transfer | None) -> None:
    """Raise an EngineError where a corrected tomogram tells that it was not made of these voxels by this model.

    `transfer`: what a CTF-aware model takes the tomogram to show.
    """
    corrected = entry.row["rlnCorrectedTomoName"]
    told = origin_in(corrected, "predict")
    if told is None:
        return
    if entry.is_made_of(told.voxels, tomogram) is False:
        raise EngineError(
            corrected,
            entry.other_voxels(tomogram.path),
            f"Predict anew, or give --use_deconv_tomo {not entry.use_deconvolved} if predict had that.",
        )
    if not entry.is_made_by(told.how, model, transfer):
        more = "tilt range or voxel size" if transfer is None else "tilt range, voxel size or CTF (also ctf_state)"
        raise EngineError(
            corrected,
            f"it was made by another model, or with another {more} than {entry.star.path} has now",
            "Give the model that made it, or predict anew.",
        )


def claim_confidence(
    table: TomogramTable, owners: Mapping[Path, TomogramEntry], settings: PredictSettings | ReportSettings
) -> dict[Path, bytes]:
    """The marks of the confidence volumes of corrected tomograms, where they are wanted, by their files.

    Raises
    ------
    EngineError
        If one would replace what is not its own.
    """
    if not settings.confidence:
        return {}
    files = {confidence_path(corrected): entry for corrected, entry in owners.items()}
    return table.claim(files, "confidence", "rlnCorrectedTomoName", "output_dir")


def discard_reports(corrected: Path) -> list[Path]:
    """Delete what an earlier run told of a corrected tomogram that is about to be replaced; returns these files."""
    report, confidence = report_path(corrected), confidence_path(corrected)
    found = [path for path in (report, report.with_suffix(".png")) if report.is_file() and path.is_file()]
    found += [confidence] if made_by(confidence) == "confidence" else []
    for path in found:
        path.unlink()
    return found


@dataclasses.dataclass(frozen=True)
class Corrected:
    """A tomogram that was corrected, with what its reports are made from."""

    entry: TomogramEntry  # its row of the table
    before: Volume  # the tomogram
    after: Volume  # the result
    seen: Seen  # the tomogram as the network saw it, with the table's halves where it names them
    border: Border | None = None  # what of both is no data
    sample: Reals | Mask | None = None  # where boxes may be, by `sample_of`


class Reporter:
    """Writes reports and confidence volumes of tomograms that one model corrected."""

    def __init__(
        self, model_file: str, model: keras.Model, metadata: ModelMetadata, ctf_state: str | None = None
    ) -> None:
        """For a model, its file and metadata, and what was done to the tomograms' CTF, if told."""
        self._file, self._model, self._metadata = Path(model_file), model, metadata
        self._ctf_state = ctf_state

    def write(
        self, work: Corrected, mark: bytes | None = None, report: bool = True, compared: Comparison | None = None
    ) -> None:
        """Write NAME_report.json and .png, and the confidence volume, beside the corrected tomogram.

        Parameters
        ----------
        work : Corrected
            The tomogram and the result.
        mark : bytes, optional
            Of the confidence volume; None: there is to be none.
        report : bool
            Whether there is to be a report.
        compared : Comparison, optional
            Of the boxes of the tomogram and the result that hold data, where they were drawn already.
        """
        before, after, border = work.before, work.after, work.border
        if before.shape != after.shape:
            raise EngineError(
                after.path, f"its shape {after.shape} is not that of {before.path}, {before.shape}", "Predict again."
            )
        original, corrected = (
            volume.data if border is None else border.inner(volume.data) for volume in (before, after)
        )
        corrected = grey_values(corrected, work.entry.corrected_scale)
        evidence = self._evidence(work, corrected, along_axes=mark is not None)
        if border is not None and border.empty is not None:
            compared = None  # the report's slices are mirrored into empty places
        if compared is None and report:
            compared = compare(original, corrected, evidence.voxel_size, evidence.tilt)
        if compared is not None:
            evidence = dataclasses.replace(evidence, spectra=_known_spectra(work.seen, compared))
        tested = None
        if report or (mark is not None and not self._metadata.simulated):
            network = self._metadata.network
            correct_boxes = corrector(self._model, network, evidence.tilt, twice=self._metadata.of_one_pass)
            tested = measure_quality(evidence, lambda box: correct_boxes(box[None])[0], network.divisor)
        found = None if mark is None else self._write_confidence(work, evidence, tested, mark)
        if tested is None or compared is None or not report:
            return
        path, words = report_path(after.path), tested.verdict.words
        flipped = " Compared with the phase-flipped tomogram." if work.seen.transfer else ""
        title = f"{work.entry.shown_name}. {words}{flipped}"
        save_report(path.with_suffix(".png"), compared, corrected, tested, title, found)
        write_report(path, self._content(work, evidence, tested, found))
        if tested.restored_wedge:
            log.info("%s: restored wedge correlation %.3f, chance %.3f", work.entry.name, *tested.restored_wedge)
            log.info("%s: %s", work.entry.name, words)

    def _evidence(self, work: Corrected, corrected: Reals, along_axes: bool) -> Evidence:
        """What the tests of the network take; `corrected`: the grey values of the result where there is data."""
        entry, seen = work.entry, work.seen
        return Evidence(
            seen.whole,
            corrected,
            entry.tilt,
            entry.voxel_size,
            work.sample,
            seen.halves or None,
            entry.halves_fit,
            bool(seen.halves) and entry.halves_fit and self._metadata.by_halves,
            self._metadata.knows_noise,
            0.0 if self._metadata.simulated else UNSEEN_TURN,  # the builtin model has seen none of it
            along_axes=along_axes,
            name=entry.name,
        )

    def _write_confidence(
        self, work: Corrected, evidence: Evidence, tested: Quality | None, mark: bytes
    ) -> Confidence | None:
        """Write the confidence volume, and tell how far to trust it; None where the tomogram is too small for one."""
        entry, level = work.entry, None if self._metadata.simulated else tested
        found = confidence(evidence, read_calibration(), level)
        if found is None:
            log.warning("%s: too small for a confidence volume.", entry.name)
            return None
        path = write_confidence(found, work.after, work.border, entry.output_voxel_size(work.after), mark)
        mean = found.mean(work.sample)
        log.info(
            "%s: %s, mean %.2f; calibrated on simulated tomograms of 10 A per voxel and the builtin model%s",
            entry.name,
            path,
            mean,
            ", on the level of the hidden-wedge test" if level and level.restored else "",
        )
        if tested is not None and tested.verdict.kind == "poor":
            log.warning("%s: the hidden-wedge test found nothing above chance: do not trust %s", entry.name, path)
        restored = tested.restored_wedge[0] if tested is not None and tested.restored_wedge else None
        if is_far_above(mean, restored):
            log.warning(
                "%s: the mean confidence, %.2f, is far above the %.2f of the hidden-wedge test: only the order of the "
                "values in %s counts", entry.name, mean, restored, path,
            )  # fmt: skip
        return found

    def _content(
        self, work: Corrected, evidence: Evidence, tested: Quality, found: Confidence | None
    ) -> dict[str, Any]:
        """What the report's file says."""
        entry = work.entry
        state = CORRECTED if entry.deconvolved else known_state(entry, self._metadata, self._ctf_state)
        return {
            "name": entry.shown_name,
            "tomogram": work.before.path,
            "corrected": work.after.path,
            "model": ", ".join(filter(None, (self._file.name, self._metadata.untrained))),
            "iteration": self._metadata.iteration,
            "of_halves": "mean" if work.seen.is_mean else "each" if evidence.by_halves else "",
            "phase_flipped": work.seen.transfer is not None,
            "ctf": ctf_in_words(state),
            "voxel_size_A": evidence.voxel_size,
            "tilt_min": entry.tilt.minimum,
            "tilt_max": entry.tilt.maximum,
            **tested.as_dict(),
            "confidence": None if found is None else found.mean(work.sample),
        }


def _known_spectra(seen: Seen, compared: Comparison) -> tuple[Doubles | None, Doubles | None]:
    """The spectra of the tomogram that the network saw, and of the result, where a comparison has them."""
    # the network may see another tomogram than that before: a phase-flipped one, or the mean of its halves
    is_same = not seen.is_mean and (seen.transfer is None or seen.transfer.comes_flipped)
    return compared.spectra[0] if is_same else None, compared.spectra[1]


def sample_of(entry: TomogramEntry, tomogram: Volume, border: Border | None) -> Reals | Mask | None:
    """Where boxes may be, in the box that holds data: in the table's mask, and not where the border reaches in."""
    path = entry.text("rlnMaskName")
    mask = open_mask(path, tomogram, entry.voxel_size) if path else None
    if border is None:
        return mask
    inside = None if mask is None else mask.box(border.box)
    if border.empty is None:
        return inside
    return ~border.empty if inside is None else inside[:] & ~border.empty


COMMANDS = (Command(report, ("STAR_FILE", "MODEL"), ReportSettings),)
