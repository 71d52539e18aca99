"""The command `isonet-engine`, and `python -m isonet_scipion.engine`."""

import sys

from isonet_scipion.engine.process.libraries import prefer_own_packages


def start() -> int:
    """Run the process's command; what it imports is imported only once the order of its packages is right."""
    prefer_own_packages()
    from isonet_scipion.engine.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(start())
