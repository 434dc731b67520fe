"""The wheel has the files of a project folder as data, which `framer init` copies."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProjectFiles(BuildHookInterface):
    """Include what `patterns` of pyproject.toml name under `framer/project/`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # framer finds them in the clone
            return
        root = Path(self.root)
        for path in sorted({path for pattern in self.config["patterns"] for path in root.glob(pattern)}):
            build_data["force_include"][str(path)] = f"framer/project/{path.relative_to(root).as_posix()}"
