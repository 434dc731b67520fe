"""Which tables and figures there are, and what they show in words: nobody needs to make one to say it."""

from framer.study.layout import EARLY
from framer.study.study import Study

OF_BACKBONES = {
    "densities": "magnitudes log(1 + |F|) of the final layer in the two rings; bands of one deviation over images.",
    "layers": "cosine of every layer to the final one; bands of one deviation over images.",
    "images": "cosine between the final layer's maps of two images.",
    "weights": "FAW and FAM of every layer at some moments of training.",
    EARLY: "images in early training: a column per moment, a row per image and recipe.",
}


def captions(study: Study) -> dict[str, str]:
    """What each figure shows that a study can have, by name, in the order of the page."""
    of_backbones = {
        f"{backbone}-{name}": f"{backbone}: {text}"
        for name, text in OF_BACKBONES.items()
        for backbone in study.config.backbones
    }
    return study.figures | of_backbones
