"""Paths of everything that a study reads and writes, spelled once, relative to the root of the repository.

Training, inference, the report, the workflow and the command line take them from here. A wildcard of Snakemake, such as
"{run}", in place of a name gives the pattern of all of them.
"""

from dataclasses import dataclass
from pathlib import Path

from framer.provenance.cards import CARD

DATASETS = Path("datasets")
LOGS = Path("logs")
SUPPLIED = Path("supplied")
CAPTIONS = Path("captions")
TINY_BASES = Path("weights", "tiny")
"""The pretrained tiny bases that come with the project, one folder a backbone."""


@dataclass(frozen=True)
class Paths:
    """Outputs of one study.

    Attributes:
        study: its name, which is that of its file.
    """

    study: str

    @property
    def out(self) -> Path:
        """Folder of all outputs."""
        return Path("results") / self.study

    @property
    def logs(self) -> Path:
        """Folder of the logs of its jobs."""
        return LOGS / self.study

    @property
    def tracking(self) -> Path:
        """Folder of TensorBoard and measured speeds."""
        return self.logs / "tracking"

    def log(self, rule: str, *wildcards: str) -> str:
        """Log of one job of a rule."""
        return f"{self.logs.joinpath(rule, *wildcards)}.log"

    def base(self, name: str) -> Path:
        """Folder of a base that the study trains."""
        return self.out / "bases" / name

    @property
    def runs(self) -> Path:
        """Folder of all runs."""
        return self.out / "runs"

    def run(self, name: str) -> Path:
        """Folder of a run."""
        return self.runs / name

    def tuning(self, run: str) -> Path:
        """The weight that a search chose for a tuned run."""
        return self.out / "tuning" / f"{run}.json"

    def encoded(self, backbone: str) -> Path:
        """Folder of the encoded training pairs of a backbone."""
        return self.out / "encoded" / backbone

    def images(self, row: str, set_id: str) -> Path:
        """Folder of the restored images of a row and test set."""
        return self.out / "images" / row / set_id

    def scores(self, row: str, set_id: str, protocol: str, kind: str = "csv") -> Path:
        """Scores of a row, test set and protocol; their sidecar is of kind json."""
        return self.out / "scores" / row / set_id / f"{protocol}.{kind}"

    @property
    def failures(self) -> Path:
        """Weights of metrics that could not be fetched, by name with the reason."""
        return self.out / "scores" / "failures.json"

    def analysis(self, backbone: str) -> Path:
        """Folder of the recorded analyses of a backbone."""
        return self.out / "analysis" / backbone

    def rehearsal(self, backbone: str) -> Path:
        """Folder of the rehearsal of a backbone, which is a study of its own and has its name."""
        return self.out.with_name(f"{self.study}-rehearsal-{backbone}")

    @property
    def cost(self) -> Path:
        """Measured cost of training."""
        return self.out / "analysis" / "cost.csv"

    @property
    def tables(self) -> Path:
        """Folder of all tables."""
        return self.out / "tables"

    def table(self, name: str, kind: str) -> Path:
        """A table as csv, html, md or tex."""
        return self.tables / f"{name}.{kind}"

    def figure(self, name: str, kind: str = "svg") -> Path:
        """A figure as svg or pdf."""
        return self.out / "figures" / f"{name}.{kind}"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.out / "report.html"


def dataset_card(set_id: str) -> Path:
    """Card of a data set, which stands for its images."""
    return DATASETS / set_id / CARD


def supplied(arm: str, set_id: str) -> Path:
    """Folder of the images STEM.png that another method restored, as a user supplies them."""
    return SUPPLIED / arm / set_id


def model_captions(model: str) -> Path:
    """Folder of the captions SET.csv that a model of the hub, owner/name, generates."""
    return CAPTIONS / model.replace("/", "--")


EARLY = "early"
"""Folder and figure of the images of early training (Fig. 8)."""
EARLY_IMAGES = 2
"""How many, from the start of the set."""
HR = "HR"
"""Folder of their ground truth, beside the folders of the recipes."""

TABLES = {
    "main": "No protocol.",
    "claims": "No arm of this study has both FRAMER and a baseline.",
    "ablation": "This study has no two recipes of one ablation.",
    "sweeps": "This study has no sweep.",
    "tuning": "This study tunes nothing.",
    "cost": "No cost was measured.",
}
"""The tables by name, each with its text where a study has nothing to show."""
OF_STUDIES = {
    "scatter": "Every test image: its baseline's score against FRAMER's, mean over training seeds.",
    "plane": "Distortion against perception; bars are 95% intervals over images.",
    "sweeps": "Difference to the baseline by the value of a swept field; bars are 95% intervals over seeds and images.",
    "curves": "Training loss without FRAMER's own term, and its running mean; dots are the held-out loss.",
    "spectra": "Radial power of SR over that of HR; dotted: the highest frequency of LR.",
}
"""The figures of every study, each with its caption."""
OF_TRAINING = ("scatter", "curves")
"""Those that only a study has that trains."""
WEIGHTS = ("card.json", "model.safetensors", "config.json", "log.csv")
"""The files of a base or a trained run."""
