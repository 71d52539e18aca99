"""Numbers and names that several rooms, the forms and the help texts use, said once."""

from __future__ import annotations

from enum import Enum

TILT_RANGE = (-60.0, 60.0)  # degrees; where nothing tells it, as IsoNet 0.2
SUBTOMOGRAMS = 100  # from each tomogram, where nothing tells it, as IsoNet 0.2
TILT_OPTIONS = "tilt_min and tilt_max"
CROP_MARGIN = 16  # voxels by which subtomograms are larger than the cubes for training, as IsoNet 0.2
CUBE_STEP = 16  # voxels; sides of cubes for subtomograms of which nothing is known are multiples of it, as IsoNet 0.2
ISONET_RAMP = 18  # voxels over which IsoNet 0.2 blends neighbouring tiles
RAW, PHASE_FLIPPED, CORRECTED = CTF_STATES = ("raw", "phase-flipped", "corrected")  # what was done to a CTF
REPORT_PAGE = "report.html"  # in the folder of a training or of corrected tomograms
SIMULATED_SIZES = (6.5, 17.0)  # A per voxel of the simulated tomograms that the builtin model learned from
OUTPUT_TYPES = ("float32", "float16", "int16")  # number formats of corrected tomograms
OUTPUT_FORMATS = ("mrc", "zarr")  # and suffixes of their files
REPORT_SUFFIX = "_report.json"  # of the report of one corrected tomogram, after its file's stem
CONFIDENCE_SUFFIX = "_confidence.mrc"  # of the volume that tells where to believe it, likewise


class Normalisation(Enum):
    """How grey values are brought to the scale on which networks work; the option normalize_percentile of each.

    Examples
    --------
    >>> Normalisation.told(None, False)
    <Normalisation.MOMENTS: False>
    """

    PERCENTILES = True  # the 4th and 96th go to 0 and 1
    MOMENTS = False  # mean 0, standard deviation 1

    @classmethod
    def told(cls, *normalize_percentile: bool | None) -> Normalisation:
        """What the first of these options that is given says; as IsoNet 0.2 where none is."""
        return next((cls(one) for one in normalize_percentile if one is not None), cls.PERCENTILES)
