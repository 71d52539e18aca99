"""Names that several modules of Scipion's half share."""

# Variables of scipion.conf
ISONET_HOME = "ISONET_HOME"
ISONET_PYTHON = "ISONET_PYTHON"

# The environment that the install hook makes
ENGINE_PACKAGE = "isonet-engine"
ENVIRONMENT_VERSION = "1.0"
INSTALLED_FLAG = "engine-installed"

# Where the engine's one-line errors start
ERROR_PREFIX = "isonet-engine: error: "

# Extra attribute of extracted subtomograms: side in voxels of the cubes meant for training
CUBE_SIZE_ATTRIBUTE = "_isonetCubeSize"
