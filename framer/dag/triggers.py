"""Digests that make a job run again: its parameters beside the inputs, which Snakemake compares by content."""

from collections.abc import Iterable
from pathlib import Path

from framer.backbones.registry import code_modules
from framer.dag.scope import Scope
from framer.data.captions import captions_file, read_captions
from framer.data.manifest import Manifest
from framer.provenance.code import fingerprint
from framer.provenance.hashing import digest, sha256_file
from framer.study.layout import supplied
from framer.study.study import Study


def code(command: str, backbone: str | None, *, framer: bool = False) -> str:
    """The fingerprint of a command, of the backbone that it loads by name and, with `framer`, of the FRAMER loss."""
    return fingerprint(command, *(code_modules(backbone, framer=framer) if backbone else []))


def manifest(one: Manifest) -> str:
    """A digest of what a manifest states about the bytes of a set; comments and descriptions do not count."""
    return digest(one.decisive)


def captions(study: Study, backbone: str | None, sets: Iterable[str]) -> str | None:
    """A digest of a user's own captions of some sets; None without any."""
    if backbone and (config := study.config.backbones[backbone].captions) and config.folder:
        files = [captions_file(Path(config.folder), name) for name in sets]
        return digest([read_captions(file) if file.exists() else None for file in files])
    return None


def training_captions(study: Study, backbone: str) -> str | None:
    """`captions` of the sets that a backbone trains on."""
    return captions(study, backbone, study.config.backbones[backbone].training_sets)


def restoring_captions(study: Study, row: str, set_id: str) -> str | None:
    """`captions` of a test set, where the row's backbone restores with prompts."""
    backbone = study.arm(row).backbone
    return captions(study, backbone, [set_id]) if backbone and study.captions(backbone, restoring=True) else None


def supplied_images(arm: str, set_id: str) -> str:
    """A digest of the images that a user supplies: the workflow imports them again when one changes."""
    paths = sorted(path for path in supplied(arm, set_id).iterdir() if path.is_file())
    return digest([[path.name, sha256_file(path)] for path in paths])


def method(scope: Scope, row: str) -> str:
    """A digest of what a method's manifest states, and of manually downloaded weights, which have no card."""
    study = scope.study
    files = [name for name in study.method_weights[row] if name in scope.weights.manifests]
    return digest([study.method_manifests[row].decisive(), scope.weights.loose(files)])


def presentation(scope: Scope) -> str:
    """A digest of what tables and report show beside the scores."""
    shown = {"title", "sets", "protocols", "metrics", "arms", "ablations", "sweeps", "tune", "compare"}
    config = scope.study.config.model_dump(mode="json", include=shown)
    return digest([config, list(scope.study.rows), sorted(scope.missing)])
