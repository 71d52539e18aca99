"""report: how far the corrected tomograms of a table can be believed."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from isonet_scipion.engine.command import Command
from isonet_scipion.engine.conventions import CORRECTED, Normalisation
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.confidence_file import confidence_path, read_calibration, write_confidence
from isonet_scipion.engine.io.ctf_aware import (
    ctf_in_words,
    known_state,
    known_transfer,
    takes_deconvolved,
    warn_of_idle_state,
    warn_of_other_states,
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
from isonet_scipion.engine.measure.confidence import confidence
from isonet_scipion.engine.measure.hidden_wedge import UNSEEN_TURN
from isonet_scipion.engine.measure.quality import Evidence, measure_quality
from isonet_scipion.engine.measure.verdict import is_far_above
from isonet_scipion.engine.network.correction import corrector
from isonet_scipion.engine.network.model_file import load_model, model_path, read_metadata
from isonet_scipion.engine.process.device import choose_devices
from isonet_scipion.engine.reporting.comparison_figure import Comparison, compare
from isonet_scipion.engine.reporting.pages import require_own_page, write_tomograms_page
from isonet_scipion.engine.reporting.tomogram_figure import save_report
from isonet_scipion.engine.settings.correction import ReportSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import keras

    from isonet_scipion.engine.arrays import Reals
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
    warn_of_other_states(entries, metadata, settings.ctf_state)
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
        reporter.write(entry, volume, seen, corrected, border, sample_of(entry, volume, border), mark)
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
    voxels, _, how = told.partition("-")
    if entry.is_made_of(voxels, tomogram) is False:
        raise EngineError(
            corrected,
            entry.other_voxels(tomogram.path),
            f"Predict anew, or give --use_deconv_tomo {not entry.use_deconvolved} if predict had that.",
        )
    # earlier versions told the voxels alone, or nothing of the CTF
    if how not in ("", entry.correction_digest(model), entry.correction_digest(model, transfer)):
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


class Reporter:
    """Writes reports and confidence volumes of tomograms that one model corrected."""

    def __init__(
        self, model_file: str, model: keras.Model, metadata: ModelMetadata, ctf_state: str | None = None
    ) -> None:
        """For a model, its file and metadata, and what was done to the tomograms' CTF, if told."""
        self._file, self._model, self._metadata = Path(model_file), model, metadata
        self._ctf_state = ctf_state

    def write(
        self, entry: TomogramEntry, before: Volume, seen: Seen, after: Volume, border: Border | None,
        sample: Reals | Mask | None = None, mark: bytes | None = None, report: bool = True,
        compared: Comparison | None = None,
    ) -> None:  # fmt: skip
        """Write NAME_report.json and .png, and the confidence volume, beside the corrected tomogram.

        Parameters
        ----------
        entry : TomogramEntry
            Its row of the table.
        before, after : Volume
            The tomogram that was corrected, and the result.
        seen : Seen
            The tomogram as the network saw it, with the table's halves where it names them.
        border : Border, optional
            What of them is no data.
        sample : ndarray or Mask, optional
            Where boxes may be, by `sample_of`.
        mark : bytes, optional
            Of the confidence volume; None: there is to be none.
        report : bool
            Whether there is to be a report.
        compared : Comparison, optional
            Of the boxes of `before` and `after` that hold data, where they were drawn already.
        """
        if before.shape != after.shape:
            raise EngineError(
                after.path, f"its shape {after.shape} is not that of {before.path}, {before.shape}", "Predict again."
            )
        transfer = seen.transfer
        original, corrected = (
            volume.data if border is None else border.inner(volume.data) for volume in (before, after)
        )
        corrected = grey_values(corrected, entry.corrected_scale)
        evidence = Evidence(
            seen.whole,
            corrected,
            entry.tilt,
            entry.voxel_size,
            sample,
            seen.halves or None,
            entry.halves_fit,
            bool(seen.halves) and entry.halves_fit and self._metadata.by_halves,
            self._metadata.knows_noise,
            0.0 if self._metadata.simulated else UNSEEN_TURN,  # the builtin model has seen none of it
            along_axes=mark is not None,
        )
        if border is not None and border.empty is not None:
            compared = None  # the report's slices are mirrored into empty places
        if compared is None and report:
            compared = compare(original, corrected, evidence.voxel_size, entry.tilt)
        if compared is not None:
            # the network may see another tomogram than that before: a phase-flipped one, or the mean of its halves
            is_same = not seen.is_mean and (transfer is None or transfer.comes_flipped)
            spectra = compared.spectra[0] if is_same else None, compared.spectra[1]
            evidence = dataclasses.replace(evidence, spectra=spectra)
        network = self._metadata.network
        correct_boxes = corrector(self._model, network, entry.tilt, twice=self._metadata.of_one_pass)
        tested = None
        if report or (mark is not None and not self._metadata.simulated):
            tested = measure_quality(evidence, lambda box: correct_boxes(box[None])[0], network.divisor)
        level = None if self._metadata.simulated else tested
        found = None if mark is None else confidence(evidence, read_calibration(), level)
        mean = None if found is None else found.mean(sample)
        if mark is not None and found is None:
            log.warning("%s: too small for a confidence volume.", entry.name)
        elif mark is not None and found is not None:
            path, mean = (
                write_confidence(found, after, border, entry.output_voxel_size(after), mark),
                found.mean(sample),
            )
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
                    "%s: the mean confidence, %.2f, is far above the %.2f of the hidden-wedge test: only the order of "
                    "the values in %s counts", entry.name, mean, restored, path,
                )  # fmt: skip
        if tested is None or compared is None or not report:
            return
        quality = tested
        content = {
            "name": entry.shown_name,
            "tomogram": before.path,
            "corrected": after.path,
            "model": ", ".join(filter(None, (self._file.name, self._metadata.untrained))),
            "iteration": self._metadata.iteration,
            "of_halves": "mean" if seen.is_mean else "each" if evidence.by_halves else "",
            "phase_flipped": transfer is not None,
            "ctf": ctf_in_words(
                CORRECTED if entry.deconvolved else known_state(entry, self._metadata, self._ctf_state)
            ),
            "voxel_size_A": evidence.voxel_size,
            "tilt_min": entry.tilt.minimum,
            "tilt_max": entry.tilt.maximum,
            **quality.as_dict(),
            "confidence": mean,
        }
        words = quality.verdict.words
        path = report_path(after.path)
        flipped = " Compared with the phase-flipped tomogram." if transfer else ""
        title = f"{entry.shown_name}. {words}{flipped}"
        save_report(path.with_suffix(".png"), compared, corrected, quality, title, found)
        write_report(path, content)
        if quality.restored_wedge:
            log.info("%s: restored wedge correlation %.3f, chance %.3f", entry.name, *quality.restored_wedge)
            log.info("%s: %s", entry.name, words)


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
