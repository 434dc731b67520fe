"""The command `framer rehearse`."""

import argparse
import sys
from pathlib import Path

from framer.commands.arguments import arg, command, study_path
from framer.errors import UserError, unknown

SAMPLING = 2
"""Steps of a sampler on a CPU, at most: 40 of a network of two billion weights take half an hour an image."""


@command(
    "run every kind of job of a study once, at full architecture with random weights, and measure memory and time",
    arg("--study", type=study_path, required=True, help="study file, such as config/paper.yaml"),
    arg("--backbone", nargs="+", metavar="NAME", help="these backbones of the study (default: all)"),
    arg("--batch", type=int, metavar="N", help="images per training step (default: per GPU as the study; 1 on a CPU)"),
    arg("--datasets", type=Path, default=Path("datasets"), help="folder of manifests (default: datasets)"),
)
def rehearse(args: argparse.Namespace) -> None:
    from framer.study.study import Study

    study = Study.load(args.study, args.datasets)
    trained = [name for name, config in study.config.backbones.items() if config.train]
    names = args.backbone or trained
    for name in names:
        if name not in trained:
            message = unknown("trained backbone", name, trained)
            raise UserError(message, path=args.study, key="--backbone", code="unknown")
    if args.batch is not None and args.batch < 1:
        raise UserError("at least one image is needed", key=f"--batch {args.batch}")

    import torch

    from framer.rehearsal.rehearse import rehearse as run

    failed = False
    for name in names:
        config = study.config.backbones[name]
        stage = next(iter(config.train.values()))
        on_gpu = torch.cuda.is_available() and config.base != "tiny"
        images = args.batch or (stage.batch // (config.gpus * stage.accumulate) if on_gpu else 1)
        jobs = run(study, name, images, None if on_gpu else SAMPLING)
        failed |= any(job.outcome in ("failed", "out of memory") for job in jobs)
        print((study.paths.rehearsal(name) / "rehearsal.md").read_text(encoding="utf-8"))
    sys.exit(1 if failed else 0)
