"""Where a study's outputs lie."""

from pathlib import Path

from framer.study.study import Study

FOLDER = "analysis"
COST = "cost.csv"


def folder(study: Study, backbone: str) -> Path:
    """Where the analyses of a backbone lie."""
    return study.out / FOLDER / backbone


def cost_file(study: Study) -> Path:
    """Where what training costs lies."""
    return study.out / FOLDER / COST


EARLY = "early"
"""Folder and figure of the images of early training (Fig. 8)."""
EARLY_IMAGES = 2
"""How many, from the start of the set."""
HR = "HR"
"""Folder of what they should have become, beside those of the recipes."""

TABLES = {
    "main": "No protocol.",
    "claims": "No arm of this study has both FRAMER and a baseline.",
    "ablation": "This study has no two recipes of one ablation.",
    "cost": "No cost was measured.",
}
"""The files of tables by name, and what stands there where a study has nothing to show."""
OF_STUDIES = {
    "scatter": "Every test image: its baseline's score against FRAMER's, mean over training seeds.",
    "plane": "Distortion against perception; bars are 95% intervals over images.",
    "curves": "Training loss without FRAMER's own term, and its running mean; dots are the held-out loss.",
    "spectra": "Radial power of SR over that of HR; dotted: the highest frequency of LR.",
}


DATASETS = Path("datasets")
WEIGHTS = ("card.json", "model.safetensors", "config.json", "log.csv")
"""What a base or a run consists of."""
