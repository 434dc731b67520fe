# The study, warnings about it, and the named functions of the rules.

import json
import shlex
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from framer.dag import inputs, preflight, targets, triggers
from framer.dag.resources import requested
from framer.dag.scope import Scope
from framer.data.captions import captions_file
from framer.errors import UserError
from framer.external.manifest import METHODS
from framer.provenance.cards import CARD
from framer.provenance.code import fingerprint
from framer.study.layout import CAPTIONS, DATASETS, LOGS, dataset_card, supplied
from framer.weights.store import folder

preflight.prepend_environment()

try:
    scope = Scope.open(config)
    preflight.check_strict(scope)
    preflight.check_bases(scope)
    if workflow.is_main_process:
        for line in preflight.warnings(scope):
            logger.warning(line)
except UserError as error:
    raise WorkflowError(str(error)) from None

study = scope.study
paths = study.paths
study_file = study.path.as_posix()
# Of the commands that show or measure all arms. Those that make one run find it without: no run is made again for it.
rivals_option = "--rivals" if scope.rivals else ""
study_shown = f"{study_file} {rivals_option}".strip()
threads_of_study = study.config.threads
WEIGHTS = folder()
manifest_of_method = {manifest.id: manifest for manifest in study.method_manifests.values()}

# Without a cluster, which alone takes a number of jobs, jobs take turns on the GPU: a second one beside the first would
# take of its memory, and of its time, which one of them measures.
if workflow.is_main_process and workflow.resource_settings.nodes is None and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", 1)


def one_of(names):
    """A wildcard constraint: one of some names, or nothing at all."""
    return "|".join(names) or "(?!)"


# data.smk


def source_card(wildcards):
    """The card of the set that a derived set is made of."""
    return dataset_card(study.manifests[wildcards.set].derived_from)


def manifest_digest(wildcards):
    return triggers.manifest(study.manifests[wildcards.set])


def captioned_images(wildcards):
    """The images of a set to caption: the photographs to train on, or else the LR images to restore."""
    manifest = study.manifests[wildcards.set]
    return f"{DATASETS}/{wildcards.set}/{manifest.training_folder or manifest.test_folder}"


# train.smk


def pretrain_inputs(wildcards):
    return inputs.pretrain(study, wildcards.base)


def pretrain_digest(wildcards):
    return study.pretrain_job(wildcards.base).digest


def pretrain_code(wildcards):
    return triggers.code("pretrain", study.pretrain_job(wildcards.base).backbone)


def encode_inputs(wildcards):
    return inputs.encode(study, wildcards.backbone)


def encode_digest(wildcards):
    return study.encode_job(wildcards.backbone).digest


def encode_captions(wildcards):
    return triggers.training_captions(study, wildcards.backbone)


def encode_code(wildcards):
    return triggers.code("encode", wildcards.backbone)


def encode_base(wildcards):
    return inputs.encoding_base(study, wildcards.backbone)


def train_inputs(wildcards):
    return inputs.train(scope, wildcards.run)


def train_resource(name):
    """A resource of a training, which depends on its backbone."""

    def resource(wildcards):
        return requested("train", study, study.arm(wildcards.run).backbone)[name]

    return resource


def train_digest(wildcards):
    return study.planned_job(wildcards.run).digest


def train_captions(wildcards):
    return triggers.training_captions(study, study.arm(wildcards.run).backbone)


def train_code(wildcards):
    job = study.planned_job(wildcards.run)
    return triggers.code("train", job.backbone, framer=job.recipe is not None)


def base_of_run(wildcards):
    return inputs.base(study, wildcards.run)


def encoded_option(wildcards):
    return "".join(f" --encoded {path}" for path in inputs.encoded(study, wildcards.run))


def tune_inputs(wildcards):
    return inputs.tune(study, wildcards.run)


def search_digest(wildcards):
    return study.search_digest(wildcards.run)


def release_inputs(wildcards):
    return inputs.release(scope, wildcards.run)


def released_file(wildcards):
    return inputs.published_file(scope, wildcards.run)


def released_bytes(wildcards):
    """A digest of manually downloaded weights, which have no card."""
    return scope.weights.loose([study.published[wildcards.run]])


def released_backbone(wildcards):
    return study.arms[wildcards.run].backbone


def release_code(wildcards):
    return triggers.code("convert", study.arms[wildcards.run].backbone)


# restore.smk


def restore_inputs(wildcards):
    return inputs.restore(study, wildcards.row, wildcards.set)


def restore_options(wildcards):
    """The options of `framer restore` that a row and its set determine."""
    job = study.restore_job(wildcards.row)
    options = [f"--seed {job.seed} --threads {job.threads}"]
    if job.blank_lr:
        options.append("--blank-lr")
    if job.freeu:
        options.append(f"--freeu {','.join(map(str, job.freeu.model_dump().values()))}")
    if job.settings:
        options.append(f"--settings {shlex.quote(json.dumps(job.settings))}")
    if job.backbone and (captions := study.captions(job.backbone, restoring=True)):
        file = captions_file(Path(captions.folder), wildcards.set).as_posix()
        options.append(f"--captions {shlex.quote(file)} --missing {captions.missing}")
    return " ".join(options)


def model_inputs(wildcards):
    return inputs.feed_forward(scope, wildcards.row)


def model_file(wildcards):
    return inputs.published_file(scope, wildcards.row)


def model_bytes(wildcards):
    """A digest of manually downloaded weights, which have no card."""
    return scope.weights.loose([study.published[wildcards.row]])


def model_options(wildcards):
    """The options of `framer restore` with a network from a file of weights."""
    job = study.restore_job(wildcards.row)
    settings = f" --settings {shlex.quote(json.dumps(job.settings))}" if job.settings else ""
    return f"--threads {job.threads}{settings}"


def method_inputs(wildcards):
    return inputs.method(scope, wildcards.row)


def method_digest(wildcards):
    return triggers.method(scope, wildcards.row)


def method_of_row(wildcards):
    return study.methods[wildcards.row]


def method_seed(wildcards):
    return study.restore_job(wildcards.row).seed


def restore_captions(wildcards):
    return triggers.restoring_captions(study, wildcards.row, wildcards.set)


def restore_code(wildcards):
    return triggers.code("restore", study.arm(wildcards.row).backbone)


def run_of_row(wildcards):
    return paths.run(study.rows[wildcards.row].run).as_posix()


def supplied_content(wildcards):
    return triggers.supplied_images(wildcards.row, wildcards.set)


def supplied_source(wildcards):
    """The option of `framer import-images` with the source of the images, where the study has it."""
    source = study.arms[wildcards.row].source
    return f"--source {shlex.quote(str(source))}" if source else ""


def supplied_images(wildcards):
    return supplied(wildcards.row, wildcards.set).as_posix()


# methods.smk


def method_commit(wildcards):
    return manifest_of_method[wildcards.method].commit


def method_environment(wildcards):
    return manifest_of_method[wildcards.method].made_of()


# score.smk

# By protocol. A metric that was n/a is computed as soon as its weights are here.
metrics_state = {name: scope.weights.state(name, study.config.metrics) for name in study.config.protocols}


def metric_cards(wildcards):
    """The cards of the metrics' weights that are here or are fetched, without those that cannot be."""
    failed = []
    if scope.optional_weights:
        with checkpoints.metric_weights.get().output.failures.open() as file:
            failed = json.load(file)["failures"]
    return scope.weights.cards(name for name in scope.metric_weights if name not in failed)


def hr_option(wildcards):
    """The option of `framer score` for the ground truth, where a set has one."""
    return f"--hr {DATASETS / wildcards.set}/HR" if study.manifests[wildcards.set].paired else ""


# analyse.smk


def analyse_inputs(wildcards):
    return inputs.analyse(scope, wildcards.backbone)


def analyse_digest(wildcards):
    return scope.analyses[wildcards.backbone].digest


def analyse_captions(wildcards):
    return triggers.captions(study, wildcards.backbone, [study.config.analysis.set])


def analyse_code(wildcards):
    return triggers.code("analyse", wildcards.backbone, framer=True)


# rehearse.smk

trained_backbones = [name for name, config in study.config.backbones.items() if config.train]
REHEARSED = paths.rehearsal("{backbone}") / "rehearsal.md"


def rehearsal_resource(name):
    """A resource of a rehearsal: what a training on one GPU requests, since it trains on one."""

    def resource(wildcards):
        gpus = study.config.backbones[wildcards.backbone].gpus
        return requested("train", study, wildcards.backbone)[name] // gpus

    return resource


# report.smk


def summary():
    """The main table and where everything is, for the end of a run; less where a run made only a part."""
    table = paths.table("main", "md")
    shown = f"\n{table.read_text(encoding='utf-8')}\n" if table.is_file() else ""
    return f"{shown}Tables: {table.parent}   Report: {paths.report}"
