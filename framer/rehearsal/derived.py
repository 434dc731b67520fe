"""The study of a rehearsal: one backbone of a study with random weights, a step or two per stage, and two photographs.

What decides memory stays as it is: architecture, settings, precision, crop, images per GPU. What only decides time is
cut: steps, seeds, arms, images; on a CPU a sampler's steps, too. Photographs are noise, which costs what photographs
cost.
"""

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from framer.backbones.registry import settings_of
from framer.data.degradation.presets import SCALE
from framer.data.images import write_png
from framer.provenance.files import write_text
from framer.study.study import Study
from framer.study.sweeps import merged

PHOTOS, PAIRS = "rehearsal-photos", "rehearsal-pairs"
ARM = "rehearsed"
LR_SIDE = 128
"""Side of the LR images to restore, as in the test sets of the paper; of tiny networks a quarter."""
IMAGES = 2
"""Training photographs, and pairs to restore and score."""


def name_of(study: Study, backbone: str) -> str:
    """The name of the rehearsal, which is a study of its own under `results/` and `logs/`."""
    return study.paths.rehearsal(backbone).name


def write(study: Study, backbone: str, folder: Path, images: int, sampling: int | None = None) -> Path:
    """Write the study file, its manifests and its images.

    Args:
        study: to rehearse.
        backbone: one of its backbones.
        folder: for `NAME.yaml` and `datasets/`.
        images: per training step.
        sampling: steps of a sampler at most; None for those of the study.

    Returns:
        The path of the study file.
    """
    _write_sets(study, backbone, folder / "datasets")
    path = folder / f"{name_of(study, backbone)}.yaml"
    write_text(path, yaml.safe_dump(_config(study, backbone, images, sampling), sort_keys=False))
    return path


def arm_of(study: Study, backbone: str) -> dict[str, Any]:
    """The arm that is rehearsed: the first of the backbone with a recipe, which has all losses, or else its first."""
    arms = [arm for arm in study.arms.values() if arm.backbone == backbone and not (arm.checkpoint or arm.untrained)]
    arms = arms or [arm for arm in study.arms.values() if arm.backbone == backbone]
    chosen = next((arm for arm in arms if arm.recipe), arms[0])
    given: dict[str, Any] = {"label": chosen.label, "backbone": backbone, "settings": chosen.settings}
    if chosen.recipe:
        recipe = chosen.recipe.recipe
        given["recipe"] = {"base": "paper", **{key: getattr(recipe, key) for key in recipe.__dataclass_fields__}}
    return given


def _config(study: Study, backbone: str, images: int, sampling: int | None) -> dict[str, Any]:
    config = study.config.backbones[backbone]
    arm = arm_of(study, backbone)
    steps = getattr(settings_of(backbone, config.settings, arm["settings"]).restore, "steps", None)
    if sampling and steps and steps > sampling:
        arm["settings"] = merged(arm["settings"], {"restore": {"steps": sampling}})
    given = config.model_dump(mode="json", exclude_none=True)
    tiny = config.base == "tiny"
    given |= {"base": "tiny" if tiny else "random", "gpus": 1}
    given["data"] |= {"sets": [PHOTOS], "crops": "any"}
    if config.data and config.data.pairs:
        given["data"]["pairs"] = images
    given.pop("captions", None)
    stages = [*config.train]
    for number, stage in enumerate(stages):
        # Two steps where there is one stage: the training is killed between its first and its last step.
        given["train"][stage] |= {"steps": 2 if len(stages) == 1 and number == 0 else 1, "batch": images}
        given["train"][stage] |= {"accumulate": 1, "warmup": 0}
    if tiny:
        given["pretrain"] = {**given.get("pretrain", given["train"][stages[0]]), "steps": 1, "warmup": 0}
    return {
        "title": f"Rehearsal of {backbone} of: {study.config.title}",
        "seed": study.config.seed,
        "seeds": [0],
        "threads": study.config.threads,
        "sets": [PAIRS],
        "protocols": study.config.protocols,
        "metrics": study.config.metrics,
        "trackers": [],
        "backbones": {backbone: given},
        "arms": {"bicubic": {"label": "Bicubic"}, ARM: arm},
    }


def _write_sets(study: Study, backbone: str, datasets: Path) -> None:
    config = study.config.backbones[backbone]
    crop = max(stage.crop for stage in [*config.train.values(), *([config.pretrain] if config.pretrain else [])])
    side = LR_SIDE // 4 if config.base == "tiny" else LR_SIDE
    rng = np.random.default_rng(study.config.seed)
    for name, parts in {PHOTOS: {"HR": crop}, PAIRS: {"LR": side, "HR": side * SCALE}}.items():
        for part, pixels in parts.items():
            for number in range(IMAGES):
                noise = rng.integers(0, 256, (pixels, pixels, 3), dtype=np.uint8)
                write_png(datasets / name / part / f"{number}.png", noise)
        manifest = {
            "id": name,
            "title": "Noise, for a rehearsal",
            "license": "none: noise",
            "paired": len(parts) > 1,
            "scale": SCALE,
            "count": IMAGES,
            "sources": [
                {
                    "kind": "manual",
                    "folders": [*parts],
                    "where": ["framer rehearse"],
                    "note": "written by the rehearsal",
                }
            ],
        }
        if "LR" in parts:
            manifest["lr_side"] = side
        write_text(datasets / f"{name}.yaml", yaml.safe_dump(manifest, sort_keys=False))
