"""Folders of bases and runs: `model.safetensors`, `config.json`, logs, and `card.json`, which is written last.

A base holds all weights of a network; a run the LoRA or control weights, and the path and hash of its base.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor

from framer.backbones.base import Backbone
from framer.backbones.loading import read_tensors, write_tensors
from framer.backbones.registry import backbone_class, code_modules, from_config, settings_of
from framer.config_file import Strict
from framer.data.image_folder import carded
from framer.errors import UserError, one_line, unknown
from framer.provenance.cards import CARD, lock, read_card, verify_payload, versions, write_card
from framer.provenance.code import fingerprint
from framer.provenance.files import atomic, write_json
from framer.provenance.hashing import digest, sha256_file
from framer.study.jobs import PretrainJob, TrainJob

MODEL, CONFIG = "model.safetensors", "config.json"
PACKAGES = ("accelerate", "diffusers", "numpy", "peft", "pillow", "safetensors", "torch", "transformers")


class BaseConfig(Strict):
    """`config.json` of a base: the network, its settings and the stages that it was trained in."""

    backbone: str
    config: dict[str, Any]
    settings: dict[str, Any]
    stages: list[str]


class BaseOfRun(Strict):
    """The base of a run."""

    path: str
    """Relative to the folder of the run."""
    sha256: str


class RunConfig(BaseConfig):
    """`config.json` of a run."""

    base: BaseOfRun


_Config = TypeVar("_Config", bound=BaseConfig)


def save(
    folder: Path,
    kind: str,
    backbone: Backbone,
    state: Mapping[str, Tensor],
    job: PretrainJob,
    logs: list[str],
    data: list[Path],
    made: Mapping[str, Any],
    base: tuple[Path, str] | None = None,
    snapshots: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write weights, configuration and card of a base or run.

    Args:
        folder: of the base or run; the files named in `logs` exist already.
        kind: "base" or "run".
        backbone: the model.
        state: the weights to keep.
        job: the settings that made it.
        data: folders of the training images.
        made: further facts for the card: the code's fingerprint, and a digest of the captions where there are some.
        base: folder and sha256 of the base of a run.
        snapshots: sha256 of each snapshot of a run, by file. Not part of its payload: restoring needs none.
    """
    facts: dict[str, Any] = {"job": job.as_dict(), "data": data_digests(data), **made}
    facts["threads"] = torch.get_num_threads()  # in force, whatever the job asks for
    facts |= {"snapshots": dict(snapshots)} if snapshots else {}
    write(folder, kind, backbone, state, {"settings": job.settings, "stages": list(job.stages)}, facts, logs, base)


def write(
    folder: Path,
    kind: str,
    backbone: Backbone,
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    facts: Mapping[str, Any],
    logs: list[str],
    base: tuple[Path, str] | None = None,
) -> None:
    """Write a base or run that need not come from a training job; arguments as for `save`.

    Args:
        config: its settings and stages.
        facts: for the card: `code`, the fingerprint of the code that made it, and more.
    """
    (folder / CARD).unlink(missing_ok=True)  # a folder with a card is complete
    with atomic(folder / MODEL) as part:
        write_tensors(part, state, backbone.metadata)
    content: dict[str, Any] = {"backbone": backbone.name, "config": backbone.config, **config}
    card = {**facts, "lock": lock()}
    if base:
        where, card["base"] = base
        relative = Path(os.path.relpath(where.resolve(), folder.resolve())).as_posix()
        content["base"] = {"path": relative, "sha256": card["base"]}
    write_json(folder / CONFIG, content)
    write_card(folder, kind, [MODEL, CONFIG, *logs], **card, versions=versions(PACKAGES))


def load_base(folder: Path, backbone: str, settings: Mapping[str, Any]) -> tuple[Backbone, str]:
    """A base with its weights.

    Args:
        folder: with `config.json` or a published pipeline.
        backbone: its expected name.
        settings: of the backbone that is built on it, where they are not at their defaults.

    Returns:
        The backbone, not yet adapted, and the identity of its weights: their sha256, or a digest of a published base.

    Raises:
        UserError: the folder is incomplete, damaged, of another backbone, or its model cannot be built.
    """
    card = read_card(folder, "base")
    verify_payload(folder, card)
    if "repo" in card:  # a published pipeline
        return backbone_class(backbone).open(folder, settings_of(backbone, dict(settings))), digest(card)
    config = read_config(folder, BaseConfig)
    if config.backbone != backbone:
        raise UserError(
            f"is {config.backbone!r}; a base of {backbone!r} is needed",
            path=folder / CONFIG,
            key="backbone",
            code="mismatch",
        )
    with _building(folder / CONFIG, "config"):
        model = from_config(backbone, config.config, settings)
    model.load_base(read_tensors(folder / MODEL), str(folder / MODEL))
    return model, card["payload"][MODEL]


def load_run(folder: Path) -> tuple[Backbone, dict[str, Any]]:
    """A run on its base, ready to restore, and the run's card.

    Raises:
        UserError: the folder or its base is incomplete, damaged or missing, or the base is not the one of the run.
    """
    card = read_card(folder, "run")
    verify_payload(folder, card)
    return load_adapted(folder, read_config(folder, RunConfig).stages, folder / MODEL), card


def load_adapted(folder: Path, stages: Sequence[str], weights: Path) -> Backbone:
    """The base of a run with trained weights, ready to restore.

    Args:
        folder: the run.
        stages: in which the weights were trained.
        weights: file of the run's weights, at its end or earlier.

    Raises:
        UserError: as `load_run`.
    """
    config = read_config(folder, RunConfig)
    with _building(folder / CONFIG, "settings"):
        settings_of(config.backbone, config.settings)
    where = base_of(folder)
    backbone, sha256 = load_base(where, config.backbone, config.settings)
    if sha256 != config.base.sha256:
        raise UserError(
            f"{where} has other weights than this run was trained on; train it again",
            path=folder / CONFIG,
            key="base.sha256",
            code="mismatch",
        )
    for stage in stages:
        if stage not in backbone.settings.stages:
            raise UserError(unknown("stage", stage, backbone.settings.stages), path=folder / CONFIG, key="stages")
        with _building(folder / CONFIG, "settings"):
            backbone.adapt(stage)
    backbone.load_adapter(read_tensors(weights), str(weights))
    backbone.network.eval()
    return backbone


def base_of(folder: Path) -> Path:
    """The folder of the base that a run needs.

    Raises:
        UserError: it is missing, or the run's configuration is missing or damaged.
    """
    where = Path(os.path.normpath(folder / read_config(folder, RunConfig).base.path))
    if not where.is_dir():
        raise UserError(
            f"{where} is missing; keep bases and runs in one folder of results",
            path=folder / CONFIG,
            key="base.path",
            code="missing",
        )
    return where


def read_config(folder: Path, kind: type[_Config]) -> _Config:
    """`config.json` of a base or run.

    Raises:
        UserError: it is missing or damaged, or a key is missing, unknown or of a wrong type.
    """
    path = folder / CONFIG
    again = f"repeat the command that made {folder}"
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise UserError(f"missing; {again}", path=path, code="missing") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or None
        raise UserError(f"{first['msg']}; {again}", path=path, key=key, code="unreadable") from None
    except (ValueError, RecursionError):
        raise UserError(f"not valid JSON; {again}", path=path, code="unreadable") from None


@contextmanager
def _building(path: Path, key: str) -> Iterator[None]:
    """Name the file and key of a model that cannot be built."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error), path=path, key=key, code=error.code) from None
    except (AttributeError, IndexError, KeyError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {one_line(error, 120)}"
        raise UserError(f"no model can be built from it ({reason})", path=path, key=key, code="unreadable") from None


def code_of(command: str, backbone: str, *, framer: bool = False) -> str:
    """The fingerprint of `framer COMMAND` with what it loads by name; computed once, before it starts.

    Args:
        command: without `framer`.
        backbone: that it runs.
        framer: whether it reads the layers of the network and computes the FRAMER loss.
    """
    return fingerprint(command, *code_modules(backbone, framer=framer))


def identity(command: str, job: PretrainJob, data: list[Path]) -> dict[str, str]:
    """Digests that a checkpoint of `framer COMMAND` must share with the training that resumes from it.

    `method` is part of a training with a recipe alone, so that `code` can be compared with that of a baseline.
    """
    same = {
        "settings": job.digest,
        "data": digest(data_digests(data)),
        "code": code_of(command, job.backbone),
        "package versions": digest(versions(PACKAGES)),
    }
    if isinstance(job, TrainJob) and job.recipe:
        same["method"] = code_of(command, job.backbone, framer=True)
    return same


def data_digests(folders: list[Path]) -> dict[str, str]:
    """Identity of the training data: set or folder name to the digest of its card, or of its files without one."""
    digests = {}
    for folder in folders:
        if top := carded(folder):
            digests[top.name] = sha256_file(top / CARD)
        else:
            files = sorted(path for path in folder.iterdir() if path.is_file())
            digests[folder.name] = digest({path.name: sha256_file(path) for path in files})
    return digests
