"""Input files of each rule, by its wildcards."""

from collections.abc import Iterable
from pathlib import Path

from framer.dag.scope import Scope
from framer.external.manifest import cards
from framer.provenance.cards import CARD
from framer.study.jobs import PretrainJob
from framer.study.layout import dataset_card, model_captions
from framer.study.study import Study
from framer.weights.store import folder, pipeline


def pretrain(study: Study, base: str) -> list[str]:
    """Inputs of the training of a base: cards of data sets."""
    return data_cards(study.pretrain_job(base))


def encode(study: Study, backbone: str) -> dict[str, list[str]]:
    """Inputs of the encoding of a backbone's training pairs."""
    return {
        "data": [dataset_card(name).as_posix() for name in study.encode_job(backbone).data.sets],
        "base": [f"{encoding_base(study, backbone)}/{CARD}"],
        "captions": training_captions(study, backbone),
    }


def train(scope: Scope, run: str) -> dict[str, list[str]]:
    """Inputs of a training; of a tuned one also the weight that a search chose."""
    study, job = scope.study, scope.study.planned_job(run)
    return {
        "data": data_cards(job),
        "base": [f"{base(study, run)}/{CARD}"],
        "captions": training_captions(study, job.backbone),
        "encoded": [f"{path}/{CARD}" for path in encoded(study, run)],
        "weights": scope.weights.cards(scope.loss_weights[run]),
        "choice": [study.paths.tuning(choice).as_posix()] if (choice := study.choice(run)) else [],
    }


def tune(study: Study, run: str) -> dict[str, list[str]]:
    """Inputs of the choice of a tuned run: the runs of all weights, and the scores that the search judges by."""
    assert study.config.tune is not None
    rows, paths = study.candidates(run).values(), study.paths
    judged = [(row, study.config.tune.by, study.config.protocols[0]) for row in rows]
    return {
        "runs": [f"{paths.run(row)}/{CARD}" for row in study.searched[run].values()],
        "scores": [paths.scores(*one).as_posix() for one in judged],
        "sidecars": [paths.scores(*one, "json").as_posix() for one in judged],
    }


def release(scope: Scope, arm: str) -> dict[str, list[str]]:
    """Inputs of the conversion of an arm's published weights to a run."""
    weights = scope.weights.cards([scope.study.released[arm]])
    return {"base": [f"{base(scope.study, arm)}/{CARD}"], "weights": weights}


def feed_forward(scope: Scope, row: str) -> list[str]:
    """Inputs of the restoration with a network of another architecture, besides the images."""
    return scope.weights.cards([scope.study.feed_forward[row]])


def method(scope: Scope, row: str) -> dict[str, list[str]]:
    """Inputs of the restoration with another method's code, besides the images: its clone, environment and weights."""
    study = scope.study
    names = study.method_weights[row]
    files = [name for name in names if name in scope.weights.manifests]
    pipelines = [f"{pipeline(name)}/{CARD}" for name in names if name not in files]
    return {"made": cards(study.methods[row]), "weights": [*scope.weights.cards(files), *pipelines]}


def restore(study: Study, row: str, set_id: str) -> dict[str, list[str]]:
    """Inputs of the restoration of a test set, besides its images."""
    run = study.paths.run(str(study.rows[row].run))
    return {"run": [f"{run}/{CARD}"], "captions": restoring_captions(study, row, set_id)}


def analyse(scope: Scope, backbone: str) -> dict[str, list[str]]:
    """Inputs of the analysis of a backbone."""
    study, job = scope.study, scope.analyses[backbone]
    return {
        "runs": [f"{study.paths.run(run)}/{CARD}" for run in job.needed],
        "data": [dataset_card(job.set).as_posix()],
        "captions": captions(study, backbone, [job.set]),
    }


def data_cards(job: PretrainJob) -> list[str]:
    """The cards of all data sets that a training reads."""
    names = [*job.data.sets, *([job.heldout.set] if job.heldout else [])]
    return [dataset_card(name).as_posix() for name in names]


def captions(study: Study, backbone: str, sets: Iterable[str]) -> list[str]:
    """The captions of some sets where a model generates them.

    A user's own captions are no inputs: `framer.dag.triggers.captions` watches their content.
    """
    config = study.config.backbones[backbone].captions
    return [f"{model_captions(config.model)}/{name}.csv" for name in sets] if config and config.model else []


def training_captions(study: Study, backbone: str) -> list[str]:
    """`captions` of the sets that a backbone trains on."""
    return captions(study, backbone, study.config.backbones[backbone].training_sets)


def restoring_captions(study: Study, row: str, set_id: str) -> list[str]:
    """`captions` of a test set, where the row's backbone restores with prompts."""
    backbone = study.arm(row).backbone
    return captions(study, backbone, [set_id]) if backbone and study.captions(backbone, restoring=True) else []


def base(study: Study, run: str) -> str:
    """Folder of the base that a run starts from."""
    return study.base_folder(next(row.id for row in study.rows.values() if row.run == run)).as_posix()


def encoding_base(study: Study, backbone: str) -> str:
    """Folder of the base whose codec and text encoders encode the training pairs of a backbone."""
    return base(study, next(run for run in study.runs if study.base_of(run) == backbone))


def encoded(study: Study, run: str) -> list[str]:
    """Folder of the encoded pairs that a run trains on; none where the study does not encode them."""
    arm = study.arm(run)
    data = study.config.backbones[str(arm.backbone)].data
    wanted = data is not None and data.encode and not arm.untrained
    return [study.paths.encoded(str(arm.backbone)).as_posix()] if wanted else []


def published_file(scope: Scope, arm: str) -> str:
    """The file of tensors among an arm's published weights."""
    files = scope.weights.manifests[scope.study.published[arm]].files
    [path] = [file.path for file in files if not file.path.endswith(".json")]
    return (folder() / path).as_posix()


def published(scope: Scope) -> list[str]:
    """The published numbers, and the published scores on the test sets that are here."""
    root = Path("results", "published")
    sets = [name for name in scope.study.config.sets if name not in scope.missing]
    methods = [path for name in sets for path in root.glob(f"scores/*/{name}/*.csv")]
    paths = [*root.glob("*.csv"), *methods, *(path.with_suffix(".json") for path in methods)]
    return sorted(path.as_posix() for path in paths)
