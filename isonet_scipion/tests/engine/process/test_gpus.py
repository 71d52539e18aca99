"""Which GPUs a user means."""

import pytest

from isonet_scipion.engine.errors import EngineError
from isonet_scipion.engine.process.gpus import named_gpus, visible_devices

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
    ],
)
def test_numbers_count_among_what_a_queue_gave(text, visible, expected):
    assert visible_devices(text, visible) == expected


@pytest.mark.parametrize(("text", "visible"), [("2", "4,5"), ("4", "4,5"), ("0", ""), ("0", "-1"), (NAMES[0], "0,1")])
def test_what_was_not_given_is_refused(text, visible):
    with pytest.raises(EngineError, match="not among those that this process was given"):
        visible_devices(text, visible)
