"""A study's report: one HTML file that holds everything it shows and opens without a network."""

import base64
import hashlib
import json
import math
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from framer.errors import UserError
from framer.provenance.cards import CARD, MEASURED, lock
from framer.provenance.files import write_text
from framer.provenance.hashing import digest, sha256_file
from framer.provenance.output import claimed_file
from framer.report.catalog import captions
from framer.report.cells import tables
from framer.report.changes import changes
from framer.report.claims import claims, summary
from framer.report.contrasts import contrasts
from framer.report.figure_style import inline
from framer.report.gallery import SIGMA, galleries
from framer.report.image_scores import columns_of, extremes_of
from framer.report.paper_numbers import Ledger
from framer.report.sections import footnotes, tabs
from framer.report.tables import grids_of
from framer.study.study import Study

FOLDER = Path(__file__).parent
SCRIPTS = ("report.js", "spectrum.js", "gallery.js")
MARK = b'<meta name="generator" content="framer report">'
"""In the head of every report, so that it is known as one."""


@dataclass(frozen=True)
class Record:
    """A card or a sidecar: what made some files. Its digest is that of its bytes."""

    name: str
    digest: str
    text: str


def render(
    study: Study,
    out: Path,
    datasets: Path = Path("datasets"),
    missing: dict[str, str] | None = None,
    since: Path | None = None,
) -> None:
    """Write the report of a study. Numbers come from its score files, pictures from its images.

    Args:
        study: whose results are shown; pictures, logs and cards that are not on this machine are left out.
        out: the HTML file.
        datasets: folder of the data, for LR and HR pictures.
        missing: what is not on this machine, as `framer.report.cells.tables` takes it.
        since: an older result folder; the report lists what changed.

    Raises:
        UserError: scores are missing or do not fit together, or a log or image is damaged.
    """
    missing = missing or {}
    ledger = Ledger.read()
    found = tables(study, missing, datasets, ledger)
    judged, compared = claims(study, found, ledger), contrasts(study, found)
    readings = [claim for claim in judged[0] if claim.reading]
    grids = grids_of(study, found, judged, compared, missing)
    results = [grid for name in ("main", "ablation", "sweeps", "tuning", "cost") for grid in grids[name]]
    changed = changes(found, since, dict(_made(study))) if since else None
    sections = {"changes": changed.grids if changed else (), "verdicts": grids["claims"], "results": results}
    notes = footnotes(grid for of_section in sections.values() for grid in of_section)
    script = Markup("".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS))
    stems = {section.set: section.stems for section in found[0].sections}
    html = (
        _environment()
        .get_template("report.html.j2")
        .render(
            study=study,
            sections={name: tabs(of_section, notes) for name, of_section in sections.items()},
            notes=list(notes),
            since=since,
            changes=changed.sentences if changed else (),
            verdicts=[(table.protocol.name, summary(ones)) for table, ones in zip(found, judged, strict=True) if ones],
            figures=list(_figures(study)),
            sigma=f"{SIGMA:.5f}",
            galleries=galleries(study, datasets, columns_of(found[0], judged[0]), extremes_of(readings, stems), out),
            facts=list(_facts(study)),
            style=Markup((FOLDER / "report.css").read_text(encoding="utf-8")),
            script=script,
            script_hash=_content_hash(script),
            records=list(_records(study, datasets)),
            study_file=study.path.read_text(encoding="utf-8"),
            study_digest=sha256_file(study.path)[:12],
        )
    )
    with claimed_file(out, lambda path: MARK in path.read_bytes()[:4096], (study.path,)):
        write_text(out, html)


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _figures(study: Study) -> Iterator[tuple[str, str, Markup]]:
    """Name, caption and SVG of the figures that show something."""
    for name, text in captions(study).items():
        path = study.paths.figure(name)
        if path.is_file() and (svg := inline(path.read_text(encoding="utf-8"), name, text)):
            yield name, text, Markup(svg)


def _facts(study: Study) -> Iterator[tuple[str, str]]:
    """What the whole study depends on, beside its cards."""
    yield "Commit", _commit()
    yield "Lock (sha256)", lock()
    yield "Settings", digest(study.config.model_dump(mode="json"))
    measured = [_read(path) for path in sorted(study.out.glob(f"*/*/{MEASURED}"))]
    devices = {name for one in measured for start in one["starts"] for name in start["devices"]}
    hours = math.fsum(one["seconds"] for one in measured) / 3600
    gpu_hours = math.fsum(one["gpu_hours"] for one in measured)
    unknown = "not recorded by the runs"
    yield "Hardware", ", ".join(sorted(devices)) or unknown
    yield "GPU-hours", f"{gpu_hours:.2f}, in {hours:.2f} hours of training, all starts" if measured else unknown


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise UserError("no JSON; delete it and make it again", path=path, code="unreadable") from None


def _commit() -> str:
    """The commit of the working directory, and whether files differ from it."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return "not a git repository"
    return f"{head}, with uncommitted changes" if changed.strip() else head


def _content_hash(text: str) -> str:
    """As a Content-Security-Policy names a script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _records(study: Study, datasets: Path) -> Iterator[Record]:
    """Cards and sidecars in the order of the stages. Paths are relative, so that machines agree."""
    data = [(f"datasets/{name}/{CARD}", datasets / name / CARD) for name in sorted(study.manifests)]
    for name, path in (*data, *_made(study)):
        if path.is_file():
            yield Record(name, sha256_file(path)[:12], _readable(_read(path)))


def _made(study: Study) -> Iterator[tuple[str, Path]]:
    """Cards and sidecars of a result folder by their names in it, in the order of the stages."""
    for stage in ("bases/*/*", "runs/*/*", f"images/*/*/{CARD}", "scores/*/*/*.json"):
        for path in sorted(study.out.glob(stage)):
            name = path.relative_to(study.out).as_posix()
            if path.is_file() and (path.name in (CARD, MEASURED) or name.startswith("scores/")):
                yield name, path


def _readable(card: dict[str, object]) -> str:
    """A card as text, without the one line per image that a sidecar has: its digest stands for them."""
    images = card.get("images")
    short = card | {"images": f"{len(images)} files"} if isinstance(images, dict) else card
    return json.dumps(short, indent=2, ensure_ascii=False)
