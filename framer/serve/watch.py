"""What the page shows: the state of all jobs, and pictures of the results so far, each made again when they changed."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from html import escape
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib

from framer.dag.scope import Scope
from framer.errors import UserError, named
from framer.report.cells import tables
from framer.report.claims import claims
from framer.report.figure_style import STYLE, inline
from framer.report.figures import curves
from framer.report.main_table import main_grid
from framer.report.paper_numbers import Ledger
from framer.report.progress import unscored
from framer.report.render_table import html as table_html
from framer.serve.jobs import STATES, Standing, jobs, last_lines, standings
from framer.study.layout import OF_STUDIES

FRESH = 2.0
"""Seconds for which a state holds: many browsers read the disk no more often than one."""
DRAWN = 20.0
"""Seconds for which a table or figure holds: a study that runs has better use for the processor."""
LINES = 30
"""Of the log of a failed job."""


@dataclass
class Part:
    """A piece of the page that takes a while to make.

    Attributes:
        make: its HTML.
        sources: the files that it is made of; it is made again when one of them comes or changes.
    """

    make: Callable[[], str]
    sources: Callable[[], Iterable[Path]]
    html: str = ""
    _seen: frozenset[tuple[str, int, int]] | None = None
    _made: float = -DRAWN
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def current(self) -> str:
        """Its HTML, made again if its files changed and it is old enough."""
        with self._lock:
            if time.monotonic() - self._made < DRAWN:
                return self.html
            seen = frozenset(_signature(self.sources()))
            if seen != self._seen:
                try:
                    self.html = self.make()
                except UserError as error:  # a file that is just being replaced, or a damaged one
                    self.html = f"<p>{escape(str(error))}</p>"
                self._seen = seen
            self._made = time.monotonic()
            return self.html


def _signature(paths: Iterable[Path]) -> Iterable[tuple[str, int, int]]:
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        yield str(path), status.st_size, status.st_mtime_ns


class Watch:
    """One study as it runs.

    Args:
        scope: what of it is made here.
    """

    def __init__(self, scope: Scope):
        self.scope, self.study = scope, scope.study
        self.jobs = jobs(scope)
        paths, config = self.study.paths, self.study.config
        self.parts = {
            "curves": Part(self._curves, lambda: (paths.run(run) / "log.csv" for run in self.study.runs)),
            "table": Part(
                self._table,
                lambda: (
                    paths.scores(row, name, one, kind)
                    for row, name in self.study.pairs
                    for one in config.protocols
                    for kind in ("csv", "json")
                ),
            ),
        }
        self._state: tuple[float, dict[str, Any]] = (-FRESH, {})
        self._lock = threading.Lock()

    def state(self) -> dict[str, Any]:
        """The state of all jobs as JSON: counts by stage, and the jobs that one looks at."""
        with self._lock:
            if time.monotonic() - self._state[0] >= FRESH:
                self._state = (time.monotonic(), self._look())
            return self._state[1]

    def _look(self) -> dict[str, Any]:
        found = standings(self.study.name, self.jobs)
        stages: dict[str, Counter[str]] = {}
        for one in found:
            stages.setdefault(one.job.stage, Counter())[one.state] += 1
        return {
            "counts": {state: sum(count[state] for count in stages.values()) for state in STATES},
            "stages": [{"stage": name, **{state: count[state] for state in STATES}} for name, count in stages.items()],
            "jobs": [_shown(one) for one in found if one.state not in ("done", "waiting")],
            "report": self.study.paths.report.is_file(),
        }

    def _curves(self) -> str:
        with matplotlib.rc_context(STYLE):
            figure = curves(self.study)
            if not figure.axes:
                return ""
            text = StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None})
        return inline(text.getvalue(), "curves", OF_STUDIES["curves"]) or ""

    def _table(self) -> str:
        missing = unscored(self.study)
        if all(f"{self.study.rows[row].arm}/{name}" in missing for row, name in self.study.pairs):
            return f"<p>No row of the table is scored yet: {escape(named(missing.values(), 3))}.</p>"
        ledger = Ledger.read()
        found = tables(self.study, dict(self.scope.missing) | missing, ledger=ledger)
        grids = [
            main_grid(table, self.study.config.title, judged)
            for table, judged in zip(found, claims(self.study, found, ledger), strict=True)
        ]
        return "".join(
            f"<h3>{escape(grid.title)}</h3><p>{escape(grid.caption)}</p>{table_html(grid)}" for grid in grids
        )


def _shown(one: Standing) -> dict[str, Any]:
    return {
        "stage": one.job.stage,
        "name": one.job.name,
        "state": one.state,
        "note": one.note,
        "silent": one.silent,
        "log": str(one.job.log or ""),
        "lines": last_lines(one.job.log, LINES if one.state == "failed" else 1),
    }
