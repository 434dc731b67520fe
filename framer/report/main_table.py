"""The tables of a study as grids: the main table, the claims, the ablations."""

from collections.abc import Iterable, Sequence

from framer.report.cells import Cell, Line, Section, Table
from framer.report.claims import Claim, Verdict
from framer.report.paper_numbers import Published
from framer.report.render_table import Entry, Grid, Group, Row
from framer.report.statistics import Interval
from framer.scoring.protocols import Metric


def caption(table: Table) -> str:
    """What the numbers are, in words, without which they must not be read."""
    return f"Protocol {table.protocol.name}: {table.protocol.summary}."


def reading(table: Table) -> str:
    """How the cells were made and what the marks mean."""
    seeds = max(
        (cell.n_seeds for section in table.sections for line in section.methods for cell in line.cells), default=0
    )
    means = "Means over images"
    if seeds == 1:
        means += ", from one training seed: a difference holds for these checkpoints only"
    elif seeds > 1:
        means += f", then over {seeds} training seeds; the marks are about these checkpoints"
    known = second_hand(published for cell in table.cells for published in cell.published)
    return f"{means}. {marks()} Controls are not methods and are never marked.{known}"


def second_hand(printed: Iterable[Published]) -> str:
    """What that word means, where a table has such numbers; otherwise nothing."""
    told = any(published.status != "quoted" for published in printed)
    return " Second-hand: as others tell it, not seen where it was published." * told


def marks(column: str = "its column") -> str:
    """What bold and italics mean; HTML and LaTeX underline instead."""
    return (
        f"Bold: tied with the best of {column}; italic: tied with the best of the rest (sign-flip tests over images, "
        "Holm over all pairs of a column at 5%)."
    )


def section_heading(section: Section) -> str:
    """A set's title, id and number of images."""
    count = f", {len(section.stems)} images" if section.stems else ""
    return f"{section.title} ({section.set}{count})"


def main_grid(table: Table, title: str, claims: Sequence[Claim]) -> Grid:
    """The main table: each method's means and, below them, FRAMER's gain and what was published.

    A gain over an arm that differs in more than FRAMER is called unfair, with what differs in a footnote.
    """
    gains = {(claim.ours.arm, claim.ours.set, claim.ours.metric.name): claim for claim in claims}
    groups = []
    one = len(table.sections) == 1
    for section in table.sections:
        rows = [row for line in section.methods for row in _rows(line, gains)]
        groups.append(Group("" if one else section_heading(section), tuple(rows)))
        if section.controls:
            controls = [row for line in section.controls for row in _rows(line, gains)]
            groups.append(Group("Controls", tuple(controls), continued=True))
    heading = f"{title}: {section_heading(table.sections[0])}" if one else title
    columns = ("Method", *(metric.heading for metric in table.metrics))
    return Grid(f"main-{table.protocol.name}", heading, caption(table), columns, tuple(groups), reading(table))


def claims_grid(table: Table, claims: Sequence[Claim], title: str) -> Grid:
    """FRAMER against its own baseline: difference, gain, what was published, verdict."""
    groups = []
    for section in table.sections:
        rows = [claims_row(claim) for claim in claims if claim.ours.set == section.set]
        if rows:
            groups.append(Group(section_heading(section), tuple(rows)))
    seeds = max((len(claim.seeds) for claim in claims), default=0)
    unit = "over training seeds (t)" if seeds > 1 else "over images (studentised bootstrap)"
    return Grid(
        f"claims-{table.protocol.name}",
        f"{title}: FRAMER against its baselines",
        caption(table),
        ("FRAMER, metric", "Difference (corrected)", "Gain, % (95%)", "Paper, %", "Verdict"),
        tuple(groups),
        "A verdict rests on intervals of the difference, Bonferroni-corrected within a set and metric, over images "
        "and, with several training seeds, over seeds too; the difference's interval is shown over images, the gain's "
        f"is {unit}. One seed speaks for its checkpoint only."
        + second_hand(claim.published for claim in claims if claim.published),
        words=True,
    )


def signed(value: float, digits: int) -> str:
    """A number with its sign, the minus as long as the plus."""
    text = f"{value:+.{digits}f}"
    # What rounds to zero has no sign.
    return (text[1:] if float(text) == 0 else text).replace("-", "−")


def span(interval: Interval | None, digits: int) -> str:
    """An interval as (low, high); empty where there is none."""
    if interval is None:
        return ""
    ends = (signed(end, digits).removeprefix("+").replace("inf", "∞") for end in (interval.low, interval.high))
    return f"({', '.join(ends)})"


def _rows(line: Line, gains: dict[tuple[str, str, str], Claim]) -> list[Row]:
    rows = [Row(line.label, tuple(_entry(cell) for cell in line.cells), line.source)]
    found = [gains.get((cell.arm, cell.set, cell.metric.name)) for cell in line.cells]
    if any(claim and claim.gain is not None for claim in found):
        base = next(claim.baseline_label for claim in found if claim)
        texts = [f"{signed(claim.gain, 1)}%" if claim and claim.gain is not None else "" for claim in found]
        unfair = next((claim.unfair for claim in found if claim and claim.unfair), None)
        label = f"gain over {base}" + ", unfair" * bool(unfair)
        rows.append(Row(label, tuple(Entry(text) for text in texts), unfair, minor=True))
    if any(cell.published for cell in line.cells):
        rows.append(Row("published", tuple(_published(cell) for cell in line.cells), _origins(line), minor=True))
        if any(cell.published and cell.mean is not None for cell in line.cells):
            rows.append(Row("difference", tuple(Entry(_off(cell)) for cell in line.cells), minor=True))
    return rows


def _entry(cell: Cell) -> Entry:
    if cell.mean is None:
        return Entry(cell.text, note=cell.reason)
    parts = [cell.metric.id, f"{cell.n_images} images", f"{cell.n_seeds} seed{'s' * (cell.n_seeds != 1)}"]
    if cell.interval:
        parts.append(f"95% over images {span(cell.interval, cell.metric.digits)}")
    if cell.seeds_interval:
        parts.append(f"95% over seeds {span(cell.seeds_interval, cell.metric.digits)}")
    return Entry(cell.text, cell.tier, title=", ".join([*parts, f"cell {cell.id}"]))


def _origins(line: Line) -> str:
    """Where the published numbers of a row are from; by metric, where not all are from one place."""
    metrics: dict[str, list[str]] = {}
    for cell in line.cells:
        for origin in dict.fromkeys(published.origin for published in cell.published):
            metrics.setdefault(origin, []).append(cell.metric.title)
    if len(metrics) == 1:
        return next(iter(metrics))
    return "; ".join(f"{', '.join(titles)}: {origin}" for origin, titles in metrics.items())


def _published(cell: Cell) -> Entry:
    sources = "; ".join(f"{p.value}: {p.paper}, table {p.table}, {p.source}, {p.status}" for p in cell.published)
    return Entry(" or ".join(p.value for p in cell.published), title=sources)


def _off(cell: Cell) -> str:
    if cell.mean is None:
        return ""
    return " or ".join(signed(cell.mean - p.number, _digits(cell.metric, p.value)) for p in cell.published)


def _digits(metric: Metric, printed: str) -> int:
    return min(metric.digits, len(printed.partition(".")[2]))


def claims_row(claim: Claim) -> Row:
    """One line of the claims."""
    digits = claim.ours.metric.digits
    label = f"{claim.label}, {claim.ours.metric.heading}"
    paper = _paper(claim.published) if claim.published else Entry("")
    if claim.difference is None or claim.gain is None:
        return Row(label, (Entry(""), Entry(""), paper, Entry(Verdict.MISSING.value, note=claim.reason)))
    difference = f"{signed(claim.difference, digits)} {span(claim.interval, digits)}".strip()
    gain = f"{signed(claim.gain, 1)} {span(claim.gain_interval, 1)}".strip()
    title = f"{claim.ours.id} against {claim.baseline.id}, sign-flip p {claim.p:.3g}"
    return Row(label, (Entry(difference), Entry(gain), paper, Entry(claim.text, note=claim.reason, title=title)))


def _paper(published: Published) -> Entry:
    nothing = ": it decides nothing" * (published.status == "conflict")
    return Entry(signed(published.number, 1), note=f"{published.origin}{nothing}", title=published.source)
