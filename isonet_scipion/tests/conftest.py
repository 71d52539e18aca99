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


def pytest_collection_modifyitems(items):
    """Have warnings as errors in the tests, not in their collection, in which Scipion's packages warn."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings(*WARNINGS), append=False)  # its own marks come after
