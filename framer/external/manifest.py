"""Manifests of other people's methods: `methods/NAME.yaml` has repository, commit, environment, weights and command.

Foreign code runs with all rights of the user who runs it. A manifest names commits and hashes, so that it is at least
the same code each time.
"""

import shlex
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from framer.config_file import Matching, Name, Strict, read_model
from framer.errors import UserError, unknown
from framer.provenance.cards import CARD
from framer.provenance.hashing import digest, sha256_file
from framer.weights.manifest import Below

METHODS = Path("methods")
"""Folder of the manifests; the clone and the environment of each lie below `methods/NAME/`."""
PLACES = ("lr", "out", "seed", "weights")
"""What a command is given: folder of LR images, folder for SR images, a seed below 2**31, folder of weights."""


class Venv(Strict):
    """A virtual environment of this Python, from pinned requirements."""

    kind: Literal["venv"]
    requirements: Below = Field(description="file with a hash for every package, beside the manifest")


Editable = Annotated[
    str, Matching(r"^git\+https://\S+@[0-9a-f]{40}#egg=[\w-]+$", "git+https://ADDRESS@COMMIT#egg=NAME, all 40 digits")
]


class Conda(Strict):
    """An environment of conda, from files of the repository; they name no hashes."""

    kind: Literal["conda"]
    file: Below | None = Field(None, description="its environment.yaml, in the repository")
    python: str | None = Field(None, description="without such a file: the version of Python")
    requirements: Below | None = Field(None, description="and what pip installs, a file in the repository")
    editable: list[Editable] = Field([], description="repositories that pip installs beside it, in editable mode")

    @field_validator("requirements")
    @classmethod
    def _with_python(cls, given: str | None, info: Any) -> str | None:
        if bool(info.data.get("file")) == bool(info.data.get("python")):
            raise ValueError("give 'file', or 'python' and 'requirements'")
        return given


class Container(Strict):
    """An image that apptainer runs."""

    kind: Literal["container"]
    image: Annotated[str, Matching(r"^[a-z]+://\S+@sha256:[0-9a-f]{64}$", "an address with its @sha256:")]


Environment = Annotated[Venv | Conda | Container, Field(discriminator="kind")]


class MethodManifest(Strict):
    """One method."""

    id: Name = Field(description="equal to the file's stem")
    title: str
    license: str
    repository: str = Field(description="what git clones")
    commit: Annotated[str, Matching(r"^[0-9a-f]{40}$", "40 hexadecimal digits")]
    environment: Environment
    weights: list[str] = Field([], description="ids of manifests in weights/, or OWNER/NAME on the hub")
    command: str = Field(description="run in a copy of the repository; {lr}, {out}, {seed} and {weights} are filled in")
    results: str = Field("", description="folder of the images below {out}; default: {out} itself")
    run_here: bool = Field(
        description="whether anybody has run it by this manifest; false: written from its README alone"
    )
    note: str = ""

    @field_validator("command")
    @classmethod
    def _places_are_known(cls, given: str) -> str:
        try:
            named = [name for _, name, _, _ in string.Formatter().parse(given) if name is not None]
            shlex.split(given)
        except ValueError as error:
            raise ValueError(f"not a command ({error})") from None
        for name in named:
            if name not in PLACES:
                raise ValueError(unknown("place", f"{{{name}}}", [f"{{{place}}}" for place in PLACES]))
        if missing := [f"{{{name}}}" for name in ("lr", "out") if name not in named]:
            raise ValueError(f"has no {' and no '.join(missing)}")
        return given

    @classmethod
    def load(cls, name: str, folder: Path = METHODS) -> "MethodManifest":
        """Read `methods/NAME.yaml`.

        Raises:
            UserError: there is no such file, or it has wrong keys or values.
        """
        path = folder / f"{name}.yaml"
        if not path.is_file():
            known = sorted(one.stem for one in folder.glob("*.yaml"))
            raise UserError(unknown("method", name, known), path=folder, code="unknown")
        manifest = read_model(path, cls)
        if manifest.id != name:
            raise UserError(f"{manifest.id!r} is not the file's name; rename one of them", path=path, key="id")
        return manifest

    def words(self, places: Mapping[str, object]) -> list[str]:
        """The command with its places filled in, as words: no shell reads it."""
        return [
            word.format_map({name: str(value) for name, value in places.items()}) for word in shlex.split(self.command)
        ]

    def decisive(self, folder: Path = METHODS) -> str:
        """A digest of all on which its images depend but weights: commit, environment, command."""
        kept = self.model_dump(mode="json", include={"commit", "command", "results", "weights"})
        return digest([kept, self.made_of(folder)])

    def made_of(self, folder: Path = METHODS) -> str:
        """A digest of what the environment is made of."""
        env = self.environment
        pinned = sha256_file(folder / env.requirements) if isinstance(env, Venv) else None
        return digest([env.model_dump(mode="json"), pinned])


def clone_folder(name: str, folder: Path = METHODS) -> Path:
    """Where the repository of a method is cloned to."""
    return folder / name / "clone"


def environment_folder(name: str, folder: Path = METHODS) -> Path:
    """Where the environment of a method is made."""
    return folder / name / "environment"


def cards(name: str) -> list[str]:
    """The cards of a method's clone and environment."""
    return [(made(name) / CARD).as_posix() for made in (clone_folder, environment_folder)]
