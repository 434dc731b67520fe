"""The clone and the environment of a method, made with a network before any job runs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from framer.errors import UserError
from framer.external.manifest import METHODS, Container, MethodManifest, Venv, clone_folder, environment_folder
from framer.provenance.cards import CARD, read_card, write_card
from framer.provenance.files import write_text
from framer.provenance.lock import exclusive
from framer.weights import store

REPOSITORY, ENVIRONMENT, SOURCES, IMAGE = "repository", "env", "src", "image.sif"
TREE, PACKAGES = "tree.txt", "packages.txt"
MARK = ".made"
"""Lies in a folder from before its first file on: what has it was made here, and may be deleted."""


def clone(manifest: MethodManifest, folder: Path = METHODS) -> None:
    """Clone a method's repository at its commit, and write a card.

    Raises:
        UserError: git fails, or the folder holds something else.
    """
    out = clone_folder(manifest.id, folder)
    facts = {"repository": manifest.repository, "commit": manifest.commit}
    with _making(out, facts) as new:
        if not new:
            return
        at = out / REPOSITORY
        _run(["git", "clone", "--quiet", "--no-checkout", manifest.repository, str(at)], out)
        _run(["git", "-C", str(at), "checkout", "--quiet", "--detach", manifest.commit], out)
        if (at / ".gitmodules").is_file():
            _run(["git", "-C", str(at), "submodule", "update", "--quiet", "--init", "--recursive"], out)
        write_text(out / TREE, _run(["git", "-C", str(at), "ls-tree", "-r", "HEAD"], out))
        write_card(out, "method", [TREE], **facts)


def build(manifest: MethodManifest, folder: Path = METHODS) -> None:
    """Make a method's environment, after its clone, and write a card with what is in it.

    Raises:
        UserError: a program fails or is missing, or the folder holds something else.
    """
    out, source = environment_folder(manifest.id, folder), clone_folder(manifest.id, folder)
    facts = {"environment": manifest.made_of(folder), "commit": manifest.commit}
    read_card(source, "method")
    with _making(out, facts) as new:
        if not new:
            return
        for command in build_commands(manifest, folder):
            _run(command, out)
        if isinstance(manifest.environment, Container):
            write_card(out, "method", [IMAGE], **facts)
            return
        python = out / ENVIRONMENT / "bin" / "python"
        write_text(out / PACKAGES, _run([str(python), "-m", "pip", "list", "--format=freeze"], out))
        write_card(out, "method", [PACKAGES], **facts)


def build_commands(manifest: MethodManifest, folder: Path = METHODS) -> list[list[str]]:
    """The commands that make an environment, in their order."""
    out, source = environment_folder(manifest.id, folder), clone_folder(manifest.id, folder) / REPOSITORY
    where, env = str(out / ENVIRONMENT), manifest.environment
    pip = [str(out / ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    if isinstance(env, Venv):
        pinned = ["--require-hashes", "--requirement", str(folder / env.requirements)]
        return [[sys.executable, "-m", "venv", where], [*pip, *pinned]]
    if isinstance(env, Container):
        return [["apptainer", "pull", str(out / IMAGE), env.image]]
    if env.file:
        commands = [["conda", "env", "create", "--yes", "--prefix", where, "--file", str(source / env.file)]]
    else:
        commands = [["conda", "create", "--yes", "--prefix", where, f"python={env.python}", "pip"]]
    if env.requirements:
        commands.append([*pip, "--requirement", str(source / env.requirements)])
    if env.editable:
        named = [word for address in env.editable for word in ("--editable", address)]
        commands.append([*pip, "--src", str(out / SOURCES), *named])
    return commands


def run_command(manifest: MethodManifest, words: Sequence[str], work: Path, folder: Path = METHODS) -> list[str]:
    """A method's command inside its environment.

    Args:
        manifest: of the method.
        words: its command.
        work: the folder that a container sees beside the weights.
        folder: of the manifests.
    """
    home = environment_folder(manifest.id, folder).resolve()
    if isinstance(manifest.environment, Container):
        binds = ["--bind", f"{work}", "--bind", f"{weights_folder()}:{weights_folder()}:ro"]
        return ["apptainer", "exec", "--nv", *binds, "--pwd", f"{work / REPOSITORY}", f"{home / IMAGE}", *words]
    return list(words)


def run_environment(manifest: MethodManifest, folder: Path = METHODS) -> dict[str, str]:
    """The variables of a method's command: its environment first on the path, and no downloads."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX")
    variables = {name: value for name, value in os.environ.items() if name not in hidden}
    variables |= {"PYTHONNOUSERSITE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PIP_NO_INDEX": "1"}
    if not isinstance(manifest.environment, Container):
        home = environment_folder(manifest.id, folder).resolve() / ENVIRONMENT
        variables |= {"PATH": os.pathsep.join([str(home / "bin"), variables.get("PATH", "")])}
        variables["VIRTUAL_ENV" if isinstance(manifest.environment, Venv) else "CONDA_PREFIX"] = str(home)
    return variables


def weights_folder() -> Path:
    """The folder of weights as a command sees it."""
    return store.folder().resolve()


def unchanged(manifest: MethodManifest, folder: Path = METHODS) -> Path:
    """The clone, checked: at its commit, without changes.

    Raises:
        UserError: it is missing, of another commit, or changed.
    """
    out = clone_folder(manifest.id, folder)
    again = f"delete {out} and run: framer fetch-method {manifest.id}"
    if read_card(out, "method").get("commit") != manifest.commit:
        raise UserError(f"is not at commit {manifest.commit[:8]}; {again}", path=out, code="mismatch")
    if changed := _run(["git", "-C", str(out / REPOSITORY), "status", "--porcelain"], out):
        message = f"was changed after it was cloned ({changed.splitlines()[0]}); {again}"
        raise UserError(message, path=out, code="mismatch")
    return out / REPOSITORY


@contextmanager
def _making(out: Path, facts: Mapping[str, object]) -> Iterator[bool]:
    """Hold a folder and empty it, unless it is finished with the same facts: then False, and it stays."""
    with exclusive(out.parent / f".{out.name}.lock", out, wait=True):
        if (out / CARD).is_file() and facts.items() <= read_card(out, "method").items():
            yield False
            return
        if out.exists():
            if any(out.iterdir()) and not (out / MARK).is_file():
                raise UserError("holds files that were not made here; move them away", path=out, code="refused")
            shutil.rmtree(out)
        out.mkdir(parents=True)
        (out / MARK).touch()
        yield True


def _run(command: Sequence[str], where: Path) -> str:
    """Run a program to its end, and return what it printed.

    Raises:
        UserError: it is missing or fails.
    """
    variables = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=variables, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        message = f"{command[0]} is not installed, which makes it; install it"
        raise UserError(message, path=where, code="missing") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        message = f"{' '.join(command[:3])} ... failed with exit code {done.returncode} ({last[:150]})"
        raise UserError(f"{message}; see its own words and run again", path=where, code="unavailable")
    return done.stdout
