"""Options of the commands that correct tomograms, report on them and export them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from isonet_scipion.engine.conventions import CTF_STATES, ISONET_RAMP, OUTPUT_FORMATS, OUTPUT_TYPES
from isonet_scipion.engine.settings.option import (
    CHECK_AXES,
    CONFIDENCE,
    CTF_STATE,
    GPU_ID,
    LEVELS,
    LOG_LEVEL,
    PERCENTILE,
    PRECISION,
    PRECISIONS,
    TOMO_IDX,
    USE_DECONV,
    option,
)


@dataclass(frozen=True)
class PredictSettings:
    """Correct whole tomograms with a trained network."""

    output_dir: str = option("./corrected_tomos", "Folder of the corrected tomograms.")
    gpuID: Optional[str] = option(None, GPU_ID)
    cube_size: Optional[int] = option(
        None, "Step in voxels between tiles. Default: chosen from the tomogram's size and the free memory.", least=1
    )
    crop_size: Optional[int] = option(
        None,
        f"Side in voxels of the tiles, at least cube_size + {ISONET_RAMP}. "
        "Default: chosen with cube_size, or 1.5 times it.",
        least=1,
    )
    use_deconv_tomo: bool = option(True, USE_DECONV + " Not with a CTF-aware model.")
    batch_size: Optional[int] = option(
        None, "Tiles per pass. Default: 1, or with cube_size or crop_size 4 times the number of GPUs.", least=1
    )
    normalize_percentile: Optional[bool] = option(None, PERCENTILE + " Default: as the model was trained, else True.")
    ctf_state: Optional[str] = option(None, "With a CTF-aware model: " + CTF_STATE, CTF_STATES)
    normalized_output: bool = option(False, "Write IsoNet 0.2's normalised grey scale instead of the input tomogram's.")
    output_type: str = option(
        "float32",
        "Number format of the corrected tomograms. float16 (MRC mode 12) and int16 (mode 1) take half the space; int16 "
        "is scaled where whole numbers would be too coarse. A result that rounding would change visibly stays float32.",
        OUTPUT_TYPES,
    )
    output_format: str = option(
        "mrc",
        "File format of the corrected tomograms: mrc, or zarr (OME-Zarr 0.4 with coarser levels, as in the CryoET Data "
        "Portal and copick; needs the package zarr).",
        OUTPUT_FORMATS,
    )
    calibrate: Optional[bool] = option(
        None,
        "Weaken what is filled into the missing wedge to what the hidden-wedge test and the halves support, at each "
        "resolution. Default: True for models of one-pass and the builtin one, else False.",
    )
    report: bool = option(
        True, "Write the quality report, which takes up to a quarter more time, in small tomograms more."
    )
    confidence: bool = option(False, CONFIDENCE)
    precision: str = option("auto", PRECISION, PRECISIONS)
    log_level: str = option("info", LOG_LEVEL, LEVELS)
    check_axes: bool = option(True, CHECK_AXES)
    tomo_idx: Optional[str] = option(None, TOMO_IDX)


@dataclass(frozen=True)
class ReportSettings:
    """Report how reliable corrected tomograms are: a picture and numbers for each, and a page on all."""

    gpuID: Optional[str] = option(None, GPU_ID)
    confidence: bool = option(False, CONFIDENCE)
    use_deconv_tomo: bool = option(True, "As in predict: the deconvolved tomogram was corrected.")
    ctf_state: Optional[str] = option(None, "With a CTF-aware model: " + CTF_STATE, CTF_STATES)
    normalize_percentile: Optional[bool] = option(None, PERCENTILE + " Default: as the model was trained, else True.")
    precision: str = option("auto", PRECISION, PRECISIONS)
    log_level: str = option("info", LOG_LEVEL, LEVELS)
    tomo_idx: Optional[str] = option(None, TOMO_IDX)


@dataclass(frozen=True)
class ExportRelionSettings:
    """Write a tomograms STAR file for RELION 5, with the corrected tomograms as its denoised ones."""

    output_star: str = option("relion_tomograms.star", "The table to write.")
    relion_star: Optional[str] = option(
        None,
        "RELION's own tomograms.star: its rows and columns are kept, and get the corrected tomogram of the same "
        "rlnTomoName. Default: a table from scratch, which knows nothing of the tilt series' images.",
    )
    tilt_series_pixel_size: Optional[float] = option(
        None, "Pixel size of the tilt series in A, for a table from scratch. Default: the tomogram's voxel size."
    )
