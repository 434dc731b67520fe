"""Record the data of the paper's analysis figures, on trained runs and fixed draws of images, timesteps, noise."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from framer.analysis import arrays
from framer.backbones.base import Backbone, Batch
from framer.backbones.random import Draws, generator
from framer.backbones.registry import settings_of
from framer.data.captions import captions_file, image_prompts
from framer.data.degradation.presets import SCALE
from framer.data.image_folder import verify
from framer.data.images import image_size, paired, read_rgb, write_png
from framer.data.pairs import to_rgb, to_tensor
from framer.errors import UserError
from framer.method.analysis import band_densities, layer_similarity, layer_weights, sample_similarity
from framer.method.bands import BANDS
from framer.method.recipe import Recipe
from framer.provenance.cards import read_card, versions, write_card
from framer.provenance.hashing import digest
from framer.provenance.output import OutputFolder, claimed
from framer.runs.run_dir import PACKAGES, data_digests, load_run
from framer.runs.runtime import DTYPES, deterministic, device_for, seeded
from framer.runs.snapshots import load_moment
from framer.study.jobs import AnalyseJob
from framer.study.layout import EARLY, EARLY_IMAGES, HR

READING = Recipe()
"""Feature, masks and space of all recorded data."""

_Read = TypeVar("_Read")
Reader = Callable[[list[Tensor], Tensor], _Read]
Similarity = dict[str, Tensor]


class Inputs:
    """The first images of a set of pairs, all cut to one size, each with its own draws.

    Args:
        job: the set, the images and the seed.
        folder: the set.
        multiple: the sides are cut to multiples of it.

    Raises:
        UserError: the set has fewer images, one is not readable, or all are too small.
    """

    def __init__(self, job: AnalyseJob, folder: Path, multiple: int):
        verify(folder / "LR")
        self.files, self.seed = paired(folder / "LR", folder / "HR")[: job.images], job.seed
        if len(self.files) < job.images:
            message = f"{folder} has {len(self.files)} pairs, not {job.images}; use fewer"
            raise UserError(message, key="analysis.images", code="mismatch")
        sides = zip(*(image_size(hr) for _, _, hr in self.files), strict=True)
        self.width, self.height = (min(side) // multiple * multiple for side in sides)
        if not (self.width and self.height):
            raise UserError(f"an image is smaller than the {multiple} pixels that the model needs", path=folder)

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, k: int) -> Batch:
        """Image k alone, from its top left corner, with draws that no other call has used up."""
        stem, *paths = self.files[k]
        lr, hr = (to_tensor(read_rgb(path)).unsqueeze(0) for path in paths)
        lr, hr = lr[..., : self.height // SCALE, : self.width // SCALE], hr[..., : self.height, : self.width]
        return Batch(lr, hr, (stem,), Draws.of_step(self.seed, self.seed, k, 1))

    def read(self, model: Backbone, reader: Reader[_Read], fitted: bool) -> list[_Read]:
        """Apply a reader to the layers of every image.

        Args:
            model: with heads, where it has any.
            reader: called with L maps (1, C, h, w) and the teacher's.
            fitted: fit the heads first, those of an image to the other half of the images: no image is read by a head
                that has seen it. Otherwise the heads are used as they are.

        Returns:
            The results of the reader, per image.

        Raises:
            UserError: a map is not finite.
        """
        found: dict[int, _Read] = {}
        for half in (0, 1):
            if fitted:
                model.fit_heads(self.batch(k) for k in range(len(self)) if k % 2 != half)
            for k in range(half, len(self), 2):
                students, teacher = model.layer_maps(self.batch(k), READING.space)
                for layer, values in enumerate([*students, teacher]):
                    if not values.isfinite().all():
                        message = f"the map of layer {layer} is not finite; check the run's weights"
                        raise UserError(message, path=self.files[k][2], code="diverged")
                found[k] = reader(students, teacher)
        return [found[k] for k in range(len(self))]


@torch.no_grad()
def analyse(job: AnalyseJob, datasets: Path, runs: Path, out: Path, progress: bool = True) -> None:
    """Write `out/NAME.npz`, `out/early/RECIPE/STEP/STEM.png`, `out/early/HR/STEM.png` and, last, a card.

    Args:
        job: settings and runs.
        datasets: folder of the data sets.
        runs: folder of the study's runs.
        out: folder of the analyses of this backbone.
        progress: show a bar.

    Raises:
        UserError: a run, a snapshot or an image is missing or damaged, or the backbone does not show its layers.
    """
    deterministic(job.threads)
    folder = datasets / job.set
    captions = captions_file(Path(job.captions.folder), job.set) if job.captions else None
    prompts = image_prompts(captions, folder / "LR", job.captions.missing if job.captions else "error")
    cards = {run: digest(read_card(runs / run, "run")) for run in job.needed}
    with claimed(out, "analysis", inputs=(folder / "LR", folder / "HR", *(runs / run for run in job.needed))) as output:
        output.clear()
        _record(job, folder, runs, output, prompts, cards, progress)


def _record(
    job: AnalyseJob,
    folder: Path,
    runs: Path,
    out: OutputFolder,
    prompts: dict[str, str],
    cards: dict[str, str],
    progress: bool,
) -> None:
    moments = len(job.compared) * len(job.snapshots) + ("paper" in job.compared) * (len(job.snapshots) + 1)
    total = len(job.runs) + moments
    with tqdm(total=total, desc=f"analyse {job.backbone}", unit="model", file=sys.stderr, disable=not progress) as bar:
        _record_ends(job, folder, runs, out, prompts, bar.update)
        _record_weights(job, folder, runs, out, prompts, bar.update)
        _restore_early(job, folder, runs, out, prompts, bar.update)
    at = out.folder
    write_card(
        at,
        "analysis",
        sorted(path.relative_to(at).as_posix() for path in at.rglob("*.*") if path.suffix in (".npz", ".png")),
        job=job.as_dict(),
        runs=cards,
        data=data_digests([folder / "LR"]),
        captions=digest(prompts),
        versions=versions(PACKAGES),
    )


def _record_ends(
    job: AnalyseJob, folder: Path, runs: Path, out: OutputFolder, prompts: dict[str, str], done: Callable[[], object]
) -> None:
    """Densities and similarities of images in the first run, similarities of layers in all of them."""
    similarity = []
    for number, (arm, run) in enumerate(job.runs.items()):
        model, _ = load_run(runs / run)
        with seeded(job.seed):
            model.add_heads(READING.space)
        _place(model, job.precision, prompts)
        inputs = Inputs(job, folder, model.multiple)
        about = _about(job, run, "least squares over the other half of the images" if _parts(model.heads) else "")

        def read(students: list[Tensor], teacher: Tensor, keep: bool = number == 0) -> tuple[Similarity, Tensor | None]:
            return layer_similarity(students, teacher, READING), teacher.float().cpu() if keep else None

        seen = inputs.read(model, read, fitted=True)
        similarity.append(_joined([of_image for of_image, _ in seen]))
        if number == 0:
            _record_finals(
                torch.cat([teacher for _, teacher in seen if teacher is not None]), out, about | {"arm": arm}
            )
        done()
    labels = {"band": BANDS, "arm": tuple(job.runs)}
    arrays.write(
        out.file("layers.npz"),
        {"similarity": np.stack(similarity)},
        labels,
        about | {"run": ", ".join(job.runs.values())},
    )


def _record_finals(finals: Tensor, out: OutputFolder, about: dict[str, str]) -> None:
    """The final layer's maps (N, C, h, w): their magnitudes, and how alike those of two images are."""
    bands = band_densities(finals, READING.cutoffs[0])
    values = {
        "density": np.stack([bands[band].mean.numpy() for band in BANDS]),
        "deviation": np.stack([bands[band].std.numpy() for band in BANDS]),
        "edges": bands[BANDS[0]].edges.numpy(),
    }
    arrays.write(out.file("densities.npz"), values, {"band": BANDS}, about)
    alike = sample_similarity(finals, READING)
    values = {"similarity": np.stack([alike[band].double().numpy() for band in BANDS])}
    arrays.write(out.file("images.npz"), values, {"band": BANDS}, about)


def _record_weights(
    job: AnalyseJob, folder: Path, runs: Path, out: OutputFolder, prompts: dict[str, str], done: Callable[[], object]
) -> None:
    """FAW and FAM in the run of the recipe `paper`, at every snapshot and at the end."""
    if "paper" not in job.compared:
        return
    run = job.compared["paper"]
    weights: dict[str, list[np.ndarray]] = {"faw": [], "fam": []}
    for step in (*job.snapshots, None):
        model = load_moment(runs / run, step)
        _place(model, job.precision, prompts)
        seen = Inputs(job, folder, model.multiple).read(model, _weights, fitted=False)
        for name, kept in weights.items():
            kept.append(_joined([{band: both[name] for band, both in of_image.items()} for of_image in seen]))
        done()
    labels = {"band": BANDS, "moment": (*(f"step {step}" for step in job.snapshots), "end")}
    about = _about(job, run, "those that were trained with the run" if _parts(model.heads) else "")
    arrays.write(out.file("weights.npz"), {name: np.stack(kept) for name, kept in weights.items()}, labels, about)


def _weights(students: list[Tensor], teacher: Tensor) -> dict[str, dict[str, Tensor]]:
    """FAW and FAM as in the loss of the recipe `paper`: the teacher's layer is no student."""
    return layer_weights(students[:-1], teacher, READING)


def _restore_early(
    job: AnalyseJob, folder: Path, runs: Path, out: OutputFolder, prompts: dict[str, str], done: Callable[[], object]
) -> None:
    """The first images by every snapshot of the compared recipes, and their HR."""
    shown = paired(folder / "LR", folder / "HR")[:EARLY_IMAGES]
    for stem, _, hr in shown if job.compared else ():
        write_png(out.file(f"{EARLY}/{HR}/{stem}.png"), read_rgb(hr))
    for recipe, run in job.compared.items():
        for step in job.snapshots:
            model = load_moment(runs / run, step)
            options = settings_of(model.name, {"restore": job.settings}).restore
            _place(model, options.precision, prompts)
            for stem, lr, _ in shown:
                image, draws = to_tensor(read_rgb(lr)), Draws((generator(job.sampling, stem),), generator(job.sampling))
                restored = model.restore_image(image.unsqueeze(0), draws, options, prompt=prompts.get(stem, ""))
                write_png(out.file(f"{EARLY}/{recipe}/{step}/{stem}.png"), to_rgb(restored[0]))
            done()


def _place(model: Backbone, precision: str, prompts: dict[str, str]) -> None:
    """Move a model to the available device, and set its captions."""
    model.to(device_for(model), DTYPES[precision])
    model.prompts = prompts


def _joined(of_images: list[Similarity]) -> np.ndarray:
    """(L, 1) per band and image -> (bands, L, images) float64."""
    return np.stack([torch.cat([one[band] for one in of_images], dim=1).double().cpu().numpy() for band in BANDS])


def _about(job: AnalyseJob, run: str, heads: str) -> dict[str, str]:
    return {
        "feature": READING.feature,
        "masks": f"{READING.masks}, cutoff {READING.cutoff}",
        "space": READING.space,
        "heads": heads or "none: read by the model's own last projection",
        "set": f"{job.set}, the first {job.images} images",
        "run": run,
    }


def _parts(heads: nn.Module) -> bool:
    return next(heads.parameters(), None) is not None
