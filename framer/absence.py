"""What a study needs that can only be had by hand, and is not on this machine.

Each is known by a name: a set by its id, published weights by the id of their manifest, and the images that others
restored by ARM/SET.
"""

from pathlib import Path

from framer.data.fetch import how_to_get, present
from framer.data.weights import WeightsManifest
from framer.study import SUPPLIED, Study
from framer.weights import folder
from framer.workflow_weights import Weights


def absent(study: Study, datasets: Path) -> dict[str, str]:
    """All of it, each with one line that says what to do."""
    names = []
    for name, manifest in study.manifests.items():
        source = study.manifests[manifest.derived_from] if manifest.derived_from else manifest
        if source.by_hand and not present(source, datasets) and not present(manifest, datasets):
            names.append(name)
    names += weights_of(study).absent(study.released.values())
    for arm in study.supplied:
        for name in study.sets_of(arm):
            images = SUPPLIED / arm / name
            if not images.is_dir() or not any(images.iterdir()):
                names.append(f"{arm}/{name}")
    return {name: reason(study, name, datasets) for name in names}


def reason(study: Study, name: str, datasets: Path) -> str:
    """What to do about something that is absent."""
    if "/" in name:
        return study.how_to_supply(*name.split("/"))
    if name in study.released.values():
        return WeightsManifest.load(name).how_to_get(folder())
    manifest = study.manifests[name]
    source = study.manifests[manifest.derived_from] if manifest.derived_from else manifest
    return how_to_get(source, datasets)


def weights_of(study: Study) -> Weights:
    """The weights of metrics, losses and published models, as they stand. A tiny study fetches none."""
    return Weights(network=not (study.tiny and study.config.backbones))


def weights_file(name: str) -> Path:
    """The file of tensors among those of published weights."""
    [path] = [file.path for file in WeightsManifest.load(name).files if not file.path.endswith(".json")]
    return folder() / path
