"""Where a cell comes from, as a tree of everything that made it; the cell's id is the tree's hash.

The tree is read from sidecars and cards, the small files that travel with scores. It holds what decides a value: the
hashes of LR, SR and HR images, the checkpoint's hash and all that trained it, settings and seeds, the metric's exact
definition, weight hashes, versions; and of each stage the fingerprint of its code and the lock of its environment. It
leaves out what only watched: training logs, the held-out loss, and how long it took on what.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from framer.data.images import INDEX, read_index
from framer.errors import UserError
from framer.provenance.cards import CARD
from framer.provenance.hashing import digest
from framer.scoring.protocols import Metric
from framer.scoring.score_file import Scores
from framer.study.study import Study
from framer.weights.store import files

Tree = dict[str, Any]
MISSING = "not on this machine"
WATCHED = ("log.csv", "heldout.csv")
"""Files of a run that no restored image depends on."""


class Lineage:
    """The trees of a study's cells. Each card is read once."""

    def __init__(self, study: Study, datasets: Path = Path("datasets")):
        self.study, self.datasets = study, datasets
        self._restored = cache(self._read_restored)
        self._data = cache(self._read_data)
        self._scored: dict[Path, Tree] = {}

    def of_row(self, row: str, set_id: str, metric: Metric, scores: Scores) -> Tree:
        """What made the values of one row: one training seed of an arm.

        Raises:
            UserError: a card is damaged, or images were restored with another checkpoint than the one that lies there.
        """
        return {
            "scored": self._for_metric(scores, metric),
            "restored": self._restored(row, set_id),
            "data": self._data(set_id),
        }

    def of_method(self, metric: Metric, scores: Scores) -> Tree:
        """What is known of values that others published."""
        return {"scored": self._for_metric(scores, metric)}

    def _for_metric(self, scores: Scores, metric: Metric) -> Tree:
        if scores.path not in self._scored:
            self._scored[scores.path] = _scored(scores)
        scored = self._scored[scores.path]
        weights = {name: scored["weights"][name] for name in files(metric.weights) if name in scored["weights"]}
        return {"metric": metric.id} | scored | {"weights": weights}

    def _read_restored(self, row: str, set_id: str) -> Tree | str:
        path = self.study.paths.images(row, set_id) / CARD
        card = _card(path)
        if card is None:
            return MISSING
        run = self.study.rows[row].run
        if run is None:
            return _without(card, "kind")
        trained = _card(self.study.paths.run(run) / CARD)
        if trained is not None and "checkpoint" in card and card["checkpoint"] != digest(trained):
            message = f"restored with another checkpoint than runs/{run} holds now; run snakemake"
            raise UserError(message, path=path, code="changed")
        tree = _without(card, "kind", "checkpoint")
        return tree | {"checkpoint": MISSING if trained is None else self._checkpoint(row, trained)}

    def _checkpoint(self, row: str, card: Tree) -> Tree:
        tree = _without(card, "kind", "base")
        if isinstance(tree.get("job"), dict):
            tree["job"] = _without(tree["job"], "heldout")
        tree["payload"] = _without(card["payload"], *WATCHED)
        below = _card(self.study.base_folder(row) / CARD)
        if below is not None:
            below = _without(below, "kind")
            below["payload"] = _without(below["payload"], *WATCHED)
            if isinstance(below.get("job"), dict):
                below["job"] = _without(below["job"], "heldout")
        return tree | {"base": {"weights": card.get("base", MISSING), "made": below or MISSING}}

    def _read_data(self, set_id: str) -> Tree | str:
        card = _card(self.datasets / set_id / CARD)
        if card is None:
            return MISSING
        tree = _without(card, "kind")
        if (self.datasets / set_id / INDEX).is_file():
            hashes = {entry.name: entry.sha256 for entry in read_index(self.datasets / set_id)}
            for part in sorted({name.partition("/")[0] for name in hashes}):
                tree[part] = _many({name: sha for name, sha in hashes.items() if name.startswith(f"{part}/")})
        return tree


def cell_id(tree: Tree) -> str:
    """Twelve hex digits that change when anything in the tree does."""
    return digest(tree)


def image_hashes(tree: Mapping[str, Any]) -> Iterator[str]:
    """The hash of the scored images of each part of a cell's tree, and that of their references, as lines."""
    references = []
    for part, of_part in tree.items():
        if restored := of_part["scored"].get("SR"):
            yield f"SR images, {part}: {restored}"
        references.append(of_part["scored"].get("HR"))
    yield from (f"HR images: {hashes}" for hashes in dict.fromkeys(filter(None, references)))


def lines(tree: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """A tree as indented lines for a terminal."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield f"{'  ' * depth}{key}"
            yield from lines(value, depth + 1)
        else:
            yield f"{'  ' * depth}{key}: {_text(value)}"


def differences(one: Tree, other: Tree) -> list[tuple[str, str, str]]:
    """The leaves in which two trees differ: path, value of the one, value of the other; '-' where there is none."""
    flat, flat_other = dict(_leaves(one)), dict(_leaves(other))
    keys = dict.fromkeys([*flat, *flat_other])
    pairs = ((key, flat.get(key, "-"), flat_other.get(key, "-")) for key in keys)
    return [(key, a, b) for key, a, b in pairs if a != b]


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _scored(scores: Scores) -> Tree:
    """A sidecar without what belongs to other metrics or is a result; `_for_metric` adds what belongs to the metric."""
    sidecar = scores.sidecar
    tree = _without(sidecar, "metrics", "unavailable", "count", "scores", "images", "weights", "label")
    images = sidecar["images"]
    for side in ("sr", "hr"):
        if hashes := {name: of[side] for name, of in images.items() if side in of}:
            tree[side.upper()] = _many(hashes)
    return tree | {"images": _many(dict.fromkeys(images, "")), "weights": sidecar.get("weights", {})}


def _many(hashes: Mapping[str, str]) -> str:
    """Many files as one hash of their names and hashes."""
    return f"{digest(dict(hashes))} ({len(hashes)} files)"


def _without(tree: Mapping[str, Any], *keys: str) -> Tree:
    return {key: value for key, value in tree.items() if key not in keys}


def _card(path: Path) -> Tree | None:
    if not path.is_file():
        return None
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        card["payload"].keys()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UserError("not a card; delete it and run snakemake again", path=path, code="unreadable") from None
    return card
