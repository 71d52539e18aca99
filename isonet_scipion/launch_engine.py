"""Run the engine of this very folder in any Python: `python -I launch_engine.py STAGE ...`.

The folder around the package is kept off the search path: in an installed plugin that is Scipion's site-packages,
whose libraries must not mix with those of the engine's own environment.
"""

import importlib.util
import os
import sys

FOLDER = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location(
    "isonet_scipion", os.path.join(FOLDER, "__init__.py"), submodule_search_locations=[FOLDER]
)
assert spec is not None and spec.loader is not None  # as the file is there
package = importlib.util.module_from_spec(spec)
sys.modules["isonet_scipion"] = package
spec.loader.exec_module(package)

if __name__ == "__main__":
    from isonet_scipion.engine.cli import main

    sys.exit(main())
