"""What users put into forms by mistake: files that are broken, sets that don't belong together, impossible values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from isonet_scipion.engine.conventions import OUTPUT_TYPES
from isonet_scipion.protocols import (
    ProtIsoNetDeconv,
    ProtIsoNetExport,
    ProtIsoNetExtract,
    ProtIsoNetImportModel,
    ProtIsoNetImportProject,
    ProtIsoNetMask,
    ProtIsoNetOnePass,
    ProtIsoNetPredict,
    ProtIsoNetRefine,
)
from isonet_scipion.protocols.training_base import ProtIsoNetTraining

NAN, INF = float("nan"), float("inf")
LEGAL = {  # of each protocol: values with which good input is taken
    ProtIsoNetDeconv: {"inputTomograms": "good", "defocus": 20000},
    ProtIsoNetMask: {"inputTomograms": "good"},
    ProtIsoNetExtract: {"inputTomograms": "good", "cubeSize": 16, "cropSize": 24},
    ProtIsoNetPredict: {"inputTomograms": "good", "model": "model"},
    ProtIsoNetRefine: {"inputSubtomograms": "cubes", "cubeSize": 16},
    ProtIsoNetOnePass: {"inputTomograms": "good", "cubeSize": 16},
    ProtIsoNetExport: {"inputTomograms": "good"},
    ProtIsoNetImportModel: {"modelFile": "model.keras"},
    ProtIsoNetImportProject: {"projectFolder": "project"},
}
BROKEN = {
    "vanished": "does not exist",
    "empty": "is an empty file",
    "cut_header": "its header has 500 of 1024 bytes",
    "cut_data": "bytes, by its header it should have",
    "text": "not a readable MRC file",
}
TWICE = r"each needs a tilt series ID \(tsId\) of its own, but there is TS_1 \(2 times\)"


@dataclass(frozen=True)
class Mistake:
    """A protocol whose legal values are replaced by `values`, and what it must say of them."""

    protocol: type
    why: str  # regular expression
    values: dict = field(default_factory=dict)


def mistakes() -> Iterator[Mistake]:
    """All of them."""
    for protocol in LEGAL:
        inputs = {name: None for name in LEGAL[protocol] if name.startswith("input") or name == "model"}
        if inputs:
            yield Mistake(protocol, "cannot be EMPTY|Select the", inputs)
    rounded = {"processHalves": True, "outputType": OUTPUT_TYPES.index("int16")}
    yield Mistake(ProtIsoNetPredict, "each half would have a scale of its own", rounded)
    yield from _sets()
    yield from _running()
    for protocol, cases in VALUES.items():
        for name, why, *values in cases:
            for value in values:
                yield Mistake(protocol, why, {name: value})
    for protocol, why, values in TOGETHER:
        yield Mistake(protocol, why, values)


def _running() -> Iterator[Mistake]:
    with_gpus = [protocol for protocol in LEGAL if protocol().allowsGpu()]
    assert len(with_gpus) == 3
    for protocol in with_gpus:
        for text in ("-1", "a", "0;1", "1.5"):
            why = rf"\*GPU IDs\*: '{text}' is no list of numbers such as 0 or 0,1"
            yield Mistake(protocol, rf"{why}. For the CPU choose No", {"gpuList": text, "useGpu": True})
            yield Mistake(protocol, f"{why}. Write 0 there", {"gpuList": text, "useGpu": False})
        yield Mistake(protocol, r"\*GPU IDs\*: name at least one", {"gpuList": "", "useGpu": True})
    for protocol in (ProtIsoNetDeconv, *with_gpus):
        label = "Threads" if issubclass(protocol, ProtIsoNetTraining) else "Scipion threads"
        yield Mistake(protocol, rf"\*{label}\*: must be at least 1", {"numberOfThreads": 0})


def _sets() -> Iterator[Mistake]:
    on_tomograms = [protocol for protocol in LEGAL if "inputTomograms" in LEGAL[protocol]]
    for name, why in BROKEN.items():
        for protocol in on_tomograms:
            yield Mistake(protocol, f"{name}/TS_1.mrc: .*{why}", {"inputTomograms": name})
        for protocol in (ProtIsoNetExtract, ProtIsoNetExport, ProtIsoNetOnePass):
            yield Mistake(protocol, f"{name}_masks/TS_1.mrc: .*{why}", {"inputMasks": f"{name}_masks"})
    for protocol in on_tomograms:
        yield Mistake(protocol, rf"\*Tomograms\*: {TWICE}", {"inputTomograms": "same_names"})
        yield Mistake(protocol, r"\*Tomograms\* holds masks", {"inputTomograms": "masks"})
    for protocol in (ProtIsoNetExtract, ProtIsoNetExport, ProtIsoNetOnePass):
        yield Mistake(protocol, rf"\*Masks\*: {TWICE}", {"inputMasks": "same_masks"})
    yield Mistake(ProtIsoNetExport, rf"\*Corrected tomograms\*: {TWICE}", {"inputCorrected": "same_names"})
    for size, why in (
        ("no", "the set has no voxel size"),
        ("zero", "the set's voxel size is 0 Å"),
        ("two", "the set's voxel size is 10 Å, but some of its items have 20 Å"),
    ):
        for protocol in on_tomograms:
            yield Mistake(protocol, rf"\*Tomograms\*: {why}", {"inputTomograms": f"{size}_voxel_size"})
        for protocol in (ProtIsoNetExtract, ProtIsoNetExport, ProtIsoNetOnePass):
            yield Mistake(protocol, rf"\*Masks\*: {why}", {"inputMasks": f"{size}_voxel_size_masks"})
        for protocol in (ProtIsoNetRefine, ProtIsoNetExport):
            yield Mistake(protocol, rf"\*Subtomograms\*: {why}", {"inputSubtomograms": f"{size}_voxel_size_cubes"})
    for protocol in (ProtIsoNetRefine, ProtIsoNetExport):
        why = r"\*Subtomograms\*: Scipion does not know their size"
        yield Mistake(protocol, why, {"inputSubtomograms": "unread_cubes"})
        yield Mistake(protocol, "1 of the subtomograms' files are missing", {"inputSubtomograms": "lost_unread_cubes"})
    on_tomograms.remove(ProtIsoNetOnePass)
    for protocol in on_tomograms:
        yield Mistake(protocol, r"\*Tomograms\* is empty", {"inputTomograms": "none"})


# of each protocol: parameter, what is said, values
VALUES = {
    ProtIsoNetDeconv: [
        ("defocus", "select CTFs or give the defocus", None),
        ("defocus", r"\*Defocus.*must be a number", NAN, INF),
        ("defocus", r"\*Defocus\*: -20000 for TS_1 .*underfocus is positive here.* 20000", -20000),
        ("defocus", r"\*Defocus\*: it is 0 for TS_1", 0),
        ("defocus", r"\*Defocus\*: 2.5 for TS_1 .*looks like µm.* 25000", 2.5),
        ("inputCtfs", "None of the tomograms has a CTF", "no_ctfs"),
        ("inputCtfs", r"\*CTFs\*: the set of tilt series .* is no longer in the project", "ctfs_without_tilts"),
        ("inputTomograms", r"\*Voltage\*.*acquisition does not have it", "no_optics"),
        ("inputTomograms", r"\*Spherical aberration\*.*acquisition does not have it", "no_optics"),
        ("inputTomograms", r"\*Voltage\*.*\(or an impossible one\)", "impossible_optics"),
        ("inputTomograms", r"\*Spherical aberration\*.*\(or an impossible one\)", "impossible_optics"),
        ("inputTomograms", r"amplitude contrast of their acquisition is impossible: 7\. .* such as 0.07", "percent"),
        ("voltage", r"\*Voltage.*at least 1 and at most 9999", 0, -300, 1e6, NAN),
        ("cs", r"\*Spherical aberration.*at least 0", -2.7, NAN),
        ("snrFalloff", r"\*SNR falloff\* must be at least 0", -1, 1e9, NAN),
        ("snrFalloff", "must be at least 0 and at most 99, with a point before its decimals", "0,7", "much"),
        ("deconvStrength", r"\*Deconvolution strength\* must be at least 0", -1, 1e9, INF),
        ("highpassNyquist", "High-pass.*at least 0 and at most 1", -0.1, 2),
        ("chunkSize", "Piece size.*at least 1", 0, -200),
    ],
    ProtIsoNetMask: [
        ("densityPercentage", "Kept by density.*over 0 and not over 100", 0, -5, 101, NAN),
        ("stdPercentage", "Kept by local contrast.*over 0 and not over 100", 0, -5, 101),
        ("zCrop", "must be at least 0 and less than 0.5", -0.1, 0.5, 60),
        ("patchSize", "Patch size.*at least 1", 0, -4),
        ("boundaryFolder", "Folder of boundaries.*does not exist", "nowhere", "model.keras"),
        ("boundaryFolder", "no model named after", "project"),
    ],
    ProtIsoNetExtract: [
        ("cubeSize", "Cube size.*at least 2", 0, 1, -64),
        ("cubeSize", "Cube size.*should be an integer", None),
        ("cubeSize", r"\*Cube size\*: 21 is odd.*Give 16 or 24", 21),
        ("cropSize", "must be larger than", 16, 12),
        ("cropSize", "Subtomogram size.*at least 3", -24, 0),
        ("cropSize", "thinner than the subtomograms of 64", 64),
        ("numberSubtomos", "must be at least 1", 0, -5),
        ("seed", "Seed.*at least 0", -1),
        ("numberSubtomos", "Subtomograms per tomogram.*should be an integer", "1,5", "1.5"),
        ("inputMasks", "masks of TS_1 have another size", "masks_of_other_size"),
        ("inputMasks", "The masks have 20.00 Å/px, the tomograms 10.00", "masks_of_other_voxels"),
        ("inputMasks", "None of the tomograms has a mask", "masks_of_others"),
    ],
    ProtIsoNetPredict: [
        ("model", "model's file is missing: .*lost.keras", "lost_model"),
        ("model", r"\*Model instead of builtin\*: .*cut.keras: it is not a model", "cut_model"),
        ("model", r"\*Model instead of builtin\*: .*words.keras: ", "words_model"),
        ("model", r"\*Model instead of builtin\*: .*other.keras: it is not a model of isonet_scipion", "other_model"),
        ("model", "trained at 13.30 Å/px, but the tomograms have 10.00", "coarse_model"),
        ("iteration", "model's file is missing: .*model_iter99.keras", 99),
        ("cubeSize", "Step between tiles.*at least 18", 10),
        ("cubeSize", "Step between tiles.*at least 1", 0, -32),
        ("cropSize", "Tile size.*multiple of", 41),
        ("cropSize", "Tile size.*at least 1", 0, -32),
        ("batchSize", "Tiles at once.*at least 1", 0, -1),
        ("inputTomograms", r"\*Tilt range\*: the acquisition of TS_1 does not have it", "no_optics", "no_range"),
        ("tiltMin", r"at least -90 and at most 90", -91, 1000, NAN, "-59,5"),
        ("processHalves", "there is no even and odd half of ", True),
    ],
    ProtIsoNetOnePass: [
        ("iterations", "Iterations.*at least 1", 0, -1),
        ("iterations", r"Iterations\* must be at most 1000000\.", 10**7),
        ("stepsPerEpoch", "Steps per epoch.*at least 1", 0),
        ("stepsPerEpoch", "Steps per epoch.*at most 1000000", 10**9),
        ("batchSize", "Batch size.*at most 4096", 5000),
        ("patience", "Stop after iterations.*at least 1", 0),
        ("filledWeight", "Weight of estimates.*at least 0", -1, NAN),
        ("anyAngle", "Fraction of arbitrary rotations.*at least 0 and at most 1", -0.1, 2),
        ("inputTomograms", r"\*Tilt range\*: the acquisition of 1 tomogram ", "no_optics"),
        ("inputTomograms", "the set is empty", "none"),
        ("ctfAware", "select CTFs or give the defocus", True),
        ("inputMasks", "masks of TS_1 have another size", "masks_of_other_size"),
        ("inputMasks", "The masks have 20.00 Å/px, the tomograms 10.00", "masks_of_other_voxels"),
        ("inputMasks", "None of the tomograms has a mask", "masks_of_others"),
        ("learningRate", "Learning rate.*at least", 0, -1, 5, NAN),
        ("dropOut", "Dropout.*at least 0", -0.1, 1),
    ],
    ProtIsoNetRefine: [
        ("inputSubtomograms", "1 of the subtomograms' files are missing. The first: .*cube_0.mrc", "lost_cubes"),
        ("inputSubtomograms", "not cubic", "no_cubes"),
        ("inputSubtomograms", "the set is empty", "nothing"),
        ("inputSubtomograms", r"\*Tilt range\*: the acquisition of 1 subtomogram ", "cubes_of_no_tilts"),
        ("cubeSize", "a multiple of 8", 12, 20),
        ("cubeSize", "must be smaller than the subtomograms", 24, 64),
        ("cubeSize", "Cube size.*at least 2", -16, 0),
        ("iterations", "Iterations.*at least 1", 0, -30),
        ("epochs", "Epochs.*at least 1", 0, -1),
        ("batchSize", "Batch size.*at least 1", 0, -4),
        ("stepsPerEpoch", "Steps per epoch.*at least 1", 0),
        ("learningRate", "Learning rate.*at least", 0, -1, 5, NAN),
        ("selectSubtomoNumber", "Use only this many.*at least 1", 0, -1),
        ("dropOut", "Dropout.*at least 0", -0.1, 1, 30),
        ("unetDepth", "Depth.*at least 1 and at most 8", 0, -3, 10**9),
        ("filterBase", "Channels.*at least 1", 0, -64),
        ("convsPerDepth", "Convolutions.*at least 2", 0, 1),
        ("kernel", "is not three sizes of 1 to 64", "3,3", "3", "0,3,3"),
        ("kernel", "are lists such as", "a,b,c", "3;3;3", "1.5,1.5,1.5"),
        ("pool", "is not three sizes of 1 to 64", "2,2", "0,0,0"),
        ("noiseLevel", "are lists such as", "0.1;0.2", "much"),
        ("noiseLevel", "2 .Noise levels. but 4 iterations", "0.1,0.2"),
        ("noiseLevel", "one of .* is no fraction", "0.1,0.2,0.3,-0.4", "5,10,15,20", "0.1,0.2,0.3,nan"),
        ("noiseLevel", "Noise levels. is empty", ""),
        ("noiseStartIter", "do not increase", "11,16,16,26", "26,21,16,11"),
        ("seed", "Seed.*at least 0", -1),
        ("pretrainedModel", "Model to start from.*lost.keras: the model does not exist", "lost_model"),
        ("pretrainedModel", "Model to start from.*cut.keras: it is not a model", "cut_model"),
    ],
    ProtIsoNetExport: [
        ("inputMasks", "Masks.*have 20.00 Å/px, the tomograms 10.00", "masks_of_other_voxels"),
        ("inputMasks", "none has the tilt series ID", "masks_of_others"),
        ("inputSubtomograms", r"\*Subtomograms\* is empty, or all", "nothing"),
        ("tiltSeriesPixelSize", "Pixel size of the tilt series.*at least", 0, -2, NAN),
    ],
    ProtIsoNetImportModel: [
        ("modelFile", "^Select the .Model file.", None, ""),
        ("modelFile", "Model file. does not exist", "nowhere.keras"),
        ("modelFile", "Model file. is a folder", "project"),
        ("modelFile", "cut.keras: it is not a model", "cut.keras"),
        ("modelFile", "words.keras: ", "words.keras"),
        ("modelFile", "other.keras: it is not a model of isonet_scipion", "other.keras"),
        ("modelFile", "TS_1.mrc: ", "good/TS_1.mrc"),
        ("samplingRate", "Voxel size.*at least", 0, -10, NAN, INF, "13,48"),
    ],
    ProtIsoNetImportProject: [
        ("projectFolder", "^Select the .Project folder.", None, ""),
        ("projectFolder", "Project folder. does not exist", "nowhere"),
        ("projectFolder", "Project folder. is a file", "model.keras"),
        ("projectFolder", "tomograms.star: the STAR file does not exist", "no_table"),
        ("projectFolder", "tomograms.star: the STAR file is an empty file", "empty_table"),
        ("projectFolder", "tomograms.star: .*not a STAR table", "words_table"),
        ("projectFolder", "tomograms.star: .*rlnPixelSize", "lost_column"),
        ("projectFolder", "gone.mrc: the volume does not exist", "lost_tomogram"),
        ("projectFolder", "different voxel sizes", "two_voxel_sizes"),
        ("projectFolder", "_rlnPixelSize is 'ten'", "words_for_size"),
        ("projectFolder", "no tomogram is named TS_9", "strange_cubes"),
        ("projectFolder", "model_iter03.keras: it is not a model", "cut_results"),
        ("tiltMin", "60..60 degrees is impossible", 60),
        ("tiltMax", "at least -90 and at most 90", 120, NAN),
        ("voltage", "Voltage.*at least 1", 0, -300, NAN),
        ("sphericalAberration", "Spherical aberration.*at least 0", -1),
        ("amplitudeContrast", "Amplitude contrast.*at least 0 and at most 1", 7, -0.1),
    ],
}
AWARE = {"ctfAware": True, "defocus": 20000}
TOGETHER = [
    (ProtIsoNetRefine, "Precision.*one of: auto, float32", {"precision": 9}),
    (ProtIsoNetRefine, "Noise filter.*one of: noFilter", {"noiseMode": 3}),
    (ProtIsoNetPredict, "Normalise by.*one of: ", {"normalizePercentile": -1}),
    (ProtIsoNetPredict, r"at least \*Step between tiles\* \+ 18", {"cubeSize": 32, "cropSize": 40}),
    (ProtIsoNetPredict, "'from' must be smaller than 'to'", {"tiltMin": 60, "tiltMax": -60}),
    (ProtIsoNetRefine, "'from' must be smaller than 'to'", {"tiltMin": 60, "tiltMax": -60}),
    (ProtIsoNetRefine, "too narrow for a tilt series; it looks like radians", {"tiltMin": -1.047, "tiltMax": 1.047}),
    (ProtIsoNetRefine, "leaves no missing wedge to fill", {"tiltMin": -90, "tiltMax": 90}),
    (ProtIsoNetOnePass, r"a tilt series ID .* of its own, but there is none", {**AWARE, "inputTomograms": "no_ids"}),
    (ProtIsoNetOnePass, "-20000 for TS_1 .*underfocus is positive here", {**AWARE, "defocus": -20000}),
    (ProtIsoNetOnePass, r"\*Defocus\*: it is 0 for TS_1", {**AWARE, "defocus": 0}),
    (ProtIsoNetOnePass, "None of the tomograms has a CTF", {**AWARE, "defocus": None, "inputCtfs": "no_ctfs"}),
    (ProtIsoNetOnePass, r"\*CTFs\*: the set of tilt series .* no longer", {**AWARE, "inputCtfs": "ctfs_without_tilts"}),
    (ProtIsoNetOnePass, r"\*Voltage\*.*acquisition does not have it", {**AWARE, "inputTomograms": "no_optics"}),
    (ProtIsoNetOnePass, r"\*Voltage\*.*impossible", {**AWARE, "inputTomograms": "impossible_optics"}),
    (ProtIsoNetOnePass, "amplitude contrast .* impossible: 7", {**AWARE, "inputTomograms": "percent"}),
    (ProtIsoNetOnePass, "B-factor.*at least 0", {**AWARE, "bfactor": -1}),
    (ProtIsoNetExport, "nowhere.star: the STAR file does not exist", {"relionStar": "nowhere.star"}),
    (ProtIsoNetExport, "select those that RELION", {"relionStar": "relion.star"}),
    (ProtIsoNetExport, "words.keras: .*not a STAR table", {"relionStar": "words.keras", "inputCorrected": "good"}),
    (ProtIsoNetExport, "other.star: .*rlnTomoName", {"relionStar": "other.star", "inputCorrected": "good"}),
]
