"""A form with a mistake says so in a line, at once and without a traceback; odd but legal input is taken."""

from __future__ import annotations

import re
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
from pyworkflow.object import Set
from pyworkflow.tests import setupTestProject
from tomo.objects import (
    CTFTomoSeries,
    SetOfCTFTomoSeries,
    SetOfSubTomograms,
    SetOfTomograms,
    SetOfTomoMasks,
    SubTomogram,
    TomoAcquisition,
    Tomogram,
    TomoMask,
)

from isonet_scipion.engine.network.model_file import BUILTIN_FILE
from isonet_scipion.objects import IsoNetModel
from isonet_scipion.protocols import ProtIsoNetExport, ProtIsoNetOnePass, ProtIsoNetRefine
from isonet_scipion.tests.protocols.bad_forms import BROKEN, LEGAL, mistakes
from isonet_scipion.tests.protocols.scene import OPTICS, VOXEL_SIZE, IsoNetTest, scene, write

SECONDS = 2.0  # of CPU time, that a form may take to answer
SHAPE = (40, 44, 48)  # z, y, x
TABLE = "data_\nloop_\n_rlnIndex\n_rlnMicrographName\n"


class TestIsoNetBadForms(IsoNetTest):
    """A project with sets of many kinds; no protocol runs."""

    @classmethod
    def setUpClass(cls) -> None:
        setupTestProject(cls)
        cls.folder = Path(cls.proj.path, "data")
        cls.folder.mkdir()
        cls.objects: dict[str, object] = {}
        cls.makeSets()
        cls.makeModels()
        cls.makeTables()

    @classmethod
    def makeSets(cls) -> None:
        whole = cls.makeSet("good")
        cls.makeSet("masks", itemClass=TomoMask)
        for name in BROKEN:
            cls.breakFile(name, cls.makeSet(name), whole)
            cls.breakFile(name, cls.makeSet(f"{name}_masks", itemClass=TomoMask), whole)
        cls.breakFile("cut_data", cls.makeSet("one_of_two", ids=("TS_1", "TS_2")), whole)
        cls.makeSet("most_lost", ids=tuple(f"TS_{number}" for number in range(1, 15)))
        for path in (cls.folder / "most_lost").glob("TS_[2-9].mrc"):
            path.unlink()
        for path in (cls.folder / "most_lost").glob("TS_1[0-4].mrc"):
            path.unlink()
        cls.makeSet("none", ids=())
        cls.makeSet("same_names", ids=("TS_1", "TS_1"))
        cls.makeSet("same_masks", itemClass=TomoMask, ids=("TS_1", "TS_1"))
        cls.makeSet("no_optics", optics={})
        cls.makeSet("impossible_optics", optics={**OPTICS, "voltage": 0.0, "sphericalAberration": -2.7})
        cls.makeSet("percent", optics={**OPTICS, "amplitudeContrast": 7.0})
        cls.makeSet("no_range", optics={**OPTICS, "angleMin": 0.0, "angleMax": 0.0})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # that there are NaNs
            cls.makeSet("nan", data=np.full(SHAPE, np.nan, np.float32))
        cls.makeSet("other_header", headerSize=3.3)
        for name, itemClass in (("", Tomogram), ("_masks", TomoMask), ("_cubes", SubTomogram)):
            cls.makeSet(f"no_voxel_size{name}", itemClass=itemClass, voxelSize=None)
            cls.makeSet(f"zero_voxel_size{name}", itemClass=itemClass, voxelSize=0.0)
            cls.makeSet(f"two_voxel_size{name}", itemClass=itemClass, ids=("TS_1", "TS_2"))
            items = cls.objects[f"two_voxel_size{name}"]
            second = [item.clone() for item in items][1]
            second.setSamplingRate(20.0)
            items.update(second)
            items.write()
        cls.makeSet("masks_of_other_size", itemClass=TomoMask, data=np.ones((20, 22, 24), np.int8))
        cls.makeSet("masks_of_other_voxels", itemClass=TomoMask, voxelSize=2 * VOXEL_SIZE)
        cls.makeSet("masks_of_others", itemClass=TomoMask, ids=("TS_7",))
        cls.makeSet("cubes", itemClass=SubTomogram, data=scene((24, 24, 24), 1))
        cls.makeSet("lost_cubes", itemClass=SubTomogram, data=scene((24, 24, 24), 1)).unlink()
        cls.makeSet("no_cubes", itemClass=SubTomogram)
        cls.makeSet("unread_cubes", itemClass=SubTomogram).write_bytes(b"")
        cls.objects["unread_cubes"]._firstDim.clear()  # as where the first can't be read when it is appended
        cls.makeSet("lost_unread_cubes", itemClass=SubTomogram).unlink()
        cls.objects["lost_unread_cubes"]._firstDim.clear()
        cls.makeSet("no_ids", ids=(None,))
        cls.makeSet("nothing", itemClass=SubTomogram, ids=())
        cls.makeSet("cubes_of_no_tilts", itemClass=SubTomogram, data=scene((24, 24, 24), 1), optics={})
        cls.objects["no_ctfs"] = SetOfCTFTomoSeries.create(cls.proj.path, prefix="no_ctfs")
        lost = SetOfCTFTomoSeries.create(cls.proj.path, prefix="ctfs_without_tilts")
        lost.append(CTFTomoSeries(tsId="TS_1"))
        cls.objects["ctfs_without_tilts"] = lost

    @classmethod
    def makeSet(
        cls,
        name: str,
        itemClass: type = Tomogram,
        ids: tuple[str, ...] = ("TS_1",),
        data: np.ndarray | None = None,
        voxelSize: float | None = VOXEL_SIZE,
        headerSize: float = VOXEL_SIZE,
        optics: dict | None = None,
    ) -> Path:
        """A set of volumes in a folder of its own; returns the file of its first item."""
        (cls.folder / name).mkdir()
        setClass = {Tomogram: SetOfTomograms, TomoMask: SetOfTomoMasks, SubTomogram: SetOfSubTomograms}[itemClass]
        items = setClass.create(cls.proj.path, prefix=name)
        items.setSamplingRate(voxelSize)
        known = {**OPTICS, "angleMin": -57.0, "angleMax": 51.0} if optics is None else optics
        acquisition = TomoAcquisition(**known)
        items.setAcquisition(acquisition)
        for number, tsId in enumerate(ids):
            path = cls.folder / name / (f"cube_{number}.mrc" if itemClass is SubTomogram else f"{tsId}.mrc")
            write(path, scene(SHAPE, 0) if data is None else data, headerSize)
            item = itemClass()
            item.setLocation(str(path))
            item.setSamplingRate(voxelSize)
            item.setAcquisition(acquisition)
            if itemClass is not SubTomogram:
                item.setTsId(tsId)
            items.append(item)
        items.setStreamState(Set.STREAM_CLOSED)
        items.write()
        cls.objects[name] = items
        return cls.folder / name / ("cube_0.mrc" if itemClass is SubTomogram else "TS_1.mrc")

    @staticmethod
    def breakFile(how: str, path: Path, whole: Path) -> None:
        content = whole.read_bytes()
        path.unlink()
        broken = {"empty": b"", "cut_header": content[:500], "cut_data": content[:-5000], "text": b"no volume. " * 200}
        if how in broken:
            path.write_bytes(broken[how])

    @classmethod
    def makeModels(cls) -> None:
        content = BUILTIN_FILE.read_bytes()
        for name, data in (("model", content), ("coarse", content), ("cut", content[:-5000]), ("words", b"words")):
            (cls.folder / f"{name}.keras").write_bytes(data)
        with zipfile.ZipFile(cls.folder / "other.keras", "w") as other:
            other.writestr("config.json", "{}")
        for name in ("model", "coarse", "cut", "words", "other", "lost"):
            model = IsoNetModel()
            model.setFileName(str(cls.folder / f"{name}.keras"))
            model.setSamplingRate(13.3 if name == "coarse" else VOXEL_SIZE)
            cls.objects[name if name == "model" else f"{name}_model"] = model

    @classmethod
    def makeTables(cls) -> None:
        volume = cls.folder / "good" / "TS_1.mrc"
        good = TABLE + f"_rlnPixelSize\n1 {volume} 10\n"
        tables = {
            "project": good,
            "no_table": None,
            "empty_table": "",
            "words_table": "no table",
            "lost_column": TABLE + f"1 {volume}\n",
            "lost_tomogram": TABLE + "_rlnPixelSize\n1 gone.mrc 10\n",
            "two_voxel_sizes": good + f"2 {cls.folder / 'nan' / 'TS_1.mrc'} 12\n",
            "words_for_size": TABLE + f"_rlnPixelSize\n1 {volume} ten\n",
            "strange_cubes": good,
            "cut_results": good,
        }
        for name, text in tables.items():
            (cls.folder / name).mkdir()
            if text is not None:
                (cls.folder / name / "tomograms.star").write_text(text)
        cubes = "data_\nloop_\n_rlnImageName\n_rlnCubeSize\n"
        (cls.folder / "strange_cubes" / "subtomo.star").write_text(cubes + "subtomo/TS_9_000000.mrc 16\n")
        (cls.folder / "cut_results" / "results").mkdir()
        model = (cls.folder / "cut.keras").read_bytes()
        (cls.folder / "cut_results" / "results" / "model_iter03.keras").write_bytes(model)
        (cls.folder / "relion.star").write_text("data_global\nloop_\n_rlnTomoName\nTS_1\n")
        (cls.folder / "other.star").write_text(good)

    def form(self, protocol: type, values: dict) -> object:
        """A protocol with its legal values, some of them replaced."""
        form = protocol(project=self.proj)
        for name, value in {**LEGAL[protocol], **values}.items():
            if name in ("modelFile", "projectFolder", "boundaryFolder", "relionStar") and value:
                value = str(self.folder / value)
            getattr(form, name).set(self.objects[value] if isinstance(value, str) and value in self.objects else value)
        return form

    def test_each_mistake_is_told(self) -> None:
        cases = list(mistakes())
        self.assertGreater(len(cases), 200)
        self.assertEqual({case.protocol for case in cases}, set(LEGAL))
        failures = []
        for case in cases:
            started = time.process_time()
            errors = self.form(case.protocol, case.values).validate()
            seconds = time.process_time() - started
            if "Traceback" in "".join(errors) or not any(re.search(case.why, error) for error in errors):
                failures.append(f"{case.protocol.__name__} {case.values}: not {case.why}: {errors}")
            if seconds > SECONDS:
                failures.append(f"{case.protocol.__name__} {case.values}: {seconds:.1f} s")
        self.assertFalse(failures, f"{len(failures)} of {len(cases)}:\n" + "\n".join(failures))

    def test_what_is_legal_is_taken(self) -> None:
        for protocol, values in LEGAL.items():
            for tomograms in ("good", "nan", "other_header") if "inputTomograms" in values else (None,):
                form = self.form(protocol, {"inputTomograms": tomograms} if tomograms else {})
                self.assertEqual(form.validate(), [], f"{protocol.__name__} {tomograms}")
                form.warnings()

    def test_noise_beyond_the_last_iteration_is_told_before_the_run(self) -> None:
        for iterations, told in (
            (30, []),
            (20, ["*Noise levels*: not reached within 20 iterations: 0.15 (iteration 21), 0.2 (iteration 26)."]),
            (10, ["The network will fill the wedge, but not remove noise."]),
        ):
            warnings = self.form(ProtIsoNetRefine, {"iterations": iterations}).warnings()
            self.assertEqual(len(warnings), len(told))
            self.assertTrue(all(words in warning for words, warning in zip(told, warnings)), warnings)

    def test_one_broken_tomogram_does_not_stop_the_others(self) -> None:
        for protocol, values in LEGAL.items():
            if "inputTomograms" in values and protocol not in (ProtIsoNetExport, ProtIsoNetOnePass):
                form = self.form(protocol, {"inputTomograms": "one_of_two"})
                self.assertEqual(form.validate(), [], protocol.__name__)
                self.assertRegex(" ".join(form.warnings()), "TS_1 will fail: .*one_of_two/TS_1.mrc: ")

    def test_of_many_tomograms_the_first_are_told_and_how_many_more_there_are(self) -> None:
        lost = [f"TS_{number}" for number in range(2, 15)]
        for protocol, values in LEGAL.items():
            if "inputTomograms" in values and protocol not in (ProtIsoNetExport, ProtIsoNetOnePass):
                told = self.form(protocol, {"inputTomograms": "most_lost"}).warnings()
                failing = [line for line in told if "will fail" in line]
                self.assertEqual([line.split()[0] for line in failing[:-1]], lost[:10], protocol.__name__)
                self.assertEqual(failing[-1], "3 more will fail for their files, too.")
        errors = self.form(ProtIsoNetOnePass, {"inputTomograms": "most_lost"}).validate()
        self.assertEqual(errors[10:], ["3 more can't be read, either."])
