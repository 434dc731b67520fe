"""`framer score` against pyiqa: end to end against its command once a metric, and in one process against a plain loop.

20 images of 512 x 512 under protocol `framer`, whose definitions pyiqa's command shares, with all metrics whose weights
are in $FRAMER_WEIGHTS. All sides have one core and CPU seconds are compared, so that no other load counts;
values are compared before any number is printed.

    python bench/bench_scoring.py
    python bench/bench_scoring.py --sr DIR --hr DIR
"""

import argparse
import csv
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from framer.scoring.protocols import Metric, Protocol
from framer.weights.store import folder, missing

IMAGES = 20
END_TO_END, ONE_PROCESS = 2.0, 1.3
"""What scoring must reach: times as fast as pyiqa's command once a metric, and as the plain loop."""

METRICS = ["psnr", "ssim", "lpips", "niqe", "maniqa", "musiq"]
CLOSE = {"psnr": 2e-5, "ssim": 2e-6, "niqe": 1e-6}
"""The largest difference of a value; 1e-4 for the others."""


def write_images(folder: Path) -> tuple[Path, Path]:
    """SR and HR: windows of photographs, and the same windows blurred by a fall to half size."""
    photographs = [skimage.data.astronaut(), skimage.data.immunohistochemistry(), skimage.data.retina()]
    for i in range(IMAGES):
        photograph = photographs[i % 3]
        top, left = (17 * i % (side - 511) for side in photograph.shape[:2])
        hr = Image.fromarray(np.asarray(photograph)[top : top + 512, left : left + 512])
        hr = hr.transpose(Image.Transpose(i % 7))
        sr = hr.resize((256, 256), Image.Resampling.BICUBIC).resize((512, 512), Image.Resampling.BICUBIC)
        for name, image in (("SR", sr), ("HR", hr)):
            (folder / name).mkdir(exist_ok=True)
            image.save(folder / name / f"{i:02}.png")
    return folder / "SR", folder / "HR"


def end_to_end(sr: Path, hr: Path, metrics: list[Metric], out: Path) -> list[float]:
    """Seconds of `framer score`, and of pyiqa's command for one metric after the other."""
    here = Path(sys.executable).parent
    ours = [str(here / "framer"), "score", "--sr", str(sr), "--hr", str(hr), "--protocol", "framer", "--out", str(out)]
    ours += ["--metrics", ",".join(metric.name for metric in metrics), "--threads", "1"]
    theirs = [
        [str(here / "pyiqa"), metric.pyiqa, "-t", str(sr), *(["-r", str(hr)] if metric.needs_hr else [])]
        for metric in metrics
    ]
    seconds, means = [], {}
    for commands in ([ours], [[*command, "--device", "cpu"] for command in theirs]):
        start = of_children()
        for command in commands:
            run = subprocess.run(command, check=True, capture_output=True, text=True)
            means |= {
                name: float(v) for name, v in re.findall(r"'([\w-]+)': \{'mean': np\.float64\(([\d.e-]+)\)", run.stdout)
            }
        seconds.append(of_children() - start)
    for metric in metrics:
        off = abs(means[metric.pyiqa] - statistics.mean(read(out)[metric.name]))
        assert off <= CLOSE.get(metric.name, 1e-4), f"{metric.id}: the means differ by {off}"
    return seconds


def of_children() -> float:
    """CPU seconds of all processes that ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def one_process(sr: Path, hr: Path, metrics: list[Metric], repeats: int) -> list[float]:
    """Seconds of scoring, everything imported and built before, and of the plain loop over pyiqa's metrics."""
    import torch
    from plain_scoring import build, plain_scores

    from framer.scoring.pairing import pair_up
    from framer.scoring.scorer import Scorer

    torch.set_num_threads(1)  # as scoring does
    plain = build([metric.pyiqa for metric in metrics], "cpu")
    scorer, pairs = Scorer(metrics), pair_up(sr, hr)
    seconds: list[list[float]] = [[], []]
    for _ in range(repeats):
        start = time.process_time()
        done = [one for _, results in scorer.run(scorer.units(0, pairs, metrics), threads=1) for one in results]
        seconds[0].append(time.process_time() - start)
        start = time.process_time()
        values = plain_scores(plain, [(a, b) for a, b in pairs if b], "cpu")
        seconds[1].append(time.process_time() - start)
    for metric in metrics:
        off = max(abs(a.values[metric.id] - b) for a, b in zip(done, values[metric.pyiqa], strict=True))
        assert off <= CLOSE.get(metric.name, 1e-4), f"{metric.id}: values differ by {off}"
    return [min(column) for column in seconds]


def read(path: Path) -> dict[str, list[float]]:
    """The values of each metric."""
    values: dict[str, list[float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            values.setdefault(row["metric"], []).append(float(row["value"]))
    return values


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sr", type=Path, help="restored images (default: made of photographs)")
    parser.add_argument("--hr", type=Path, help="their HR images")
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args()
    # Both sides find the same files, and the plain one none that it would have to download.
    os.environ |= {
        "TORCH_HOME": str(folder().resolve()),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    metrics = [metric for metric in Protocol.named("framer").select(METRICS) if not missing(metric.weights)]
    with tempfile.TemporaryDirectory() as name:
        sr, hr = (args.sr, args.hr) if args.sr else write_images(Path(name))
        plain = one_process(sr, hr, metrics, args.repeats)
        whole = end_to_end(sr, hr, metrics, Path(name) / "out.csv")
    print(f"{IMAGES} pairs of 512 x 512, protocol framer, {', '.join(m.name for m in metrics)}, one core")
    print(
        f"  end to end:  framer {whole[0]:6.2f} s   pyiqa once a metric {whole[1]:6.2f} s   {whole[1] / whole[0]:.1f}x"
    )
    print(
        f"  one process: framer {plain[0]:6.2f} s   plain loop          {plain[1]:6.2f} s   {plain[1] / plain[0]:.1f}x"
    )
    return 0 if whole[1] >= END_TO_END * whole[0] and plain[1] >= ONE_PROCESS * plain[0] else 1


if __name__ == "__main__":
    sys.exit(main())
