"""Where a row comes from whose model the study did not train, in words for a footnote."""

from framer.study.study import Study


def origin(study: Study, arm: str) -> str | None:
    """The footnote of such a row; None for one that the study trained, and for bicubic interpolation."""
    if study.arms[arm].images:
        source = study.arms[arm].source
        return f"Supplied images of another method{f', from {source}' if source else ''}"
    asked = any(arm in pair for pair in study.config.compare)
    standing = "compared where the study asks for it" if asked else "shown, compared with nothing"
    if method := study.method_manifests.get(arm):
        return f"Run here by its authors' code, {method.repository} at {method.commit[:8]}: {standing}"
    if weights := study.feed_forward.get(arm):
        return f"Published weights, {weights}, of a network that is not trained here: {standing}"
    if weights := study.released.get(arm):
        seeds = ", seeds of the sampling" if len(study.arms[arm].seeds or []) > 1 else ""
        return f"Published weights, {weights}{seeds}; their training is not ours: {standing}"
    return None
