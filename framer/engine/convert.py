"""Published weights as a run, and runs as files for other programs."""

from pathlib import Path

from framer import provenance
from framer.backbones import backbone_class
from framer.backbones.settings import settings_of
from framer.engine import checkpoint
from framer.errors import UserError


def convert(source: Path, backbone: str, form: str, out: Path, *, base: Path | None = None) -> None:
    """Write trained weights in another form.

    Args:
        source: folder of a run, or a file of published weights.
        backbone: whose weights they are.
        form: "run", or one that the backbone's `export` knows.
        out: what is written; a folder or a file, as the form needs.
        base: folder of the base, which a run is tied to.

    Raises:
        UserError: source or base cannot be read or do not fit, or there is no such form; nothing is written then.
    """
    path = source
    if source.is_dir():
        provenance.verify_payload(source, provenance.read_card(source, "run"))
        path = source / checkpoint.MODEL
    if form != "run":
        backbone_class(backbone).export(path, out, form)
        return
    if base is None or source.is_dir():
        raise UserError(f"{source}: a run is made of a file of published weights and a base; give both")
    model, identity = checkpoint.load_base(base, backbone, {})
    settings, stages = model.load_published(source)
    config = {"settings": settings_of(backbone, settings).training, "stages": stages}
    published = {"file": source.name, "sha256": provenance.sha256_file(source)}
    facts = {"published": published, "code": checkpoint.code_of("convert", backbone)}
    checkpoint.write(out, "run", model, model.adapter_state(), config, facts, [], (base, identity))
