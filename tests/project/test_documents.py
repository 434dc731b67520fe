"""What the documents show exists, parses and runs: commands, links, paths, names and snippets."""

import argparse
import json
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import yaml

import framer
from framer.cli import build_parser, main
from framer.data.manifest import Manifest
from framer.report.crossed import gain_for, power
from framer.report.power import ASSUMED, SEEDS, claims_of
from framer.scoring.definitions import Definitions
from framer.scoring.protocols import Protocol
from framer.study.study import Study
from framer.weights.manifest import WeightsManifest
from tests.fixtures.clone import ROOT
from tests.fixtures.processes import run_module

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(*languages: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL):
            block = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
            found.append(Block(name(page), text.count("\n", 0, match.start()) + 1, match[2], block))
    return [block for block in found if block.language in languages]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def spans(page: Path) -> list[str]:
    """What stands in backticks in the prose of a page, on one line each."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def commands(*programs: str) -> list[tuple[str, list[str]]]:
    """The lines of shell blocks that start with one of some programs, as words, each with where it stands."""
    found = []
    for block in blocks("sh", "bash"):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and (not programs or words[0] in programs):
                found.append((str(block), words))
    return found


def subparsers() -> dict[str, argparse.ArgumentParser]:
    (action,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return dict(action.choices)


def every(kind: str, found: list[tuple[str, list[str]]]) -> pytest.MarkDecorator:
    """A test for each command."""
    return pytest.mark.parametrize(kind, [words for _, words in found], ids=[where for where, _ in found])


def test_the_pages_were_read() -> None:
    """Of an empty list every test below would pass."""
    assert len(PAGES) > 10 and len(commands("framer")) > 5 and len(commands("make")) > 3
    assert len(blocks("python")) > 2 and len(blocks("yaml")) > 2 and len(list(links())) > 20


def test_every_shell_command_is_of_a_kind_that_is_checked() -> None:
    others = [words for _, words in commands() if words[0] not in {"framer", "make", "snakemake"}]
    assert {tuple(words) for words in others} <= {("source", ".venv/bin/activate")}


@every("words", commands("framer"))
def test_framer_commands_parse(words: list[str]) -> None:
    try:
        build_parser().parse_args(words[1:])
    except SystemExit as done:
        assert done.code == 0, shlex.join(words)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_framer_commands_in_prose_exist(page: Path) -> None:
    """They are often shortened; what they name must be there."""
    known = subparsers()
    for span in (span for span in spans(page) if span.startswith("framer ")):
        command, *rest = span.removeprefix("framer ").split(" ")
        if command in {"COMMAND", "--help"}:
            continue
        assert command in known, span
        options = {option for action in known[command]._actions for option in action.option_strings}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= options, span


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_options_in_prose_exist(page: Path) -> None:
    known = {
        option for parser in subparsers().values() for action in parser._actions for option in action.option_strings
    }
    known |= set(snakemake_options()) | {"--signal"}  # the last is Slurm's
    for span in (span for span in spans(page) if re.fullmatch(r"--[a-z-]+(?: [^ ]+)?", span)):
        assert span.split(" ")[0] in known, span


def snakemake_options() -> dict[str, argparse.Action]:
    from snakemake.cli import get_argument_parser

    return get_argument_parser()._option_string_actions


def make_targets() -> set[str]:
    return set(re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_make_targets_exist() -> None:
    shown = {word for _, words in commands("make") for word in words[1:]}
    shown |= {
        span.removeprefix("make ") for page in PAGES for span in spans(page) if re.fullmatch(r"make [\w-]+", span)
    }
    assert shown <= make_targets()


def test_the_makefile_lists_its_targets() -> None:
    listed = set(re.findall(r"^# make ([\w-]+) ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert listed == make_targets()


def dry_runs() -> list[tuple[str, list[str]]]:
    """The snakemake commands as dry runs, each once."""
    found = {}
    for where, words in commands("snakemake"):
        found.setdefault(tuple(word for word in words if word != "-n"), where)
    return [(where, [*words, "-n"]) for words, where in found.items()]


@every("words", dry_runs())
def test_snakemake_commands_plan(words: list[str], clone: Path) -> None:
    done = run_module(*words, cwd=clone)
    assert done.returncode == 0, done.stderr


def links() -> Iterator[tuple[Path, str]]:
    """Links within the project, each with its page."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            if "://" not in target:
                yield page, target


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    found = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


@pytest.mark.parametrize(
    ("page", "target"), list(links()), ids=lambda value: name(value) if isinstance(value, Path) else value
)
def test_links_lead_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    file = (page.parent / path).resolve() if path else page
    assert file.exists()
    if anchor:
        assert anchor in headings(file)


FOLDERS = "framer|tests|bench|config|docs|examples|slurm|workflow|weights|datasets|results/published"
# What users make and what commands write; each is told as such where it is named.
MADE = re.compile(
    r"[A-Z]{3,}|<|datasets/mine|weights/(owner|OWNER)|results/published/scores|^weights/stabilityai[^.]*$"
)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_paths_exist(page: Path) -> None:
    for span in spans(page):
        if re.fullmatch(rf"(?:{FOLDERS})/[\w./*-]*", span) and not MADE.search(span):
            assert list(ROOT.glob(span.rstrip("/"))), span


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_names_of_the_package_resolve(page: Path) -> None:
    for span in spans(page):
        if match := re.match(r"(framer(?:\.\w+)+)(?:\(|$)", span):
            assert pkgutil.resolve_name(match[1]) is not None


# tests/method/test_method_docs.py looks at what that page's snippets print.
@pytest.mark.parametrize("block", [b for b in blocks("python") if b.page != "docs/method.md"], ids=str)
def test_python_snippets_run(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise_image) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("my_images", "ground_truth"):
        noise_image(tmp_path / folder / "1.png")
    exec(compile(block.text, str(block), "exec"), {})


@pytest.mark.parametrize("block", blocks("yaml", "toml", "json"), ids=str)
def test_data_snippets_are_what_they_say(block: Block, tmp_path: Path) -> None:
    loaded = {"yaml": yaml.safe_load, "toml": tomllib.loads, "json": json.loads}[block.language](block.text)
    assert isinstance(loaded, dict)
    if "sources" in loaded and None not in loaded["sources"] and "..." not in block.text:
        (tmp_path / f"{loaded['id']}.yaml").write_text(block.text)
        Manifest.load(loaded["id"], tmp_path)
    if "loader" in loaded:
        (tmp_path / f"{loaded['id']}.yaml").write_text(block.text)
        WeightsManifest.load(loaded["id"], tmp_path)
    if loaded.keys() == {"summary", "metrics"}:
        (tmp_path / "mine.yaml").write_text(block.text)
        assert Protocol.named(str(tmp_path / "mine.yaml")).metrics


def test_the_protocol_shown_has_every_metric_and_names_every_choice() -> None:
    (shown,) = (block for block in blocks("yaml") if block.page == "docs/scoring.md")
    assert yaml.safe_load(shown.text)["metrics"].keys() == Definitions.model_fields.keys()
    for name, field in Definitions.model_fields.items():
        (line,) = (line for line in shown.text.splitlines() if line.startswith(f"  {name}:"))
        (kind,) = (kind for kind in get_args(field.annotation) if kind is not type(None))
        for key, value in kind.model_fields.items():
            assert f"{key}: " in line.partition("#")[0]
            if get_origin(value.annotation) is Literal:
                assert f"{key}: {', '.join(get_args(value.annotation))}" in line.partition("#")[2]


def test_the_gains_that_few_seeds_confirm_are_those_of_the_plan() -> None:
    text = (ROOT / "docs" / "paper.md").read_text()
    family = len(claims_of(Study.load(ROOT / "config" / "paper.yaml")))
    assert f"if {family} claims are to be judged" in text
    for seeds in SEEDS:
        gains = [gain_for(one, seeds=seeds, images=100, level=1 - 0.05 / family) for one in ASSUMED["psnr"]]
        assert "| " + " | ".join([str(seeds), *(f"{gain:.2g}" for gain in gains)]) + " |" in text
    assert power(0.2, ASSUMED["psnr"][0], seeds=3, images=100, level=1 - 0.05 / 4) == pytest.approx(0.4, abs=0.05)


def test_the_paper_study_takes_what_is_said(
    clone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(clone)  # where no training has left its speed
    main(["plan", "--study", "config/paper.yaml", "--all"])
    hours = re.search(r"([\d.]+) GPU-hours", capsys.readouterr().out)
    assert hours is not None
    assert f"About {round(float(hours[1]), -2):.0f} H100-hours" in (ROOT / "docs" / "paper.md").read_text()


def test_the_small_study_has_as_many_photographs_as_is_said() -> None:
    small, whole = (
        sum(Manifest.load(name, ROOT / "datasets").count or 0 for name in study.config.backbones["pisa_sr"].data.sets)
        for study in (Study.load(ROOT / "config" / f"{name}.yaml") for name in ("single-gpu", "paper"))
    )
    for page in ("docs/paper.md", "config/single-gpu.yaml"):
        text = (ROOT / page).read_text()
        assert f" {small}" in text and f" {whole:,}" in text


def test_the_loss_needs_torch_alone() -> None:
    """As README and docs/method.md say: the dependencies of the harness cannot be imported here."""
    harness = PROJECT["optional-dependencies"]["harness"]
    others = {re.split(r"[^\w-]", text)[0].lower() for text in harness} - {"torch"}
    hidden = [top for top, owners in packages_distributions().items() if others & {owner.lower() for owner in owners}]
    assert {"numpy", "pydantic", "yaml", "PIL"} <= set(hidden)
    code = f"""
import sys
sys.modules.update(dict.fromkeys({hidden!r}))  # an import of what is None fails
import torch
from framer import FramerLoss, Recipe
from framer.method import Aligned, AlignmentHeads, analysis, compared, final_projection, record, to_x0
teacher, *students = torch.randn(4, 2, 4, 16, 16)
print(FramerLoss(Recipe.named("paper"))(students, teacher).loss.item())
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0


def test_citation_and_changelog_name_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0"
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    changes = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert PROJECT["version"] in changes
    assert PROJECT["version"] == framer.__version__


def test_the_license_is_the_text_of_apache() -> None:
    text = (ROOT / "LICENSE").read_text().split()
    assert text[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in " ".join(text) and len(text) == 1581
