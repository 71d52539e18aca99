"""What forms hold and what becomes of it on the engine's command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pwem.protocols import EMProtocol
from pyworkflow.protocol.constants import GPU_LIST, USE_GPU
from pyworkflow.protocol.params import ElementGroup

import isonet_scipion
from isonet_scipion import bibtex, protocols
from isonet_scipion.convert.files import asMrc
from isonet_scipion.engine.settings.correction import PredictSettings
from isonet_scipion.engine.settings.preparation import DeconvSettings, ExtractSettings
from isonet_scipion.engine.settings.training import IterativeSettings, OnePassSettings
from isonet_scipion.protocols.form import commandOptions, inFormWords, optionValues

CLASSES = [getattr(protocols, name) for name in protocols.__all__]
PACKAGE = Path(isonet_scipion.__file__).parent


def own_params(protocol):
    """The parameters that a protocol defines and its form may show, not those of Scipion for all, by name."""
    common = dict(EMProtocol()._definition.iterParams())
    found = dict(protocol._definition.iterParams())
    own = {name: param for name, param in found.items() if name not in common and not isinstance(param, ElementGroup)}
    own = {name: param for name, param in own.items() if param.condition.get() != "False"}
    return {name: own[name] for name in own if name not in (USE_GPU, GPU_LIST) and not name.startswith("streaming")}


def options(protocol, settings, **values):
    for name, value in values.items():
        getattr(protocol, name).set(value)
    words = commandOptions(optionValues(protocol, settings))
    return dict(zip(words[::2], words[1::2]))


@pytest.mark.parametrize("protocolClass", CLASSES, ids=lambda cls: cls.__name__)
def test_every_parameter_has_a_label_of_its_own_and_a_help(protocolClass):
    found = own_params(protocolClass())
    labels = [param.label.get() for param in found.values()]
    # the two ends of a range have the help of their line
    named = [label for label in labels if label not in ("from", "to")]
    assert all(named) and len(set(named)) == len(named)
    assert not [name for name, param in found.items() if param.label.get() in named and not param.help.get()]


def test_fractions_reach_the_engine_whole():
    given = options(protocols.ProtIsoNetDeconv(), DeconvSettings, snrFalloff=0.7, deconvStrength=1.25)
    assert (given["--snrfalloff"], given["--deconvstrength"]) == ("0.7", "1.25")


def test_normalisation_reaches_the_engine_in_training_and_correction():
    for protocol in (protocols.ProtIsoNetRefine(), protocols.ProtIsoNetOnePass()):
        assert options(protocol, protocol.settings, normalizePercentile=False)["--normalize_percentile"] == "False"
    choices = protocols.ProtIsoNetPredict().getParam("normalizePercentile").choices
    assert len(choices) == 3 and "percentiles" in choices
    assert "--normalized_output" in options(protocols.ProtIsoNetPredict(), PredictSettings)


def test_a_training_form_gives_options_of_its_method_and_what_is_empty_is_not_given():
    iterative = options(protocols.ProtIsoNetRefine(), IterativeSettings)
    assert (iterative["--iterations"], iterative["--drop_out"], iterative["--filter_base"]) == ("30", "0.3", "64")
    one_pass = protocols.ProtIsoNetOnePass()
    given = options(one_pass, OnePassSettings)
    empty = {"--iterations", "--learning_rate", "--drop_out", "--filter_base", "--noise_level", "--steps_per_epoch"}
    assert not empty & set(given) and given["--epochs"] == "5"
    assert "Empty: 40; with half tomograms, unless it starts from a model, 32" in str(
        one_pass.getParam("stepsPerEpoch").help
    )
    assert one_pass._iterations() == 3  # from the builtin model
    one_pass.startFromBuiltin.set(False)
    assert one_pass._iterations() == 20
    refine = protocols.ProtIsoNetRefine()
    refine.startFromBuiltin.set(True)
    assert not {"unet_depth", "drop_out"} & set(refine._options()) and refine._options()["learning_rate"] == 0.0004


def test_inputs_that_may_be_left_out_say_so():
    form = protocols.ProtIsoNetOnePass()
    labels = [form.getParam(name).label.get() for name in ("inputMasks", "inputCtfs", "pretrainedModel")]
    assert all(label.endswith("(optional)") for label in labels)


@pytest.mark.parametrize(("protocolClass", "message", "told"), [
    (
        protocols.ProtIsoNetMask,
        "a.mrc: y and z are swapped. Turn it. If it is right as it is, give --check_axes False.",
        "a.mrc: y and z are swapped. Turn it. If it is right as it is, give *Check the axes?* No.",
    ),
    (
        protocols.ProtIsoNetPredict,
        "out of memory: 3 GiB. Give cube_size and crop_size, or lower them, or rescale the tomogram (resize).",
        "out of memory: 3 GiB. Give *Step between tiles (voxels)* and *Tile size (voxels)*, or lower them, "
        "or rescale the tomogram (resize).",
    ),
    (
        protocols.ProtIsoNetRefine,
        "precision: it can't be. Give precision auto, --gpuID 1, or another --noise_dir.",
        "*Precision*: it can't be. Give *Precision* auto, *GPU IDs* 1, or another --noise_dir.",
    ),
    (
        protocols.ProtIsoNetPredict,
        "Give --tilt_min and --tilt_max.",
        "Give *Tilt range, from* and *Tilt range, to*.",
    ),
    # no form asks for a folder
    (
        protocols.ProtIsoNetMask,
        "/p/a_mask.mrc: can't be written (Read-only file system). Check the permissions, or give another folder.",
        "/p/a_mask.mrc: can't be written (Read-only file system). Check the permissions.",
    ),
    (
        protocols.ProtIsoNetMask,
        "/p: the disk is full. Free some, or write to another folder.",
        "/p: the disk is full. Free some, or move the project to a larger disk.",
    ),
    (
        protocols.ProtIsoNetOnePass,
        "/p: the disk is full. Free some, give a result_dir elsewhere, or train on fewer tomograms.",
        "/p: the disk is full. Free some, move the project to a larger disk, or train on fewer tomograms.",
    ),
    (
        protocols.ProtIsoNetRefine,
        "/p: the disk is full. Free some, set remove_intermediate to True, or lower iterations.",
        "/p: the disk is full. Free some, set *Delete the estimates of the iterations?* to Yes, or lower iterations.",
    ),
    (protocols.ProtIsoNetMask, "a: taken. Wait for it, or give another output.", "a: taken. Wait for it."),
    (
        protocols.ProtIsoNetMask,
        "a_mask.mrc: it is there already. Give another folder with --mask_folder, or delete it.",
        "a_mask.mrc: it is there already. Delete it, or *Restart*, which makes everything anew.",
    ),
    # files are called as they are
    (protocols.ProtIsoNetPredict, "/cube_size/crop_size.mrc: a seed", "/cube_size/crop_size.mrc: a seed"),
    (protocols.ProtIsoNetPredict, "*--cube_size*-seed cube_size.star", "*--cube_size*-seed cube_size.star"),
    # of a model's network, which the form asks for only where it starts from none
    (protocols.ProtIsoNetMask, "Lower filter_base, or --deconv_folder.", "Lower filter_base, or --deconv_folder."),
])  # fmt: skip
def test_options_in_messages_of_the_engine_are_called_as_in_the_form(protocolClass, message, told):
    assert inFormWords(protocolClass(), message) == told


def test_defaults_fit_together():
    extract = options(protocols.ProtIsoNetExtract(), ExtractSettings)
    refine = protocols.ProtIsoNetRefine()
    assert int(extract["--cube_size"]) % 2 ** refine.unetDepth.get() == 0
    assert protocols.ProtIsoNetExtract()._cropSize() > int(extract["--cube_size"])
    # tiles are chosen by the engine, from the tomogram and the memory
    assert not {"--cube_size", "--crop_size"} & set(options(protocols.ProtIsoNetPredict(), PredictSettings))


@pytest.mark.parametrize("protocolClass", CLASSES, ids=lambda cls: cls.__name__)
def test_threads_are_no_processes(protocolClass):
    assert not protocolClass().allowMpi


def test_mrc_files_of_any_suffix_are_taken_as_they_are(tmp_path):
    for name in ("a.rec", "a.mrc", "a.st", "a.map:mrc"):
        assert asMrc(str(tmp_path / name), "unused.mrc", 10.0) == str(tmp_path / name).removesuffix(":mrc")


def test_no_text_of_a_template_is_left():
    texts = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if "tests" not in path.parts]
    texts += [path.read_text() for path in (PACKAGE / "protocols.conf", *(PACKAGE / "templates").iterdir())]
    words = re.compile(r"\bmy ?plugin|hello world|BibKey|lorem ipsum|your ?(name|institution)|@article\{key", re.I)
    assert not [found for text in texts for found in words.findall(text)]
    assert re.findall(r"doi *= *\{https://doi.org/10\.\d{4,}/\S+\}", bibtex.__doc__)
