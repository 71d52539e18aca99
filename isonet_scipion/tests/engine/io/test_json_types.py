"""Values out of a JSON text are of their kind or refused."""

from typing import Optional, Tuple

import pytest

from isonet_scipion.engine.io.json_types import require_kinds

HINTS = {"size": float, "count": int, "name": str, "flag": bool, "maybe": Optional[int], "sides": Tuple[int, ...]}
GOOD = {"size": 1, "count": 2, "name": "a", "flag": True, "maybe": None, "sides": (1, 2), "unknown": object()}


def test_right_kinds_pass_whatever_is_not_known():
    require_kinds(GOOD, HINTS)
    require_kinds({"maybe": 3}, HINTS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("size", "1"), ("size", float("nan")), ("size", True), ("count", 1.0), ("count", True), ("name", 1), ("flag", 1),
     ("maybe", "1"), ("sides", [1]), ("sides", (1, "2"))],
)  # fmt: skip
def test_wrong_kinds_are_named(name, value):
    with pytest.raises(ValueError, match=f"its {name} is"):
        require_kinds({**GOOD, name: value}, HINTS)
