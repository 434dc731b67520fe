import json
from pathlib import Path

import pytest
import yaml

from framer.config_file import read_yaml
from framer.errors import UserError
from framer.method import Recipe
from framer.provenance.hashing import derive_seed
from framer.report.claims import baseline_of
from framer.study.availability import not_available
from framer.study.layout import TINY_BASES
from framer.study.schema import StudyConfig
from framer.study.study import Study
from tests.fixtures.clone import ROOT

STAGE = {"steps": 1, "batch": 1, "crop": 32, "lr": 1.0}
FREEU = {"s1": 0.9, "s2": 0.2, "b1": 1.4, "b2": 1.6}
FOCAL = {"base": "paper", "objective": "focal_frequency"}
TRUTH = {"base": "paper", "teacher": "truth"}
DATASETS = ROOT / "datasets"
STUDIES = sorted((ROOT / "config").glob("*.yaml"))


@pytest.fixture
def smoke() -> Study:
    return Study.load(ROOT / "config" / "smoke.yaml", DATASETS)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_shipped_studies_load(path: Path) -> None:
    study = Study.load(path, DATASETS)
    assert study.rows
    assert set(study.runs) <= set(study.rows)


def test_the_schema_for_editors_is_current() -> None:
    shipped = json.loads((ROOT / "config" / "study.schema.json").read_text())
    assert shipped == StudyConfig.model_json_schema(), "make schema"


def spoilt(tmp_path: Path, *edits) -> Path:
    config = yaml.safe_load((ROOT / "config" / "smoke.yaml").read_text())
    for keys, value in edits:
        inner = config
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (["sedd"], 1, ["unknown key 'sedd'", "did you mean 'seed'"]),
        (
            ["backbones", "pisa_sr", "train", "pixel", "step"],
            1,
            ["backbones.pisa_sr.train.pixel", "'step'", "did you mean 'steps'"],
        ),
        (["arms", "pisa_sr-framer", "recipe"], "reelased", ["arms.pisa_sr-framer.recipe", "did you mean 'released'"]),
        (["arms", "pisa_sr-framer", "backbone"], "pisa", ["arms.pisa_sr-framer.backbone", "'pisa'"]),
        (["arms", "dit4sr-blank", "of"], "dit4sr-base", ["arms.dit4sr-blank.of", "dit4sr-baseline"]),
        (["arms", "Bad Name"], {"label": "x"}, ["arms", "Bad Name"]),
        (["sets"], ["photos-crop182"], ["photos-crop182", "did you mean 'photos-crop128'"]),
        (["seed"], "1", ["seed", "integer", "not '1'"]),
        (["seeds"], [], ["seeds"]),
        (["protocols"], ["osedif"], ["protocols", "did you mean 'osediff'"]),
        (["metrics"], ["psnrr"], ["metrics", "did you mean 'psnr'"]),
        (["backbones", "dit4sr", "data", "degradation"], "pisasr", ["degradation", "did you mean 'pisa_sr'"]),
        (["seeds"], [0, 0], ["seeds"]),
        (["seeds"], [-1], ["seeds.0", "greater than or equal to 0"]),
        (["backbones", "pisa_sr", "train", "pixel", "lr"], float("inf"), ["train.pixel.lr", "finite"]),
        (["backbones", "pisa-sr"], {}, ["backbones.pisa-sr"]),
        (["backbones", "dit4sr", "train"], {}, ["backbones.dit4sr.train"]),
        (["backbones", "dit4sr"], {"base": "owner/name"}, ["arms.dit4sr-baseline", "data and train, or a checkpoint"]),
        (["backbones", "dit4sr", "train", "controll"], STAGE, ["train", "did you mean 'control'"]),
        (["backbones", "dit4sr", "settings", "restore", "step"], 1, ["backbones.dit4sr.settings: restore", "'steps'"]),
        (["arms", "dit4sr-framer", "settings"], {"kee": 1}, ["arms.dit4sr-framer.settings", "unknown key 'kee'"]),
        (["arms", "dit4sr-baseline-s0"], {"label": "x"}, ["arms.dit4sr-baseline-s0", "rename the arm"]),
        (["backbones", "pisa_sr", "data", "sets"], ["photos-crop128"], ["data.sets", "no HR images to train on"]),
        (["backbones", "pisa_sr", "data", "sets"], ["reallq250"], ["data.sets", "no HR images to train on"]),
        (["heldout", "set"], "reallq250", ["heldout.set", "no pairs"]),
        (["sets"], ["lsdir"], ["sets", "no LR images"]),
        (["arms", "x"], {"label": "x", "images": True, "recipe": "paper"}, ["arms.x", "'images' has no model"]),
        (["arms", "x"], {"label": "x", "checkpoint": "pisa_sr"}, ["arms.x.checkpoint", "needs 'backbone'"]),
        (["arms", "x"], {"label": "x", "model": "spandrel"}, ["arms.x", "an arm with 'model' has 'checkpoint'"]),
        (
            ["arms", "x"],
            {"label": "x", "model": "spandrel", "checkpoint": "bsrgan", "settings": {"restore": {"tile": 9}}},
            ["arms.x.settings", "greater than or equal to 32"],
        ),
        (["arms", "x"], {"label": "x", "source": {"repository": "r"}}, ["arms.x.source", "supplied images"]),
        (["arms", "x"], {"label": "x", "sets": ["photos"]}, ["arms.x.sets", "did you mean 'photos-crop128'"]),
        (["arms", "x"], {"label": "x", "backbone": "pisa_sr", "seeds": [1, 1]}, ["arms.x.seeds", "twice"]),
        (["ablations"], {"pisasr": {"recipes": "all"}}, ["ablations", "did you mean 'pisa_sr'"]),
        (
            ["arms", "x"],
            {"label": "x", "backbone": "pisa_sr", "recipe": TRUTH, "settings": {"framer_maps": "features"}},
            ["arms.x: recipe.teacher", "framer_maps"],
        ),
        (["arms", "x"], {"label": "x", "of": "dit4sr-framer", "freeu": FREEU}, ["arms.x.freeu", "no skip connections"]),
        (
            ["arms", "x"],
            {"label": "x", "backbone": "dit4sr", "recipe": FOCAL | {"space": "image"}},
            ["arms.x: recipe.objective", "true image", "latent"],
        ),
        (["arms", "x"], {"label": "x", "freeu": FREEU}, ["arms.x", "'freeu' need 'of'"]),
        (["arms", "x"], {"label": "x", "of": "pisa_sr-framer", "freeu": FREEU | {"s1": 0}}, ["arms.x.freeu.s1"]),
        (["ablations"], {"pisa_sr": {"recipes": ["l1"]}}, ["ablations.pisa_sr.recipes", "'l1'"]),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, keys, value, words) -> None:
    path = spoilt(tmp_path, (keys, value))
    with pytest.raises(UserError) as caught:
        Study.load(path, DATASETS)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"seed: 1\nseed: 2\n", "key 'seed' is repeated"),
        (b"a: [", "not valid YAML"),
        (b"", "empty; write KEY: VALUE"),
        (b"- 1\n", "not a mapping"),
        (b"? [a, b]\n: 1\n", "a key is not a plain word"),
        (b"title: \xff\xfe\n", "not UTF-8"),
    ],
)
def test_broken_yaml_is_one_line(tmp_path: Path, text: bytes, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text)
    with pytest.raises(UserError, match=words) as caught:
        Study.load(path, DATASETS)
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").mkdir()
    with pytest.raises(UserError, match=r"mine\.yaml: cannot be read"):
        Study.load(tmp_path / "mine.yaml", DATASETS)


@pytest.mark.parametrize("text", ["2e-3", "2.e-3", "+2E-3", "0.002"])
def test_numbers_are_read_as_they_look(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"lr: {text}\n")
    assert read_yaml(path) == {"lr": 0.002}


def test_a_missing_study_names_those_that_exist() -> None:
    with pytest.raises(UserError, match=r"micro, paper, .*, single-gpu, smoke"):
        Study.load(ROOT / "config" / "smok.yaml", DATASETS)


def test_arms_of_a_backbone_share_their_random_numbers(smoke: Study) -> None:
    baseline, framer = smoke.train_job("pisa_sr-baseline-s0"), smoke.train_job("pisa_sr-framer-s0")
    differing = {key for key, value in baseline.as_dict().items() if framer.as_dict()[key] != value}
    assert differing == {"recipe"}


def test_random_streams_are_independent(smoke: Study) -> None:
    micro = Study.load(ROOT / "config" / "micro.yaml", DATASETS)
    jobs = [micro.pretrain_job("pisa_sr"), micro.pretrain_job("dit4sr")]
    jobs += [smoke.train_job("pisa_sr-baseline-s0"), smoke.train_job("dit4sr-baseline-s0")]
    seeds = [seed for job in jobs for seed in job.seeds.values()]
    assert len(set(seeds)) == len(seeds)


def test_what_a_stage_does_not_use_does_not_change_its_digest(tmp_path: Path) -> None:
    def job(*edits):
        return Study.load(spoilt(tmp_path, *edits), DATASETS).train_job("pisa_sr-framer-s0").digest

    same = job()
    assert job((["metrics"], ["psnr"])) == same
    assert job((["arms", "pisa_sr-framer", "label"], "other")) == same
    assert job((["backbones", "dit4sr", "train", "control", "steps"], 7)) == same
    assert job((["seeds"], [0, 1])) == same
    assert job((["seed"], 1)) != same
    assert job((["arms", "pisa_sr-framer", "recipe"], "paper")) != same
    assert job((["backbones", "pisa_sr", "train", "pixel", "steps"], 7)) != same


def test_freeu_is_a_row_of_its_arms_model_with_a_digest_of_its_own(tmp_path: Path) -> None:
    """Of trained arms at their seeds, of published weights at theirs; jobs without it keep their digests."""
    arms = {
        "published": {"label": "a", "backbone": "pisa_sr", "checkpoint": "pisa_sr"},
        "trained-freeu": {"label": "b", "of": "pisa_sr-framer", "freeu": FREEU},
        "published-freeu": {"label": "c", "of": "published", "freeu": FREEU},
    }
    study = Study.load(spoilt(tmp_path, *((["arms", name], arm) for name, arm in arms.items())), DATASETS)
    assert {row: study.rows[row].run for row in study.rows if "freeu" in row} == {
        "trained-freeu-s0": "pisa_sr-framer-s0",
        "published-freeu-s0": "published",
    }
    for freed, plain in (("trained-freeu-s0", "pisa_sr-framer-s0"), ("published-freeu-s0", "published-s0")):
        one, other = study.restore_job(freed), study.restore_job(plain)
        assert one.as_dict() == other.as_dict() | {"freeu": FREEU} and one.digest != other.digest


def test_rows_are_arms_times_seeds(tmp_path: Path) -> None:
    study = Study.load(spoilt(tmp_path, (["seeds"], [3, 5])), DATASETS)
    assert list(study.rows)[:5] == [
        "bicubic",
        "pisa_sr-baseline-s3",
        "pisa_sr-baseline-s5",
        "pisa_sr-framer-s3",
        "pisa_sr-framer-s5",
    ]
    assert study.rows["dit4sr-blank-s5"].run == "dit4sr-baseline-s5"
    assert "dit4sr-blank-s5" not in study.runs
    assert study.train_job("pisa_sr-framer-s3").seeds != study.train_job("pisa_sr-framer-s5").seeds


def test_an_untrained_arm_trains_nothing(smoke: Study) -> None:
    assert smoke.base_of("dit4sr-untrained-s0") == "dit4sr-untrained"
    assert smoke.pretrain_job("dit4sr-untrained").stages == {}
    assert smoke.train_job("dit4sr-untrained-s0").stages["control"].steps == 0


def test_a_tiny_base_that_is_not_pretrained_here_comes_with_the_project(tmp_path: Path) -> None:
    pretrained, shipped = (["backbones", "pisa_sr", "pretrain"], STAGE), (["backbones", "dit4sr", "pretrain"], None)
    study = Study.load(spoilt(tmp_path, pretrained, shipped), DATASETS)
    assert study.bases == ["pisa_sr", "dit4sr-untrained"]
    assert study.base_folder("dit4sr-framer-s0") == TINY_BASES / "dit4sr"
    assert study.base_folder("dit4sr-untrained-s0") == study.paths.base("dit4sr-untrained")
    assert study.base_folder("pisa_sr-framer-s0") == study.paths.base("pisa_sr")
    with pytest.raises(UserError, match=r"backbones\.pisa_sr\.pretrain: for base 'tiny' alone"):
        Study.load(spoilt(tmp_path, pretrained, (["backbones", "pisa_sr", "base"], "random")), DATASETS)


ABLATED = (["ablations"], {"pisa_sr": {"recipes": ["released", "l2", "cutoff_0.1"], "seeds": [4]}})


def test_ablations_are_arms_of_the_grid_alone(tmp_path: Path) -> None:
    """A recipe that an arm has already is not trained twice, at whatever place of the file it stands."""
    study = Study.load(spoilt(tmp_path, ABLATED), DATASETS)
    assert study.ablation_arms == {"pisa_sr-l2", "pisa_sr-cutoff_0_1"}
    assert study.rows["pisa_sr-cutoff_0_1-s4"].run in study.runs
    job = study.train_job("pisa_sr-cutoff_0_1-s4")
    assert job.recipe == Recipe.named("cutoff_0.1") and job.seeds == study.train_job("pisa_sr-l2-s4").seeds


def test_all_recipes_are_ablated(tmp_path: Path) -> None:
    study = Study.load(spoilt(tmp_path, (["ablations"], {"dit4sr": {"recipes": "all"}})), DATASETS)
    recipes = [arm.recipe.name for arm in study.arms.values() if arm.backbone == "dit4sr" and arm.recipe]
    assert sorted([*recipes, "noise_only"]) == sorted(Recipe.names()), "which is the baseline's training"


@pytest.mark.parametrize(
    ("baseline", "ablation", "trained"),
    [
        ({}, {}, False),
        ({"seeds": [3, 4]}, {"seeds": [4]}, False),
        ({"sets": ["photos-crop128"]}, {"sets": ["photos-crop128"]}, False),
        ({}, {"seeds": [4]}, True),
        ({"seeds": [3]}, {"seeds": [3, 4]}, True),
        ({"settings": {"null_text": 0.5}}, {}, True),
        ({"untrained": True}, {}, True),
        ({"checkpoint": "acceptee--DiT4SR"}, {}, True),
        ({"recipe": "l2"}, {}, True),
    ],
)
def test_a_loss_of_zero_is_trained_only_without_a_baseline(
    tmp_path: Path, baseline: dict, ablation: dict, trained: bool
) -> None:
    arms = {"base": {"label": "Base", "backbone": "dit4sr"} | baseline}
    ablations = {"dit4sr": {"recipes": ["noise_only", "no_fam"]} | ablation}
    study = Study.load(spoilt(tmp_path, (["arms"], arms), (["ablations"], ablations)), DATASETS)
    assert study.ablation_arms == {"dit4sr-no_fam", *["dit4sr-noise_only"] * trained}


def test_published_weights_are_one_run_of_several_samplings(tmp_path: Path) -> None:
    arm = {"label": "x", "backbone": "dit4sr", "checkpoint": "acceptee--DiT4SR", "seeds": [1, 2]}
    study = Study.load(spoilt(tmp_path, (["arms", "author"], arm)), DATASETS)
    assert [study.rows[f"author-s{seed}"].run for seed in (1, 2)] == ["author", "author"]
    assert study.released == {"author": "acceptee--DiT4SR"} and not {"author-s1", "author"} & {*study.runs}
    assert study.restore_job("author-s1").seed != study.restore_job("author-s2").seed
    assert study.restore_job("author-s1").seed == derive_seed(study.config.seed, "sampling", 1)
    gone = not_available(study, {"acceptee--DiT4SR": "put it there"})
    assert gone == {(f"author-s{seed}", "photos-crop128"): "put it there" for seed in (1, 2)}


def test_arms_that_differ_in_the_recipe_alone_are_fair(smoke: Study, tmp_path: Path) -> None:
    assert smoke.differences("pisa_sr-framer", "pisa_sr-baseline") == []
    edits = [(["arms", "pisa_sr-framer", "settings"], {"csd": 2.0, "restore": {"lambda_sem": 0.5}})]
    unfair = Study.load(spoilt(tmp_path, *edits), DATASETS)
    assert unfair.differences("pisa_sr-framer", "pisa_sr-baseline") == [
        "settings.csd: 2.0, not 1.0",
        "restore.settings.lambda_sem: 0.5, not None",
    ]
    assert smoke.differences("dit4sr-untrained", "dit4sr-baseline") == ["stages.control.steps: 0, not 200"]
    apart = Study.load(spoilt(tmp_path, (["arms", "pisa_sr-framer", "seeds"], [8])), DATASETS)
    assert apart.differences("pisa_sr-framer", "pisa_sr-baseline") == ["seeds: [8], not [0]"]
    with pytest.raises(UserError, match=r"arms\.bicubic: is not trained"):
        smoke.differences("bicubic", "pisa_sr-baseline")


@pytest.mark.parametrize("name", ["paper", "micro", "single-gpu"])
def test_every_comparison_that_a_study_makes_is_fair(name: str) -> None:
    study = Study.load(ROOT / "config" / f"{name}.yaml", DATASETS)
    pairs = [(arm, other) for arm in study.arms if (other := baseline_of(study, arm))]
    assert pairs
    assert {(arm, *study.differences(arm, other)) for arm, other in pairs} == {(arm,) for arm, _ in pairs}


def test_missing_data_omits_only_its_rows(tmp_path: Path) -> None:
    study = Study.load(spoilt(tmp_path, (["arms", "swinir"], {"label": "SwinIR", "images": True})), DATASETS)
    name = "photos-crop128"
    assert not_available(study, {}) == {}
    assert not_available(study, {f"swinir/{name}": "bring it"}) == {("swinir", name): "bring it"}
    stopped = not_available(study, {"photos": "bring them"})
    assert {row for row, _ in stopped} == {row for row in study.rows if row not in ("bicubic", "swinir")}
    assert all("photos" in reason for reason in stopped.values())


def test_a_batch_must_be_spread_evenly_over_the_gpus(tmp_path: Path) -> None:
    for gpus, words in ((2, None), (3, r"gpus: the batch of \d+ of train\.pixel cannot be split over 3 GPUs")):
        path = spoilt(tmp_path, (["backbones", "pisa_sr", "gpus"], gpus))
        if words is None:
            plain = Study.load(ROOT / "config" / "smoke.yaml", DATASETS)
            run = "pisa_sr-baseline-s0"
            assert Study.load(path, DATASETS).train_job(run).digest == plain.train_job(run).digest
        else:
            with pytest.raises(UserError, match=words):
                Study.load(path, DATASETS)


def test_a_study_that_trains_nothing_has_no_figure_of_training(smoke: Study) -> None:
    methods = Study.load(ROOT / "config" / "methods.yaml", DATASETS)
    assert not methods.runs
    assert set(smoke.figures) - set(methods.figures) == {"scatter", "curves"}
