"""What the Snakefile asks: which study, which of its sets are here, and what each rule hangs on."""

import json
import os
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from framer.backbones.registry import code_modules, settings_of
from framer.dag.availability import absent, gated, weights_file, weights_of
from framer.dag.weights import Weights
from framer.data.captions import captions_file, read_captions
from framer.errors import UserError, named, unknown
from framer.provenance.code import fingerprint
from framer.provenance.hashing import digest, sha256_file
from framer.scoring.protocols import Protocol
from framer.study.analysis_jobs import analysed, cost_job, figures
from framer.study.availability import SUPPLIED
from framer.study.jobs import PretrainJob
from framer.study.layout import DATASETS, OF_STUDIES, TABLES, WEIGHTS, cost_file, folder
from framer.study.study import OWN_BASES, Study
from framer.weights.store import pipeline


@dataclass(frozen=True)
class Graph:
    """A study as the workflow sees it: folders, wildcards and what makes a job run again.

    Attributes:
        study: the study.
        absent: what can only be had by hand and is not here, each with what to do; see `framer.dag.availability`.
    """

    study: Study
    absent: dict[str, str]

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
        if name != Path(name).stem:
            raise UserError(f"--config study={name}: give the name of the study alone: study={Path(name).stem}")
        return cls.of(Study.load(Path("config") / f"{name}.yaml", DATASETS))

    @classmethod
    def of(cls, study: Study) -> "Graph":
        """A study, with what of its data is here.

        Raises:
            UserError: an absent set, or absent weights, in a strict one.
        """
        lacking = absent(study, DATASETS)
        if study.config.strict and (first := next(iter(lacking), None)):
            kind = "a set" if first in study.manifests else "something"
            raise UserError(f"{study.path}: strict: {kind} is absent: {lacking[first]}")
        graph = cls(study, lacking)
        weights = graph.weights.absent(graph.needed_weights()) if study.config.strict else {}
        if weights:
            raise UserError(f"{study.path}: strict: weights are absent: {next(iter(weights.values()))}")
        return graph

    @cached_property
    def stopped(self) -> dict[str, str]:
        """Rows that have no model here, with the reason; `n/a` in the tables."""
        return self.study.stopped(self.absent)

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """The rows and sets that can be restored and scored here."""
        unmade = self.study.unmade(self.absent)
        return [pair for pair in self.study.pairs if pair not in unmade]

    def left_out(self) -> list[str]:
        """What will be `n/a` in the tables and why, a line each."""
        lines = []
        tested = [*self.study.config.sets, *self.study.released.values()]
        for name, reason in self.absent.items():
            if "/" not in name:
                lines.append(f"n/a in the tables: {reason}" if name in tested else f"Absent: {reason}")
        for arm in self.study.supplied:
            if sets := [name for name in self.study.sets_of(arm) if f"{arm}/{name}" in self.absent]:
                lines.append(f"n/a in the tables: {self.study.how_to_supply(arm, *sets)}")
        untold = {row: reason for row, reason in self.stopped.items() if reason not in self.absent.values()}
        for reason in dict.fromkeys(untold.values()):
            rows = named(row for row, why in untold.items() if why == reason)
            lines.append(f"n/a in the tables: {rows}: {reason}")
        return lines

    def warnings(self) -> list[str]:
        """What is left out, and weights without which a metric is n/a or a training fails, a line each."""
        lines = self.left_out()
        for name in self.study.config.protocols:
            metrics = Protocol.named(name).select(self.study.config.metrics)
            if lacking := [metric for metric in metrics if self.weights.absent(self.weights.of_metrics([metric]))]:
                titles = ", ".join(metric.title for metric in lacking)
                lines.append(f"Without weights: {titles} of {name}; they come by: framer fetch --protocol {name}")
        for run in self.study.runs:
            if run not in self.stopped:
                lines += [f"Without weights: training needs {how}" for how in self._training_absent(run)]
        return list(dict.fromkeys([*lines, *gated(self.study, DATASETS, self.absent)]))

    @cached_property
    def weights(self) -> Weights:
        """Weights of metrics and losses. A tiny study needs no network: what of them is missing is `n/a`."""
        return weights_of(self.study)

    def needed_weights(self) -> list[str]:
        """The manifests of all weights that scoring and training need besides bases."""
        scored = [self._metric_weights(name) for name in self.study.config.protocols]
        trained = [self._loss_weights(run) for run in self.study.runs if run not in self.stopped]
        return list(dict.fromkeys(name for names in (*scored, *trained) for name in names))

    def weights_cards(self, protocol: str) -> list[str]:
        """The cards of the weights of the metrics, those that are here or can be fetched."""
        return self.weights.cards(self._metric_weights(protocol))

    def training_weights(self, run: str) -> list[str]:
        """The cards of the weights of the losses of a run."""
        return self.weights.cards(self._loss_weights(run))

    def _metric_weights(self, protocol: str) -> list[str]:
        return self.weights.of_metrics(Protocol.named(protocol).select(self.study.config.metrics))

    def _loss_weights(self, run: str) -> tuple[str, ...]:
        job = self.study.train_job(run)
        stages = [stage for stage, optimisation in job.stages.items() if optimisation.steps]
        return settings_of(job.backbone, job.settings).needs(stages)

    def _training_absent(self, run: str) -> list[str]:
        return list(self.weights.absent(self._loss_weights(run)).values())

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

    def gpus(self, run: str) -> int:
        """GPUs that the training of a run asks for; tiny networks train on CPUs."""
        return 0 if self.tiny else self.study.config.backbones[str(self.study.arm(run).backbone)].gpus

    @property
    def tiny(self) -> bool:
        """Whether all networks are tiny: they train on CPUs and ask a cluster for no GPU."""
        return self.study.tiny

    @property
    def sets(self) -> list[str]:
        """Test sets that are here or can be fetched."""
        return [name for name in self.study.config.sets if name not in self.absent]

    @property
    def derived_sets(self) -> list[str]:
        """Sets that are made by degrading another."""
        return sorted(name for name, manifest in self.study.manifests.items() if manifest.derived_from)

    @property
    def fetched_sets(self) -> list[str]:
        """All other sets."""
        return sorted(name for name, manifest in self.study.manifests.items() if not manifest.derived_from)

    @property
    def model_rows(self) -> list[str]:
        """Rows that a model restores."""
        return [row.id for row in self.study.rows.values() if row.run]

    @property
    def untrained_rows(self) -> list[str]:
        """Rows without a model: interpolation."""
        return [row.id for row in self.study.rows.values() if row.run is None and row.id not in self.study.supplied]

    def scores(self, *kinds: str) -> list[str]:
        """All score files, csv or json."""
        protocols = self.study.config.protocols
        return [
            f"{self.out}/scores/{row}/{name}/{protocol}.{kind}"
            for row, name in self.pairs
            for protocol in protocols
            for kind in kinds
        ]

    def images(self) -> list[str]:
        """The cards of all restored sets."""
        return [f"{self.out}/images/{row}/{name}/card.json" for row, name in self.pairs]

    def results(self) -> list[str]:
        """All that a study produces. Each is asked for, not the last alone: any that is deleted is made again."""
        runs = [run for run in self.study.runs if run not in self.stopped]
        bases = [base for base in self.study.bases if base in {self.study.base_of(run) for run in runs}]
        folders = [*(f"bases/{base}" for base in bases), *(f"runs/{run}" for run in runs)]
        weights = [f"{self.out}/{folder}/{name}" for folder in folders for name in WEIGHTS]
        made = [*weights, *self.images(), *self.scores("csv", "json"), f"{self.out}/report.html"]
        made += [*self.analysed(), *self.cost()]
        return [*made, *self.tables("md", "tex", "html", "csv"), *self.figures("png", "pdf")]

    def tables(self, *kinds: str) -> list[str]:
        """The files of the tables, of some kinds: html, md, tex, csv."""
        names = {kind: ("main", "claims") if kind == "csv" else tuple(TABLES) for kind in kinds}
        return [f"{self.out}/tables/{name}.{kind}" for kind, of_kind in names.items() for name in of_kind]

    def figures(self, *kinds: str) -> list[str]:
        """The files of the figures, png or pdf: those of every study, and those whose arrays were recorded."""
        names = (*OF_STUDIES, *figures(self.study, self.absent))
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
        names = analysed(self.study, self.absent)
        return [f"{folder(self.study, name).as_posix()}/card.json" for name in names]

    def cost(self) -> list[str]:
        """The measured cost of training, where the study asks for it."""
        return [cost_file(self.study).as_posix()] if cost_job(self.study, self.absent) else []

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

    def restoring_captions(self, row: str, name: str) -> list[str]:
        """`captions` of a test set, where a row's backbone is told them."""
        backbone = self.study.arm(row).backbone
        return self.captions(backbone, [name]) if backbone and self.study.captions(backbone, restoring=True) else []

    def restoring_captions_state(self, row: str, name: str) -> str | None:
        """`captions_state` of a test set, where a row's backbone is told them."""
        backbone = self.study.arm(row).backbone
        told = backbone and self.study.captions(backbone, restoring=True)
        return self.captions_state(backbone, [name]) if told else None

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
        row = next(row.id for row in self.study.rows.values() if row.run == run)
        base = self.study.config.backbones[str(self.study.arm(row).backbone)].base
        return f"{self.out}/bases/{self.study.base_of(row)}" if base in OWN_BASES else pipeline(base).as_posix()

    @property
    def released(self) -> list[str]:
        """Arms whose published weights are here or can be fetched."""
        return [arm for arm, weights in self.study.released.items() if weights not in self.absent]

    def released_backbone(self, arm: str) -> str:
        """The backbone that published weights are of."""
        return str(self.study.arms[arm].backbone)

    def released_file(self, arm: str) -> str:
        """The file of an arm's published weights."""
        return weights_file(self.study.released[arm]).as_posix()

    def supplied_folder(self, arm: str, name: str) -> str:
        """Where a user puts the images of a method that others restored."""
        return (SUPPLIED / arm / name).as_posix()

    def supplied_state(self, arm: str, name: str) -> str:
        """A digest of them: they are taken over again when one changes."""
        paths = sorted(path for path in (SUPPLIED / arm / name).iterdir() if path.is_file())
        return digest([[path.name, sha256_file(path)] for path in paths])

    def run(self, row: str) -> str:
        """The folder of the run that restores a row."""
        return f"{self.out}/runs/{self.study.rows[row].run}"

    def code(self, command: str, backbone: str | None, *, framer: bool = False) -> str:
        """The fingerprint of a stage that loads a backbone by name and, with `framer`, the FRAMER loss, too."""
        return fingerprint(command, *(code_modules(backbone, framer=framer) if backbone else []))

    def training_code(self, run: str) -> str:
        """The fingerprint of the training of a run."""
        job = self.study.train_job(run)
        return self.code("train", job.backbone, framer=job.recipe is not None)

    def restore_options(self, row: str, name: str) -> str:
        """The options of `framer restore` for a row and a set."""
        job = self.study.restore_job(row)
        blank = " --blank-lr" if job.blank_lr else ""
        settings = "".join(f" --set {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in job.settings.items())
        prompts = ""
        if job.backbone and (captions := self.study.captions(job.backbone, restoring=True)):
            file = captions_file(Path(captions.folder), name).as_posix()
            prompts = f" --captions {shlex.quote(file)} --missing {captions.missing}"
        return f"--seed {job.seed} --threads {job.threads}{blank}{settings}{prompts}"

    def hr_option(self, name: str) -> str:
        """The option of `framer score` that names the ground truth, where a set has one."""
        return f"--hr {DATASETS}/{name}/HR" if self.study.manifests[name].paired else ""

    def weights_state(self, protocol: str) -> str:
        """What the metrics are computed with: one that was n/a is scored once its weights are there."""
        return self.weights.state(protocol, self.study.config.metrics)

    def presentation(self) -> str:
        """A digest of what tables and report show beside the scores."""
        config = self.study.config.model_dump(
            mode="json", include={"title", "sets", "protocols", "metrics", "arms", "ablations"}
        )
        return digest([config, list(self.study.rows), sorted(self.absent)])

    def summary(self) -> str:
        """The main table and where everything is, for the end of a run; less where a run made only a part."""
        table, report = Path(self.out, "tables", "main.md"), Path(self.out, "report.html")
        shown = f"\n{table.read_text(encoding='utf-8')}\n" if table.is_file() else ""
        return f"{shown}Tables: {table.parent}   Report: {report}"
