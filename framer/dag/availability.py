"""What a study needs that can only be had by hand, and is not on this machine.

Each is known by a name: a set by its id, published weights by the id of their manifest, and the images that others
restored by ARM/SET.
"""

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from framer.dag.weights import Weights
from framer.data.fetch import how_to_get, present
from framer.data.manifest import Manifest
from framer.errors import UserError, unknown
from framer.provenance.cards import CARD
from framer.study.availability import SUPPLIED
from framer.study.study import OWN_BASES, Study
from framer.weights.manifest import WeightsManifest
from framer.weights.store import folder, pipeline


def absent(study: Study, datasets: Path) -> dict[str, str]:
    """All of it, each with one line that says what to do.

    Raises:
        UserError: an arm names published weights of which there is no manifest.
    """
    names, weights = [], weights_of(study)
    for arm, name in study.released.items():
        if name not in weights.manifests:
            raise UserError(f"{study.path}: arms.{arm}.checkpoint: {unknown('weights', name, weights.manifests)}")
    for name, manifest in study.manifests.items():
        source = _source(study, name)
        if source.by_hand and not present(source, datasets) and not present(manifest, datasets):
            names.append(name)
    names += weights.absent(study.released.values())
    for arm in study.supplied:
        for name in study.sets_of(arm):
            images = SUPPLIED / arm / name
            if not images.is_dir() or not any(images.iterdir()):
                names.append(f"{arm}/{name}")
    return reasons(study, names, datasets)


def reasons(study: Study, names: Iterable[str], datasets: Path) -> dict[str, str]:
    """What to do about each of some things that are absent."""
    return {name: _reason(study, name, datasets) for name in names}


def _reason(study: Study, name: str, datasets: Path) -> str:
    if "/" in name:
        return study.how_to_supply(*name.split("/"))
    if name in study.released.values():
        return WeightsManifest.load(name).how_to_get(folder())
    return how_to_get(_source(study, name), datasets)


def _source(study: Study, name: str) -> Manifest:
    """The set that must come: the one that another is derived from, or the set itself."""
    return study.manifests[study.manifests[name].derived_from or name]


def gated(study: Study, datasets: Path, absent: Collection[str]) -> list[str]:
    """What will be fetched that is given to those alone who have accepted its terms, each with what to do.

    Args:
        study: any.
        datasets: folder of the data.
        absent: what will not be fetched; see `absent`.
    """
    if os.environ.get("HF_TOKEN"):
        return []
    bases = {config.base for config in study.config.backbones.values()} - {*OWN_BASES}
    names = [
        name for name in sorted(bases) if WeightsManifest.load(name).gated and not (pipeline(name) / CARD).is_file()
    ]
    names += [
        name
        for name, manifest in study.manifests.items()
        if manifest.gated and name not in absent and not present(manifest, datasets)
    ]
    how = "accept its terms on the hub and set HF_TOKEN, or the job that fetches it fails"
    return [f"Gated: {name}: {how}" for name in names]


def weights_of(study: Study) -> Weights:
    """The weights of metrics, losses and published models, as they stand. A tiny study fetches none."""
    return Weights(network=not (study.tiny and study.config.backbones))


def weights_file(name: str) -> Path:
    """The file of tensors among those of published weights."""
    [path] = [file.path for file in WeightsManifest.load(name).files if not file.path.endswith(".json")]
    return folder() / path
