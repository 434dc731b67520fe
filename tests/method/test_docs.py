"""What the documentation shows runs, and is complete."""

import importlib.util
import re
from dataclasses import fields

import pytest
import torch

from framer import FramerLoss, Recipe
from tests.fixtures.clone import ROOT


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["train_sd3", "train_unet"])
def example(request):
    return ROOT / f"examples/{request.param}.py"


def test_the_example_trains_and_adds_at_most_ten_lines(example):
    lines = example.read_text(encoding="utf-8").splitlines()
    assert 0 < sum(line.endswith("# +") for line in lines) <= 10 and len(lines) < 80
    losses = load(example).train(steps=12, size=16)
    assert sum(losses[-3:]) < sum(losses[:3])


def test_without_the_added_lines_the_example_is_the_plain_loop(example, tmp_path):
    lines = example.read_text(encoding="utf-8").splitlines()
    plain = tmp_path / "plain.py"
    plain.write_text("\n".join(line for line in lines if not line.endswith("# +")), encoding="utf-8")
    module = load(plain)
    assert not any("framer" in name.lower() for name in vars(module))
    losses = module.train(steps=2, size=16)
    assert len(losses) == 2 and losses[0] < load(example).train(steps=1, size=16)[0]


@pytest.mark.parametrize("number", [0, 1])
def test_the_code_of_the_method_page_runs(number, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/method.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    torch.manual_seed(0)
    exec(blocks[number], {})
    assert number or len(capsys.readouterr().out.splitlines()) == 4


def test_the_method_page_names_every_field_and_every_recipe():
    page = (ROOT / "docs/method.md").read_text(encoding="utf-8")
    for name in (*Recipe.names(), *(field.name for field in fields(Recipe))):
        assert f"`{name}`" in page, name


def test_the_benchmark_compares_with_the_same_loss():
    """The reference is a second implementation in torch, over full spectra."""
    plain = load(ROOT / "bench/plain_framer.py").plain_released
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(3, 3, 8, 9, generator=generator, dtype=torch.float64)
    results = []
    for form in (plain, lambda *args: FramerLoss(Recipe.named("released"))(*args).loss):
        generator.manual_seed(1)
        students = [torch.randn(teacher.shape, generator=generator, dtype=torch.float64) for _ in range(4)]
        for student in students:
            student.requires_grad_()
        loss = form(students, teacher, [1, 2, 3, 0])
        loss.backward()
        results.append([loss.detach(), *(student.grad for student in students)])
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-15)
