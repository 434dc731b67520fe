"""Scores as pandas DataFrames, for notebooks and scripts."""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from framer.scoring.folders import Task, score_folders
from framer.scoring.score_file import WHOLE_SET, read_file


def score(
    sr: Path | str,
    hr: Path | str | None = None,
    *,
    metrics: Sequence[str],
    protocol: str,
    out: Path | str | None = None,
    threads: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """Score a folder of restored images, as `framer score` does.

    Args:
        sr: folder of restored images, 8-bit RGB.
        hr: folder of HR images with the same stems and sizes; None for a set without.
        metrics: short names, such as ["psnr", "ssim", "lpips"].
        protocol: definitions of the metrics: "osediff", "seesr", "framer", or the path of a protocol file, .yaml.
        out: a .csv file that keeps the scores, with their sidecar; None keeps nothing.
        threads: number of processes that score on CPUs, which changes no value; with a GPU, threads that decode.
        progress: show a bar on stderr.

    Returns:
        The table of `load_scores`.

    Raises:
        UserError: see `framer.scoring.folders.score_folders`.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scores.csv" if out is None else Path(out)
        score_folders(
            [Task(Path(sr), None if hr is None else Path(hr), {protocol: file})],
            list(metrics),
            threads,
            progress=progress,
        )
        return load_scores(file)


def load_scores(path: Path | str) -> pd.DataFrame:
    """Read a score file and its sidecar.

    Args:
        path: a CSV that `framer score`, `score` or a study wrote, with its sidecar beside it.

    Returns:
        A row per image and metric, in the order of the file, and one for each metric that is n/a, with the columns
        "image" (file name, `*` for the whole set), "metric" (short name), "value" (float64, NaN if n/a), "id" (exact
        definition), "protocol" and "reason" (why it is n/a, else None).

    Raises:
        UserError: one of the two files is missing or damaged, or they do not belong together.
    """
    scores = read_file(Path(path))
    sidecar = scores.sidecar
    names = {Path(name).stem: name for name in sidecar["images"]}
    rows = [
        (names.get(stem, stem), metric, value, sidecar["metrics"].get(metric), sidecar.get("protocol"), None)
        for stem in (*names, WHOLE_SET)
        for metric, values in scores.values.items()
        if (value := values.get(stem)) is not None
    ]
    rows += [
        (WHOLE_SET, metric, math.nan, sidecar["metrics"].get(metric), sidecar.get("protocol"), reason)
        for metric, reason in sidecar["unavailable"].items()
    ]
    return pd.DataFrame(rows, columns=["image", "metric", "value", "id", "protocol", "reason"])
