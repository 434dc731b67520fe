"""A small finished study: two sets, two training seeds, a control, and scores that are easy to average by hand."""

import csv
import hashlib
import io
import json
from pathlib import Path

from framer.scoring.protocols import Protocol

ARMS = """
  bicubic: {label: Bicubic}
  pisa_sr-baseline: {label: "Base & <b>line</b>", backbone: pisa_sr}
  pisa_sr-framer: {label: FRAMER_U, backbone: pisa_sr, recipe: released}
  pisa_sr-blank: {label: Blank, of: pisa_sr-baseline, blank_lr: true}
"""
STUDY = f"""
title: Two sets | 50%
seed: 1
seeds: [0, 1]
sets: [pairs-a, pairs-b]
protocols: [osediff]
metrics: [psnr, ssim, lpips]
backbones:
  pisa_sr:
    base: tiny
    data: {{sets: [photos], degradation: pisa_sr}}
    pretrain: {{steps: 1, batch: 1, crop: 32, lr: 0.1}}
    train: {{pixel: {{steps: 1, batch: 1, crop: 32, lr: 0.1}}}}
arms:{ARMS}"""
MANIFEST = """
id: {id}
title: Pairs {id}
licence: none
paired: true
scale: 4
count: 2
sources: [{{kind: manual, folders: [LR, HR], where: [here], note: none}}]
"""
PHOTOS = """
id: photos
title: Photographs
licence: none
paired: false
scale: 4
count: 2
sources: [{kind: manual, folders: [HR], where: [here], note: none}]
"""
# Mean PSNR of each row over the two images; the table's cells are the means over its seeds.
PSNR = {
    "bicubic": 27.0,
    "pisa_sr-baseline-s0": 28.0,
    "pisa_sr-baseline-s1": 28.5,
    "pisa_sr-framer-s0": 28.248,
    "pisa_sr-framer-s1": 28.248,
    "pisa_sr-blank-s0": 40.0,
    "pisa_sr-blank-s1": 40.0,
}


def write_scores(
    path: Path, values: dict[str, dict[str, float]], unavailable: dict[str, str], protocol: str = "osediff"
) -> None:
    """A score file and its sidecar as `framer score` writes them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "metric", "value"))
    for image, scores in values.items():
        writer.writerows((image, metric, repr(value)) for metric, value in scores.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue())
    names = [*next(iter(values.values())), *unavailable]
    sidecar = {
        "protocol": protocol,
        "metrics": {metric.name: metric.id for metric in Protocol.named(protocol).select(names)},
        "unavailable": unavailable,
        "count": len(values),
        "scores": hashlib.sha256(text.getvalue().encode()).hexdigest(),
        "versions": {},
        "weights": {},
        "images": {image: {} for image in values},
    }
    path.with_suffix(".json").write_text(json.dumps(sidecar))
