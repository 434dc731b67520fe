"""Published bases: a snapshot of a repository on the Hugging Face hub, hashed file by file."""

from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from framer.errors import UserError
from framer.provenance import write_card

# What diffusers' `from_pretrained` reads of a safetensors pipeline; pickles and other formats stay where they are.
PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors"]


def fetch_base(repo: str, out: Path, revision: str = "main") -> None:
    """Download a diffusers pipeline and write a card of kind "base" that lists every file's sha256.

    Interrupted downloads resume. The hub's client checks sizes alone, so the hashes are taken here, at first use.

    Args:
        repo: `owner/name` on the hub.
        out: folder of the base.
        revision: branch, tag or commit.

    Raises:
        UserError: no such repository or revision, a licence to accept, or no network.
    """
    where = f"{repo}@{revision}"
    try:
        # A branch can move while files come down: all of them come from the commit that it names now.
        commit = HfApi().model_info(repo, revision=revision).sha
        snapshot_download(repo, revision=commit, local_dir=out, allow_patterns=PATTERNS)
    except GatedRepoError:
        raise UserError(
            f"{where}: accept its licence on the hub, then set HF_TOKEN to a token of your account"
        ) from None
    except RevisionNotFoundError:
        raise UserError(f"{where}: the repository has no such revision") from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{where}: no such repository on the hub, or a private one: check the name and HF_TOKEN"
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{where}: the hub cannot be reached ({reason}); run this where there is a network") from None
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    payload = [name for name in names if not name.startswith(".cache/") and name != "card.json"]
    if not any(name.endswith(".safetensors") for name in payload):
        raise UserError(f"{where}: no safetensors weights in it; name a diffusers pipeline")
    write_card(out, "base", payload, repo=repo, revision=revision, commit=commit)
