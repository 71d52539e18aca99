"""export_model: hand a model over to IsoNet 0.2."""

from __future__ import annotations

import logging

from isonet_scipion.engine.command import Command, value_of
from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.io.files import require_kept
from isonet_scipion.engine.network.isonet_h5 import require_own_legacy, save_legacy
from isonet_scipion.engine.network.model_file import load_model
from isonet_scipion.engine.process.device import choose_devices
from isonet_scipion.engine.settings.training import IterativeSettings

log = logging.getLogger(__name__)


def export_model(model: str, output: str) -> None:
    """Write a model as an .h5 that IsoNet 0.2 reads."""
    if not output.endswith(".h5"):
        raise EngineError(output, "IsoNet 0.2 only reads .h5 files", "Let the name end in .h5.")
    require_kept([output], [model])
    require_own_legacy(output)
    choose_devices()
    loaded, metadata = load_model(model)
    if metadata.ctf_aware:
        raise EngineError(
            model,
            "it is CTF-aware: it is for tomograms whose phases are flipped first, which IsoNet 0.2 does not do",
            "Export a model that was trained without --ctf_aware.",
        )
    if metadata.normalize_percentile is False:
        log.warning("%s: it takes tomograms normalised otherwise: give IsoNet 0.2 --normalize_percentile False.", model)
    save_legacy(output, loaded, IterativeSettings.learning_rate)
    log.info("%s: model for IsoNet 0.2", output)


COMMANDS = (Command(export_model, ("MODEL", "OUTPUT_H5"), writes=value_of("output_h5"), files=("output_h5",)),)
