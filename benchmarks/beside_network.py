"""What a stage takes beside its network: `predict` and `report` with a network that leaves all as it is.

    python benchmarks/beside_network.py predict|report|nothing STAR_FILE [--halves]

Called by scale.py in a process of its own; `nothing` starts the backend and takes the model, as all do. The model is
an untrained one of the one-pass method, with --halves one that learned from halves; it is kept in the working folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from isonet_scipion.engine.io.model_metadata import ModelMetadata
from isonet_scipion.engine.network.model_file import load_model, save_model
from isonet_scipion.engine.network.unet import build_unet
from isonet_scipion.engine.settings.correction import PredictSettings, ReportSettings
from isonet_scipion.engine.settings.training import OnePassSettings
from isonet_scipion.engine.stages import predict, report

if TYPE_CHECKING:
    from isonet_scipion.engine.arrays import Floats


def identity(*arguments: Any, **options: Any) -> Any:
    """In place of `corrector`."""

    def unchanged(tiles: Floats) -> Floats:
        return tiles.copy()

    return unchanged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("predict", "report", "nothing"))
    parser.add_argument("star_file")
    parser.add_argument("--halves", action="store_true")
    given = parser.parse_args()
    network = OnePassSettings().network
    stem = Path(given.star_file).stem
    # kept for the next call: `report` takes no other model than the one that made the tomograms
    file, output = Path(f"{stem}_model.keras"), f"{stem}_corrected"
    if not file.exists():
        metadata = ModelMetadata(
            network, 10.0, -60, 60, True, False, 48, 20, given.halves, given.halves, kept_beyond=48
        )
        save_model(file, build_unet(network), metadata)
    common = {"gpuID": "-1", "use_deconv_tomo": False, "precision": "float32"}
    settings = PredictSettings(**common, output_dir=output, report=False, check_axes=False)
    with mock.patch.object(predict, "corrector", identity), mock.patch.object(report, "corrector", identity):
        if given.what == "predict":
            predict.predict(given.star_file, str(file), settings)
        elif given.what == "report":
            report.report(given.star_file, str(file), ReportSettings(**common))
        else:
            load_model(file)


if __name__ == "__main__":
    main()
