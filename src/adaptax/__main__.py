"""`python -m adaptax`: the command line."""

import sys

from adaptax.cli import main

if __name__ == "__main__":
    sys.exit(main())
