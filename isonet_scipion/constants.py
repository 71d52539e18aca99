"""Names that several modules of Scipion's half share."""

# For people; the package's name tells it from the older plugin isonet
PLUGIN_NAME = "IsoNet"

# Variables of scipion.conf. Scipion keeps one dictionary for all plugins, so no other may have these names: the older
# plugin isonet has ISONET_HOME.
ISONET_ENGINE_HOME = "ISONET_ENGINE_HOME"
ISONET_ENGINE_PYTHON = "ISONET_ENGINE_PYTHON"
ISONET_ENGINE_BACKEND = "ISONET_ENGINE_BACKEND"

# The environment that the install hook makes; Scipion cuts names of binaries at the first dash
ENGINE_PACKAGE = "isonet_engine"
ENVIRONMENT_VERSION = "1.0"

# Extra attributes of extracted subtomograms: side in voxels of the cubes meant for training; 1 if the CTF is corrected
CUBE_SIZE_ATTRIBUTE = "_isonetCubeSize"
DECONVOLVED_ATTRIBUTE = "_isonetDeconvolved"
# and the latter's column in the engine's table
DECONVOLVED_LABEL = "isonetDeconvolved"

# Extra attribute of the tomograms of an imported project: what was done to their CTF, where its table tells
CTF_STATE_ATTRIBUTE = "_isonetCtfState"

# Column of a tomogram's table: where its defocus is from, CTF or form
DEFOCUS_SOURCE_LABEL = "isonetDefocusSource"

# and another: digits that tell what its results are made from
SOURCE_LABEL = "isonetSource"

# and those of a tomogram whose origin is not its centre: where its corner lies, in A
ORIGIN_LABELS = ("isonetOriginX", "isonetOriginY", "isonetOriginZ")

# Extra attributes of corrected tomograms, by what the engine's report calls them: power in the missing wedge over that
# outside it, before and after; correlation of what the network restores with data hidden from it, and its resolution
REPORT_ATTRIBUTES = {
    "wedge_power_before": "_isonetWedgePowerBefore",
    "wedge_power_after": "_isonetWedgePowerAfter",
    "restored_wedge_correlation": "_isonetRestoredWedge",
    "restored_wedge_resolution_A": "_isonetRestoredResolution",
    "restored_wedge_above_chance_A": "_isonetRestoredAboveChance",
}

# Extra attribute of corrected tomograms whose file is scaled: grey value over voxel
SCALE_ATTRIBUTE = "_isonetScale"
