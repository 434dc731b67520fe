"""What a data set is and where it comes from: one YAML manifest a set, `datasets/<id>.yaml`.

A manifest only describes.
`framer.data.fetch` makes `datasets/<id>/` of it, `framer.data.degradation.dataset` makes the sets that
are degraded from another one. The id names the protocol too (`realsr-crop128`), since the same photographs are cut in
several ways in the literature under one name.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from framer.config_file import Matching, Name, Strict, read_model
from framer.data.degradation.presets import PRESETS
from framer.errors import UserError, unknown
from framer.hub.remote_file import Remote

Sha256 = Annotated[str, Matching(r"^[0-9a-f]{64}$", "64 lowercase hexadecimal digits")]
Prefix = Annotated[str, Matching(r"^https?://[^/]+/.*/$", "an http or https address that ends in a slash")]
Pattern = Annotated[str, Matching(r"^(\*\*/([^*]+/)?|[^/*][^*]*/)$", "a folder in the archive: a/b/, **/b/ or **/")]
FileName = Annotated[str, Matching(r"^[^/\\.][^/\\]*\.[A-Za-z0-9]+$", "a file name with a suffix, without folders")]
DebianName = Annotated[str, Matching(r"^[a-z0-9][a-z0-9+.-]+$", "the name of a package")]
Part = Literal["LR", "HR"]


class SourceBase(Strict):
    """Where a set comes from."""

    @property
    def origin(self) -> dict[str, Any]:
        """What of it decides the bytes, as a card records it."""
        return self.model_dump(mode="json", exclude={"where", "note", "size"})


class EmbeddedSource(SourceBase):
    """Photographs that ship inside an installed package."""

    kind: Literal["embedded"]
    package: Literal["scikit-image"]
    splits: dict[Literal["train", "test"], dict[FileName, Sha256]] = Field(description="file name: sha256, a split")

    @model_validator(mode="after")
    def _splits_are_disjoint(self) -> "EmbeddedSource":
        _refuse_twice(Path(name).stem for files in self.splits.values() for name in files)
        return self


class Photograph(Strict):
    """A file of a package of the operating system, with its own author and license."""

    file: Annotated[str, Matching(r"^([\w-]+/)*[\w.-]+\.[a-z]+$", "a path below the folder of the packages")]
    size: int = Field(gt=0, description="bytes")
    sha256: Sha256
    author: str = Field(description="who holds the copyright, by the package's own file")
    license: str = Field(description="as in that file")

    @property
    def stem(self) -> str:
        """Its name in the set."""
        return Path(self.file).stem


class PackagesSource(SourceBase):
    """Photographs in packages of Debian, which the user installs or unpacks."""

    kind: Literal["packages"]
    packages: list[DebianName] = Field(min_length=1)
    folder: Annotated[str, Matching(r"^usr/(share/)?[\w-]+$", "a folder below usr/")]
    longest: int = Field(ge=128, description="larger photographs are reduced to this many pixels on their longer side")
    size: int = Field(gt=0, description="bytes of the packages")
    splits: dict[Literal["train", "test"], list[Photograph]] = Field(description="by photograph")

    @model_validator(mode="after")
    def _splits_are_disjoint(self) -> "PackagesSource":
        _refuse_twice(photograph.stem for photographs in self.splits.values() for photograph in photographs)
        return self

    @property
    def origin(self) -> dict[str, Any]:
        hashes = {split: {one.file: one.sha256 for one in photographs} for split, photographs in self.splits.items()}
        return {"kind": self.kind, "longest": self.longest, "splits": hashes}


class DegradedSource(SourceBase):
    """Pairs that our own degradation makes of another set's photographs."""

    kind: Literal["degraded"]
    of: Name = Field(description="id of the set whose photographs are degraded")
    split: str = Field(description="folder of that set")
    preset: str = Field(description="degradation preset")
    crop: int = Field(ge=32, multiple_of=4, description="side of the HR crops, pixels")
    seed: int = Field(ge=0)
    per_image: int = Field(ge=1, description="crops a photograph; they do not overlap")
    crops: Literal["any", "textured"] = Field("any", description="textured: only those with a mean gradient above 0.2")

    @model_validator(mode="after")
    def _known_preset(self) -> "DegradedSource":
        if self.preset not in PRESETS:
            raise ValueError(f"preset: {unknown('degradation preset', self.preset, PRESETS)}")
        return self


class ArchiveSource(SourceBase):
    """Images inside archives that can be downloaded."""

    kind: Literal["archive"]
    files: list[Remote] = Field(min_length=1, description="zip or tar archives; all of them are needed")
    members: dict[Part, Pattern] = Field(min_length=1, description="our folder: where its images are in an archive")


class FilesSource(SourceBase):
    """Single images, each at an address of its own and with the hash that `images` lists."""

    kind: Literal["files"]
    at: dict[Part, Prefix] = Field(min_length=1, description="our folder: the address of its images, ending in a slash")


class ManualSource(SourceBase):
    """Manual download: the user supplies the folders, or an archive of them, and they are verified."""

    kind: Literal["manual"]
    folders: list[Part] = Field(min_length=1, description="folders that the user drops")
    members: dict[Part, Pattern] = Field({}, description="where the images are in a dropped archive; a guess if empty")
    where: list[str] = Field(min_length=1, description="addresses, or words that find it")
    note: str = Field(description="what to know before fetching it")
    size: int | None = Field(None, gt=0, description="bytes to download, about")

    def inside(self, part: Part) -> str:
        """Where the images of a folder are in a dropped archive."""
        return self.members.get(part) or ("**/" if len(self.folders) == 1 else f"**/{part}/")


Source = Annotated[
    EmbeddedSource | PackagesSource | DegradedSource | ArchiveSource | FilesSource | ManualSource,
    Field(discriminator="kind"),
]


def _spelled_out(images: Any) -> Any:
    """`001..200` in place of a dict means those stems, of unknown hash."""
    if isinstance(images, str) and (match := re.fullmatch(r"([0-9]{1,6})\.\.([0-9]{1,6})", images)):
        first, last = match.groups()
        return {f"{i:0{len(first)}}": None for i in range(int(first), int(last) + 1)}
    return images


Images = Annotated[dict[str, Sha256 | None], BeforeValidator(_spelled_out)]


class Manifest(Strict):
    """One data set. Nothing in it is guessed: what is not known is null."""

    renamed: ClassVar[Mapping[str, str]] = {"licence": "license"}

    id: Name = Field(description="equal to the file's stem")
    title: str
    license: str
    paired: bool = Field(description="LR and HR, paired by file stem")
    scale: Literal[4] = Field(description="HR side / LR side")
    count: int | None = Field(ge=1, description="images (of a paired set: pairs); null where unknown")
    lr_side: int | None = Field(None, ge=1, description="side of its square LR images; `framer plan` counts with it")
    gated: bool = Field(False, description="its terms must be accepted with an account on the hub")
    sources: list[Source] = Field(min_length=1, description="where it comes from, in order of preference")
    images: dict[Part, Images] = Field({}, description="file names, or stems, and sha256 where known; or FIRST..LAST")

    @model_validator(mode="after")
    def _parts_agree(self) -> "Manifest":
        for number, source in enumerate(self.sources):
            if set(_folders(source)) != set(self.folders):
                raise ValueError(f"sources.{number}: its folders are not {', '.join(self.folders)}, as the first one's")
            if len(self.sources) > 1 and isinstance(source, EmbeddedSource | PackagesSource | DegradedSource):
                raise ValueError(f"sources: {source.kind!r} stands alone")
            if isinstance(source, FilesSource) and not all(
                self.images.get(p) and _hashed(self.images[p]) for p in source.at
            ):
                raise ValueError(f"images: {source.kind!r} needs the name and sha256 of every image")
        if self.paired != ({"LR", "HR"} <= set(self.folders)):
            raise ValueError(f"paired: {str(self.paired).lower()} does not fit folders {', '.join(self.folders)}")
        source = self.sources[0]
        listed = [len(images) for images in self.images.values()]
        if isinstance(source, EmbeddedSource | PackagesSource):
            listed = [sum(len(files) for files in source.splits.values())]
        for found in listed:
            if self.count != found:
                raise ValueError(f"count: {self.count}, but {found} images are listed")
        return self

    @classmethod
    def load(cls, name: str, datasets: Path = Path("datasets"), where: str = "") -> "Manifest":
        """Read `datasets/<name>.yaml`.

        Args:
            name: the set's id.
            datasets: the folder of all manifests.
            where: file and key that name the set, for the error message; `datasets` when empty.

        Raises:
            UserError: there is no such set, or its file has wrong keys or values.
        """
        known = sorted(path.stem for path in datasets.glob("*.yaml"))
        if name not in known:
            raise UserError(unknown("set", name, known), path=where or datasets, code="unknown")
        path = datasets / f"{name}.yaml"
        manifest = read_model(path, cls)
        if manifest.id != name:
            raise UserError(f"{manifest.id!r} is not the file's name; rename one of them", path=path, key="id")
        return manifest

    @property
    def folders(self) -> tuple[str, ...]:
        """The image folders under `datasets/<id>/`: ("LR", "HR"), ("LR",), ("HR",) or ("train", "test")."""
        return _folders(self.sources[0])

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
        source = self.sources[0]
        return source.of if isinstance(source, DegradedSource) else None

    @property
    def manual_source(self) -> ManualSource | None:
        """How to download it manually, where a source is manual."""
        return next((source for source in self.sources if isinstance(source, ManualSource)), None)

    @property
    def manual(self) -> bool:
        """Whether only the user can supply it: a manual download, or packages to install."""
        return all(isinstance(source, ManualSource | PackagesSource) for source in self.sources)

    @property
    def size(self) -> int | None:
        """Bytes to download from the first source; None where unknown, 0 where there is nothing to download."""
        match self.sources[0]:
            case ArchiveSource(files=files):
                sizes = [file.size for file in files]
                if None not in sizes:
                    return sum(size or 0 for size in sizes)
                return self.manual_source.size if self.manual_source else None
            case ManualSource(size=size) | PackagesSource(size=size):
                return size
            case FilesSource():
                return None
        return 0

    @property
    def decisive(self) -> dict[str, Any]:
        """What decides a set's bytes; words to the reader do not."""
        facts = self.model_dump(mode="json", include={"paired", "scale", "count", "images"})
        return facts | {"sources": [source.origin for source in self.sources]}


def _refuse_twice(stems: Iterable[str]) -> None:
    counts = Counter(stems)
    if twice := sorted(stem for stem, count in counts.items() if count > 1):
        raise ValueError(f"splits: {', '.join(twice)} is there twice; a photograph belongs to one split")


def _folders(source: Source) -> tuple[str, ...]:
    match source:
        case EmbeddedSource(splits=splits):
            return tuple(splits)
        case PackagesSource(splits=splits):
            return tuple(splits)
        case ArchiveSource(members=members):
            return tuple(members)
        case FilesSource(at=at):
            return tuple(at)
        case ManualSource(folders=folders):
            return tuple(folders)
        case DegradedSource():
            return ("LR", "HR")


def _hashed(images: dict[str, str | None]) -> bool:
    return all(images.values())
