"""Warnings before the first job starts: omitted cells, missing weights that jobs require, gated downloads."""

import os
import sys
from pathlib import Path

from framer.dag.scope import Scope
from framer.data.fetch import present
from framer.errors import UserError, named
from framer.provenance.cards import CARD
from framer.scoring.protocols import Protocol
from framer.study.availability import how_to_supply
from framer.study.grid import OWN_BASES
from framer.study.layout import DATASETS, TINY_BASES
from framer.weights.manifest import WeightsManifest
from framer.weights.store import pipeline


def prepend_environment() -> None:
    """Let the shells of jobs find the `framer` of the environment that runs Snakemake, activated or not."""
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def check_strict(scope: Scope) -> None:
    """Refuse a strict study without the weights of its metrics and losses; with `all`, without anything that it names.

    Raises:
        UserError: code "missing".
    """
    study = scope.study
    if not study.config.strict:
        return
    if study.config.strict == "all" and (first := next(iter(scope.missing), None)):
        kind = "a set" if first in study.manifests else "an item"
        raise UserError(f"{kind} is missing: {scope.missing[first]}", path=study.path, key="strict", code="missing")
    if weights := scope.weights.missing(scope.needed_weights):
        message = f"weights are missing: {next(iter(weights.values()))}"
        raise UserError(message, path=study.path, key="strict", code="missing")


def check_bases(scope: Scope) -> None:
    """Refuse a study that starts from a pretrained tiny base which is not here.

    Raises:
        UserError: code "missing".
    """
    study = scope.study
    for run in study.runs:
        folder = study.base_folder(run)
        if folder.is_relative_to(TINY_BASES) and not (folder / CARD).is_file():
            message = f"no tiny base comes for this backbone ({folder} is missing); say how to pretrain it"
            raise UserError(message, path=study.path, key=f"backbones.{folder.name}.pretrain", code="missing")


def warnings(scope: Scope) -> list[str]:
    """What is left out, weights without which a metric is n/a or a training fails, and gated downloads; a line each."""
    lines = left_out(scope)
    for name in scope.study.config.protocols:
        metrics = Protocol.named(name).select(scope.study.config.metrics)
        if missing := [metric for metric in metrics if scope.weights.missing(scope.weights.of_metrics([metric]))]:
            titles = ", ".join(metric.title for metric in missing)
            lines.append(f"Without weights: {titles} of {name}; fetch them by: framer fetch --protocol {name}")
    for names in scope.loss_weights.values():
        lines += [f"Without weights: training needs {how}" for how in scope.weights.missing(names).values()]
    return list(dict.fromkeys([*lines, *gated(scope, DATASETS)]))


def left_out(scope: Scope) -> list[str]:
    """What will be `n/a` in the tables and why, a line each."""
    study, lines = scope.study, []
    of_methods = [name for names in study.method_weights.values() for name in names]
    tested = [*study.config.sets, *study.published.values(), *of_methods]
    for name, reason in scope.missing.items():
        if "/" not in name:
            lines.append(f"n/a in the tables: {reason}" if name in tested else f"Missing: {reason}")
    for arm in study.supplied:
        if sets := [name for name in study.sets_of(arm) if f"{arm}/{name}" in scope.missing]:
            lines.append(f"n/a in the tables: {how_to_supply(study, arm, *sets)}")
    known = {*scope.missing.values()}
    others = {row: reason for row, reason in scope.without_model.items() if reason not in known}
    for reason in dict.fromkeys(others.values()):
        rows = named(row for row, why in others.items() if why == reason)
        lines.append(f"n/a in the tables: {rows}: {reason}")
    return lines


def gated(scope: Scope, datasets: Path) -> list[str]:
    """Downloads whose terms must be accepted on the hub first, a line each; none with a token."""
    if os.environ.get("HF_TOKEN"):
        return []
    study = scope.study
    bases = sorted({config.base for config in study.config.backbones.values()} - {*OWN_BASES})
    names = [name for name in bases if WeightsManifest.load(name).gated and not (pipeline(name) / CARD).is_file()]
    names += [
        name
        for name, manifest in study.manifests.items()
        if manifest.gated and name not in scope.missing and not present(manifest, datasets)
    ]
    how = "accept its terms on the hub and set HF_TOKEN, or the job that fetches it fails"
    return [f"Gated: {name}: {how}" for name in names]
