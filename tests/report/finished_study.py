"""A small finished study: two sets, two training seeds, a control, and scores that are easy to average by hand."""

import csv
import hashlib
import io
import json
from pathlib import Path

from framer.provenance import digest, write_card
from framer.scoring.protocols import Protocol
from framer.study import Study

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
count: {count}
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


def made(stage: str) -> dict[str, str]:
    return {"code": stage, "lock": "l"}


def trained(study: Study, **changes: object) -> None:
    """Cards of base, runs and images as the stages write them."""
    base = study.out / "bases" / "pisa_sr"
    base.mkdir(parents=True, exist_ok=True)
    (base / "model.safetensors").write_text("weights")
    write_card(base, "base", ["model.safetensors"], job={"heldout": {"seed": 1}, "steps": 4}, **made("pretrain"))
    for row in study.rows.values():
        facts: dict[str, object] = {"checkpoint": "bicubic"}
        if row.run:
            folder = study.out / "runs" / row.run
            folder.mkdir(parents=True, exist_ok=True)
            log = f"{row.run} {changes.get('log', '')}"
            for name, text in (("model.safetensors", row.run), ("log.csv", log)):
                (folder / name).write_text(text)
            recipe = "released" if "framer" in row.run else None
            job = {"recipe": recipe, "lr": 0.1, "heldout": {"seed": changes.get("heldout")}}
            facts = {"job": job, "data": {"photos": "p"}, "base": "b", **made("train")}
            write_card(folder, "run", ["model.safetensors", "log.csv"], **facts)
            facts = {"checkpoint": digest(json.loads((folder / "card.json").read_text())), "seed": row.seed}
        for set_id in study.config.sets:
            images = study.out / "images" / row.id / set_id
            images.mkdir(parents=True, exist_ok=True)
            write_card(images, "images", [], **facts, **made("restore"))
