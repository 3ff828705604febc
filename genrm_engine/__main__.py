"""``python -m genrm_engine``."""

import sys

from genrm_engine.cli import main

if __name__ == "__main__":
    sys.exit(main())
