"""IsoNet's stages as protocols."""

from isonet_scipion.protocols.protocol_deconv import ProtIsoNetDeconv
from isonet_scipion.protocols.protocol_extract import ProtIsoNetExtract
from isonet_scipion.protocols.protocol_import_model import ProtIsoNetImportModel
from isonet_scipion.protocols.protocol_mask import ProtIsoNetMask
from isonet_scipion.protocols.protocol_predict import ProtIsoNetPredict
from isonet_scipion.protocols.protocol_refine import ProtIsoNetRefine

__all__ = [
    "ProtIsoNetDeconv",
    "ProtIsoNetExtract",
    "ProtIsoNetImportModel",
    "ProtIsoNetMask",
    "ProtIsoNetPredict",
    "ProtIsoNetRefine",
]
