"""Run another method's own code on a folder of LR images, and import what it made."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from framer.data.images import list_images
from framer.errors import UserError
from framer.external.made import REPOSITORY, run_command, run_environment, unchanged, weights_folder
from framer.external.manifest import METHODS, MethodManifest, environment_folder
from framer.inference.import_images import adopt
from framer.inference.output_folder import check_output
from framer.provenance.cards import CARD, read_card, verify_payload
from framer.provenance.hashing import digest
from framer.provenance.lock import exclusive
from framer.weights.manifest import WeightsManifest

LARGEST_SEED = 2**31
"""Seeds of NumPy and of many scripts are 32-bit numbers."""


def run_method(
    name: str, lr: Path, out: Path, *, seed: int = 0, methods: Path = METHODS, progress: bool = True
) -> None:
    """Restore images with another method, whose clone and environment are made: see `framer.external.made`.

    Its command runs in a work folder of its own beside `out`, with copies of its repository and of the LR images. A
    call that is killed leaves the work folder; the next one deletes it and starts anew. Foreign code runs with the
    rights of the user.

    Args:
        name: of the manifest.
        lr: folder of LR images.
        out: folder of 8-bit RGB PNGs.
        seed: for the command, modulo 2**31.
        methods: folder of the manifests.
        progress: show a bar.

    Raises:
        UserError: something of it is not made, its command fails, or its images are not those of `lr`, as `adopt`.
    """
    manifest = MethodManifest.load(name, methods)
    check_output(out, (lr,))
    images = list_images(lr)
    facts = _facts(manifest, seed % LARGEST_SEED, methods)
    repository = unchanged(manifest, methods)
    work = out.with_name(f".{out.name}.work").absolute()
    with exclusive(work.with_name(f"{work.name}.lock"), work):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(repository, work / REPOSITORY, symlinks=True, ignore=shutil.ignore_patterns(".git"))
        for path in images.values():
            (work / "lr").mkdir(exist_ok=True)
            shutil.copyfile(path, work / "lr" / path.name)
        (work / "out").mkdir()
        places = {"lr": work / "lr", "out": work / "out", "seed": seed % LARGEST_SEED, "weights": weights_folder()}
        _run(manifest, run_command(manifest, manifest.words(places), work, methods), work, methods)
        adopt(work / "out" / manifest.results, lr, out, source=manifest.title, method=facts, progress=progress)
        shutil.rmtree(work)


def _facts(manifest: MethodManifest, seed: int, methods: Path) -> dict[str, Any]:
    """What the card records of the method: what decides its images.

    Raises:
        UserError: its environment or its weights are missing or changed.
    """
    made = environment_folder(manifest.id, methods)
    card = read_card(made, "method")
    verify_payload(made, card)
    if (card.get("environment"), card.get("commit")) != (manifest.made_of(methods), manifest.commit):
        message = f"was made by another manifest; run: framer build-method {manifest.id}"
        raise UserError(message, path=made / CARD, code="mismatch")
    weights = {}
    for name in manifest.weights:
        one = WeightsManifest.load(name)
        if one.missing(weights_folder()) or not (recorded := one.recorded(weights_folder())):
            raise UserError(one.how_to_get(weights_folder()), path=methods / f"{manifest.id}.yaml", key="weights")
        weights[name] = digest(recorded)
    return {
        "name": manifest.id,
        "repository": manifest.repository,
        "commit": manifest.commit,
        "environment": digest({key: card[key] for key in card if key != "kind"}),
        "command": manifest.command,
        "seed": seed,
        "weights": weights,
    }


def _run(manifest: MethodManifest, command: list[str], work: Path, methods: Path) -> None:
    """Run the command to its end, with its own output on stderr; it dies with this process.

    Raises:
        UserError: it cannot be started, or fails.
    """
    where = methods / f"{manifest.id}.yaml"
    variables = run_environment(manifest, methods)
    program = shutil.which(command[0], path=variables["PATH"])
    if program is None:
        raise UserError(f"{command[0]} is not on its path; correct the command", path=where, key="command")
    process = subprocess.Popen(
        [program, *command[1:]],
        cwd=work / REPOSITORY,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        start_new_session=True,  # so that all that it starts can be ended with it
    )
    try:
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if code:
        words = " ".join(command)[:120]
        message = f"failed with exit code {code} ({words}); its own words are above, its files in {work}"
        raise UserError(message, path=where, key="command", code="unavailable")
