"""IsoNet's stages as protocols."""

from isonet_scipion.protocols.protocol_deconv import ProtIsoNetDeconv
from isonet_scipion.protocols.protocol_export import ProtIsoNetExport
from isonet_scipion.protocols.protocol_extract import ProtIsoNetExtract
from isonet_scipion.protocols.protocol_import_model import ProtIsoNetImportModel
from isonet_scipion.protocols.protocol_import_project import ProtIsoNetImportProject
from isonet_scipion.protocols.protocol_mask import ProtIsoNetMask
from isonet_scipion.protocols.protocol_one_pass import ProtIsoNetOnePass
from isonet_scipion.protocols.protocol_predict import ProtIsoNetPredict
from isonet_scipion.protocols.protocol_refine import ProtIsoNetRefine

__all__ = [
    "ProtIsoNetDeconv",
    "ProtIsoNetExport",
    "ProtIsoNetExtract",
    "ProtIsoNetImportModel",
    "ProtIsoNetImportProject",
    "ProtIsoNetMask",
    "ProtIsoNetOnePass",
    "ProtIsoNetPredict",
    "ProtIsoNetRefine",
]
