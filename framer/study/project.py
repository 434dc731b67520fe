"""The folder in which studies run: workflow, studies, manifests, published numbers and the lock, beside the results.

A clone is such a folder. `framer init` makes another one, from the files that the wheel has as data.
"""

import filecmp
import shutil
import tomllib
from importlib.resources import files
from pathlib import Path

from framer.errors import UserError, named
from framer.provenance.files import atomic, write_text

SHIPPED = Path(__file__).parents[1] / "project"
"""In an installed wheel."""
CLONE = Path(__file__).parents[2]
RESERVED = ("all", "rehearse")


def project_files() -> dict[str, Path]:
    """The files of a project folder: where each lies in the installation, by its path in the folder."""
    if SHIPPED.is_dir():
        return {path.relative_to(SHIPPED).as_posix(): path for path in sorted(SHIPPED.rglob("*")) if path.is_file()}
    build = tomllib.loads((CLONE / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    patterns = build["targets"]["wheel"]["hooks"]["custom"]["patterns"]
    found = sorted({path for pattern in patterns for path in CLONE.glob(pattern)})
    return {path.relative_to(CLONE).as_posix(): path for path in found}


def create(folder: Path, study: str) -> Path:
    """Fill an empty folder, and write a study into it. A folder that was begun is completed.

    Args:
        folder: empty, missing, or as this function left it.
        study: name of the new study.

    Returns:
        The path of the study file.

    Raises:
        UserError: the folder has other files, or the name is that of a study that ships.
    """
    wanted = project_files()
    path = folder / "config" / f"{study}.yaml"
    if path.relative_to(folder).as_posix() in wanted or study in RESERVED:
        raise UserError(f"{study} is taken; choose another", key="NAME", code="conflict")
    if folder.exists() and not folder.is_dir():
        raise UserError("is a file; name a folder", path=folder, code="refused")
    others = [
        name
        for name in sorted(item.relative_to(folder).as_posix() for item in folder.rglob("*") if item.is_file())
        if not name.startswith(".") and not (name in wanted and filecmp.cmp(folder / name, wanted[name], shallow=False))
    ]
    if others:
        message = f"is not empty: {named(others[:5])}; choose an empty folder"
        raise UserError(message, path=folder, code="refused")
    for name, source in wanted.items():
        with atomic(folder / name) as part:
            shutil.copyfile(source, part)
    template = files("framer.study").joinpath("template.yaml").read_text(encoding="utf-8")
    write_text(path, template.replace("NAME", study))  # last: a folder with it is complete
    return path
