"""Encode training pairs and prompts once, before training: a hashed cache of latents and text embeddings.

A cache holds shards of pairs, `pairs-00000.safetensors` with the tensors of `Backbone.encode` for `SHARD` pairs in
order, shards of prompts, two lists (`pairs.csv` with the photograph of each pair, `prompts.json`), and a card with the
hash of each. The random parts of training (the posterior's noise, dropped prompts) are not in it, so that it gives the
gradients of encoding on the fly, to the bit.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from framer.backbones.base import Batch
from framer.backbones.finite import finite
from framer.backbones.loading import write_tensors
from framer.backbones.random import Draws, generator
from framer.data.captions import training_prompts
from framer.errors import UserError
from framer.provenance.cards import lock, versions, write_card
from framer.provenance.files import atomic, csv_text, write_json, write_text
from framer.provenance.output import OutputFolder, claimed
from framer.runs import run_dir
from framer.runs.runtime import DTYPES, deterministic, device_for
from framer.study.jobs import EncodeJob
from framer.training.dataloader import training_pairs
from framer.training.latent_cache import PAIRS, PROMPTS, SHARD, shard_name


def encode(job: EncodeJob, base: Path, data: list[Path], out: Path, progress: bool = True) -> None:
    """Write a cache.

    Args:
        job: the settings.
        base: folder of the base with its codec and text encoders.
        data: folders of HR photographs.
        out: folder of the cache.
        progress: show bars.

    Raises:
        UserError: base, data, captions or settings cannot be used, or an encoding is not finite.
    """
    with claimed(out, "encoded", inputs=(base, *data)) as folder:
        _encode(job, base, data, folder, progress)


def _encode(job: EncodeJob, base: Path, data: list[Path], folder: OutputFolder, progress: bool) -> None:
    deterministic(job.threads)
    out = folder.folder
    made = {"code": run_dir.code_of("encode", job.backbone), "lock": lock()}
    backbone, sha256 = run_dir.load_base(base, job.backbone, job.settings)
    folder.clear()
    backbone.to(device_for(backbone), DTYPES[job.precision])
    source = training_pairs(job.data, data, job.crop, job.data.seed)
    prompts = dict.fromkeys(("", *training_prompts(job.captions, data).values()))

    filtered = list(dict.fromkeys(backbone.filtered(prompt) for prompt in prompts))
    bars = {"unit": "prompt", "file": sys.stderr, "disable": not progress}
    texts = tqdm(range(len(filtered)), "text", **bars)
    files = _write(folder, "prompts", lambda k: backbone.encode_prompt(filtered[k]), texts)
    write_json(folder.file(PROMPTS), filtered)
    backbone.free_text()

    names: list[str] = []

    def pair(k: int) -> dict[str, Tensor]:
        name, lr, hr = source.pair(k)
        names.append(name)
        batch = Batch(lr[None], hr[None], (name,), Draws((), generator(0)))
        try:
            return {key: finite(value[0], key) for key, value in backbone.encode(batch).items()}
        except UserError as error:
            raise UserError(str(error), path=name, code=error.code) from None

    bars["unit"] = "pair"
    files += _write(folder, "pairs", pair, tqdm(range(job.data.pairs or 0), f"encode {out.name}", **bars))
    write_text(folder.file(PAIRS), csv_text(("pair", "photograph"), enumerate(names)))

    facts = {"job": job.as_dict(), "base": sha256, "data": run_dir.data_digests(data)}
    write_card(out, "encoded", [PAIRS, PROMPTS, *files], **facts, **made, versions=versions(run_dir.PACKAGES))


def _write(
    folder: OutputFolder, kind: str, make: Callable[[int], Mapping[str, Tensor]], numbers: Iterator[int]
) -> list[str]:
    """Write shards and return their file names."""
    files: list[str] = []
    rows: list[Mapping[str, Tensor]] = []

    def flush() -> None:
        if rows:
            files.append(shard_name(kind, len(files)))
            with atomic(folder.file(files[-1])) as part:
                write_tensors(part, {key: torch.stack([row[key].cpu() for row in rows]) for key in rows[0]}, {})
            rows.clear()

    for number in numbers:
        rows.append(make(number))
        if len(rows) == SHARD:
            flush()
    flush()
    return files
