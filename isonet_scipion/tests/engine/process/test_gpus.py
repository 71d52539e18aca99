"""Which GPUs a user means."""

import os

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.process.gpus import VISIBLE, choose_visible, gpus_to_share, named_gpus, visible_devices

NAMES = ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "MIG-GPU-8932f937/1/0", "MIG-c6d4f1ef-42e4")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "0"),
        ("0,1", "0 1"),
        ("0, 1", "0 1"),
        ("0 1", "0 1"),
        ("(0,1)", "0 1"),
        ("[1 3]", "1 3"),
        ("'0,1'", "0 1"),
        ("0;2", "0 2"),
        ("0-3", "0 1 2 3"),
        ("0-1,5", "0 1 5"),
        ("cuda:1", "1"),
        ("gpu0", "0"),
        ("00", "0"),
        (",".join(NAMES), " ".join(NAMES)),
        ("-1", ""),
        ("cpu", ""),
    ],
)
def test_lists_as_people_write_them(text, expected):
    assert " ".join(named_gpus(text)) == expected


@pytest.mark.parametrize(
    "text", ["", " ", ",", "x", "0,x", "0.5", "3-1", "0,0", "1,0-2", "-2", "0,-1", "all", "1e9", "99999"]
)
def test_what_is_no_list_is_refused(text):
    with pytest.raises(EngineError, match="gpuID"):
        named_gpus(text)


@pytest.mark.parametrize(
    ("text", "visible", "expected"),
    [
        ("0", "4,5", "4"),
        ("1,0", "4,5", "5,4"),
        ("0", None, "0"),
        ("2", None, "2"),
        ("-1", "4,5", "-1"),
        ("-1", "", "-1"),
        ("1", ",".join(NAMES), NAMES[1]),
        (NAMES[2], ",".join(NAMES), NAMES[2]),
        (NAMES[0], None, NAMES[0]),
        # as CUDA does: the start of a name is enough, and a list ends at the first word that is none
        ("GPU-8932,2", ",".join(NAMES), f"{NAMES[0]},{NAMES[2]}"),
        (NAMES[0], "GPU-8932,GPU-7", "GPU-8932"),
        ("1", " 4, 5 ", "5"),
        ("0", "4,-1,5", "4"),
    ],
)
def test_numbers_count_among_what_a_queue_gave(text, visible, expected):
    assert visible_devices(text, visible) == expected


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("2", "4,5"),
        ("4", "4,5"),
        ("0", ""),
        ("0", "-1"),
        ("0", "NoDevFiles"),
        ("1", "4,-1,5"),
        (NAMES[0], "0,1"),
        ("GPU-8", "GPU-81,GPU-82"),
        (f"0,{NAMES[0]}", ",".join(NAMES)),
    ],
)
def test_what_was_not_given_is_refused(text, visible):
    with pytest.raises(EngineError, match="not among those that this process was given"):
        visible_devices(text, visible)


@pytest.mark.parametrize(
    ("visible", "shared"),
    [(",".join(NAMES), ("0", "1", "2")), ("4,-1,5", ("0",)), ("NoDevFiles", ()), ("-1", ()), ("", ())],
)
def test_without_a_list_all_that_a_queue_gave_are_shared(monkeypatch, visible, shared):
    monkeypatch.setenv(VISIBLE, visible)
    assert gpus_to_share(None) == shared
    for number, name in zip(shared, visible.split(",")):
        monkeypatch.setenv(VISIBLE, visible)
        assert choose_visible(number) == 1 and os.environ[VISIBLE] == name


@pytest.mark.parametrize("own", [None, "FASTEST_FIRST"])
def test_numbers_are_those_of_nvidia_smi_unless_the_user_has_set_another_order(monkeypatch, own):
    monkeypatch.setenv("CUDA_DEVICE_ORDER", own or "")
    if own is None:
        monkeypatch.delenv("CUDA_DEVICE_ORDER")
    choose_visible(None)
    assert os.environ["CUDA_DEVICE_ORDER"] == (own or "PCI_BUS_ID")
