"""Many small tomograms through Scipion's *correct tomograms*: seconds for each, failures, Continue.

    python benchmarks/many_tomograms.py FOLDER [--tomograms 100] [--bad 2] [--threads 3]

Some files of the tomograms are cut off, so that these fail. Continue is run after they have been mended. With T threads
T - 1 tomograms are worked on at once. On the CPU.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path

import numpy as np

from isonet_scipion import scipion_home

SHAPE = (24, 48, 48)
VOXEL_SIZE = 10.0
CUT_OFF = 5000  # bytes that a bad file has


def cpu_seconds() -> float:
    """That all processes which this one waited for have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tomograms", type=int, default=100)
    parser.add_argument("--bad", type=int, default=2)
    parser.add_argument("--threads", type=int, default=3)
    options = parser.parse_args()
    folder = options.folder.resolve()
    (folder / "tomograms").mkdir(parents=True)
    scipion_home.prepare(str(folder / "home"))
    os.environ["SCIPION_STEPS_CHECK_SEC"] = "1"
    import pyworkflow
    from pyworkflow.project import Manager
    from pyworkflow.protocol import MODE_RESUME
    from pyworkflow.protocol.protocol import getUpdatedProtocol
    from tomo.protocols import ProtImportTomograms

    from isonet_scipion.engine.io.model_metadata import ModelMetadata
    from isonet_scipion.engine.io.mrc import write_volume
    from isonet_scipion.engine.network.model_file import save_model
    from isonet_scipion.engine.network.unet import build_unet
    from isonet_scipion.engine.settings.network import NetworkSettings
    from isonet_scipion.protocols import ProtIsoNetImportModel, ProtIsoNetPredict

    rng, whole = np.random.default_rng(0), {}
    for number in range(options.tomograms):
        tomogram = rng.standard_normal(SHAPE, dtype=np.float32)
        tomogram[8:14, 15:25, 15:25] -= 3
        path = folder / "tomograms" / f"TS_{number:03d}.mrc"
        write_volume(path, tomogram, VOXEL_SIZE)
        whole[path] = path.read_bytes()
    pyworkflow.Config.getDomain().getProtocols()
    project = Manager().createProject("many")
    os.chdir(project.path)  # as Scipion does when it opens one
    tilts = {"acquisitionAngleMin": -60.0, "acquisitionAngleMax": 60.0}
    files = {"filesPath": str(folder / "tomograms"), "filesPattern": "{TS}.mrc", "samplingRate": VOXEL_SIZE}
    imported = project.newProtocol(ProtImportTomograms, **files, **tilts)
    project.launchProtocol(imported, wait=True)
    network = NetworkSettings(filter_base=4, unet_depth=2)
    save_model(folder / "model.keras", build_unet(network), ModelMetadata(network, voxel_size=VOXEL_SIZE))
    model = project.newProtocol(ProtIsoNetImportModel, modelFile=str(folder / "model.keras"))
    project.launchProtocol(model, wait=True)
    bad = list(whole)[1 :: max(1, options.tomograms // max(1, options.bad))][: options.bad]
    for path in bad:
        path.write_bytes(whole[path][:CUT_OFF])
    predict = project.newProtocol(ProtIsoNetPredict, numberOfThreads=options.threads, useGpu=False)
    predict.inputTomograms.set(imported)
    predict.inputTomograms.setExtended("Tomograms")
    predict.model.set(model)
    predict.model.setExtended("model")
    for name in ("first run", "Continue"):
        begin, processor = time.monotonic(), cpu_seconds()
        project.launchProtocol(predict, wait=True)
        seconds, processor = time.monotonic() - begin, cpu_seconds() - processor
        project._updateProtocol(predict)
        made = sorted(path.stat().st_mtime for path in Path(predict._getExtraPath()).glob("*_report.json"))
        made = made[-options.bad :] if name == "Continue" else made
        between = np.diff(made[len(made) // 10 :])
        outputs = dict(getUpdatedProtocol(predict).iterOutputAttributes())
        failed = outputs.get("failedTomograms", [])
        log = (
            Path(predict._getLogsPath("run.stdout")).read_text() + Path(predict._getLogsPath("run.stderr")).read_text()
        )
        print(
            f"{name}, {options.threads} threads: {predict.getStatus()}, {outputs['tomograms'].getSize()} tomograms, "
            f"failed: {', '.join(item.getTsId() for item in failed) or 'none'}; {seconds:.0f} s in all, "
            f"{processor:.0f} CPU s; {between.mean() if len(between) else float('nan'):.2f} s between tomograms; "
            f"{log.count('Engine process')} engine starts so far",
            flush=True,
        )
        for path in bad:
            path.write_bytes(whole[path])
        predict.runMode.set(MODE_RESUME)


if __name__ == "__main__":
    main()
