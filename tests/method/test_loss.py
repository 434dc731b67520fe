"""The loss against an independent implementation, and what must hold for any reading of the method."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from framer import FramerLoss, Recipe
from framer.errors import UserError
from tests.method.numpy_framer import framer

PAPER = Recipe.named("paper")
RELEASED = Recipe.named("released")
EXTRA = {
    "signed_fam": replace(PAPER, fam_relu=False, feature="complex"),
    "live_fam": replace(PAPER, fam_stop=False),
    "live_negatives_hard_keys": replace(RELEASED, stop_negatives=False, students="others"),
    "fixed_first": replace(PAPER, teacher=0),
    "complex_quantile": replace(RELEASED, feature="complex", temperature=0.3),
    "three_bands": replace(PAPER, cutoff=(0.3, 0.6), middle=("inter",)),
    "five_bands_apart": replace(
        PAPER, cutoff=(0.3, 0.52, 0.7, 0.9), middle=("intra", "inter", "inter"), feature="complex"
    ),
    "three_quantiles": replace(RELEASED, cutoff=(0.2, 0.7), middle=("intra",)),
    "soft": replace(PAPER, cutoff=0.4, edge=0.3, stop_negatives=False),
    "soft_three": replace(PAPER, cutoff=(0.3, 0.6), middle=("inter",), edge=0.3),
    "soft_quantiles": replace(RELEASED, edge=0.2),
    "truth": replace(RELEASED, teacher="truth"),
    "deep_supervision": replace(PAPER, teacher="truth", objective="l2"),
}
READINGS = {name: Recipe.named(name) for name in Recipe.names()} | EXTRA
CONTRASTIVE = [name for name, recipe in READINGS.items() if recipe.objective == "contrastive"]


def maps(depth=4, shape=(3, 2, 6, 7), seed=0, dtype=torch.float64):
    """Students, teacher, and a negative for every layer."""
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(shape, generator=generator, dtype=dtype)
    noise = [torch.randn(shape, generator=generator, dtype=dtype) for _ in range(depth)]
    students = [(teacher * (i + 1) / depth + x).requires_grad_() for i, x in enumerate(noise)]
    return students, teacher, [(i + 1 + i % 2) % depth for i in range(depth)]


def as_numpy(students):
    return [x.detach().numpy() for x in students]


@pytest.mark.parametrize("shape", [(3, 2, 6, 7), (2, 3, 5, 8), (2, 1, 9, 9), (2, 2, 8, 4)], ids=str)
@pytest.mark.parametrize("name", READINGS)
def test_every_recipe_agrees_with_the_numpy_implementation(name, shape):
    recipe = READINGS[name]
    students, teacher, negatives = maps(shape=shape)
    output = FramerLoss(recipe)(students, teacher, negatives)
    expected, terms = framer(recipe, as_numpy(students), teacher.numpy(), table_of(output, negatives))
    assert output.loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    for (layer, band, image), term in terms.items():
        row = output.layers.layer.index(layer)
        for key, value in term.items():
            got = getattr(output.layers.bands[band], key)[row, image].item()
            assert got == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), (layer, band, image, key)


def table_of(output, negatives):
    """The negatives that the loss used, by layer."""
    used = dict(zip(output.layers.layer, output.layers.negative, strict=True))
    return [used.get(i) for i in range(len(negatives))]


@pytest.mark.parametrize("name", READINGS)
def test_autograd_agrees_with_central_differences(name):
    recipe = READINGS[name]
    students, teacher, negatives = maps(depth=3, shape=(2, 1, 4, 5))
    output = FramerLoss(recipe)(students, teacher, negatives)
    if recipe.objective == "none":
        output.loss.backward()
        assert all((x.grad == 0).all() for x in students)
        return
    output.loss.backward()
    frozen, used, step = as_numpy(students), table_of(output, negatives), 1e-6
    for i, student in enumerate(students):
        gradient = np.zeros_like(frozen[i]) if student.grad is None else student.grad.numpy()
        for direction in np.random.default_rng(i).normal(size=(2, *frozen[i].shape)):
            along = direction / np.linalg.norm(direction)
            values = []
            for sign in (1, -1):
                moved = [*frozen[:i], frozen[i] + sign * step * along, *frozen[i + 1 :]]
                values.append(framer(recipe, moved, teacher.numpy(), used, frozen)[0])
            assert (gradient * along).sum() == pytest.approx((values[0] - values[1]) / (2 * step), abs=2e-8), i


@pytest.mark.parametrize("name", ["paper", "released", "complex_feature"])
def test_float32_agrees_with_float64(name):
    students, teacher, negatives = maps(shape=(4, 3, 16, 16))
    single = [x.detach().float().requires_grad_() for x in students]
    double = FramerLoss(Recipe.named(name))(students, teacher, negatives).loss
    loss = FramerLoss(Recipe.named(name))(single, teacher.float(), negatives).loss
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(double.item(), rel=1e-6)
    double.backward()
    loss.backward()
    for a, b in zip(students, single, strict=True):
        if a.grad is not None:
            assert (a.grad - b.grad).abs().max() <= 1e-5 * a.grad.abs().max()


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_the_table_adds_up_to_the_loss(name):
    recipe = READINGS[name]
    students, teacher, _ = maps(depth=5)
    output = FramerLoss(recipe)(students, teacher, generator=torch.Generator().manual_seed(3))
    table = output.layers
    per_layer = table.loss.mean(dim=1)
    weighted = sum(terms.faw * terms.fam * terms.loss for terms in table.bands.values())
    assert torch.allclose(weighted, table.loss)
    reduced = per_layer.sum() if recipe.reduction == "sum" else per_layer.mean()
    assert output.loss.item() == pytest.approx(recipe.weight * reduced.item())
    assert not table.loss.requires_grad and not table.low.positive.requires_grad
    rows = table.rows()
    assert [row["layer"] for row in rows] == table.layer
    assert rows[0]["high_fam"] == pytest.approx(table.high.fam[0].mean().item())


@pytest.mark.parametrize("name", ["paper", "released", "raw_feature", "complex_feature"])
def test_no_gradient_reaches_teacher_or_negative(name):
    """What layer 2 learns does not depend on whose negative it is, unless the recipe says so."""
    for stop in (True, False):
        gradients = []
        for negatives in ([2, 2, 0, 0], [1, 0, 0, 0]):
            students, teacher, _ = maps(depth=4)
            teacher.requires_grad_()
            FramerLoss(replace(Recipe.named(name), stop_negatives=stop))(students, teacher, negatives).loss.backward()
            assert teacher.grad is None
            gradients.append(students[2].grad)
        assert torch.equal(*gradients) is stop


def test_l2_has_no_gradient_into_its_teacher():
    for recipe in (Recipe.named("l2"), replace(PAPER, objective="l2", teacher=1)):
        students, teacher, _ = maps(depth=4)
        teacher.requires_grad_()
        FramerLoss(recipe)(students, teacher).loss.backward()
        assert teacher.grad is None
        assert (students[3 if recipe.teacher == "final" else 1].grad == 0).all()


def test_negatives_carry_gradient_when_the_recipe_says_so():
    students, teacher, _ = maps(depth=3)
    for i in (0, 1):
        students[i].requires_grad_(False)
    for stop, moved in ((True, False), (False, True)):
        students[2].grad = None
        FramerLoss(replace(PAPER, stop_negatives=stop))(students, teacher, [2, 2, 0]).loss.backward()
        assert bool(students[2].grad.any()) is moved


@pytest.mark.parametrize("name", ["paper", "released"])
def test_scale_of_a_student_changes_its_energy_weight_only(name):
    students, teacher, negatives = maps()
    recipe = replace(Recipe.named(name), faw=False)
    loss = FramerLoss(recipe)(students, teacher, negatives).loss
    scaled = FramerLoss(recipe)([3 * x for x in students], teacher, negatives).loss
    assert loss.item() == pytest.approx(scaled.item())
    weighted = FramerLoss(Recipe.named(name))
    assert weighted(students, teacher, negatives).loss != weighted([3 * x for x in students], teacher, negatives).loss


@pytest.mark.parametrize("name", ["paper", "released", "complex_feature"])
def test_shifting_or_mirroring_all_maps_changes_nothing(name):
    students, teacher, negatives = maps()
    loss = FramerLoss(Recipe.named(name))
    value = loss(students, teacher, negatives).loss.item()
    rolled = loss([x.roll((2, 3), (2, 3)) for x in students], teacher.roll((2, 3), (2, 3)), negatives).loss
    mirrored = loss([x.flip(-1) for x in students], teacher.flip(-1), negatives).loss
    assert value == pytest.approx(rolled.item()) == pytest.approx(mirrored.item())


@pytest.mark.parametrize("name", CONTRASTIVE)
def test_the_order_of_the_images_does_not_matter(name):
    students, teacher, negatives = maps()
    order = torch.tensor([2, 0, 1])
    loss = FramerLoss(READINGS[name])
    shuffled = loss([x[order] for x in students], teacher[order], negatives).loss
    assert loss(students, teacher, negatives).loss.item() == pytest.approx(shuffled.item())


def test_magnitudes_do_not_see_phase_and_complex_features_do():
    students, teacher, negatives = maps()
    moved = [x.roll(1, -1) for x in students]
    same, other = FramerLoss(PAPER), FramerLoss(replace(PAPER, feature="complex"))
    assert same(students, teacher, negatives).loss.item() == pytest.approx(same(moved, teacher, negatives).loss.item())
    assert abs(other(students, teacher, negatives).loss - other(moved, teacher, negatives).loss) > 1e-3


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_bounds_of_both_losses(temperature):
    """Cosines of magnitudes lie in [0, 1]; the losses between the values at the best and the worst of these."""
    images = 5
    spread = 1 / temperature
    students, teacher, negatives = maps(shape=(images, 2, 8, 8))
    for recipe in (PAPER, RELEASED):
        table = FramerLoss(replace(recipe, temperature=temperature))(students, teacher, negatives).layers
        keys = 1 + (images - 1) * (1 if recipe.keys == "teachers" else 2)
        for terms, count in ((table.low, 1), (table.high, keys)):
            assert terms.loss.min() >= math.log1p(count * math.exp(-spread))
            assert terms.loss.max() <= math.log1p(count * math.exp(spread))


def test_limits_of_both_losses():
    """Equal maps: all similarities are 1, so each loss is the log of the number of its keys."""
    teacher = torch.randn(1, 2, 8, 8, dtype=torch.float64).expand(4, -1, -1, -1)
    for recipe, keys in ((PAPER, 5), (RELEASED, 8)):
        table = FramerLoss(recipe)([teacher] * 3, teacher, [1, 2, 0]).layers
        assert torch.allclose(table.low.loss, torch.tensor(2.0, dtype=torch.float64).log())
        assert torch.allclose(table.high.loss, torch.tensor(float(keys), dtype=torch.float64).log())
        assert torch.allclose(table.high.faw * table.low.fam, torch.ones_like(table.loss))


def test_the_last_block_is_its_own_student_only_in_the_released_code():
    students, teacher, _ = maps(depth=4)
    students[-1] = teacher
    assert FramerLoss(PAPER)(students, teacher).layers.layer == [0, 1, 2]
    table = FramerLoss(RELEASED)(students, teacher).layers
    assert table.layer == [0, 1, 2, 3]
    assert torch.allclose(table.low.positive[-1], torch.ones(3, dtype=torch.float64))


def test_a_fixed_teacher_is_that_layer():
    students, teacher, negatives = maps(depth=5)
    for k, recipe in ((2, Recipe.named("fixed_teacher")), (0, replace(PAPER, teacher=0))):
        fixed = FramerLoss(recipe)(students, teacher, negatives)
        rest = [i for i in range(5) if i != k]
        assert fixed.layers.layer == rest
        fixed.loss.backward()
        assert (students[k].grad == 0).all()
        # The same as handing that layer over as the teacher, with all students, but for its own row.
        handed = FramerLoss(replace(PAPER, students="all"))(students, students[k], negatives)
        assert torch.allclose(handed.layers.loss[rest], fixed.layers.loss)
        for student in students:
            student.grad = None


def test_drawn_negatives_follow_the_recipe_and_the_generator():
    students, teacher, _ = maps(depth=6, shape=(2, 1, 2, 2))

    def draw(recipe, seed):
        return FramerLoss(recipe)(students, teacher, generator=torch.Generator().manual_seed(seed)).layers.negative

    assert draw(RELEASED, 1) == draw(RELEASED, 1) != draw(RELEASED, 2)
    seen = [set() for _ in range(6)]
    for seed in range(60):
        for i, j in enumerate(draw(RELEASED, seed)):
            seen[i].add(j)
        early = draw(replace(PAPER, negatives="earlier", students="all"), seed)
        assert early[0] is None and all(j < i for i, j in enumerate(early) if i)
        assert 5 not in draw(PAPER, seed)
    assert seen == [{0, 1, 2, 3, 4, 5} - {i} for i in range(6)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", Recipe.names())
def test_half_precision_and_autocast_are_finite(name, dtype):
    students, teacher, negatives = maps(dtype=torch.float32)
    half = [x.detach().to(dtype).requires_grad_() for x in students]
    with torch.autocast("cpu", torch.bfloat16):
        output = FramerLoss(Recipe.named(name))(half, teacher.to(dtype), negatives)
    assert output.loss.dtype == torch.float32 and output.loss.isfinite()
    if output.loss.requires_grad:
        output.loss.backward()
        assert all(x.grad is None or (x.grad.isfinite().all() and x.grad.dtype == dtype) for x in half)


@pytest.mark.parametrize("name", Recipe.names())
def test_zero_and_constant_maps_are_finite(name):
    students, teacher, negatives = maps(depth=4)
    special = [torch.zeros_like(teacher), torch.ones_like(teacher), students[2].detach(), students[3].detach()]
    for target in (teacher, torch.zeros_like(teacher), torch.ones_like(teacher)):
        leaves = [x.clone().requires_grad_() for x in special]
        output = FramerLoss(Recipe.named(name))(leaves, target, negatives)
        assert output.loss.isfinite()
        if output.loss.requires_grad:
            output.loss.backward()
            assert all(x.grad is None or x.grad.isfinite().all() for x in leaves)


def test_a_batch_of_one():
    students, teacher, negatives = maps(shape=(1, 2, 6, 6))
    table = FramerLoss(PAPER)(students, teacher, negatives).layers
    alone = FramerLoss(replace(PAPER, low="intra", high="intra"))(students, teacher, negatives).layers
    assert torch.allclose(table.high.loss, alone.high.loss)
    assert table.high.others.isnan().all()
    with pytest.raises(UserError, match="one image and no negative layer"):
        FramerLoss(Recipe.named("no_negatives"))(students, teacher)


def test_one_pixel_has_no_high_band():
    students, teacher, negatives = maps(shape=(2, 3, 1, 1))
    output = FramerLoss(PAPER)(students, teacher, negatives)
    output.loss.backward()
    assert (output.layers.high.positive == 0).all() and output.loss.isfinite()


@pytest.mark.parametrize(
    ("recipe", "depth", "negatives", "message"),
    [
        (PAPER, 1, None, "only student is the teacher's own layer"),
        (RELEASED, 1, None, "no other layer as its negative"),
        (replace(RELEASED, negatives="earlier"), 1, None, "no other layer as its negative"),
        (replace(PAPER, teacher=7), 3, None, "no layer 7 among 3"),
        (PAPER, 3, [0, 1], "3 layer indices from 0 to 2"),
        (PAPER, 3, [1, 2, 3], "3 layer indices from 0 to 2"),
        (PAPER, 3, [1, 1, 0], "cannot be its own negative"),
    ],
)
def test_what_is_undefined_says_so(recipe, depth, negatives, message):
    students, teacher, _ = maps(depth=depth)
    with pytest.raises(UserError, match=message):
        FramerLoss(recipe)(students, teacher, negatives)


def test_shapes_must_agree():
    students, teacher, _ = maps()
    for bad in ([students[0], students[1][:, :1]], [], [students[0][0]]):
        with pytest.raises(UserError, match="one shape"):
            FramerLoss(PAPER)(bad, teacher)


def test_noise_only_is_zero_and_l2_is_the_mean_squared_difference():
    students, teacher, _ = maps()
    assert FramerLoss(Recipe.named("noise_only"))(students, teacher).loss.item() == 0
    expected = sum(torch.nn.functional.mse_loss(x, teacher) for x in students[:-1])
    assert FramerLoss(Recipe.named("l2"))(students, teacher).loss.item() == pytest.approx(expected.item())


def test_one_tensor_is_no_list_of_students():
    maps = torch.randn(3, 2, 4, 16, 16)
    with pytest.raises(UserError, match="students: pass a list of maps"):
        FramerLoss(Recipe.named("paper"))(maps, maps[0])
