"""FRAMER in training loops as others write them: diffusers' models under PEFT, accelerate, compile, DDP and FSDP."""

import gc

import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from peft import LoraConfig, get_peft_model
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from framer.method import Aligned, FramerLoss, Recipe, compared, final_projection, record
from framer.method.hooks import unwrapped
from tests.fixtures.diffusers_models import small_sd3, small_unet
from tests.fixtures.processes import on_two_ranks

LORA = LoraConfig(r=2, target_modules=["to_q", "to_v"])
BLOCKS = ["down_blocks.*", "mid_block", "up_blocks.*"]
KINDS = ("sd3", "unet")


class Loop:
    """The model of an SD3 or U-Net training script, and its loss with FRAMER."""

    def __init__(self, kind, lora=False):
        self.kind, self.framer = kind, FramerLoss(Recipe.named("released" if kind == "sd3" else "paper"))
        self.layers = None
        self.model = small_sd3() if kind == "sd3" else small_unet()
        self.bare = self.model
        if lora:
            self.model = get_peft_model(self.model, LORA)
        if kind == "unet":
            x, _, text, _ = batch(2)
            self.model = Aligned.around(self.model, BLOCKS, x, 0, text)
        else:
            parts = ["time_text_embed", "transformer_blocks.*"]
            self.layers = record(self.model, parts, lambda out: out[1] if isinstance(out, tuple) else out)

    def loss(self, inputs, negatives=None):
        noisy, target, text, sigma = inputs
        if self.kind == "sd3":
            pooled = noisy.new_zeros(len(noisy), 5)
            output = self.model(noisy, text, pooled, timestep=1000 * sigma).sample
            temb, *tokens = self.layers.take().values()
            maps = final_projection(self.model, tokens, temb, (4, 6))
            maps = compared([*maps, output], "x0", "flow", noisy, sigma)
        else:
            output, maps = self.model(noisy, (1000 * sigma).long(), text)
            maps = compared([*maps, output], "x0", "epsilon", noisy, sigma, 1 - sigma)
        *students, teacher = maps
        negatives = negatives or [(i + 1) % len(students) for i in range(len(students))]
        return (output - target).square().mean() + self.framer(students, teacher, negatives).loss

    def close(self):
        if self.layers:
            self.layers.close()
        else:
            unwrapped(self.model).release()


def batch(size, seed=1):
    g = torch.Generator().manual_seed(seed)
    noisy, target = (torch.randn(size, 4, 8, 12, generator=g) for _ in range(2))
    return noisy, target, torch.randn(size, 3, 6, generator=g), torch.rand(size, generator=g) * 0.8 + 0.1


def gradients(model):
    return {name: p.grad.clone() for name, p in unwrapped(model).named_parameters() if p.grad is not None}


def backward(loop, inputs):
    loop.model.zero_grad()
    loss = loop.loss(inputs)
    loss.backward()
    return loss.item(), gradients(loop.model)


def same(one, other, tolerance=1e-5):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.allclose(value, other[name], rtol=1e-3, atol=tolerance * (1 + value.abs().max().item())), name


@pytest.fixture
def accelerator():
    def make(**options):
        AcceleratorState._reset_state(reset_partial_state=True)
        return Accelerator(cpu=True, **options)

    yield make
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_accelerate(accelerator, kind, precision, lora):
    loop = Loop(kind, lora)
    trained = [p for p in loop.model.parameters() if p.requires_grad]
    fixed = {n: p.clone() for n, p in loop.model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW(trained, lr=3e-3)
    accelerate = accelerator(mixed_precision=precision)
    loop.model, optimizer = accelerate.prepare(loop.model, optimizer)
    losses = []
    for _ in range(8):
        loss = loop.loss(batch(3))
        accelerate.backward(loss)
        assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(torch.equal(p, fixed[n]) for n, p in loop.model.named_parameters() if n in fixed)
    loop.close()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in loop.bare.modules())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_accumulate(accelerator, kind):
    loop, plain = Loop(kind), Loop(kind)
    accelerate = accelerator(gradient_accumulation_steps=2)
    loop.model = accelerate.prepare(loop.model)
    parts = [backward(plain, batch(2, seed))[1] for seed in (1, 2)]
    for seed in (1, 2):
        with accelerate.accumulate(loop.model):
            accelerate.backward(loop.loss(batch(2, seed)))
    same(gradients(loop.model), {name: (parts[0][name] + parts[1][name]) / 2 for name in parts[0]})


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing_changes_nothing(kind):
    loop, plain = Loop(kind), Loop(kind)
    loop.bare.enable_gradient_checkpointing()
    loop.model.train()
    expected, found = backward(plain, batch(2)), backward(loop, batch(2))
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    same(found[1], expected[1])


@pytest.mark.parametrize("kind", KINDS)
def test_compiled(kind):
    torch.compiler.reset()
    loop, plain = Loop(kind), Loop(kind)
    loop.model = torch.compile(loop.model, backend="eager")
    expected, found = backward(plain, batch(2)), backward(loop, batch(2))
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    same(found[1], expected[1])


@pytest.mark.parametrize("autocast", [False, True], ids=["weights", "autocast"])
def test_the_final_projection_is_the_output_in_bfloat16(autocast):
    """The projection runs outside autocast, in a model of 16-bit weights and in one that itself runs under autocast."""
    loop = Loop("sd3")
    loop.bare.eval()
    noisy, _, text, sigma = batch(2)
    dtype = torch.float32 if autocast else torch.bfloat16
    loop.bare.to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        inputs = (x.to(dtype) for x in (noisy, text, noisy.new_zeros(2, 5)))
        output = loop.model(*inputs, timestep=1000 * sigma).sample
    temb, *tokens = loop.layers.take().values()
    maps = final_projection(loop.model, tokens, temb, (4, 6))
    assert output.dtype == torch.bfloat16 and torch.equal(maps[-1], output)
    # Features that were converted by other code get the dtype of the weights.
    maps = final_projection(loop.model, [x.float() for x in tokens], temb.float(), (4, 6))
    assert maps[-1].dtype == dtype and torch.allclose(maps[-1].float(), output.float(), atol=0.05)


def test_wrappers_are_taken_off():
    loop = Loop("sd3", lora=True)
    assert unwrapped(torch.compile(loop.model)) is loop.bare
    assert unwrapped(Loop("unet").model) is not None and unwrapped(torch.nn.Linear(1, 1)).in_features == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow(kind):
    loop = Loop(kind)
    optimizer = torch.optim.SGD(loop.model.parameters(), lr=1e-4)
    inputs = batch(2)
    counts = []
    for step in range(300):
        optimizer.zero_grad()
        loop.loss(inputs).backward()
        optimizer.step()
        if step in (20, 299):
            gc.collect()
            counts.append(sum(isinstance(x, torch.Tensor) for x in gc.get_objects()))
    assert counts[0] == counts[1]


def one_rank(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = {}
    half = [x[rank * 2 : rank * 2 + 2] for x in batch(4)]
    for kind in KINDS:
        loop = Loop(kind)
        loop.model = DistributedDataParallel(loop.model)
        loss, grads = backward(loop, half)
        found[kind] = (loss, grads)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loop.loss(half)
        loop.model.zero_grad()
        loss.backward()
        found[f"{kind} bf16"] = (loss.item(), gradients(loop.model))
    loop = Loop("sd3")
    fully_shard(loop.model, mesh=dist.device_mesh.init_device_mesh("cpu", (2,)))
    loss = loop.loss(half)
    loss.backward()
    found["fsdp"] = (
        loss.item(),
        {n: p.grad.full_tensor() for n, p in loop.model.named_parameters() if p.grad is not None},
    )
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    on_two_ranks(one_rank, folder)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", ["sd3", "unet", "fsdp"])
def test_two_ranks_are_one_process_with_a_double_batch(ranks, name):
    loss, expected = backward(Loop("sd3" if name == "fsdp" else name), batch(4))
    assert (ranks[0][name][0] + ranks[1][name][0]) / 2 == pytest.approx(loss, rel=1e-5)
    for found in ranks:
        same(found[name][1], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_ddp_in_bfloat16(ranks, kind):
    (_, one), (_, other) = (found[f"{kind} bf16"] for found in ranks)
    assert all(torch.equal(value, other[name]) and value.isfinite().all() for name, value in one.items())
    # Rounded to 8 bits of mantissa on the way, the gradients still point where those of float32 do.
    exact = ranks[0][kind][1]
    vectors = [torch.cat([grads[name].flatten() for name in exact]) for grads in (one, exact)]
    assert torch.nn.functional.cosine_similarity(*vectors, dim=0) > 0.99
