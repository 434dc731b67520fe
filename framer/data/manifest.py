"""What a data set is and where it comes from: one YAML manifest a set, `datasets/<id>.yaml`.

A manifest only describes. `framer.data.fetch` makes `datasets/<id>/` of it, `framer.data.degrade` makes the sets that
are degraded from another one. The id names the protocol too (`realsr-crop128`), since the same photographs are cut in
several ways in the literature under one name.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from framer.data.presets import PRESETS
from framer.errors import UserError, unknown
from framer.strict_yaml import Name, Strict, explain, read_yaml

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[^/\\.][^/\\]*\.[A-Za-z0-9]+$")]
Part = Literal["LR", "HR"]


class EmbeddedSource(Strict):
    """Photographs that ship inside an installed package."""

    kind: Literal["embedded"]
    package: Literal["scikit-image"]
    splits: dict[Literal["train", "test"], dict[FileName, Sha256]] = Field(description="file name: sha256, a split")

    @model_validator(mode="after")
    def _splits_are_disjoint(self) -> "EmbeddedSource":
        stems = [Path(name).stem for files in self.splits.values() for name in files]
        twice = sorted({stem for stem in stems if stems.count(stem) > 1})
        if twice:
            raise ValueError(f"splits: {', '.join(twice)} is there twice; a photograph belongs to one split")
        return self


class DegradedSource(Strict):
    """Pairs that our own degradation makes of another set's photographs."""

    kind: Literal["degraded"]
    of: Name = Field(description="id of the set whose photographs are degraded")
    split: str = Field(description="folder of that set")
    preset: str = Field(description="degradation preset")
    crop: int = Field(ge=32, multiple_of=4, description="side of the HR crops, pixels")
    seed: int = Field(ge=0)
    per_image: int = Field(ge=1, description="crops a photograph; they do not overlap")

    @model_validator(mode="after")
    def _known_preset(self) -> "DegradedSource":
        if self.preset not in PRESETS:
            raise ValueError(f"preset: {unknown('degradation preset', self.preset, PRESETS)}")
        return self


class HubSource(Strict):
    """Folders inside one zip archive on the Hugging Face hub, at a pinned commit."""

    kind: Literal["hub"]
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    repo_type: Literal["dataset", "model"]
    revision: Commit
    file: str
    size: int = Field(gt=0, description="bytes of the archive")
    sha256: Sha256
    members: dict[Part, str] = Field(min_length=1, description="our folder: its prefix inside the archive")


class ManualSource(Strict):
    """What no script can fetch reliably: the user drops the folders, and they are verified."""

    kind: Literal["manual"]
    folders: list[Part] = Field(min_length=1, description="folders that the user drops")
    where: list[str] = Field(min_length=1, description="addresses, or words that find it")
    note: str = Field(description="what to know before fetching it")


Source = Annotated[EmbeddedSource | DegradedSource | HubSource | ManualSource, Field(discriminator="kind")]


class Manifest(Strict):
    """One data set. Nothing in it is guessed: what is not known is null."""

    id: Name = Field(description="equal to the file's stem")
    title: str
    licence: str
    paired: bool = Field(description="LR and HR, paired by file stem")
    scale: Literal[4] = Field(description="HR side / LR side")
    count: int | None = Field(ge=1, description="images (of a paired set: pairs); null where unknown")
    source: Source

    @model_validator(mode="after")
    def _parts_agree(self) -> "Manifest":
        if self.paired != ({"LR", "HR"} <= set(self.folders)):
            raise ValueError(f"paired: {str(self.paired).lower()} does not fit folders {', '.join(self.folders)}")
        if isinstance(self.source, EmbeddedSource):
            listed = sum(len(files) for files in self.source.splits.values())
            if self.count != listed:
                raise ValueError(f"count: {self.count}, but source.splits lists {listed} files")
        return self

    @classmethod
    def load(cls, name: str, datasets: Path = Path("datasets"), where: str = "") -> "Manifest":
        """Read `datasets/<name>.yaml`.

        Args:
            name: the set's id.
            datasets: the folder of all manifests.
            where: who asks, for the error message: a file and key; `datasets` when empty.

        Raises:
            UserError: there is no such set, or its file has wrong keys or values.
        """
        known = sorted(path.stem for path in datasets.glob("*.yaml"))
        if name not in known:
            raise UserError(f"{where or datasets}: {unknown('set', name, known)}")
        path = datasets / f"{name}.yaml"
        try:
            manifest = cls.model_validate(read_yaml(path))
        except ValidationError as error:
            raise UserError(explain(path, error, cls)) from None
        if manifest.id != name:
            raise UserError(f"{path}: id: {manifest.id!r} is not the file's name; rename one of them")
        return manifest

    @property
    def folders(self) -> tuple[str, ...]:
        """The image folders under `datasets/<id>/`: ("LR", "HR"), ("LR",), ("HR",) or ("train", "test")."""
        match self.source:
            case EmbeddedSource(splits=splits):
                return tuple(splits)
            case HubSource(members=members):
                return tuple(members)
            case ManualSource(folders=folders):
                return tuple(folders)
            case DegradedSource():
                return ("LR", "HR")

    @property
    def training_folder(self) -> str | None:
        """The folder of HR photographs to train on; None for a set that is for testing only."""
        if "train" in self.folders:
            return "train"
        return "HR" if self.folders == ("HR",) else None

    @property
    def test_folder(self) -> str | None:
        """The folder of LR images to restore; None for a set that is for training only."""
        return "LR" if "LR" in self.folders else None

    @property
    def derived_from(self) -> str | None:
        """The id of the set that this one is degraded from."""
        return self.source.of if isinstance(self.source, DegradedSource) else None

    @property
    def by_hand(self) -> bool:
        """Only the user can bring it."""
        return isinstance(self.source, ManualSource)
