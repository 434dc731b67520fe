"""SIGTERM ends every command, and an early Ctrl-C is one line."""

import signal
import subprocess
import sys

import pytest

from tests.fixtures.clone import ROOT

START = """
import hashlib, os, runpy, signal, sys, threading, time
from framer import cli
from framer.commands import signals

signals.GRACE = 0.5

def ready():
    print("ready", flush=True)

def deaf(args):
    say = ready
    while True:
        try:
            say()
            say = lambda: time.sleep(60)
        except SystemExit:
            pass

def busy(args):
    threading.Timer(0.5, ready).start()  # when the call below is under way
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # one call of minutes, which no handler interrupts

def quick(args):
    ready()
    time.sleep(60)

def training(args):
    seen = []
    before = signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
    ready()
    while not seen:
        time.sleep(0.01)
    time.sleep(4 * signals.GRACE)
    signal.signal(signal.SIGTERM, before)

cli.COMMANDS["plan"] = (globals()[sys.argv.pop()], "test.", ())
sys.argv[1:] = ["plan"]
sys.exit(cli.main())
"""


@pytest.mark.parametrize(
    ("handler", "code", "message"),
    [
        ("quick", 1, "framer: terminated\n"),
        ("deaf", 1, "framer: terminated; it had not ended 0 s after SIGTERM"),
        ("busy", 1, "framer: terminated; it had not ended 0 s after SIGTERM"),
        ("training", 0, ""),
    ],
)
def test_sigterm_ends_a_command_whatever_it_does(handler: str, code: int, message: str) -> None:
    command = [sys.executable, "-c", START, handler]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        try:
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == code
    assert message in error and "Traceback" not in error


def test_an_interrupt_while_modules_are_imported_is_one_line() -> None:
    code = """
import os, runpy, signal, sys

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "framer.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
runpy.run_module("framer", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "framer: interrupted\n")
