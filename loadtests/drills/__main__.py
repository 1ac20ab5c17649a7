"""``python -m loadtests.drills NAME``: the same as ``atoll drill NAME``."""

import sys

from atoll.cli.program import main

if __name__ == "__main__":
    sys.exit(main(["drill", *sys.argv[1:]]))
