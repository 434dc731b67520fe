"""Recorded layers are the real ones, once, with gradient, whatever is wrapped around the model."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from framer.errors import UserError
from framer.method.hooks import record


class Block(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, x):
        return x + self.inner(x).tanh()


class Net(nn.Module):
    def __init__(self, checkpointed=False):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.out = nn.Linear(6, 2)
        self.checkpointed = checkpointed

    def forward(self, x):
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.checkpointed else block(x)
        return self.out(x)


def by_hand(net, x):
    """Block outputs, and the gradients of a loss on output and blocks, in plain autograd."""
    maps = []
    h = x
    for block in net.blocks:
        h = block(h)
        maps.append(h)
    gradients = torch.autograd.grad(objective(net.out(h), maps), list(net.parameters()))
    return [m.detach() for m in maps], gradients


def objective(output, maps):
    return output.square().sum() + sum((i + 1) * (m**3).sum() for i, m in enumerate(maps))


@pytest.fixture
def x():
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net():
    torch.manual_seed(1)
    return Net()


def check(model, net, x, recorder, tolerance=1e-6):
    """Two steps, so that nothing is left over from the first."""
    for step in range(2):
        inputs = x + step
        maps, gradients = by_hand(net, inputs)
        net.zero_grad()
        output = model(inputs)
        taken = list(recorder.take().values())
        objective(output, taken).backward()
        assert recorder._outputs == {}, "the backward pass records nothing"
        assert len(taken) == 3
        for a, b in zip(taken, maps, strict=True):
            assert torch.allclose(a, b, atol=tolerance) and a.requires_grad
        for parameter, gradient in zip(net.parameters(), gradients, strict=True):
            assert torch.allclose(parameter.grad, gradient, atol=tolerance * 100)


def test_plain(net, x):
    recorder = record(net, "blocks.*")
    assert recorder.names == ("blocks.0", "blocks.1", "blocks.2")
    check(net, net, x, recorder)


@pytest.mark.parametrize("early_stop", [True, False])
def test_non_reentrant_checkpointing(net, x, early_stop):
    net.checkpointed = True
    with set_checkpoint_early_stop(early_stop):  # False: the blocks run to their end again, hooks and all
        check(net, net, x, record(net, "blocks.*"))


def test_a_checkpoint_around_the_whole_model(net, x):
    recorder = record(net, "blocks.*")
    maps, _ = by_hand(net, x)
    output = checkpoint(net, x, use_reentrant=False)
    taken = list(recorder.take().values())
    objective(output, taken).backward()
    assert all(torch.allclose(a, b) for a, b in zip(taken, maps, strict=True))


def test_autocast(net, x):
    recorder = record(net, "blocks.*.inner")
    with torch.autocast("cpu", torch.bfloat16):
        output = net(x)
        taken = list(recorder.take().values())
    assert {t.dtype for t in taken} == {torch.bfloat16}
    (output.float().sum() + sum(t.float().sum() for t in taken)).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("before", [True, False], ids=["record first", "compile first"])
@pytest.mark.parametrize("checkpointed", [False, True], ids=["plain", "checkpointed"])
def test_compile(net, x, before, checkpointed):
    torch.compiler.reset()
    net.checkpointed = checkpointed
    if before:
        recorder = record(net, "blocks.*")
        model = torch.compile(net, backend="aot_eager")
    else:
        model = torch.compile(net, backend="aot_eager")
        recorder = record(model, "blocks.*")
    check(model, net, x, recorder)


def test_blocks_compiled_one_by_one(net, x):
    torch.compiler.reset()
    for block in net.blocks:
        block.compile(backend="aot_eager")
    check(net, net, x, record(net, "blocks.*"))


def test_a_model_that_ran_compiled_before_recording_says_so(net, x):
    torch.compiler.reset()
    model = torch.compile(net, backend="aot_eager")
    model(x)
    recorder = record(model, "blocks.*")
    model(x)
    with pytest.raises(UserError, match="before a compiled model runs"):
        recorder.take()


def test_patterns(net):
    assert record(net, "blocks.1").names == ("blocks.1",)
    assert record(net, ["out", "blocks.0"]).names == ("blocks.0", "out")
    assert record(net, "**.inner").names == ("blocks.0.inner", "blocks.1.inner", "blocks.2.inner")
    assert len(record(net, "blocks.**").names) == 6
    with pytest.raises(UserError, match=r"no layer is named 'block\.\*'; the first ones are blocks"):
        record(net, "block.*")


def test_tuples_and_select(x):
    class Pair(nn.Module):
        def forward(self, x):
            return None, x, x + 1

    net = nn.Sequential(Pair(), nn.Module())
    net.forward = lambda x: net[0](x)[1]
    first, second = record(net, "0"), record(net, "0", select=lambda out: out[2])
    net(x)
    assert torch.equal(first.take()["0"], x) and torch.equal(second.take()["0"], x + 1)


def test_missing_and_repeated_layers_are_errors(net, x):
    recorder = record(net, "blocks.*")
    with pytest.raises(UserError, match=r"no output of blocks\.0 \(3 of 3 missing\)"):
        recorder.take()
    net(x)
    recorder.take()
    with pytest.raises(UserError, match="missing"):
        recorder.take()
    twice = nn.Sequential(net.blocks[0], net.blocks[0])
    record(twice, "0")
    with pytest.raises(UserError, match="0 runs more than once"):
        twice(x)


def test_closing_takes_the_hooks_off(net, x):
    with record(net, "blocks.*") as recorder:
        net(x)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    with pytest.raises(UserError):
        recorder.take()


def test_a_second_forward_replaces_the_first(net, x):
    recorder = record(net, "blocks.*")
    net(x)
    net(x + 1)
    assert torch.equal(recorder.take()["blocks.0"], net.blocks[0](x + 1))


def test_layers_come_in_the_order_in_which_they_run(x):
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x):
            return self.last(self.first(x))

    net = Backwards()
    recorder = record(net, "*")
    net(x)
    assert list(recorder.take()) == ["first", "last"]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_a_copied_model_has_a_recorder_of_its_own(net, x, duplicate):
    pair = nn.Module()
    pair.net, pair.recorder = net, record(net, "blocks.*")
    net(x)  # what was recorded has a graph, and stays behind
    other = duplicate(pair)
    other.net(x + 1)
    assert torch.equal(other.recorder.take()["blocks.0"], net.blocks[0](x + 1))
    assert torch.equal(pair.recorder.take()["blocks.0"], net.blocks[0](x))
    other.recorder.close()
    assert not any(m._forward_hooks for m in other.net.modules()) and net.blocks[0]._forward_hooks
