"""``python -m deepprivacy_rt``: the same as the command ``deepprivacy-rt``."""

import sys

from deepprivacy_rt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
