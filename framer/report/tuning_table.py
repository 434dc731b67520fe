"""The searches of a study: every weight that was tried, its score on the held-out pairs, and which one was chosen."""

from collections.abc import Iterator, Mapping

from framer.provenance.files import csv_text
from framer.report.render_table import Entry, Grid, Group, Row
from framer.runs.tuning import Tried, best, tried
from framer.scoring.protocols import Metric, Protocol
from framer.study.availability import rows_without_model
from framer.study.study import Study
from framer.study.tuning import JUDGE

COLUMNS = ("arm", "of", "seed", "weight", "run", "set", "protocol", "metric_id", "mean", "n_images", "chosen")


def found(study: Study, missing: Mapping[str, str]) -> dict[str, list[Tried]]:
    """What each search tried, by the tuned run; of a study whose sets are on this machine.

    Raises:
        UserError: a score is missing or damaged.
    """
    if study.config.tune is None:
        return {}
    without_model = rows_without_model(study, missing)
    searches = [run for run in study.searched if study.choice(run) == run and run not in without_model]
    return {run: tried(study, run) for run in searches}


def tuning_grids(study: Study, title: str, missing: Mapping[str, str]) -> Iterator[Grid]:
    """One table of all searches, a block each."""
    searches = found(study, missing)
    if study.config.tune is None or not searches:
        return
    metric, set_id = _judge(study), study.config.tune.by
    groups = []
    for run, values in searches.items():
        row, chosen = study.rows[run], best(values)
        rows = (
            Row(
                f"{one.weight:g} (chosen)" if one is chosen else f"{one.weight:g}",
                (Entry(f"{one.score:.{metric.digits + 1}f}"), Entry(one.run)),
            )
            for one in values
        )
        groups.append(Group(f"{study.arms[study.searches[row.arm].of].title}, seed {row.seed}", tuple(rows)))
    yield Grid(
        f"tuning-{set_id}",
        f"{title}: weights of auxiliary losses, tried on {study.manifests[set_id].title} ({set_id})",
        f"Mean {metric.heading} over images that no arm is trained or tested on; protocol {judging_protocol(study)}.",
        ("Weight", metric.heading, "Run"),
        tuple(groups),
        "The weight with the highest mean is that of the tuned row, at all of its seeds unless each has a search. Each "
        "loss has equally many values. No test image has a part in the choice.",
    )


def tidy_tuning(study: Study, missing: Mapping[str, str]) -> str:
    """Every value of every search as a CSV row."""
    rows: list[list[object]] = []
    for run, values in found(study, missing).items():
        row, chosen = study.rows[run], best(values)
        assert study.config.tune is not None
        where = (study.config.tune.by, judging_protocol(study), _judge(study).id)
        for one in values:
            tuned = (row.arm, study.searches[row.arm].of, row.seed)
            rows.append([*tuned, repr(one.weight), one.run, *where, repr(one.score), one.images, int(one is chosen)])
    return csv_text(COLUMNS, rows)


def judging_protocol(study: Study) -> str:
    """The protocol that judges: the study's first."""
    return study.config.protocols[0]


def _judge(study: Study) -> Metric:
    [metric] = Protocol.named(judging_protocol(study)).select([JUDGE])
    return metric
