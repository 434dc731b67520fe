"""What model weights are and where they come from: one YAML manifest a model, `weights/<id>.yaml`.

A manifest lists single files, laid out below the folder of weights, or names a pipeline of diffusers or a model of
transformers, which becomes the folder `weights/<id>/`. The metrics' files lie where TORCH_HOME has them: `hub/pyiqa/`
and `hub/checkpoints/`.
"""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from framer.config_file import Strict, read_model
from framer.errors import UserError, unknown
from framer.hub.remote_file import FileAddress, Remote, RepoAddress
from framer.provenance.cards import CARD, read_card

MANIFESTS = Path("weights")
"""The manifests' own folder, under version control; the weights themselves are in `framer.weights.store.folder()`."""
REPO = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def _below(path: str) -> str:
    if "\\" in path or PurePosixPath(path).is_absolute() or {"", ".", ".."} & set(path.split("/")):
        raise ValueError(f"{path!r} does not lie below the folder of weights")
    return path


class WeightFile(Remote):
    """One file of a model."""

    path: Annotated[str, AfterValidator(_below)] = Field(description="where it goes, below the folder of weights")
    at: list[FileAddress] = Field(description="addresses, in order of preference; empty: by hand alone")


class WeightsManifest(Strict):
    """The weights of one model. Nothing in it is guessed: what is not known is null."""

    id: str = Field(pattern=r"^[\w.-]+$", description="equal to the file's stem")
    title: str
    licence: str
    gated: bool = Field(description="its terms must be accepted with an account on the hub")
    note: str = Field("", description="what to know before fetching it by hand")
    where: list[str] = Field([], description="addresses, or words that find it, for fetching by hand")
    files: list[WeightFile] = Field([], description="single files")
    pipeline: list[RepoAddress] = Field([], description="repositories that hold it, in order of preference")

    @model_validator(mode="after")
    def _one_form(self) -> "WeightsManifest":
        if bool(self.files) == bool(self.pipeline):
            raise ValueError("files: either single files or a pipeline must be named, not both")
        for file in self.files:
            if not file.at and not self.where:
                raise ValueError(f"where: {file.path} has no address; say where to get it by hand")
        return self

    @classmethod
    def load(cls, name: str, weights: Path = MANIFESTS) -> "WeightsManifest":
        """Read `weights/<name>.yaml`; for OWNER/NAME `weights/OWNER--NAME.yaml`, or the pipeline of that name as it is.

        Raises:
            UserError: there is no such model, or its file has wrong keys or values.
        """
        stem = name.replace("/", "--")
        path = weights / f"{stem}.yaml"
        if not path.is_file():
            if REPO.fullmatch(name):
                keys = {
                    "id": stem,
                    "title": name,
                    "licence": "see its card",
                    "gated": False,
                    "pipeline": [f"hf://{name}"],
                }
                return cls.model_validate(keys)
            raise UserError(f"{weights}: {unknown('weights', name, cls.known(weights))}")
        manifest = read_model(path, cls)
        if manifest.id != stem:
            raise UserError(f"{path}: id: {manifest.id!r} is not the file's name; rename one of them")
        return manifest

    @staticmethod
    def known(weights: Path = MANIFESTS) -> list[str]:
        """The ids of all manifests."""
        return sorted(path.stem for path in weights.glob("*.yaml"))

    @classmethod
    def holding(cls, paths: set[str], weights: Path = MANIFESTS) -> list[str]:
        """The ids of the manifests that list some files, in the order of their names.

        Raises:
            UserError: no manifest lists one of them.
        """
        return cls.among([cls.load(name, weights) for name in cls.known(weights)], paths)

    @staticmethod
    def among(manifests: Iterable["WeightsManifest"], paths: set[str]) -> list[str]:
        """`holding`, of manifests that are read already: as few as list nothing else, where that is possible."""
        files = {manifest.id: {file.path for file in manifest.files} for manifest in manifests}
        if unlisted := paths - set().union(*files.values()):
            raise UserError(f"{MANIFESTS}: no manifest lists {min(unlisted)}; add one, or put the file there by hand")
        exact = {name for name, listed in files.items() if listed and listed <= paths}
        rest = paths - set().union(*(files[name] for name in exact))
        return [name for name, listed in files.items() if name in exact or listed & rest]

    @property
    def size(self) -> int | None:
        """Bytes in all, where they are known."""
        sizes = [file.size for file in self.files]
        return None if not sizes or None in sizes else sum(size or 0 for size in sizes)

    def missing(self, folder: Path) -> list[str]:
        """What is not below the folder of weights: files, or a pipeline's card."""
        wanted = [file.path for file in self.files] or [f"{self.id}/{CARD}"]
        return [name for name in wanted if not (folder / name).is_file()]

    def how_to_get(self, folder: Path) -> str:
        """One line that says how to bring what is missing."""
        fetch = f"run: framer fetch --weights {self.id}"
        missing = self.missing(folder)
        if all(file.at for file in self.files if file.path in missing):
            return f"{self.id}: {fetch}"
        words = "; ".join(word for word in (self.note, *self.where[:1]) if word)
        return (
            f"{self.id}: put {', '.join(str(folder / name) for name in missing)} there by hand, then {fetch} ({words})"
        )

    def recorded(self, folder: Path) -> dict[str, Any]:
        """The card that an earlier fetch wrote, empty where there is none."""
        path = folder / self.id
        return read_card(path, "base" if self.pipeline else "weights") if (path / CARD).is_file() else {}
