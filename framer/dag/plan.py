"""An estimate of what a study takes: jobs, GPU-hours, disk and wall time. Writes nothing.

Speeds are those that trainings here have recorded among their logs, otherwise those of `speeds.yaml`; the table names
the source of each.
"""

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framer.config_file import read_yaml
from framer.dag import inputs
from framer.dag.resources import uses_gpu
from framer.dag.scope import Scope
from framer.data.degradation.presets import SCALE
from framer.data.images import INDEX, Entry, read_index
from framer.study.jobs import PretrainJob
from framer.study.layout import DATASETS, EARLY_IMAGES, LOGS, TINY_BASES

CROP = 512
"""Side of the training images of the speeds at full size."""


@dataclass(frozen=True)
class Part:
    """The jobs of one rule.

    Attributes:
        rule: its name.
        jobs: how many.
        seconds: device time of all jobs together.
        longest: seconds of the longest job, on the devices that it requests.
        bytes: disk space of their outputs.
        how: the source of the speed.
        gpu: whether the device is a GPU.
    """

    rule: str
    jobs: int
    seconds: float = 0.0
    longest: float = 0.0
    bytes: float = 0.0
    how: str = ""
    gpu: bool = False


class Plan:
    """The parts of a study in the order in which they run.

    Args:
        scope: what of a study can be made.
        logs: folder of the speeds that trainings recorded.
    """

    def __init__(self, scope: Scope, logs: Path = LOGS):
        self.scope, self.study, self.logs = scope, scope.study, logs
        self.assumed: dict[str, None] = {}
        self.table: dict[str, Any] = read_yaml(Path(__file__).with_name("speeds.yaml"))
        runs, released = scope.runs, scope.released
        captions = self._captions()
        bases = {Path(inputs.base(self.study, run)) for run in [*runs, *released]}
        here = (self.study.out, TINY_BASES)
        published = {base.name for base in bases if not any(map(base.is_relative_to, here))}
        published |= {Path(file).parent.name for file in captions}
        weights = {*scope.needed_weights, *self.study.published.values()}
        fetched_weights = [name for name in weights if scope.weights.standing(name) == "wanted"]
        interpolated = [row for row, _ in scope.pairs if row in scope.interpolated]
        supplied = [row for row, _ in scope.pairs if row in self.study.supplied]
        fetched, derived = self._data()
        parts = [
            Part("fetch", len(fetched), how="the network's speed"),
            Part("base", len(published), bytes=float(self.table["base"]) * len(published), how="the network's speed"),
            Part("weights", len(fetched_weights), how="the network's speed"),
            self._plain("degrade", len(derived)),
            self._training("pretrain", [self.study.pretrain_job(base) for base in scope.bases]),
            self._counted("caption", [self._count(name) for name in captions.values()]),
            self._encoding(),
            self._plain("release", len(released)),
            self._training("train", [self.study.planned_job(run) for run in runs if run not in scope.searched]),
            self._plain("tune", len(scope.searched)),
            self._restoring("restore", {*self.study.rows} - {*self.study.feed_forward}),
            self._restoring("feed_forward", self.study.feed_forward),
            self._plain("fetch_method", len({*self.study.methods.values()})),
            self._plain("build_method", len({*self.study.methods.values()})),
            Part(
                "method", sum(row in self.study.methods for row, _ in scope.pairs), how="not known, counted as nothing"
            ),
            self._plain("bicubic", len(interpolated)),
            self._plain("supplied", len(supplied)),
            self._scoring(),
            self._analysing(),
            self._measuring(),
            self._plain("figures", 1),
            self._plain("tables", 1),
            self._plain("report", 1),
        ]
        self.parts = [part for part in parts if part.jobs]

    def wall(self, devices: int) -> float:
        """Seconds at a number of devices: each part waits for the one before it."""
        return sum(max(part.longest, part.seconds / devices) for part in self.parts)

    def table_lines(self, devices: int) -> list[str]:
        """The table, a line per rule, and the sums."""
        lines = [f"{'rule':<9}{'jobs':>6}{'hours':>9}{'longest':>9}{'GB':>8}   speed"]
        for part in self.parts:
            hours, longest = part.seconds / 3600, part.longest / 3600
            lines.append(
                f"{part.rule:<9}{part.jobs:>6}{hours:>9.2f}{longest:>9.2f}{part.bytes / 1e9:>8.2f}   {part.how}"
            )
        gpu = sum(part.seconds for part in self.parts if part.gpu) / 3600
        disk = sum(part.bytes for part in self.parts) / 1e9
        lines.append(
            f"{sum(part.jobs for part in self.parts)} jobs, {gpu:.1f} GPU-hours, {disk:.1f} GB besides the data"
        )
        lines.append(f"{self.wall(devices) / 3600:.1f} hours on {devices} devices; queues not counted")
        return [*lines, *(f"Assumption (not published): {text}" for text in self.assumed)]

    def _speeds(self, backbone: str, base: str) -> dict[str, Any]:
        speeds: dict[str, Any] = self.table.get(backbone, self.table["unknown"])["tiny" if base == "tiny" else "full"]
        return speeds

    def _plain(self, rule: str, jobs: int) -> Part:
        return Part(rule, jobs, jobs * self.table["start"], self.table["start"] if jobs else 0, how="estimated")

    def _training(self, rule: str, jobs: list[PretrainJob]) -> Part:
        each: list[float] = []
        longest: list[float] = []
        origins: dict[str, None] = {}
        size = 0.0
        for job in jobs:
            speeds, seconds = self._speeds(job.backbone, job.base), 0.0
            for stage, settings in job.stages.items():
                image, origin = self._measured(job, stage) or (self._image(job, settings.crop), str(speeds["how"]))
                seconds += settings.steps * settings.batch * image
                origins[origin] = None
            gpus = self.study.config.backbones[job.backbone].gpus
            each.append(self.table["start"] * gpus + seconds)
            longest.append(self.table["start"] + seconds / gpus)
            size += float(speeds["run"]) + 2 * float(speeds["checkpoint"])
        gpu = any(job.base != "tiny" for job in jobs)
        return Part(rule, len(jobs), sum(each), max(longest, default=0.0), size, "; ".join(origins), gpu)

    def _image(self, job: PretrainJob, crop: int) -> float:
        """Estimated device-seconds per training image."""
        # Operations are proportional to the number of pixels.
        share = 1.0 if job.base == "tiny" else (crop / CROP) ** 2
        again = self.table["checkpointing"] if job.settings.get("gradient_checkpointing") else 1.0
        return float(self._speeds(job.backbone, job.base)["train"]) * share * again

    def _measured(self, job: PretrainJob, stage: str) -> tuple[float, str] | None:
        """Device-seconds per image of the latest recorded training of the same kind."""
        found = []
        for path in self.logs.glob("*/tracking/*/speed-*.json"):
            speed = json.loads(path.read_text(encoding="utf-8"))
            same = (job.backbone, job.base, stage, job.stages[stage].crop)
            if (speed["backbone"], speed["base"], speed["stage"], speed["crop"]) == same:
                found.append((path.stat().st_mtime, speed["seconds"], f"measured: {speed['device']}"))
        return max(found)[1:] if found else None

    def _restoring(self, rule: str, rows: Collection[str]) -> Part:
        each: list[float] = []
        origins: dict[str, None] = {}
        size = 0.0
        for row, name in self.scope.restored:
            if row in rows and (loaded := self.study.restore_job(row).backbone):
                named = self.study.backbone(row)
                speeds = self._speeds(loaded, named[1].base if named else "published")
                each.append(self.table["start"] + self._count(name) * self._restored(name, speeds))
                size += self._megapixels(name) * float(self.table["image"])
                origins[str(speeds["how"])] = None
        longest = max(each, default=0.0)
        return Part(rule, len(each), sum(each), longest, size, "; ".join(origins), uses_gpu(rule, self.study))

    def _scoring(self) -> Part:
        names = [name for _, name in self.scope.restored]  # one job for all protocols
        each = [self.table["start"] + self.table["score"] * self._megapixels(name) for name in names]
        return self._estimated("score", each)

    def _data(self) -> tuple[set[str], set[str]]:
        """The sets to fetch, and those to derive from others."""
        data = {name for name in self.study.config.sets if name not in self.scope.missing}
        data |= {name for run in self.scope.runs for name in self.study.planned_job(run).data.sets}
        data |= {name for _, name in self.scope.judged}
        if (heldout := self.study.config.heldout) and self.scope.runs:
            data.add(heldout.set)
        sources = {name: source for name in data if (source := self.study.manifests[name].derived_from)}
        return data - {*sources} | {*sources.values()}, {*sources}

    def _captions(self) -> dict[str, str]:
        """The sets that a model captions, for training and restoring, by the file of their captions."""
        files: dict[str, str] = {}
        for row, name in self.scope.pairs:
            files |= dict.fromkeys(inputs.restoring_captions(self.study, row, name), name)
        for job in map(self.study.planned_job, self.scope.runs):
            for name in job.data.sets:
                files |= dict.fromkeys(inputs.captions(self.study, job.backbone, [name]), name)
        return files

    def _encoding(self) -> Part:
        """The encoding of the pairs that runs share."""
        names = dict.fromkeys(
            self.study.arm(run).backbone for run in self.scope.runs if inputs.encoded(self.study, run)
        )
        counts = [self.study.encode_job(str(name)).data.pairs or 0 for name in names]
        return self._counted("encode", counts)

    def _counted(self, rule: str, counts: list[int]) -> Part:
        """Jobs whose time is proportional to a number of images."""
        return self._estimated(rule, [self.table["start"] + self.table[rule] * count for count in counts])

    def _estimated(self, rule: str, each: list[float]) -> Part:
        """Jobs of some seconds each."""
        gpu = uses_gpu(rule, self.study)
        return Part(rule, len(each), sum(each), max(each, default=0.0), how="estimated", gpu=gpu)

    def _analysing(self) -> Part:
        """Two forward passes per image and model, one per image and snapshot, and a few restored images."""
        each = []
        for backbone, job in self.scope.analyses.items():
            base = self.study.config.backbones[backbone].base
            speeds, snapshots = self._speeds(backbone, base), len(job.snapshots)
            forward = float(speeds["train"]) / 3
            passes = job.images * (2 * len(job.runs) + (snapshots + 1) * ("paper" in job.compared))
            early = EARLY_IMAGES * snapshots * len(job.compared) * self._restored(job.set, speeds)
            each.append(self.table["start"] + passes * forward + early)
        return self._estimated("analyse", each)

    def _measuring(self) -> Part:
        """One process per arm and block, on one device."""
        if (job := self.scope.cost) is None:
            return Part("cost", 0)
        jobs = [self.study.planned_job(run) for run in job.runs.values()]
        images = [len(one.stages) * (job.warmup + job.steps) * job.batch * self._image(one, job.crop) for one in jobs]
        seconds = job.blocks * (len(jobs) * self.table["start"] + sum(images))
        return self._estimated("cost", [seconds])

    def _restored(self, name: str, speeds: dict[str, Any]) -> float:
        """Device-seconds per restored image of a set, in tiles where the network is limited to a size."""
        side = SCALE * self._lr_side(name)
        if tile := speeds.get("tile"):
            tiles = 1 + max(0, math.ceil((side - tile) / speeds["stride"]))
            side = tiles * tile
        return float(speeds["restore"]) * side**2 / 1e6

    def _count(self, name: str) -> int:
        if count := self.study.manifests[name].count or len({Path(entry.name).stem for entry in _index(name)}):
            return count
        self.assumed[f"{name}: {self.table['count']} images"] = None
        return int(self.table["count"])

    def _lr_side(self, name: str) -> float:
        if side := self.study.manifests[name].lr_side:
            return side
        if sizes := [entry.width * entry.height for entry in _index(name) if entry.name.startswith("LR/")]:
            return math.sqrt(sum(sizes) / len(sizes))
        self.assumed[f"{name}: LR images of {self.table['lr_side']} pixels per side"] = None
        return float(self.table["lr_side"])

    def _megapixels(self, name: str) -> float:
        """Megapixels of all restored images of a set."""
        return self._count(name) * (SCALE * self._lr_side(name)) ** 2 / 1e6


def _index(name: str) -> list[Entry]:
    """The images of a set; none before it is fetched."""
    return read_index(DATASETS / name) if (DATASETS / name / INDEX).is_file() else []
