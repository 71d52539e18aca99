"""What the processor can do, as the system tells it."""

from __future__ import annotations

from contextlib import suppress

MATRIX_UNITS = {"amx_tile", "amx_bf16"}  # of Intel's processors from 2023 on (Sapphire Rapids)


def processor_features() -> str:
    """The words for its instructions, of Linux; empty where there are none."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as lines:
        return next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return ""


def multiplies_bfloat16() -> bool:
    """Whether it has units that multiply matrices of bfloat16 (AMX).

    TensorFlow's convolutions take half as long with them as in float32. With AVX-512's instructions for bfloat16 alone
    they take half as long again.
    """
    return set(processor_features().split()) >= MATRIX_UNITS
