"""What all tests share: warnings are errors; a test that makes some names them in a mark of its own."""

import pytest

WARNINGS = (
    "error",
    "ignore::DeprecationWarning",  # of what libraries call in each other
    "ignore::PendingDeprecationWarning",
    "error::DeprecationWarning:isonet_scipion",  # but not of what this package calls
    # told in whichever test Python happens to collect what was left
    "ignore::ResourceWarning",
    "default::pytest.PytestUnraisableExceptionWarning",
    "ignore:Even though the `tf.config:UserWarning",  # TensorFlow, of what the fixture `eager` asks for
)
# files that take longest, which come first: begun last, one of them would keep one processor while the other is idle
LONG = (
    "test_run", "test_one_pass_resume", "test_one_pass", "test_documentation", "test_jax_devices", "test_builtin",
    "test_grid", "test_ctf_aware", "test_isonet_h5",
    "test_recovery", "test_streaming", "test_queue", "test_values", "test_inputs", "test_gui", "test_viewers",
    "test_signals", "test_failing_calls",
    "test_official_scipion", "test_python38",
)  # fmt: skip


def pytest_collection_modifyitems(items):
    """Have long files first, and warnings as errors: not in the collection, in which Scipion's packages warn."""
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
    for item in items:
        item.add_marker(pytest.mark.filterwarnings(*WARNINGS), append=False)  # its own marks come after
