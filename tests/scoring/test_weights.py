"""Metrics without their weights, and with other ones."""

from pathlib import Path

from framer.cli import main
from framer.scoring.folders import unavailable
from framer.scoring.protocols import Protocol
from framer.weights.store import files, missing

PSNR, LPIPS, NIQE = Protocol.named("osediff").select(["psnr", "lpips", "niqe"])


def test_a_metric_is_available_once_all_its_files_are_there(weights: Path) -> None:
    backbone, heads = files(LPIPS.weights)
    assert missing(LPIPS.weights) == {"lpips-alex": [heads, backbone]}
    (weights / heads).touch()
    assert backbone in str(unavailable(LPIPS, has_hr=True)) and heads not in str(unavailable(LPIPS, has_hr=True))
    (weights / backbone).touch()
    assert unavailable(LPIPS, has_hr=True) is None
    assert unavailable(PSNR, has_hr=True) is None


def test_a_metric_that_compares_needs_hr(weights: Path) -> None:
    assert "HR" in str(unavailable(PSNR, has_hr=False))
    (weights / files(NIQE.weights)[0]).touch()
    assert unavailable(NIQE, has_hr=False) is None


def test_the_footnote_names_the_command_that_fetches_the_weights(weights: Path, capsys) -> None:
    """And that command knows the weights: with --check it lists them instead of fetching."""
    for name in ("osediff", "framer", "seesr"):
        for metric in Protocol.named(name).metrics:
            if metric.weights:
                _, _, command = str(unavailable(metric, has_hr=True)).rpartition("run: framer ")
                assert command.startswith("fetch --weights ")
                try:
                    main([*command.split(), "--check"])
                except SystemExit as end:
                    assert end.code == 1
                assert capsys.readouterr().out.startswith(command.rpartition(" ")[2])
