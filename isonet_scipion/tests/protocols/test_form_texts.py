"""What a form says: in its own words, not those of the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import pyworkflow
from pwem.protocols import EMProtocol
from pyworkflow.constants import PROD, TOMO
from pyworkflow.protocol import STATUS_RUNNING
from pyworkflow.protocol.params import ElementGroup, PointerParam
from pyworkflow.utils import Message

from isonet_scipion import bibtex, protocols
from isonet_scipion.engine.measure.history import AT_CHANCE, EpochRecord
from isonet_scipion.plugin import Plugin
from isonet_scipion.protocols.form import GPU_ROW, OPTIONAL, labelOf
from isonet_scipion.protocols.protocol_deconv import suggestedFalloff
from isonet_scipion.protocols.streaming import FAILED_OUTPUT, ProtIsoNetTomograms

CLASSES = [getattr(protocols, name) for name in protocols.__all__]
# a default that the command line takes, a value as it writes it, an option's name, a column; not a file's name
COMMAND_LINE = re.compile(
    r"Default: |\bFalse\b|\bTrue\b|\b[a-z]+_[a-z_]+\b(?!\.star)|\b_?rln(?!TomoName)|2\^|the table's"
)

# a form is read once: words that mean something else to most, and turns of phrase that have to be read twice
READ_TWICE = re.compile(
    r"\b(told|wished|(?:the|a) share|places?\b(?! of)|by itself|by heart|as it (?:is|was)\b(?! after)|of ours|kept from"
    r"|for granted|are an error|as far as|that there are|so many|decadic|tells? nothing|its shape)\b",
    re.IGNORECASE,
)


def params(protocol):
    """Its own parameters, and the groups and lines that hold some, by name."""
    common = dict(EMProtocol()._definition.iterParams())
    return {name: param for name, param in protocol._definition.iterAllParams() if name not in common}


@pytest.mark.parametrize("protocolClass", CLASSES, ids=lambda cls: cls.__name__)
def test_helps_are_in_words_of_a_form(protocolClass):
    helps = {name: param.help.get() or "" for name, param in params(protocolClass()).items()}
    assert len(helps) > 2
    assert not {name: text for name, text in helps.items() if COMMAND_LINE.search(text)}


@pytest.mark.parametrize("protocolClass", CLASSES, ids=lambda cls: cls.__name__)
def test_forms_are_plain(protocolClass):
    protocol = protocolClass()
    texts = {"what it does": protocolClass.__doc__}
    for name, param in params(protocol).items():
        texts[f"label of {name}"] = param.label.get() or ""
        texts[f"help of {name}"] = getattr(param, "help", param.label).get() or ""
        texts[f"choices of {name}"] = ", ".join(getattr(param, "choices", ()))
    assert not {where: text for where, text in texts.items() if READ_TWICE.search(text)}


def test_the_recommended_training_is_not_offered_as_less_tried_than_the_other():
    one_pass, iterative = protocols.ProtIsoNetOnePass, protocols.ProtIsoNetRefine
    assert one_pass._devStatus == iterative._devStatus == PROD
    tree = (Path(protocols.__file__).parents[1] / "protocols.conf").read_text(encoding="utf-8")
    assert tree.index(one_pass.__name__) < tree.index(iterative.__name__)
    assert all(training().getParam("patience").isExpert() for training in (one_pass, iterative))


@pytest.mark.parametrize("protocolClass", CLASSES, ids=lambda cls: cls.__name__)
def test_inputs_that_may_be_left_out_say_so(protocolClass):
    protocol = protocolClass()
    mustBe = {"inputTomograms", "inputSubtomograms"} - (
        {"inputSubtomograms"} if protocolClass is protocols.ProtIsoNetExport else set()
    )
    for name, param in params(protocol).items():
        if isinstance(param, PointerParam):
            assert param.label.get().endswith(OPTIONAL) == (name not in mustBe), name
            assert OPTIONAL not in labelOf(protocol, name)
            assert not (param.help.get() or "").startswith("Optional")


@pytest.mark.parametrize("protocolClass", CLASSES, ids=lambda cls: cls.__name__)
def test_no_page_is_empty_and_no_parameter_is_without_effect(protocolClass):
    protocol = protocolClass()
    assert protocol.getParam("streamingBatchSize") is None
    for section in protocol._definition.iterSections():
        shown = [name for name, param in section.iterParams() if not param.isExpert() and not param.condition.get()]
        assert shown, section.getLabel()


def test_failed_tomograms_are_a_possible_output_of_all_that_work_on_tomograms():
    stages = [cls for cls in CLASSES if issubclass(cls, ProtIsoNetTomograms)]
    assert len(stages) == 4
    for stage in stages:
        assert {stage.OUTPUT, FAILED_OUTPUT} <= set(stage._possibleOutputs)


def test_the_falloff_follows_the_voxel_size():
    assert protocols.ProtIsoNetDeconv().snrFalloff.get() is None
    assert [suggestedFalloff(rate) for rate in (6.8, 10, 20)] == [0.68, 1, 2]


def test_what_fills_the_disk_is_deleted_unless_asked_for():
    assert protocols.ProtIsoNetRefine().removeIntermediate.get() is True


def test_help_leads_to_the_page_on_parameters():
    url = protocols.ProtIsoNetDeconv.getUrl()
    assert url.startswith("file://") and url.endswith("docs/parameters.md") and Plugin._url.startswith("https://")


def test_groups_have_labels():
    for protocolClass in CLASSES:
        groups = [param for param in params(protocolClass()).values() if isinstance(param, ElementGroup)]
        assert all(group.label.get() for group in groups)


def test_citations_are_those_of_the_method():
    one_pass = protocols.ProtIsoNetOnePass()
    assert one_pass._citations() == ["Wiedemann2024"]
    one_pass.ctfAware.set(True)
    assert one_pass._citations() == ["Wiedemann2024", "Liu2025"]
    assert protocols.ProtIsoNetRefine()._citations() == ["Liu2022"]
    assert protocols.ProtIsoNetPredict()._citations() == []  # the builtin model is after nothing that is published
    known = set(re.findall(r"@article\{(\w+),", bibtex.__doc__))
    assert {"Wiedemann2024", "Liu2025", "Liu2022", "Tegunov2019"} <= known


def test_messages_name_the_row_of_the_gpus_as_the_window_does():
    source = Path(pyworkflow.__file__).parent / "gui" / "form.py"
    assert f'"{GPU_ROW}"' in source.read_text(encoding="utf-8")


def test_questions_that_the_documentation_names_are_in_a_form():
    root = Path(protocols.__file__).parents[2]
    pages = [root / "README.md", root / "CHANGES.md", *(root / "docs").glob("*.md")]
    texts = [page.read_text(encoding="utf-8") for page in pages if page.exists()]
    named = {question for text in texts for question in re.findall(r"(?<!\*)\*(\w[^*\n]*\?)\*(?!\*)", text)}
    labels = {param.label.get() for cls in CLASSES for param in params(cls()).values()}
    headings = {question for text in texts for question in re.findall(r"^\*\*(.*\?)\*\*", text, re.MULTILINE)}
    assert named - headings - labels == ({Message.LABEL_QUEUE} if texts else set())


def test_the_plugin_is_of_tomography():
    assert Plugin().getProcessingField() == [TOMO]


def test_a_training_says_where_it_is_before_its_first_epoch_has_ended():
    training = protocols.ProtIsoNetOnePass()
    assert training._progress([]) == []
    training.setStatus(STATUS_RUNNING)
    assert training._progress([]) == ["*Iteration 1 of 3*, first epoch: *Output Log* shows its steps."]


@pytest.mark.parametrize("best", [0.02, 0.5])
def test_the_summary_of_a_training_that_stayed_at_chance_says_so(monkeypatch, best):
    training = protocols.ProtIsoNetOnePass()
    monkeypatch.setattr(training, "_used", lambda name: 1)
    monkeypatch.setattr(training, "_getExtraPath", lambda *names: "/nowhere")
    history = [EpochRecord(number, 1, 0.1, 0.2, 0, 1, value, 0.01) for number, value in enumerate((0.01, best), 1)]
    assert (f"*{AT_CHANCE}*" in training._progress(history)) is (best < 0.03)
