"""Commands on models: captioning, encoding, training, converting, restoring."""

import argparse
import sys
from pathlib import Path

from framer.commands.arguments import (
    DATASETS,
    EXPECT,
    SESSION,
    STUDY,
    arg,
    command,
    freeu,
    json_object,
    key_values,
    planned,
    session,
    spread,
    study_of,
    threads,
)
from framer.errors import UserError


@command(
    "caption a folder of images with a vision-language model",
    arg("--images", type=Path, required=True, metavar="DIR", help="folder of images"),
    arg("--out", type=Path, required=True, metavar="FILE.csv", help="image,caption rows; sidecar FILE.json"),
    arg("--model", metavar="PATH", help="folder, or owner/name on the hub (default: LLaVA-1.5 13B)"),
    arg("--question", help="the prompt; '' for models that take an image alone (default: the objects)"),
    arg("--tokens", type=int, default=512, help="most tokens of a caption (default: 512)"),
    arg("--seed", type=int, default=0, help="seed for the sampling (default: 0)"),
    arg("--threads", type=threads, default=1, help="CPU threads (default: 1)"),
)
def caption(args: argparse.Namespace) -> None:
    from framer.inference.caption import MODEL, QUESTION
    from framer.inference.caption import caption as run

    question = QUESTION if args.question is None else args.question
    options = {"tokens": args.tokens, "seed": args.seed, "threads": args.threads}
    run(args.images, args.out, model=args.model or MODEL, question=question, **options)


@command(
    "encode the training pairs and prompts of a study once, before training",
    STUDY,
    arg("--backbone", required=True, help="a backbone of the study whose data has 'encode'"),
    arg("--base", type=Path, required=True, help="folder of its base"),
    arg("--out", type=Path, required=True, help="folder of the cache"),
    DATASETS,
    EXPECT,
)
def encode(args: argparse.Namespace) -> None:
    study = study_of(args)
    job = study.encode_job(args.backbone)
    planned(args, job.digest)

    from framer.training.encode import encode as run

    run(job, args.base, study.training_folders(job, args.datasets), args.out)


@command(
    "train a tiny base from random weights",
    STUDY,
    arg("--base", required=True, help="the backbone's name"),
    arg("--out", type=Path, required=True, help="folder of the base"),
    DATASETS,
    EXPECT,
    *SESSION,
)
def pretrain(args: argparse.Namespace) -> None:
    study = study_of(args)
    job = study.pretrain_job(args.base)
    planned(args, job.digest)
    spread(args)

    from framer.training.pretrain import pretrain as run

    data, heldout = study.training_folders(job, args.datasets), study.heldout_folder(args.datasets)
    run(job, data, args.out, heldout, session(args, study))


@command(
    "train one run of a study: LoRA or control weights, with or without the FRAMER loss",
    STUDY,
    arg("--run", required=True, help="arm and seed, such as pisa_sr-framer-s0"),
    arg("--base", type=Path, required=True, help="folder of its base"),
    arg("--out", type=Path, required=True, help="folder of the run"),
    DATASETS,
    arg("--encoded", type=Path, help="folder of framer encode (default: encode on the fly)"),
    EXPECT,
    *SESSION,
)
def train(args: argparse.Namespace) -> None:
    study = study_of(args)
    planned(args, study.planned_job(args.run).digest)
    job = study.train_job(args.run)
    spread(args)

    from framer.training.train import train as run

    data, heldout = study.training_folders(job, args.datasets), study.heldout_folder(args.datasets)
    run(job, args.base, data, args.out, heldout, session(args, study), encoded=args.encoded)


@command(
    "choose the weight of an auxiliary loss by the scores of a search, and make its run the tuned one",
    STUDY,
    arg("--run", required=True, help="a tuned run that the study searches, such as pisa_sr-framer-tuned-s0"),
    arg("--out", type=Path, required=True, metavar="DIR", help="folder of the run"),
    DATASETS,
    EXPECT,
)
def tune(args: argparse.Namespace) -> None:
    from framer.runs.tuning import take

    study = study_of(args)
    planned(args, study.search_digest(args.run))
    chosen = take(study, args.run, args.out)
    print(f"{args.run}: weight {chosen.weight:g}, {chosen.score:.4f} dB", file=sys.stderr)


@command(
    "convert published weights to a run, or a run to files for other programs",
    arg("source", type=Path, metavar="PATH", help="the folder of a run, or a file of published weights"),
    arg("--backbone", required=True, help="the backbone of the weights"),
    arg(
        "--to",
        required=True,
        help="run; for dit4sr also delta, whole, official; for pisa_sr official, safetensors, diffusers, peft",
    ),
    arg("--base", type=Path, metavar="DIR", help="folder of the base, for a run or a whole transformer"),
    arg("--out", type=Path, required=True, metavar="PATH", help="folder, or file where the form is one"),
)
def convert(args: argparse.Namespace) -> None:
    from framer.runs.convert import convert as run

    run(args.source, args.backbone, args.to, args.out, base=args.base)


@command(
    "restore a folder of LR images to x4",
    arg("--checkpoint", metavar="PATH", help="folder of a run, or 'bicubic'"),
    arg(
        "--model",
        type=Path,
        metavar="FILE",
        help="instead of --checkpoint: weights of an x4 network that spandrel knows, such as SwinIR or Real-ESRGAN",
    ),
    arg("--lr", type=Path, required=True, metavar="DIR", help="folder of LR images"),
    arg("--out", type=Path, required=True, metavar="DIR", help="folder for the restored PNGs, their index and card"),
    arg(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a restore setting of the backbone, such as steps=20; before one in --settings",
    ),
    arg("--settings", default="{}", metavar="JSON", help="restore settings of the backbone, as a card has them"),
    arg(
        "--captions", type=Path, metavar="PATH", help="CSV image,caption, or a folder of STEM.txt (default: no prompts)"
    ),
    arg("--missing", choices=["error", "empty"], default="error", help="an image without a caption (default: error)"),
    arg("--seed", type=int, default=0, help="seed for the starting noise (default: 0)"),
    arg("--threads", type=threads, default=1, help="CPU threads (default: 1)"),
    arg("--blank-lr", action="store_true", help="control: let the network see a zero LR latent"),
    arg(
        "--freeu",
        metavar="S1,S2,B1,B2",
        help="change the U-Net by FreeU; its authors' factors for Stable Diffusion 2.1: 0.9,0.2,1.4,1.6",
    ),
)
def restore(args: argparse.Namespace) -> None:
    if (args.checkpoint is None) == (args.model is None):
        raise UserError("give a run or 'bicubic', or a file of weights by --model, one of them", key="--checkpoint")

    from framer.inference.models import ModelFile
    from framer.inference.restore import restore as run

    folder = args.checkpoint if args.checkpoint in ("bicubic", None) else Path(args.checkpoint)
    checkpoint = folder or ModelFile(args.model)
    settings = json_object("--settings", args.settings) | key_values("--set", args.set)
    prompts = {"captions": args.captions, "missing": args.missing}
    given = freeu("--freeu", args.freeu) if args.freeu else None
    options = {"blank_lr": args.blank_lr, "freeu": given, "seed": args.seed, "threads": args.threads}
    run(checkpoint, args.lr, args.out, settings=settings, **prompts, **options)
