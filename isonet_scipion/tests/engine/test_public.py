"""What programs of others may import: it is there, and its examples are true."""

import doctest
import subprocess
import sys

import pytest

from isonet_scipion import engine


@pytest.mark.parametrize("name", engine.__all__)
def test_examples_are_true(name):
    thing = getattr(engine, name)
    module = sys.modules[thing.__module__]
    (example, *_) = doctest.DocTestFinder(recurse=False).find(thing, name, module, globs=vars(module).copy())
    # they are in the examples of what takes, gives or applies them
    needs_none = name in ("Deconvolution", "EngineError", "Evidence", "Quality", "corrector", "isonet_tiling")
    assert bool(example.examples) != needs_none
    runner = doctest.DocTestRunner()
    runner.run(example)
    assert runner.failures == 0


def test_what_is_not_public_is_told():
    with pytest.raises(AttributeError, match="no attribute nothing"):
        _ = engine.nothing


def test_importing_the_engine_does_not_import_keras():
    code = "import sys, isonet_scipion.engine; print({'keras', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
