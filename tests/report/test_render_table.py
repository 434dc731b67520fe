"""One table in every form, with every kind of mark."""

import pytest

from framer.report.render_table import Entry, Grid, Group, Row, csv, html, latex, markdown
from framer.report.significance import Tier


@pytest.mark.parametrize("tier", Tier)
def test_every_mark_has_every_form(tier: Tier) -> None:
    row = Row("ours", (Entry("1.23", tier, "a note" if tier is Tier.UNDECIDED else None),))
    grid = Grid("main", "Main", "Caption.", ("Method", "PSNR"), (Group("", (row,)),), "Reading.")
    written = [markdown(grid), latex(grid), html(grid), csv(grid)]
    bold = ("**1.23**", r"\textbf{1.23}", 'class="best"')
    assert [mark in text for mark, text in zip(bold, written, strict=False)] == [tier is Tier.BEST] * 3
    assert all("1.23" in text for text in written)
    assert all(("a note" in text) == (tier is Tier.UNDECIDED) for text in written)
