"""The program `framer`, also as `python -m framer`."""

import os
import signal
import sys


def _interrupted(*_: object) -> None:
    """Answer Ctrl-C while modules are imported; `main` takes over."""
    os.write(2, b"framer: interrupted\n")
    os._exit(1)


signal.signal(signal.SIGINT, _interrupted)

from framer.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
