"""What the system says of the processor."""

import platform
import sys

import pytest

from isonet_scipion.engine.process import processor
from isonet_scipion.engine.process.processor import multiplies_bfloat16, processor_features


@pytest.mark.skipif(platform.machine() != "x86_64" or not sys.platform.startswith("linux"), reason="for Linux on x86")
def test_a_processor_s_own_features_are_read():
    assert {"flags", "fpu"} <= set(processor_features().replace(":", " ").split())


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ("flags : fpu avx512_bf16 amx_bf16 avx512_fp16 amx_tile amx_int8", True),
        ("flags : fpu avx2 avx512f avx512_bf16", False),
        ("flags : fpu amx_tile amx_int8", False),
        ("Features : fp asimd bf16", False),
        ("", False),
    ],
)
def test_only_matrix_units_are_fast_in_bfloat16(monkeypatch, features, expected):
    monkeypatch.setattr(processor, "processor_features", lambda: features)
    assert multiplies_bfloat16() is expected
