"""The tables of a study as grids: the main table, the claims, the ablations."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from framer.report.cells import Cell, Line, Section, Table
from framer.report.claims import Claim
from framer.report.contrasts import Contrast
from framer.report.lineage import image_hashes
from framer.report.paper_numbers import Published
from framer.report.render_table import Entry, Grid, Group, Row
from framer.report.statistics import Interval
from framer.scoring.protocols import Metric


def caption(table: Table) -> str:
    """What the numbers are, in words, without which they must not be read."""
    return f"Protocol {table.protocol.name}: {table.protocol.summary}."


def reading(table: Table) -> str:
    """How the cells were made and what the marks mean."""
    cells = [cell for section in table.sections for line in section.methods for cell in line.cells]
    trained = [cell.n_seeds for cell in cells if any(seed is not None for seed in cell.seeds)]
    fewest, seeds = min(trained, default=0), max(trained, default=0)
    means = "Means over images"
    if seeds == 1:
        means += ", from one training seed: a difference holds for these checkpoints only"
    elif seeds > 1:
        number = f"{seeds}" if fewest == seeds else f"{fewest} to {seeds}"
        means += f", then over {number} training seeds; the marks are about these checkpoints"
    controls = " Controls are not methods and are never marked." * any(section.controls for section in table.sections)
    known = second_hand(published for cell in table.cells for published in cell.published)
    return f"{means}. {marks_text()}{controls}{known}"


def second_hand(printed: Iterable[Published]) -> str:
    """What that word means, where a table has such numbers; otherwise nothing."""
    indirect = any(published.status != "quoted" for published in printed)
    return " Second-hand: quoted by a third party, not seen where it was published." * indirect


def marks_text(column: str = "its column") -> str:
    """What bold and italics mean; HTML and LaTeX underline instead."""
    return (
        f"Bold: tied with the best of {column}; italic: tied with the best of the rest (t tests over images, Holm over "
        "all pairs of the whole table at 5%)."
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
    name = table.protocol.name
    return Grid(f"main-{name}", heading, caption(table), columns, tuple(groups), reading(table), protocol=name)


def claims_grid(table: Table, claims: Sequence[Claim], title: str) -> Grid:
    """FRAMER against its own baseline: difference, gain, what was published, verdict."""
    return Grid(
        f"claims-{table.protocol.name}",
        f"{title}: FRAMER against its baselines",
        caption(table),
        ("FRAMER, metric", "Difference (corrected)", "Gain, % (interval)", "Paper, %", "Verdict"),
        _by_set(table, ((claim.ours.set, claims_row(claim)) for claim in claims)),
        "A verdict rests on the crossed interval of the difference, over training seeds and images at once; one seed "
        "has an interval over images only and speaks for its checkpoint. Holm's correction over all claims of the "
        f"study bounds false verdicts at 5%. {_gains(claims)}"
        + second_hand(claim.published for claim in claims if claim.published),
        words=True,
        protocol=table.protocol.name,
    )


def others_grid(table: Table, claims: Sequence[Claim], title: str) -> Grid:
    """Other auxiliary losses, and tuned rows, against the same baselines."""
    return Grid(
        f"others-{table.protocol.name}",
        f"{title}: other losses against the baselines",
        caption(table),
        ("Row, metric", "Difference (corrected)", "Gain, % (interval)", "Result"),
        _by_set(table, ((claim.ours.set, _without_paper(claims_row(claim))) for claim in claims)),
        "Crossed intervals over training seeds and images, as for FRAMER; Holm's correction is over all rows here, "
        f"a family of their own. {_gains(claims)}",
        words=True,
        protocol=table.protocol.name,
    )


def _without_paper(row: Row) -> Row:
    """A line of the claims without what the paper prints."""
    difference, gain, _, verdict = row.entries
    return replace(row, entries=(difference, gain, verdict))


def _gains(claims: Sequence[Claim]) -> str:
    """What the intervals of gains are."""
    kinds = {len(claim.seeds) > 1 for claim in claims if claim.gain_interval}
    several = "where a further run on these images lies (96.5%)"
    single = "this checkpoint on new images (95%)"
    if kinds == {True, False}:
        return f"The gain's interval: {several}; from one training seed, {single}."
    return f"The gain's interval: {several if True in kinds else single}."


def _by_set(table: Table, rows: Iterable[tuple[str, Row]]) -> tuple[Group, ...]:
    """Rows, each with its set, under the heading of that set; sets without rows are left out."""
    by_set: dict[str, list[Row]] = {}
    for name, row in rows:
        by_set.setdefault(name, []).append(row)
    sections = (section for section in table.sections if section.set in by_set)
    return tuple(Group(section_heading(section), tuple(by_set[section.set])) for section in sections)


def contrasts_grid(table: Table, contrasts: Sequence[Contrast], title: str) -> Grid:
    """Any two rows against each other, as the study asks for."""
    return Grid(
        f"comparisons-{table.protocol.name}",
        f"{title}: comparisons",
        caption(table),
        ("Comparison, metric", "Difference (corrected)", "p (corrected)", "Over", "Result"),
        _by_set(table, ((one.set, _contrast_row(one)) for one in contrasts)),
        "Paired differences, first minus second. Intervals and p-values are corrected together over all comparisons of "
        "the study (Holm at 5%). Over images: these checkpoints on other images; over seeds and images: the methods.",
        words=True,
        protocol=table.protocol.name,
    )


def _contrast_row(one: Contrast) -> Row:
    label = f"{one.label} − {one.other_label}, {one.metric.heading}"
    found = one.comparison
    if found is None:
        return Row(label, (*[Entry("")] * 3, Entry("n/a", note=one.reason)))
    digits = one.metric.digits
    p = "" if found.adjusted is None else f"{found.adjusted:.2g}"
    difference = f"{signed(found.difference, digits)} {span(found.interval, digits)}".strip()
    title = f"{found.ours.id} against {found.theirs.id}"
    return Row(label, (Entry(difference), Entry(p), Entry(found.scope.value), Entry(one.text, title=title)))


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
    printed = [_by_source(cell) for cell in line.cells]
    for number in range(max(map(len, printed))):
        of_row = [sources[number] if number < len(sources) else () for sources in printed]
        label = "also published" if number else "published"
        origins = _origins(zip(line.cells, of_row, strict=True))
        rows.append(Row(label, tuple(_published(ones) for ones in of_row), origins, minor=True))
        if number == 0 and any(ones and cell.mean is not None for cell, ones in zip(line.cells, of_row, strict=True)):
            off = tuple(Entry(_off(cell, ones)) for cell, ones in zip(line.cells, of_row, strict=True))
            rows.append(Row("difference", off, minor=True))
    return rows


def _by_source(cell: Cell) -> list[tuple[Published, ...]]:
    """What is published of a cell by paper and table; a source that contradicts itself has two values."""
    return [tuple(ones) for _, ones in groupby(cell.published, key=lambda one: (one.paper, one.table))]


def _entry(cell: Cell) -> Entry:
    if cell.mean is None:
        return Entry(cell.text, note=cell.reason)
    return Entry(cell.text, cell.tier, cell.mark_note, title="\n".join(_about(cell)))


def _about(cell: Cell) -> Iterator[str]:
    """What a number is and where it is from, a line each."""
    yield cell.metric.id
    seeds = [str(seed) for seed in cell.seeds if seed is not None]
    of_seeds = f", seed{'s' * (len(seeds) != 1)} {', '.join(seeds)}" if seeds else ""
    yield f"{cell.n_images} image{'s' * (cell.n_images != 1)}{of_seeds}"
    if cell.interval:
        yield f"95% over new images {span(cell.interval, cell.metric.digits)}"
    if cell.seeds_interval:
        yield f"95% over new seeds {span(cell.seeds_interval, cell.metric.digits)}"
    yield f"cell {cell.id}"
    yield from image_hashes(cell.tree)


def _origins(found: Iterable[tuple[Cell, Sequence[Published]]]) -> str:
    """Where the published numbers of a row are from; by metric, where not all are from one place."""
    metrics: dict[str, list[str]] = {}
    for cell, printed in found:
        for origin in dict.fromkeys(published.origin for published in printed):
            metrics.setdefault(origin, []).append(cell.metric.title)
    if len(metrics) == 1:
        return next(iter(metrics))
    return "; ".join(f"{', '.join(titles)}: {origin}" for origin, titles in metrics.items())


def _published(printed: Sequence[Published]) -> Entry:
    sources = "; ".join(f"{p.value}: {p.paper}, table {p.table}, {p.source}, {p.status}" for p in printed)
    return Entry(" or ".join(p.value for p in printed), title=sources)


def _off(cell: Cell, printed: Sequence[Published]) -> str:
    if cell.mean is None:
        return ""
    return " or ".join(signed(cell.mean - p.number, _digits(cell.metric, p.value)) for p in printed)


def _digits(metric: Metric, printed: str) -> int:
    return min(metric.digits, len(printed.partition(".")[2]))


def claims_row(claim: Claim) -> Row:
    """One line of the claims."""
    digits = claim.ours.metric.digits
    label = f"{claim.label}, {claim.ours.metric.heading}"
    paper = _paper(claim.published) if claim.published else Entry("")
    found = claim.comparison
    if found is None or claim.gain is None:
        return Row(label, (Entry(""), Entry(""), paper, Entry(claim.verdict.value, note=claim.reason)))
    difference = f"{signed(found.difference, digits)} {span(found.interval, digits)}".strip()
    gain = f"{signed(claim.gain, 1)} {span(claim.gain_interval, 1)}".strip()
    tested = "" if found.adjusted is None else f", p {found.p:.3g}, corrected {found.adjusted:.3g}"
    title = f"{claim.ours.id} against {claim.baseline.id}{tested}"
    return Row(label, (Entry(difference), Entry(gain), paper, Entry(claim.text, note=claim.reason, title=title)))


def _paper(published: Published) -> Entry:
    nothing = ": it decides nothing" * (published.status == "conflict")
    return Entry(signed(published.number, 1), note=f"{published.origin}{nothing}", title=published.source)
