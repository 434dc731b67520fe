"""Two ranks with half a batch each are one process with the whole batch."""

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from framer import FramerLoss, Recipe
from framer.method.heads import Aligned, AlignmentHeads
from framer.method.hooks import record
from tests.fixtures.processes import on_two_ranks

RECIPES = {
    "paper": Recipe.named("paper"),
    "released": Recipe.named("released"),
    "inter_both": Recipe.named("inter_both"),
    "no_negatives": Recipe.named("no_negatives"),
    "live negatives": replace(Recipe.named("released"), stop_negatives=False),
    "complex, earlier": replace(Recipe.named("paper"), feature="complex", negatives="earlier"),
    "l2": Recipe.named("l2"),
}


class TinyUNet(nn.Module):
    """Three layers of different width and size."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.mid = nn.Conv2d(4, 6, 3, padding=1)
        self.up = nn.ConvTranspose2d(6, 3, 2, stride=2)
        self.out = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x):
        return self.out(self.up(self.mid(self.down(x).tanh()).tanh()).tanh())


def model():
    torch.manual_seed(0)
    return Aligned(TinyUNet(), ["down", "mid", "up"], AlignmentHeads([4, 6, 3], 2)).double()


def batch():
    return torch.randn(6, 2, 8, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def step(module, x, recipe, seed):
    """Loss, gradients and the negatives of one step."""
    module.zero_grad()
    output, maps = module(x)
    framer = FramerLoss(recipe)(maps, output, generator=torch.Generator().manual_seed(seed))
    (output.square().mean() + framer.loss).backward()
    gradients = [p.grad.clone() for p in module.parameters()]
    return framer.loss.detach(), gradients, framer.layers


def one_rank(rank, rendezvous, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    x = batch()[rank * 3 : rank * 3 + 3]
    wrapped = DistributedDataParallel(model())
    found = {}
    for name, recipe in RECIPES.items():
        # The generators differ on purpose: rank 0's draw counts.
        loss, gradients, layers = step(wrapped, x, recipe, seed=rank)
        dist.all_reduce(loss)
        found[name] = (loss / 2, gradients, layers.negative, layers.loss)
    with record(wrapped, "model.mid") as recorder:
        wrapped(x)
        assert list(recorder.take()) == ["model.mid"]
    torch.save(found, f"{results}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    on_two_ranks(one_rank, folder / "rendezvous", folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", RECIPES)
def test_two_ranks_are_one_process(ranks, name):
    loss, gradients, layers = step(model(), batch(), RECIPES[name], seed=0)
    for found in ranks:
        assert found[name][0].item() == pytest.approx(loss.item(), abs=1e-12)
        assert found[name][2] == layers.negative
        for got, expected in zip(found[name][1], gradients, strict=True):
            assert torch.allclose(got, expected, rtol=1e-9, atol=1e-12)
    together = torch.cat([found[name][3] for found in ranks], dim=1)
    assert torch.allclose(together, layers.loss)


def test_the_heads_have_equal_gradients_on_all_ranks(ranks):
    for name in RECIPES:
        for a, b in zip(ranks[0][name][1], ranks[1][name][1], strict=True):
            assert torch.equal(a, b)
