"""Rehearse one backbone of a study: fetch, pretrain, encode, train, kill, resume, restore, score, and a table."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from framer.dag import inputs
from framer.dag.missing import find_missing
from framer.dag.scope import Scope
from framer.provenance.lock import exclusive
from framer.rehearsal import derived
from framer.rehearsal.inventory import Inventory
from framer.rehearsal.jobs import Measured, run
from framer.rehearsal.summary import write
from framer.study.layout import Paths
from framer.study.study import Study
from framer.training.checkpoint import FOLDER


def rehearse(study: Study, backbone: str, images: int, sampling: int | None = None) -> list[Measured]:
    """Run every kind of job of one backbone and write `results/STUDY-rehearsal-BACKBONE/rehearsal.md` and `.csv`.

    Jobs after one that failed are run where they do not need its result. The weights of the base are deleted at the
    end: they are noise, and have gigabytes.

    Args:
        study: to rehearse.
        backbone: one of its backbones.
        images: per training step.
        sampling: steps of a sampler at most; None for those of the study.

    Raises:
        UserError: the folder of the rehearsal holds something else, or another process rehearses there.
    """
    paths = Paths(derived.name_of(study, backbone))
    with exclusive(paths.out.parent / f".{paths.out.name}.lock", paths.out):
        inventory, datasets = Inventory(paths.out), paths.out / "datasets"
        inventory.clear()
        inventory.expect([paths.out / f"{paths.out.name}.yaml", datasets])
        file = derived.write(study, backbone, paths.out, images, sampling)
        inventory.record()
        small = Study.load(file, datasets)
        measured = []
        # A published base is fetched; that of the rehearsal is made for it alone, and compared with no rule's request.
        base_rule = "pretrain" if study.config.backbones[backbone].pretrain else "base"
        for job in _jobs(small, backbone, datasets, inventory, base_rule):
            print(f"{job.name}: {job.outcome}, {job.seconds:.0f} s, {job.peak / 2**30:.1f} GiB", file=sys.stderr)
            measured.append(job)
        inventory.expect([paths.out / "rehearsal.md", paths.out / "rehearsal.csv"])
        write(study, backbone, small, measured, paths.out)
        for weights in paths.out.glob("bases/*/model.safetensors"):
            weights.unlink()
        inventory.record()
    return measured


def _jobs(small: Study, backbone: str, datasets: Path, inventory: Inventory, base_rule: str) -> Iterator[Measured]:
    """Run the jobs in their order, as the rules of the workflow do."""
    paths, scope = small.paths, Scope(small, find_missing(small, datasets))
    run_name = f"{derived.ARM}-s0"
    folder, base = paths.run(run_name), paths.base(backbone)
    common = ["--study", small.path.as_posix(), "--datasets", datasets.as_posix()]
    done: set[str] = set()

    def do(name: str, rule: str, arguments: list[str], needs: str = "", **options: object) -> Measured:
        if needs and needs not in done:
            return Measured(rule, name, "skipped", reason=f"needs: {needs}")
        inventory.expect(Path(argument) for argument in arguments)
        found = run(rule, name, arguments, Path(paths.log("rehearse", name.replace(" ", "-"))), **options)  # type: ignore[arg-type]
        inventory.record()
        if found.outcome in ("ok", "killed as planned"):
            done.add(name)
        return found

    yield do("check images", "fetch", ["fetch", derived.PHOTOS, derived.PAIRS, "--datasets", datasets.as_posix()])
    for weights in scope.weights.cards({*scope.loss_weights[run_name], *scope.metric_weights}):
        name = Path(weights).parent.name
        yield do(f"fetch {name}", "weights", ["fetch", "--weights", name])
    yield do("make the base", base_rule, ["pretrain", *common, "--base", backbone, "--out", base.as_posix()])
    encoded: list[str] = []
    if where := inputs.encoded(small, run_name):
        options = ["--backbone", backbone, "--base", base.as_posix(), "--out", where[0]]
        yield do("encode", "encode", ["encode", *common, *options], needs="make the base")
        encoded = ["--encoded", where[0]]
    train = ["train", *common, "--run", run_name, "--base", base.as_posix(), "--out", folder.as_posix(), *encoded]
    train += ["--checkpoint-every", "0"]
    saved = folder / FOLDER
    yield do(
        "train until killed",
        "train",
        train,
        needs="make the base",
        kill_when=lambda: any(saved.glob("0*.safetensors")),
    )
    resumed = do("resume", "train", train, needs="train until killed")
    yield replace(resumed, gpu_peak=_gpu_peak(folder))
    for row, needs in ((run_name, "resume"), ("bicubic", "check images")):
        job, images = small.restore_job(row), paths.images(row, derived.PAIRS)
        restore = ["restore", "--checkpoint", folder.as_posix() if job.backbone else "bicubic"]
        restore += ["--lr", f"{datasets / derived.PAIRS}/LR", "--out", images.as_posix(), "--seed", str(job.seed)]
        restore += ["--threads", str(job.threads), "--settings", json.dumps(job.settings)]
        name = "restore" if job.backbone else "bicubic"
        yield do(name, name, restore, needs=needs)
        score = ["score", "--sr", images.as_posix(), "--hr", f"{datasets / derived.PAIRS}/HR"]
        score += ["--metrics", ",".join(small.config.metrics), "--protocol", *small.config.protocols, "--out"]
        score += [paths.scores(row, derived.PAIRS, protocol).as_posix() for protocol in small.config.protocols]
        yield do(f"score {name}", "score", score, needs=name)
    yield do("tables", "tables", ["tables", *common, "--out", paths.tables.as_posix()], needs="score restore")
    yield do("report", "report", ["report", *common, "--out", paths.report.as_posix()], needs="score restore")


def _gpu_peak(folder: Path) -> int:
    """Peak GPU memory of a training, as it records it; 0 without one."""
    try:
        starts = json.loads((folder / "run.json").read_text(encoding="utf-8"))["starts"]
    except (OSError, ValueError, KeyError):
        return 0
    return max((int(start.get("gpu_bytes", 0)) for start in starts), default=0)
