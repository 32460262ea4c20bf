"""`python -m ice_lightning.explore`."""

import sys

from ice_lightning.explore.cli import main

if __name__ == "__main__":
    sys.exit(main())
