"""``python -m quantref``: the command line."""

import sys

from quantref.cli import main

if __name__ == "__main__":
    sys.exit(main())
