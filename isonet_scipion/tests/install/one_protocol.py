"""A script for any Python that Scipion runs on: `python one_protocol.py FOLDER`.

Imports every module of Scipion's half, makes every form, and deconvolves a tomogram in a project; prints what the
protocol did.
"""

import importlib
import os
import pkgutil
import sys
from pathlib import Path

import mrcfile
import numpy as np

from isonet_scipion import scipion_home

FOLDER = Path(sys.argv[1])


def main():
    """Run the protocol; the exit status."""
    scipion_home.prepare(FOLDER / "home")
    import pyworkflow
    from pyworkflow.project import Manager

    import isonet_scipion

    pyworkflow.Config.getDomain().getProtocols()
    for module in pkgutil.walk_packages(isonet_scipion.__path__, "isonet_scipion."):
        if not module.name.startswith(("isonet_scipion.tests", "isonet_scipion.engine")):
            importlib.import_module(module.name)
    from isonet_scipion.plugin import Plugin

    raw = FOLDER / "raw"
    raw.mkdir()
    with mrcfile.new(str(raw / "TS_01.mrc")) as mrc:
        mrc.set_data(np.random.default_rng(0).normal(0, 1, (24, 32, 40)).astype(np.float32))
        mrc.voxel_size = 10.0
    project = Manager().createProject("one_protocol")
    os.chdir(project.path)
    from tomo.protocols import ProtImportTomograms

    from isonet_scipion import protocols
    from isonet_scipion.protocols import ProtIsoNetDeconv

    for name in protocols.__all__:
        list(getattr(protocols, name)()._definition.iterParams())  # whose forms are made of the engine's options
    tilts = {"acquisitionAngleMin": -60.0, "acquisitionAngleMax": 60.0}
    optics = {"voltage": 300, "sphericalAberration": 2.7, "amplitudeContrast": 0.07}
    files = {"filesPath": str(raw), "filesPattern": "{TS}.mrc", "samplingRate": 10.0}
    imported = project.newProtocol(ProtImportTomograms, **files, **optics, **tilts)
    project.launchProtocol(imported, wait=True)
    deconv = project.newProtocol(ProtIsoNetDeconv, defocus=20000, numberOfThreads=1)
    deconv.inputTomograms.set(imported)
    deconv.inputTomograms.setExtended("Tomograms")
    project.launchProtocol(deconv, wait=True)
    project._updateProtocol(deconv)
    print("VALIDATION", Plugin.validateInstallation())
    print("ENGINE", Plugin.enginePython())
    print(
        "STATUS",
        imported.getStatus(),
        imported.getErrorMessage(),
        deconv.getStatus(),
        deconv.getErrorMessage() or "no error",
    )
    (tomogram,) = [item.clone() for item in deconv.tomograms]
    with mrcfile.open(tomogram.getFileName()) as mrc:
        print("OUTPUT", mrc.data.shape, float(mrc.voxel_size.x), bool(np.isfinite(mrc.data).all()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
