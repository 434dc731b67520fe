"""What the Snakefile asks: which study, which of its sets are here, and what each rule hangs on."""

import json
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framer import analyses
from framer.backbones.settings import settings_of
from framer.data.captions import captions_file, read_captions
from framer.data.fetch import how_to_get, present
from framer.data.weights import WeightsManifest
from framer.data.weights import folder as weights_folder
from framer.errors import UserError, unknown
from framer.fingerprint import fingerprint
from framer.jobs import PretrainJob
from framer.provenance import digest
from framer.scoring.protocols import Protocol
from framer.scoring.weights import missing, state
from framer.study import OWN_BASES, Study

DATASETS = Path("datasets")
WEIGHTS = ("card.json", "model.safetensors", "config.json", "log.csv")
"""What a base or a run consists of."""


@dataclass(frozen=True)
class Graph:
    """A study as the workflow sees it: folders, wildcards and what makes a job run again.

    Attributes:
        study: the study.
        absent: sets that can only be had by hand and are not here, and what is made of them, each with what to do.
        stopped: rows that cannot be trained without them, each with the reason; `n/a` in the tables.
    """

    study: Study
    absent: dict[str, str]
    stopped: dict[str, str]

    @classmethod
    def open(cls, config: dict[str, Any]) -> "Graph":
        """The one study that `--config study=NAME` picks, `paper` when nothing is said.

        Only that file is read. Anything else in Snakemake's config would be a setting that no study knows, so it is
        refused rather than ignored.

        Raises:
            UserError: another key than `study`, a study that does not load; as `of`.
        """
        # A job's shell finds the `framer` of the environment that runs Snakemake, activated or not.
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        name = config.get("study", "paper")
        for key in config:
            if key != "study":
                raise UserError(
                    f"--config {key}: {unknown('key', key, ['study'])}; settings belong into config/{name}.yaml"
                )
        return cls.of(Study.load(Path("config") / f"{name}.yaml", DATASETS))

    @classmethod
    def of(cls, study: Study) -> "Graph":
        """A study, with what of its data is here.

        Raises:
            UserError: an absent set in a strict one.
        """
        absent = {}
        for name, manifest in study.manifests.items():
            source = study.manifests[manifest.derived_from] if manifest.derived_from else manifest
            if source.by_hand and not present(source, DATASETS) and not present(manifest, DATASETS):
                absent[name] = how_to_get(source, DATASETS)
        if absent and study.config.strict:
            raise UserError(f"{study.path}: strict: a set is absent: {next(iter(absent.values()))}")
        return cls(study, absent, study.stopped(absent))

    def warnings(self) -> list[str]:
        """What will be `n/a` in the tables and why, a line each."""
        lines = [
            f"n/a in the tables: {reason}" for name, reason in self.absent.items() if name in self.study.config.sets
        ]
        lines += [f"Absent: {reason}" for name, reason in self.absent.items() if name not in self.study.config.sets]
        for reason in dict.fromkeys(self.stopped.values()):
            rows = ", ".join(row for row, why in self.stopped.items() if why == reason)
            lines.append(f"n/a in the tables: {rows}: {reason}")
        for name in self.study.config.protocols:
            metrics = Protocol.named(name).select(self.study.config.metrics)
            if lacking := ", ".join(metric.title for metric in metrics if missing(metric)):
                lines.append(f"Without weights: {lacking} of {name}; they come by: framer fetch --protocol {name}")
        for name in self._needed_weights():
            if WeightsManifest.load(name).missing(weights_folder()):
                lines.append(f"Without weights: training needs {name}; it comes by: framer fetch --weights {name}")
        return lines

    def _needed_weights(self) -> list[str]:
        """Manifests of the weights that training needs besides data and bases."""
        needed: list[str] = []
        for run in self.study.runs:
            job = self.study.train_job(run)
            if run not in self.stopped:
                stages = [stage for stage, optimisation in job.stages.items() if optimisation.steps]
                needed += settings_of(job.backbone, job.settings).needs(stages)
        return list(dict.fromkeys(needed))

    @property
    def out(self) -> str:
        """Folder of everything that the study produces."""
        return self.study.out.as_posix()

    @property
    def path(self) -> str:
        """The study file."""
        return self.study.path.as_posix()

    @property
    def logs(self) -> str:
        """Folder of the job logs."""
        return f"logs/{self.study.name}"

    @property
    def threads(self) -> int:
        """CPU threads a job."""
        return self.study.config.threads

    @property
    def tiny(self) -> bool:
        """Whether all networks are tiny: they train on CPUs and ask a cluster for no GPU."""
        return all(backbone.base == "tiny" for backbone in self.study.config.backbones.values())

    @property
    def sets(self) -> list[str]:
        """Test sets that are here or can be fetched."""
        return [name for name in self.study.config.sets if name not in self.absent]

    @property
    def rows(self) -> list[str]:
        """Rows of the tables that can be made here."""
        return [row for row in self.study.rows if row not in self.stopped]

    @property
    def derived_sets(self) -> list[str]:
        """Sets that are made by degrading another."""
        return sorted(name for name, manifest in self.study.manifests.items() if manifest.derived_from)

    @property
    def untrained_rows(self) -> list[str]:
        """Rows without a model: interpolation."""
        return [row.id for row in self.study.rows.values() if row.run is None]

    def grid(self) -> dict[str, list[str]]:
        """Wildcards of all score files."""
        return {"row": self.rows, "set": self.sets, "protocol": self.study.config.protocols}

    def results(self) -> list[str]:
        """All that a study produces. Each is asked for, not the last alone: any that is deleted is made again."""
        images = [f"images/{row}/{name}/card.json" for row in self.rows for name in self.sets]
        scores = [
            f"scores/{row}/{name}/{protocol}.{kind}"
            for row in self.rows
            for name in self.sets
            for protocol in self.study.config.protocols
            for kind in ("csv", "json")
        ]
        runs = [run for run in self.study.runs if run not in self.stopped]
        bases = [base for base in self.study.bases if base in {self.study.base_of(run) for run in runs}]
        folders = [*(f"bases/{base}" for base in bases), *(f"runs/{run}" for run in runs)]
        weights = [f"{folder}/{name}" for folder in folders for name in WEIGHTS]
        made = [f"{self.out}/{name}" for name in (*weights, *images, *scores, "report.html")]
        made += [*self.analysed(), *self.cost()]
        return [*made, *self.tables("md", "tex", "html", "csv"), *self.figures("png", "pdf")]

    def tables(self, *kinds: str) -> list[str]:
        """The files of the tables, of some kinds: html, md, tex, csv."""
        names = {
            kind: ("main", "claims") if kind == "csv" else ("main", "claims", "ablation", "cost") for kind in kinds
        }
        return [f"{self.out}/tables/{name}.{kind}" for kind, of_kind in names.items() for name in of_kind]

    def figures(self, *kinds: str) -> list[str]:
        """The files of the figures, png or pdf: those of every study, and those whose arrays were recorded."""
        names = ("scatter", "plane", "curves", "spectra", *analyses.figures(self.study, self.absent))
        return [f"{self.out}/figures/{name}.{kind}" for kind in kinds for name in names]

    def training_logs(self) -> list[str]:
        """The logs of the runs that can be made here."""
        return [f"{self.out}/runs/{run}/log.csv" for run in self.study.runs if run not in self.stopped]

    def published(self) -> list[str]:
        """The published numbers, and the scores of methods that others restored."""
        folder = Path("results", "published")
        methods = [path for name in self.sets for path in folder.glob(f"scores/*/{name}/*.csv")]
        paths = [*folder.glob("*.csv"), *methods, *(path.with_suffix(".json") for path in methods)]
        return sorted(path.as_posix() for path in paths)

    def analysed(self) -> list[str]:
        """The cards of the analyses that the study declares, of the backbones that can be trained here."""
        names = analyses.analysed(self.study, self.absent)
        return [f"{analyses.folder(self.study, name).as_posix()}/card.json" for name in names]

    def cost(self) -> list[str]:
        """The measured cost of training, where the study asks for it."""
        return [analyses.cost_file(self.study).as_posix()] if analyses.cost_job(self.study, self.absent) else []

    def manifest(self, name: str) -> str:
        """A digest of what a manifest says of the bytes of a set; comments and words to the reader do not count."""
        return digest(self.study.manifests[name].decisive)

    def source_card(self, name: str) -> str:
        """The card of the set that a derived set is made of."""
        return f"{DATASETS}/{self.study.manifests[name].derived_from}/card.json"

    def data_cards(self, job: PretrainJob) -> list[str]:
        """The cards of all data that a training job reads."""
        names = [*job.data.sets, *([job.heldout.set] if job.heldout else [])]
        return [f"{DATASETS}/{name}/card.json" for name in names]

    def captions(self, backbone: str | None, sets: Iterable[str]) -> list[str]:
        """The captions of some sets that the graph makes; a user's own are no inputs: `captions_state` watches them."""
        if backbone and (config := self.study.config.backbones[backbone].captions) and config.model:
            return [f"captions/{config.model.replace('/', '--')}/{name}.csv" for name in sets]
        return []

    def captions_state(self, backbone: str | None, sets: Iterable[str]) -> str | None:
        """A digest of a user's own captions: the jobs that read them run again when they change."""
        if backbone and (config := self.study.config.backbones[backbone].captions) and config.folder:
            files = [captions_file(Path(config.folder), name) for name in sets]
            return digest([read_captions(file) if file.exists() else None for file in files])
        return None

    def training_captions(self, backbone: str | None) -> list[str]:
        """`captions` of the sets that a backbone trains on."""
        return self.captions(backbone, self.study.config.backbones[str(backbone)].data.sets)

    def training_captions_state(self, backbone: str | None) -> str | None:
        """`captions_state` of the sets that a backbone trains on."""
        return self.captions_state(backbone, self.study.config.backbones[str(backbone)].data.sets)

    def encoded_data(self, backbone: str) -> list[str]:
        """The cards of the sets whose pairs are encoded."""
        return [f"{DATASETS}/{name}/card.json" for name in self.study.encode_job(backbone).data.sets]

    def captioned_folder(self, name: str) -> str:
        """What of a set a model captions: the photographs to train on, or else the LR images to restore."""
        manifest = self.study.manifests[name]
        return f"{DATASETS}/{name}/{manifest.training_folder or manifest.test_folder}"

    def encoded(self, run: str) -> list[str]:
        """The card of the encoded pairs that a run trains on, where the study encodes them."""
        arm = self.study.arm(run)
        wanted = self.study.config.backbones[str(arm.backbone)].data.encode and not arm.untrained
        return [f"{self.out}/encoded/{arm.backbone}/card.json"] if wanted else []

    def encoded_option(self, run: str) -> str:
        """The option of `framer train` that names them."""
        return "".join(f" --encoded {Path(card).parent.as_posix()}" for card in self.encoded(run))

    def base_of(self, backbone: str) -> str:
        """The folder of the base whose codec and text encoders encode the pairs of a backbone."""
        runs = [run for run in self.study.runs if self.study.base_of(run) == backbone]
        return self.base(runs[0])

    def base(self, run: str) -> str:
        """The folder of the base that a run starts from: the study's own, or published weights for all studies."""
        base = self.study.config.backbones[str(self.study.arm(run).backbone)].base
        return (
            f"{self.out}/bases/{self.study.base_of(run)}" if base in OWN_BASES else f"weights/{base.replace('/', '--')}"
        )

    def run(self, row: str) -> str:
        """The folder of the run that restores a row."""
        return f"{self.out}/runs/{self.study.rows[row].run}"

    def code(self, command: str, backbone: str | None) -> str:
        """The fingerprint of a stage that runs a backbone, which the stage loads by name."""
        return fingerprint(command, *([f"framer.backbones.{backbone}"] if backbone else []))

    def restore_options(self, row: str, name: str) -> str:
        """The options of `framer restore` for a row and a set."""
        job = self.study.restore_job(row)
        blank = " --blank-lr" if job.blank_lr else ""
        settings = "".join(f" --set {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in job.settings.items())
        prompts = ""
        if job.backbone and (captions := self.study.captions(job.backbone)):
            file = captions_file(Path(captions.folder), name).as_posix()
            prompts = f" --captions {shlex.quote(file)} --missing {captions.missing}"
        return f"--seed {job.seed} --threads {job.threads}{blank}{settings}{prompts}"

    def hr_option(self, name: str) -> str:
        """The option of `framer score` that names the ground truth, where a set has one."""
        return f"--hr {DATASETS}/{name}/HR" if self.study.manifests[name].paired else ""

    def weights_state(self, protocol: str) -> str:
        """Which metric weights are on this machine: a metric that was n/a is scored once its weights are there."""
        return state(protocol, self.study.config.metrics)

    def presentation(self) -> str:
        """A digest of what tables and report show beside the scores."""
        config = self.study.config.model_dump(mode="json", include={"title", "sets", "protocols", "metrics", "arms"})
        return digest([config, list(self.study.rows), sorted(self.absent)])

    def summary(self) -> str:
        """The main table and where everything is, for the end of a run; less where a run made only a part."""
        table, report = Path(self.out, "tables", "main.md"), Path(self.out, "report.html")
        shown = f"\n{table.read_text(encoding='utf-8')}\n" if table.is_file() else ""
        return f"{shown}Tables: {table.parent}   Report: {report}"
