"""Conversion of published weights to a run, and of runs to files for other programs."""

from pathlib import Path

from framer.backbones.registry import backbone_class, settings_of
from framer.errors import UserError
from framer.provenance.cards import read_card, verify_payload
from framer.provenance.hashing import sha256_file
from framer.provenance.output import claimed, claimed_file
from framer.runs import run_dir


def convert(source: Path, backbone: str, form: str, out: Path, *, base: Path | None = None) -> None:
    """Write trained weights in another form.

    Args:
        source: folder of a run, or a file of published weights.
        backbone: name of the backbone that the weights belong to.
        form: "run", or one that the backbone's `export` knows.
        out: output folder or file, depending on the form.
        base: folder of the base; a run requires it, and so do some forms of `export`.

    Raises:
        UserError: source or base cannot be read or do not fit, or there is no such form; nothing is written then.
    """
    if form != "run":
        with claimed_file(out, lambda _: False, (source, base)):
            _export(source, backbone, form, out, base)
        return
    if base is None or source.is_dir():
        message = "a run is made from a file of published weights and a base; give both"
        raise UserError(message, path=source, key="--base", code="missing")
    with claimed(out, "run", names=(run_dir.MODEL, run_dir.CONFIG), inputs=(source, base)) as folder:
        model, identity = run_dir.load_base(base, backbone, {})
        settings, stages = model.load_published(source)
        config = {"settings": settings_of(backbone, settings).training, "stages": stages}
        published = {"file": source.name, "sha256": sha256_file(source)}
        facts = {"published": published, "code": run_dir.code_of("convert", backbone)}
        folder.clear()
        run_dir.write(out, "run", model, model.adapter_state(), config, facts, [], (base, identity))


def _export(source: Path, backbone: str, form: str, out: Path, base: Path | None) -> None:
    path = source
    if source.is_dir():
        verify_payload(source, read_card(source, "run"))
        path = source / run_dir.MODEL
    backbone_class(backbone).export(path, out, form, base)
