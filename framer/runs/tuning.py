"""The choice of a search: the weight whose restored images of the held-out pairs are nearest to the truth.

Read from scores and cards alone. The run that was trained with the chosen weight is the tuned arm's at the seed of the
search, file by file; its card has the weight and everything else that it was trained with.
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from framer.errors import UserError
from framer.provenance.cards import CARD, read_card, verify_payload
from framer.provenance.files import atomic, write_json
from framer.provenance.output import claimed
from framer.scoring.protocols import Protocol
from framer.scoring.score_file import read_scores
from framer.study.study import Study
from framer.study.tuning import JUDGE


@dataclass(frozen=True)
class Tried:
    """One weight of a search.

    Attributes:
        weight: of the auxiliary loss.
        run: that was trained with it.
        score: mean PSNR over the held-out images, dB, by the study's first protocol.
        images: how many.
    """

    weight: float
    run: str
    score: float
    images: int


def tried(study: Study, run: str) -> list[Tried]:
    """All weights of the search that a tuned run takes its weight from, in increasing order.

    Raises:
        UserError: the study does not search it, or a score is missing or damaged.
    """
    candidates = study.candidates(run)
    assert study.config.tune is not None
    protocol = Protocol.named(study.config.protocols[0])
    [metric] = protocol.select([JUDGE])
    found = []
    for weight, row in candidates.items():
        path = study.paths.scores(row, study.config.tune.by, protocol.name)
        column = read_scores(path, protocol).column(metric)
        if isinstance(column, str):
            raise UserError(column, path=path, key=JUDGE, code="missing")
        found.append(Tried(weight, row, math.fsum(column) / len(column), len(column)))
    return found


def best(found: list[Tried]) -> Tried:
    """The one with the highest score; of equal ones that with the smallest weight."""
    return max(found, key=lambda one: (one.score, -one.weight))


def take(study: Study, run: str, out: Path) -> Tried:
    """Choose, copy the chosen run to `out`, and write the choice to `results/STUDY/tuning/RUN.json`.

    The file holds the choice alone: another value that is tried and not chosen trains no tuned run again.

    Raises:
        UserError: as `tried`; or the chosen run is incomplete or damaged, `out` holds something else, or it is not the
            run's folder.
    """
    if out.resolve() != study.paths.run(run).resolve():  # the copied config names its base by a relative path
        raise UserError(f"is not the folder of {run}; pass {study.paths.run(run)}", path=out, key="--out")
    chosen = best(tried(study, run))
    taken = study.searched[run][chosen.weight]
    source = study.paths.run(taken)
    card = read_card(source, "run")
    verify_payload(source, card)
    with claimed(out, "run", inputs=(source,)) as folder:
        folder.clear()
        for name in card["payload"]:
            with atomic(folder.file(name)) as part:
                shutil.copyfile(source / name, part)
        # Snapshots stay where they are. A folder with a card is complete.
        write_json(folder.file(CARD), {key: value for key, value in card.items() if key != "snapshots"})
    write_json(study.paths.tuning(run), {"weight": chosen.weight, "run": taken})
    return chosen
