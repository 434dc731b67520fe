"""Weights of metrics, from where their authors publish them into the folder of weights: fetched once, hashed, and from
then on at hand for machines without a network.
"""

from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from tqdm import tqdm

from framer.errors import UserError
from framer.provenance import atomic, sha256_file
from framer.scoring import weights
from framer.scoring.protocols import Metric

REPO = "chaofengc/IQA-PyTorch-Weights"
"""Where pyiqa publishes its checkpoints, on the Hugging Face hub."""

TORCHVISION = "https://download.pytorch.org/models"
CLIP = "https://openaipublic.azureedge.net/clip/models"


def fetch(metrics: list[Metric], progress: bool = True) -> dict[str, str]:
    """Bring the weights of some metrics here. A file that is there is only checked.

    Args:
        metrics: any selection of a protocol's.
        progress: show bars on stderr.

    Returns:
        The sha256 of each file, by its name relative to the folder of weights.

    Raises:
        UserError: a file cannot be had, or is not the published one; it is thrown away then.
    """
    for name in sorted({name for metric in metrics for name in weights.missing(metric)}):
        target = weights.folder() / name
        if constants.HF_HUB_OFFLINE:
            raise UserError(f"{target}: not there, and HF_HUB_OFFLINE forbids to fetch it; run without it, or copy it")
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.startswith("hub/pyiqa/"):
            _from_hub(target)
        else:
            _from_web(_address(name), target, weights.stated(name), progress)
    return weights.hashes(metrics)


def _address(name: str) -> str:
    file = name.rpartition("/")[2]
    return f"{CLIP}/{weights.PUBLISHED[name]}/{file}" if name.startswith("hub/clip/") else f"{TORCHVISION}/{file}"


def _from_hub(target: Path) -> None:
    """Through the hub's client, which resumes, knows mirrors and tokens, and compares sizes only."""
    where = f"{REPO}: {target.name}"
    try:
        got = Path(hf_hub_download(REPO, target.name, local_dir=target.parent))
    except LocalEntryNotFoundError:
        raise UserError(f"{where}: the hub is out of reach; run where there is a network, or copy the file") from None
    except (HfHubHTTPError, OSError) as error:
        raise UserError(f"{where}: {_one_line(error)}") from None
    _check(got, target, weights.stated(f"hub/pyiqa/{target.name}"))


def _from_web(url: str, target: Path, sha256: str, progress: bool) -> None:
    with atomic(target) as part:
        try:
            with urlopen(url, timeout=60) as response, part.open("wb") as file:
                size = int(response.headers.get("Content-Length") or 0)
                bar = tqdm(desc=target.name, total=size or None, unit="B", unit_scale=True, disable=not progress)
                with bar:
                    while block := response.read(2**20):
                        file.write(block)
                        bar.update(len(block))
        except (URLError, OSError) as error:
            raise UserError(
                f"{url}: {_one_line(error)}; run where there is a network, or copy it to {target}"
            ) from None
        _check(part, target, sha256)


def _check(file: Path, target: Path, sha256: str) -> None:
    found = sha256_file(file)
    if not found.startswith(sha256):
        file.unlink()
        raise UserError(
            f"{target}: it came with sha256 {found[:8]}, not {sha256[:8]}; it was thrown away, try again later"
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
