"""The tiled losses against torch's own functions on whole matrices of logits, in float64, at many tile sizes."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from laclip_aug.training.loss import MultiTextLoss
from laclip_aug.training.symmetric import symmetric
from laclip_aug.training.tiled import TILE_ELEMENTS, Problem, contrast

N, K, D = 13, 3, 6
TILES = [1, 40, 100, 200, 10_000]
IDS = torch.tensor([0, 1, 2, 0, 4, 5, 0, 7, 8, 2, 10, 11, 12])


def inputs(scale=9.0, shape=(), dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(*s, D, generator=generator, dtype=torch.float64) for s in ((N,), (N, K)))
    leaves = [F.normalize(x, dim=-1) for x in (images, texts)]
    leaves += [torch.full(shape, scale, dtype=torch.float64), torch.full(shape, -2.0, dtype=torch.float64)]
    return [x.to(dtype).requires_grad_() for x in leaves]


def compare(loss, expected, leaves, rtol=1e-11, atol=1e-13):
    assert loss.shape == ()
    torch.testing.assert_close(loss, expected, rtol=rtol, atol=atol)
    found = torch.autograd.grad(loss, leaves, materialize_grads=True)
    wanted = torch.autograd.grad(expected, leaves, materialize_grads=True)
    for got, want in zip(found, wanted, strict=True):
        assert got.dtype == want.dtype
        torch.testing.assert_close(got, want, rtol=rtol, atol=atol)


def masked_logits(images, texts, scale, bias, masked):
    """``[K, N, N]``, images along dimension 1."""
    logits = scale * torch.einsum("id,cjd->jic", images, texts) + bias
    same = (IDS[:, None] == IDS) & ~torch.eye(N, dtype=torch.bool)
    return logits.masked_fill(same, -torch.inf) if masked else logits


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("tile", TILES)
def test_symmetric_equals_cross_entropy(tile, masked):
    leaves = inputs()
    logits = masked_logits(*leaves, masked)
    labels = torch.arange(N).expand(K, N)
    expected = (F.cross_entropy(logits.transpose(1, 2), labels) + F.cross_entropy(logits, labels)) / 2
    compare(symmetric(*leaves, IDS if masked else None, tile), expected, leaves)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("tile", TILES)
def test_index_equals_cross_entropy(tile, masked):
    """Rows 4 to 8 only, as on one of several ranks."""
    images, texts, scale, bias = leaves = inputs()
    rows = torch.arange(4, 9)
    ids = (IDS[rows], IDS) if masked else (None, None)
    logits = masked_logits(*leaves, masked)[:, rows]
    expected = F.cross_entropy(logits.transpose(1, 2), rows.expand(K, 5))
    compare(
        contrast(images[rows], texts.transpose(0, 1), scale, bias, Problem(rows, *ids, "index", tile)), expected, leaves
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("tile", TILES)
def test_joint_equals_cross_entropy_over_the_candidates(tile, masked):
    images, texts, scale, bias = leaves = inputs()
    rows = torch.arange(4, 9)
    ids = (IDS[rows], IDS) if masked else (None, None)
    logits = masked_logits(*leaves, masked)
    expected = 0
    for i in rows.tolist():
        others = logits[:, i, torch.arange(N) != i].flatten()
        for j in range(K):
            candidates = torch.cat([logits[j, i, i, None], others])
            expected = expected + F.cross_entropy(candidates[None], torch.tensor([0])) / K / len(rows)
    compare(
        contrast(images[rows], texts.transpose(0, 1), scale, bias, Problem(rows, *ids, "joint", tile)), expected, leaves
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("tile", TILES)
def test_sigmoid_equals_binary_cross_entropy(tile, masked):
    images, texts, scale, bias = leaves = inputs()
    rows = torch.arange(4, 9)
    ids = (IDS[rows], IDS) if masked else (None, None)
    logits = (scale * torch.einsum("id,cjd->jic", images, texts) + bias)[:, rows]
    keep = masked_logits(*leaves, masked)[:, rows] > -torch.inf
    target = torch.eye(N, dtype=torch.float64)[rows].expand(K, 5, N)
    expected = F.binary_cross_entropy_with_logits(logits, target, keep.double(), reduction="sum") / 5 / K
    compare(
        contrast(images[rows], texts.transpose(0, 1), scale, bias, Problem(rows, *ids, "sigmoid", tile)),
        expected,
        leaves,
    )


def every_form(images, texts, scale, bias):
    rows = torch.arange(N)
    yield symmetric(images, texts, scale, bias, None, 40)
    for loss in ("index", "joint", "sigmoid"):
        yield contrast(images, texts.transpose(0, 1), scale, bias, Problem(rows, loss=loss, tile_elements=100))


def test_a_scale_of_shape_one_keeps_its_shape():
    for scalar, vector in zip(every_form(*inputs()), every_form(*inputs(shape=(1,))), strict=True):
        assert vector.shape == ()
        assert torch.equal(scalar, vector)
    leaves = inputs(shape=(1,))
    for loss in every_form(*leaves):
        assert [g.shape for g in torch.autograd.grad(loss, leaves[2:])] == [(1,), (1,)]


@pytest.mark.parametrize("frozen", range(4))
def test_inputs_without_gradient_do_not_change_the_others(frozen):
    leaves = inputs()
    some = [x.detach() if i == frozen else x for i, x in enumerate(leaves)]
    wanted = [x for i, x in enumerate(leaves) if i != frozen]
    for whole, part in zip(every_form(*leaves), every_form(*some), strict=True):
        pairs = zip(torch.autograd.grad(whole, wanted), torch.autograd.grad(part, wanted), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("alone", range(4))
def test_a_single_input_with_gradient(alone):
    leaves = inputs()
    some = [x if i == alone else x.detach() for i, x in enumerate(leaves)]
    for whole, part in zip(every_form(*leaves), every_form(*some), strict=True):
        (expected,) = torch.autograd.grad(whole, leaves[alone])
        (found,) = torch.autograd.grad(part, leaves[alone])
        assert torch.equal(found, expected)


def test_without_gradients_only_the_value_is_made():
    leaves = inputs()
    expected = [loss.detach() for loss in every_form(*leaves)]
    with torch.no_grad():
        answers = list(every_form(*leaves))
    assert not any(answer.requires_grad for answer in answers)
    assert all(map(torch.equal, answers, expected))


def test_backward_scales_with_what_comes_from_above_and_may_be_repeated():
    leaves = inputs()
    for loss in every_form(*leaves):
        once = torch.autograd.grad(loss, leaves, retain_graph=True)
        thrice = torch.autograd.grad(3 * loss, leaves, retain_graph=True)
        for a, b in zip(once, thrice, strict=True):
            torch.testing.assert_close(3 * a, b, rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("scale", [100.0, 5000.0])
def test_large_logits_stay_finite_in_float32(scale):
    exact, single = inputs(scale), inputs(scale, dtype=torch.float32)
    for want, got in zip(every_form(*exact), every_form(*single), strict=True):
        assert got.item() == pytest.approx(want.item(), rel=1e-4)
        for a, b in zip(torch.autograd.grad(got, single), torch.autograd.grad(want, exact), strict=True):
            assert torch.isfinite(a).all()
            assert (a.double() - b).norm() <= 2e-3 * b.norm() + 1e-6


def test_a_single_row_has_no_negatives():
    images, texts, scale, bias = inputs()
    for loss in ("index", "joint"):
        answer = contrast(images[:1], texts[:1].transpose(0, 1), scale, bias, Problem(torch.arange(1), loss=loss))
        assert answer.item() == 0
        assert all((g == 0).all() for g in torch.autograd.grad(answer, (images, texts, scale)))
    assert symmetric(images[:1], texts[:1], scale, bias).item() == 0


def test_products_follow_autocast_and_sums_stay_in_float32():
    exact, single = inputs(), inputs(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        answers = list(every_form(*single))
    for want, got in zip(every_form(*exact), answers, strict=True):
        assert got.dtype == torch.float32
        assert got.item() == pytest.approx(want.item(), rel=2e-2)
        for a, b in zip(torch.autograd.grad(got, single), torch.autograd.grad(want, exact), strict=True):
            assert a.dtype == torch.float32
            assert (a.double() - b).norm() <= 5e-2 * b.norm() + 1e-4


class Sizes(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation gives."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        answer = func(*args, **(kwargs or {}))
        sizes = [
            x.untyped_storage().nbytes() // x.element_size() for x in tree_leaves(answer) if isinstance(x, torch.Tensor)
        ]
        self.largest = max([self.largest, *sizes])
        return answer


def largest_tensor(loss, n, k, d):
    leaves = [torch.randn(rows, d, requires_grad=True) for rows in (n, n * k)]
    scale = torch.tensor(2.0, requires_grad=True)
    with Sizes() as sizes:
        loss(*leaves, scale, scale, row_ids=torch.arange(n)).backward()
    return sizes.largest


@pytest.mark.parametrize(
    "options",
    [{}, {"negatives": "all"}, {"text_side": "sampled"}, {"mask_duplicates": True}, {"kind": "siglip"}],
    ids=str,
)
def test_nothing_larger_than_a_tile_or_the_texts_is_ever_made(options, monkeypatch):
    n, k, d = 512, 4, 8
    monkeypatch.setitem(TILE_ELEMENTS, "cpu", 4 * n)
    assert largest_tensor(MultiTextLoss(**options), n, k, d) <= max(n * k * d, 4 * n)
    assert n * n > n * k * d  # so that even one slice's logits would have been seen


def test_the_size_test_sees_whole_logits():
    def plain(images, texts, scale, bias, row_ids):
        return F.cross_entropy(scale * images @ texts[: len(images)].T, row_ids)

    assert largest_tensor(plain, 512, 4, 8) == 512 * 512


def test_the_loss_runs_inside_a_compiled_step():
    leaves = inputs(dtype=torch.float32)
    images, texts, scale, _ = leaves
    loss = MultiTextLoss()
    expected = loss(images, texts.view(-1, D), scale)
    torch._dynamo.reset()
    step = torch.compile(lambda i, t, s: loss(F.normalize(i, dim=-1), t, s) * 1.0, backend="eager")
    torch.testing.assert_close(step(images, texts.view(-1, D), scale), expected)
