"""Functions that run in processes of their own and are killed there, as a cluster kills a job."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any, NoReturn


def killed(target: Callable[..., None], *arguments: Any) -> None:
    """Run `target`, a function of a module, in a fresh process; it must end by SIGKILL."""
    process = multiprocessing.get_context("forkserver").Process(target=target, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


def die() -> NoReturn:
    """Kill this process: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("not reached")
