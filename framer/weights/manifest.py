"""Manifests of model weights: one YAML file per model, `weights/<id>.yaml`, with its files, hashes and addresses.

A manifest lists single files, laid out below the folder of weights, or names a pipeline of diffusers or a model of
transformers, which becomes the folder `weights/<id>/`. The metrics' files lie where TORCH_HOME has them: `hub/pyiqa/`
and `hub/checkpoints/`. Where an installed package holds the same tensors, `embedded` names its file.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from framer.config_file import Matching, Strict, read_model
from framer.errors import UserError, unknown
from framer.hub.remote_file import FileAddress, HubFile, Remote, RepoAddress
from framer.provenance.cards import CARD, read_card
from framer.weights.lock_file import lock_file

MANIFESTS = Path("weights")
"""Folder of the manifests in a repository; the weights themselves are in `framer.weights.store.folder()`."""
INSTALLED = Path(__file__).resolve().parents[2] / MANIFESTS
REPO = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def manifests_folder() -> Path:
    """`weights` in the working directory; where it holds no manifests, that of the repository of this package."""
    return MANIFESTS if any(MANIFESTS.glob("*.yaml")) else INSTALLED


def _below(path: str) -> str:
    if "\\" in path or PurePosixPath(path).is_absolute() or {"", ".", ".."} & set(path.split("/")):
        raise ValueError(f"{path!r} does not lie below the folder of weights")
    return path


Below = Annotated[str, AfterValidator(_below)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class WeightFile(Remote):
    """One file of a model."""

    path: Below = Field(description="where it goes, below the folder of weights")
    at: list[FileAddress] = Field(description="addresses, in order of preference; empty: manual download")


class EmbeddedFile(Strict):
    """A file inside an installed package with the tensors that the model needs, without those that it does not use."""

    package: str
    version: str
    file: str = Field(description="path in the package")
    sha256: Sha256
    form: Literal["lpips-flax", "niqe-npz"] = Field(description="format; see `framer.weights.embedded`")
    tensors: Sha256 = Field(description="of the converted tensors' names, types, shapes and values")

    @property
    def path(self) -> str:
        """Where the converted tensors go, below the folder of weights."""
        return f"hub/packages/{self.package}-{self.version}/{PurePosixPath(self.file).stem}.safetensors"

    def located(self) -> Path | None:
        """The file, without importing the package; None where the package is not installed or has no such file."""
        try:
            listed = metadata.files(self.package) or []
        except metadata.PackageNotFoundError:
            return None
        return next((Path(str(one.locate())) for one in listed if one.as_posix() == self.file), None)


class WeightsManifest(Strict):
    """The weights of one model. Nothing in it is guessed: unknown values are null."""

    renamed: ClassVar[Mapping[str, str]] = {"licence": "license"}

    id: Annotated[str, Matching(r"^[\w.-]+$", "letters, digits, _, . and -")] = Field(
        description="equal to the file's stem"
    )
    title: str
    license: str
    gated: bool = Field(description="its terms must be accepted with an account on the hub")
    note: str = Field("", description="instructions for a manual download")
    where: list[str] = Field([], description="addresses, or search words, for a manual download")
    files: list[WeightFile] = Field([], description="single files")
    embedded: EmbeddedFile | None = Field(None, description="instead of the single files, where they cannot be fetched")
    pipeline: list[RepoAddress] = Field([], description="repositories that hold it, in order of preference")
    loader: Literal["spandrel", "method"] | None = Field(
        None, description="who reads it: spandrel, as an arm's 'model', or the code of a method in methods/"
    )

    @model_validator(mode="after")
    def _one_form(self) -> "WeightsManifest":
        if bool(self.files) == bool(self.pipeline):
            raise ValueError("files: either single files or a pipeline must be named, not both")
        if self.embedded and self.pipeline:
            raise ValueError("embedded: replaces single files, not a pipeline")
        for file in self.files:
            if not file.at and not self.where:
                raise ValueError(f"where: {file.path} has no address; name where to download it manually")
        return self

    @classmethod
    def load(cls, name: str, weights: Path | None = None) -> "WeightsManifest":
        """Read `<name>.yaml`; for OWNER/NAME `OWNER--NAME.yaml`, or the pipeline of that name as it is.

        Args:
            name: id of a manifest, or OWNER/NAME on the hub.
            weights: folder of manifests; `manifests_folder()` by default. A file is read once per process.

        Raises:
            UserError: there is no such model, or its file has wrong keys or values.
        """
        weights = weights or manifests_folder()
        stem = name.replace("/", "--")
        path = weights / f"{stem}.yaml"
        if not path.is_file():
            if REPO.fullmatch(name):
                try:
                    HubFile.parse(f"hf://{name}")
                except ValueError as error:
                    raise UserError(str(error), key="--weights") from None
                keys = {
                    "id": stem,
                    "title": name,
                    "license": "see its card",
                    "gated": False,
                    "pipeline": [f"hf://{name}"],
                }
                return cls.model_validate(keys)
            raise UserError(unknown("weights", name, cls.known(weights)), path=weights, code="unknown")
        status = path.stat()
        manifest = _read(path.absolute(), status.st_mtime_ns, status.st_size)
        if manifest.id != stem:
            raise UserError(f"{manifest.id!r} is not the file's name; rename one of them", path=path, key="id")
        return manifest

    @staticmethod
    def known(weights: Path | None = None) -> list[str]:
        """The ids of all manifests."""
        return sorted(path.stem for path in (weights or manifests_folder()).glob("*.yaml"))

    @property
    def size(self) -> int | None:
        """Bytes in all, where they are known."""
        sizes = [file.size for file in self.files]
        return None if not sizes or None in sizes else sum(size or 0 for size in sizes)

    def in_use(self, folder: Path) -> list[str]:
        """Single files below the folder of weights: the published ones, or a package's tensors where one is missing."""
        published = [file.path for file in self.files]
        if self.embedded and (folder / self.embedded.path).is_file():
            return published if all((folder / path).is_file() for path in published) else [self.embedded.path]
        return published

    def missing(self, folder: Path) -> list[str]:
        """Files that are not below the folder of weights, or a pipeline's card."""
        wanted = self.in_use(folder) or [f"{self.id}/{CARD}"]
        return [name for name in wanted if not (folder / name).is_file()]

    def unpublished(self) -> list[WeightFile]:
        """The files of a network whose hash nobody states: a user accepts it once, see `framer.weights.lock_file`."""
        return [file for file in self.files if self.loader and not file.hashed]

    def unaccepted(self, folder: Path) -> list[WeightFile]:
        """Those of `unpublished` without a lock."""
        return [file for file in self.unpublished() if not lock_file(folder / file.path).is_file()]

    def how_to_get(self, folder: Path) -> str:
        """One line of instructions for the missing files."""
        fetch = f"run: framer fetch --weights {self.id}{' --accept-hash' if self.unaccepted(folder) else ''}"
        missing = self.missing(folder)
        if all(file.at for file in self.files if file.path in missing):
            return f"{self.id}: {fetch}"
        words = "; ".join(word for word in (self.note, *self.where[:1]) if word)
        return (
            f"{self.id}: download {', '.join(str(folder / name) for name in missing)} manually, then {fetch} ({words})"
        )

    def recorded(self, folder: Path) -> dict[str, Any]:
        """The card that an earlier fetch wrote; empty without one."""
        path = folder / self.id
        return read_card(path, "base" if self.pipeline else "weights") if (path / CARD).is_file() else {}


@cache
def _read(path: Path, changed: int, size: int) -> WeightsManifest:
    """A manifest as it is; another time of change or size in bytes is another file."""
    return read_model(path, WeightsManifest)
