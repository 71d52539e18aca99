"""Options of the commands that come before a training: tables, CTF, masks, extraction and resize."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from isonet_scipion.engine.conventions import CROP_MARGIN, CTF_STATES, CUBE_STEP, SUBTOMOGRAMS, TILT_RANGE
from isonet_scipion.engine.settings.option import (
    CHECK_AXES,
    CS,
    CTF_STATE,
    LEVELS,
    LOG_LEVEL,
    MOST_THREADS,
    SEED,
    TOMO_IDX,
    USE_DECONV,
    VOLTAGE,
    option,
)


@dataclass(frozen=True)
class PrepareStarSettings:
    """Make a table of the tomograms (.mrc, .rec, OME-Zarr) in a folder, or of those that another program names."""

    output_star: str = option("tomograms.star", "The table to write.")
    from_: Optional[str] = option(
        None,
        "Another program's table: tomograms.star of RELION 5 or IsoNet2, or Warp's folder of tilt series. Voxel size, "
        "tilt range, defocus and halves are taken from it. FOLDER is needed only if the tomograms are not where it "
        "says. Also a copick project or a folder of runs from the CryoET Data Portal: there FOLDER says which tomogram "
        "of each run, such as VoxelSpacing10.000/wbp.zarr, if there are several. Default: none.",
    )
    tilt_files: Optional[str] = option(
        None,
        "Folder of files with the tilt angles of each tomogram, named like it: .tlt, .rawtlt (IMOD), .aln "
        "(AreTomo), .mdoc (SerialEM), .xml (Warp, with the defocus), .star (RELION 5, with the defocus). "
        "Default: none.",
    )
    pixel_size: Optional[float] = option(
        None, "Voxel size of the tomograms in A. Default: that of the table it is from, else of their headers."
    )
    defocus: Optional[float] = option(
        None,
        "Defocus at zero tilt in A, underfocus positive. Default: that of the tilt files, of the table it is from or "
        "of the table that is replaced, else 0 (unknown).",
    )
    ctf_state: Optional[str] = option(
        None,
        "How the CTF of the tomograms has been treated so far. Default: as the table it is from, or the table that is "
        "replaced, says, else unknown; raw is assumed.",
        CTF_STATES,
    )
    number_subtomos: Optional[int] = option(
        None,
        "Number of subtomograms to extract from each tomogram. Default: as the table it is from, or the table that is "
        f"replaced, says, else {SUBTOMOGRAMS}.",
        least=1,
    )
    mask_folder_in: Optional[str] = option(
        None, "Folder of masks of your own, named like the tomograms, with or without _mask. Default: none."
    )
    tilt_min: Optional[float] = option(
        None,
        "Smallest tilt angle of the tilt series in degrees. Default: that of the tilt files, of the table it is from "
        f"or of the table that is replaced, else {TILT_RANGE[0]:g}.",
    )
    tilt_max: Optional[float] = option(
        None, f"Largest tilt angle of the tilt series in degrees. Default: as tilt_min, else {TILT_RANGE[1]:g}."
    )
    even_folder: Optional[str] = option(
        None, "Folder of the even halves, named like the tomograms, for the report and for one-pass. Default: none."
    )
    odd_folder: Optional[str] = option(None, "Folder of the odd halves. Default: none.")
    average_folder: str = option(
        "averages", "Folder of the tomograms that are made as the mean of their halves, where the table names no whole."
    )
    invert: Optional[bool] = option(
        None,
        "Protein is bright in the tomograms: all stages take that from the table. Default: as the table that is "
        "replaced says, else False.",
    )


@dataclass(frozen=True)
class PrepareSubtomoStarSettings:
    """Make a table of the subtomograms (.mrc) in a folder."""

    output_star: str = option("subtomo.star", "The table to write.")
    pixel_size: Optional[float] = option(None, "Voxel size of the subtomograms in A. Default: that of their headers.")
    cube_size: Optional[int] = option(
        None,
        "Side in voxels of the cubes that train the network. Default: the largest multiple of "
        f"{CUBE_STEP} not above crop size / 1.5 + 1.",
        least=2,
    )
    tilt_min: float = option(TILT_RANGE[0], "Smallest tilt angle of the tilt series in degrees.")
    tilt_max: float = option(TILT_RANGE[1], "Largest tilt angle of the tilt series in degrees.")


@dataclass(frozen=True)
class DeconvSettings:
    """Deconvolve the CTF from the tomograms (Wiener filter), for contrast."""

    deconv_folder: str = option("./deconv", "Folder of the deconvolved tomograms.")
    voltage: Optional[float] = option(None, VOLTAGE)
    cs: Optional[float] = option(None, CS)
    snrfalloff: Optional[float] = option(
        None,
        "How fast the signal-to-noise ratio falls with frequency; larger: smoother. Default: the table's, otherwise 1.",
        least=0,
        most=99,
    )
    deconvstrength: Optional[float] = option(
        None,
        "Base-10 logarithm of the signal-to-noise ratio at low frequency. Default: the table's, otherwise 1.",
        least=0,
        most=99,
    )
    highpassnyquist: float = option(
        0.02, "Below this fraction of the Nyquist frequency the signal is taken as lost.", least=0, most=1
    )
    chunk_size: Optional[int] = option(
        None,
        "Keep only pieces of about this side in voxels in memory, the rest in a scratch file. Default: all in memory.",
        least=1,
    )
    overlap_rate: float = option(0.25, "Ignored; accepted for compatibility with IsoNet 0.2 command lines.")
    pad_edges: bool = option(
        False,
        "Mirror the tomogram beyond its faces, so that opposite ones do not bleed into each other. "
        "False: as IsoNet 0.2, from which that differs in the outermost voxels.",
    )
    ncpu: int = option(4, "Number of CPU threads.", least=1, most=MOST_THREADS)
    ctf_state: Optional[str] = option(None, CTF_STATE, CTF_STATES)
    tomo_idx: Optional[str] = option(None, TOMO_IDX)


@dataclass(frozen=True)
class MakeMaskSettings:
    """Mark the voxels that hold sample."""

    mask_folder: str = option("mask", "Folder of the masks.")
    patch_size: int = option(4, "Half the side in voxels (of the tomogram binned by 2) of the box that is looked at.")
    density_percentage: Optional[float] = option(
        None, "Percentage of the volume kept by density; over 99.8 keeps all. Default: the table's, otherwise 50."
    )
    std_percentage: Optional[float] = option(
        None,
        "Percentage of the volume kept by local contrast; over 99.8 keeps all. Default: the table's, otherwise 50.",
    )
    use_deconv_tomo: bool = option(True, USE_DECONV)
    z_crop: Optional[float] = option(
        None, "Fraction of the thickness that is masked out at the top and at the bottom. Default: none."
    )
    check_axes: bool = option(True, CHECK_AXES)
    tomo_idx: Optional[str] = option(None, TOMO_IDX)


COORDINATE_UNITS = ("voxels", "pixels", "angstrom", "centred_angstrom", "fraction")


@dataclass(frozen=True)
class ExtractSettings:
    """Cut subtomograms at random positions in the mask, or at given coordinates."""

    use_deconv_tomo: bool = option(True, USE_DECONV)
    subtomo_folder: str = option("subtomo", "Folder of the subtomograms.")
    subtomo_star: str = option("subtomo.star", "The table of subtomograms to write.")
    cube_size: int = option(64, "Side in voxels of the cubes that train the network; a multiple of 2^unet_depth.")
    crop_size: Optional[int] = option(
        None, f"Side in voxels of the subtomograms. Default: cube_size + {CROP_MARGIN}.", least=2
    )
    coordinates_star: Optional[str] = option(
        None,
        "Centres to use instead of random ones: a table with rlnTomoName (or rlnMicrographName) and rlnCoordinateX, Y, "
        "Z, or rlnCenteredCoordinateXAngst (RELION 5); Dynamo's .tbl, whose tomograms are those of rlnIndex; an IMOD "
        "model, or a folder of models named like the tomograms. Default: random centres.",
    )
    coordinates_unit: Optional[str] = option(
        None,
        "What the coordinates count: voxels of the tomogram from 0; pixels of coordinates_pixel_size; A from the "
        "tomogram's corner; A from its centre; fractions of its sides. Default: as the table says (RELION: pixels of "
        "the tilt series, or A from the centre), else voxels.",
        COORDINATE_UNITS,
    )
    coordinates_pixel_size: Optional[float] = option(
        None, "Size in A of the pixels that the coordinates count. Default: as the table says."
    )
    seed: Optional[int] = option(None, SEED, least=0)
    log_level: str = option("info", LOG_LEVEL, LEVELS)
    check_axes: bool = option(True, CHECK_AXES)
    tomo_idx: Optional[str] = option(None, TOMO_IDX)

    @property
    def idle(self) -> dict[str, str]:
        """Options that have no effect as the others are, and what they would have one with."""
        names = ("coordinates_unit", "coordinates_pixel_size")
        return {} if self.coordinates_star else dict.fromkeys(names, "coordinates_star")


@dataclass(frozen=True)
class ResizeSettings:
    """Rescale the tomograms of a table to another voxel size."""

    apix: float = option(15.0, "Voxel size to rescale to, in A.")
    out_folder: str = option(
        "tomograms_resized", "Folder of the rescaled tomograms; their halves go into even and odd in it."
    )
