"""`python -m framer` is `framer`."""

import sys

from framer.cli import main

sys.exit(main())
