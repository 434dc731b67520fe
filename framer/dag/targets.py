"""Output files of a study that can be made here."""

from framer.dag.scope import Scope
from framer.provenance.cards import CARD
from framer.study.analysis_jobs import figures as analysis_figures
from framer.study.layout import TABLES, WEIGHTS


def results(scope: Scope) -> list[str]:
    """All outputs. Each is a target, not only the last: any that is deleted is made again."""
    paths = scope.study.paths
    folders = [*map(paths.base, scope.bases), *map(paths.run, scope.runs)]
    return [
        *(f"{folder}/{name}" for folder in folders for name in WEIGHTS),
        *images(scope),
        *scores(scope, "csv", "json"),
        *(paths.tuning(run).as_posix() for run in scope.searched),
        paths.report.as_posix(),
        *analyses(scope),
        *cost(scope),
        *tables(scope, "md", "tex", "html", "csv"),
        *figures(scope, "svg", "pdf"),
    ]


def scores(scope: Scope, *kinds: str) -> list[str]:
    """All score files, of kinds csv and json."""
    paths, protocols = scope.study.paths, scope.study.config.protocols
    return [
        paths.scores(row, name, protocol, kind).as_posix()
        for row, name in scope.restored
        for protocol in protocols
        for kind in kinds
    ]


def images(scope: Scope) -> list[str]:
    """The cards of all restored test sets."""
    return [f"{scope.study.paths.images(row, name)}/{CARD}" for row, name in scope.restored]


def training_logs(scope: Scope) -> list[str]:
    """The logs of all trained runs."""
    return [f"{scope.study.paths.run(run)}/log.csv" for run in scope.runs]


def analyses(scope: Scope) -> list[str]:
    """The cards of all recorded analyses."""
    return [f"{scope.study.paths.analysis(name)}/{CARD}" for name in scope.analyses]


def cost(scope: Scope) -> list[str]:
    """The measured cost of training, where the study declares it."""
    return [scope.study.paths.cost.as_posix()] if scope.cost else []


def tables(scope: Scope, *kinds: str) -> list[str]:
    """The files of all tables, of kinds csv, html, md and tex."""
    names = {kind: ("main", "claims", "tuning") if kind == "csv" else tuple(TABLES) for kind in kinds}
    return [scope.study.paths.table(name, kind).as_posix() for kind, of_kind in names.items() for name in of_kind]


def figures(scope: Scope, *kinds: str) -> list[str]:
    """The files of all figures, of kinds svg and pdf."""
    names = (*scope.study.figures, *analysis_figures(scope.study, scope.missing))
    return [scope.study.paths.figure(name, kind).as_posix() for kind in kinds for name in names]
