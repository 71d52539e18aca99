"""Numbers and names that several rooms, the forms and the help texts use, said once."""

TILT_RANGE = (-60.0, 60.0)  # degrees; where nothing tells it, as IsoNet 0.2
CROP_MARGIN = 16  # voxels by which subtomograms are larger than the cubes for training, as IsoNet 0.2
CUBE_STEP = 16  # voxels; sides of cubes for subtomograms of which nothing is known are multiples of it, as IsoNet 0.2
ISONET_RAMP = 18  # voxels over which IsoNet 0.2 blends neighbouring tiles
RAW, PHASE_FLIPPED, CORRECTED = CTF_STATES = ("raw", "phase-flipped", "corrected")  # what was done to a CTF
REPORT_PAGE = "report.html"  # in the folder of a training or of corrected tomograms
REPORT_SUFFIX = "_report.json"  # of the report of one corrected tomogram, after its file's stem
