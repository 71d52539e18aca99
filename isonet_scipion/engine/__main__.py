"""`python -m isonet_scipion.engine`: the same as the command `isonet-engine`."""

import sys

from isonet_scipion.engine.cli import main

if __name__ == "__main__":
    sys.exit(main())
