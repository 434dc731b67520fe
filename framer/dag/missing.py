"""Manually downloaded data and weights of a study that are missing on this machine.

Names of items: the id of a set, the id of the manifest of published weights, and ARM/SET for images of another method.
"""

from collections.abc import Iterable
from pathlib import Path

from framer.dag.weights import Weights
from framer.data.fetch import how_to_get, present
from framer.data.manifest import Manifest
from framer.errors import UserError, unknown
from framer.study.availability import how_to_supply
from framer.study.layout import supplied
from framer.study.study import Study
from framer.weights.manifest import WeightsManifest
from framer.weights.store import folder


def find_missing(study: Study, datasets: Path) -> dict[str, str]:
    """All that is missing, each with one line of instructions.

    Raises:
        UserError: an arm names published weights without a manifest.
    """
    names, weights = [], weights_of(study)
    for arm, name in study.published.items():
        known = [id for id, one in weights.manifests.items() if one.loader == study.arms[arm].model]
        if name not in known:
            message = unknown("weights", name, known)
            raise UserError(message, path=study.path, key=f"arms.{arm}.checkpoint", code="unknown")
    for name, manifest in study.manifests.items():
        source = _source(study, name)
        if source.manual and not present(source, datasets) and not present(manifest, datasets):
            names.append(name)
    names += weights.missing(study.published.values())
    names += weights.missing(name for name in _of_methods(study) if name in weights.manifests)
    for arm in study.supplied:
        for name in study.sets_of(arm):
            images = supplied(arm, name)
            if not images.is_dir() or not any(images.iterdir()):
                names.append(f"{arm}/{name}")
    return instructions(study, names, datasets)


def instructions(study: Study, names: Iterable[str], datasets: Path) -> dict[str, str]:
    """How to get each of some missing items.

    Raises:
        UserError: a name is not one of the study's sets, published weights or ARM/SET.
    """
    names = list(names)
    known = [
        *study.manifests,
        *study.published.values(),
        *_of_methods(study),
        *(f"{a}/{s}" for a in study.supplied for s in study.sets_of(a)),
    ]
    for name in names:
        if name not in known:
            raise UserError(unknown("item", name, known), key="--missing", code="unknown")
    return {name: _how_to_get(study, name, datasets) for name in names}


def _how_to_get(study: Study, name: str, datasets: Path) -> str:
    if "/" in name and name not in _of_methods(study):
        return how_to_supply(study, *name.split("/"))
    if name in {*study.published.values(), *_of_methods(study)}:
        return WeightsManifest.load(name).how_to_get(folder())
    return how_to_get(_source(study, name), datasets)


def _of_methods(study: Study) -> list[str]:
    return list(dict.fromkeys(name for names in study.method_weights.values() for name in names))


def _source(study: Study, name: str) -> Manifest:
    """The set to download: the one that another is derived from, or the set itself."""
    return study.manifests[study.manifests[name].derived_from or name]


def weights_of(study: Study) -> Weights:
    """Weights of metrics, losses and published models. A study of tiny networks needs no network and fetches none."""
    return Weights(network=not study.tiny)
