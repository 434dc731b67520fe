"""Captions of a folder of images by a vision-language model of transformers."""

import json
import sys
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub import HfApi
from PIL import Image
from tqdm import tqdm

from framer.backbones.loading import UNREADABLE
from framer.data.captions import write_captions
from framer.data.images import left_out, list_images, read_rgb
from framer.errors import UserError, one_line
from framer.hub.download import TIMEOUT
from framer.hub.hub_errors import check_environment, hub_errors
from framer.hub.remote_file import HubFile, Unavailable
from framer.provenance.cards import CARD, lock, versions
from framer.provenance.code import fingerprint
from framer.provenance.files import write_json
from framer.provenance.hashing import derive_seed, digest, sha256_file
from framer.provenance.journal import Journal, journal_of
from framer.provenance.output import claimed_file
from framer.runs.runtime import deterministic, seeded

MODEL = "llava-hf/llava-1.5-13b-hf"
"""The captioner of DiT4SR, in the format of transformers."""

QUESTION = (
    "Name the objects that are really in this image and describe them in great detail. Say nothing of focus or bokeh. "
    "Say nothing of a blurred background."
)
"""The question of DiT4SR's authors, reworded."""

SAMPLING: dict[str, Any] = {"do_sample": True, "temperature": 0.2, "top_p": 0.7}
"""The sampling of DiT4SR's authors."""


@torch.no_grad()
def caption(
    images: Path,
    out: Path,
    *,
    model: str = MODEL,
    question: str = QUESTION,
    tokens: int = 512,
    seed: int = 0,
    threads: int = 1,
    progress: bool = True,
) -> None:
    """Write `out`, a CSV `image,caption`, and beside it a sidecar of the same name in .json.

    Runs on a GPU in half precision where there is one; only CPUs guarantee equal captions for equal inputs.

    Captions are stored unfiltered; backbones filter them. Each is sampled from a random stream of its own, so that it
    does not depend on the other images.

    Args:
        images: folder of images.
        out: ends in .csv.
        model: a folder, or owner/name on the hub, of any image-to-text model of transformers.
        question: the prompt; '' for models that take an image alone, such as BLIP.
        tokens: length limit of a caption.
        seed: for the sampling.
        threads: CPU threads.
        progress: show a bar.

    Raises:
        UserError: the model cannot be loaded, or an image cannot be read.
    """
    if out.suffix != ".csv":
        raise UserError("captions are written as CSV; name a file that ends in .csv", path=out, key="--out")
    if others := left_out(images):
        print(f"framer: {images}: left out: {others}", file=sys.stderr)
    with claimed_file(out, is_caption_file, (images,)), claimed_file(sidecar_of(out), is_caption_file, (images,)):
        _caption(images, out, model, question, tokens, seed, threads, progress)


def is_caption_file(path: Path) -> bool:
    """Whether a CSV or its sidecar was written by `caption`, going by the sidecar or a journal."""
    if journal_of(path.with_suffix(".csv")).is_file():
        return True
    try:
        return {"captions", "model", "question", "inputs"} <= json.loads(sidecar_of(path).read_bytes()).keys()
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def sidecar_of(path: Path) -> Path:
    """The file beside captions that records how they were made."""
    return path.with_suffix(".json")


def _caption(
    images: Path, out: Path, model: str, question: str, tokens: int, seed: int, threads: int, progress: bool
) -> None:
    code, files = fingerprint("caption"), list_images(images)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":  # sampling has no deterministic kernels on GPUs
        deterministic(threads)
    processor, network = _load(model, device)
    task = {
        "model": Path(model).name if Path(model).is_dir() else model,
        "weights": _weights(model, network),
        "question": question,
        "tokens": tokens,
        "sampling": SAMPLING,
        "seed": seed,
        "code": code,
        "lock": lock(),
        "versions": versions(["torch", "transformers"]),
    }
    journal = Journal(out, task | {"device": device, "threads": threads})
    done = journal.read()
    captions, inputs = {}, {}
    for stem, path in tqdm(files.items(), f"caption {images}", unit="image", file=sys.stderr, disable=not progress):
        inputs[path.name] = sha256_file(path)
        sha256, text = done.get(path.name, (None, ""))
        if sha256 != inputs[path.name]:
            with seeded(derive_seed(seed, "caption", stem)):
                text = _answer(processor, network, Image.fromarray(read_rgb(path)), question, tokens)
            journal.append(path.name, [inputs[path.name], text])
        captions[stem] = text
    write_captions(out, captions)
    facts = {"captions": sha256_file(out), **task, "inputs": digest(inputs)}
    write_json(sidecar_of(out), facts)
    journal.remove()


def _weights(model: str, network: Any) -> str | None:
    """Digest of all files of a folder without its card; for a model on the hub the commit."""
    if not Path(model).is_dir():
        commit: str | None = getattr(network.config, "_commit_hash", None)
        return commit
    files = sorted(path for path in Path(model).iterdir() if path.is_file() and path.name != CARD)
    return digest({path.name: sha256_file(path) for path in files})


def _load(model: str, device: str) -> tuple[Any, Any]:
    # Imported here: it takes seconds, and `QUESTION` is wanted without it.
    from transformers import AutoModelForImageTextToText, AutoProcessor

    dtype = torch.float16 if device == "cuda" else torch.float32
    refused = None if Path(model).exists() else _refused(model)
    try:
        processor = AutoProcessor.from_pretrained(model, local_files_only=bool(refused))
        network = AutoModelForImageTextToText.from_pretrained(model, dtype=dtype, local_files_only=bool(refused))
    except (*UNREADABLE, UnpicklingError) as error:
        if refused:
            raise refused from None
        reason = one_line(error, 150)
        raise UserError(
            f"not an image-to-text model that transformers can load ({reason}); on a machine with a network, run:"
            " framer fetch --weights OWNER/NAME, and give its folder",
            path=model,
            key="--model",
            code="unreadable",
        ) from None
    network.to(torch.device(device))  # type: ignore[arg-type]
    return processor, network.eval()


def _refused(model: str) -> UserError | None:
    """Why the hub does not give a model; None where it does.

    A single request: transformers alone would try an unreachable hub for minutes, file by file.
    """
    try:
        file = HubFile.parse(f"hf://{model}")
        check_environment(model)
        with hub_errors(model, file):
            HfApi().model_info(model, timeout=TIMEOUT)
    except ValueError as error:
        return UserError(f"no such folder, and not a model on the hub: {error}", path=model, key="--model")
    except Unavailable as reason:
        return reason
    return None


def _answer(processor: Any, network: Any, image: Image.Image, question: str, tokens: int) -> str:
    text: dict[str, str] = {}
    if question:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text["text"] = (
            processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
            if processor.chat_template
            else f"USER: <image>\n{question} ASSISTANT:"
        )
    inputs = processor(images=image, return_tensors="pt", **text).to(network.device, network.dtype)
    ids = network.generate(**inputs, max_new_tokens=tokens, **SAMPLING)
    asked = inputs["input_ids"].shape[1] if question else 0
    answer: str = processor.batch_decode(ids[:, asked:], skip_special_tokens=True)[0]
    return answer.strip()
