"""Ship a trained base with the project: its weights in half precision, its log, and a card of how it was made.

`make bases` runs it on each tiny base. Studies start from what it wrote, by hash, whatever code made it.
"""

import shutil
import sys
from pathlib import Path

from framer.backbones.loading import read_tensors, write_tensors
from framer.provenance.cards import CARD, read_card, verify_payload, write_card
from framer.provenance.files import atomic, write_json
from framer.runs.run_dir import CONFIG, MODEL, BaseConfig, read_config

LOGS = ("log.csv", "heldout.csv")


def ship(base: Path, out: Path) -> None:
    """Write a base once more, with weights of 16 bits.

    Args:
        base: folder of a base that `framer pretrain` has finished.
        out: folder of the shipped base; what it held of one is replaced.

    Raises:
        UserError: the base is unfinished or damaged.
    """
    card = read_card(base, "base")
    verify_payload(base, card)
    config = read_config(base, BaseConfig)
    halves = {name: tensor.half() for name, tensor in read_tensors(base / MODEL).items()}
    out.mkdir(parents=True, exist_ok=True)
    (out / CARD).unlink(missing_ok=True)
    with atomic(out / MODEL) as part:
        write_tensors(part, halves, {"format": "pt"})
    write_json(out / CONFIG, config.model_dump())
    logs = [name for name in LOGS if (base / name).is_file()]
    for name in logs:
        shutil.copyfile(base / name, out / name)
    facts = {key: card[key] for key in ("job", "data", "code", "threads", "lock", "versions")}
    write_card(out, "base", [MODEL, CONFIG, *logs], **facts, float32=card["payload"][MODEL])


if __name__ == "__main__":
    ship(*map(Path, sys.argv[1:]))
