"""Two gloo processes: value and gradient semantics of open_clip's losses in every combination of flags."""

import itertools

import pytest
import torch
from open_clip.loss import ClipLoss, DistillClipLoss, SigLipLoss
from torch import distributed, multiprocessing

from laclip_aug.training.loss import MultiTextLoss
from laclip_aug.training.rows import side_key, text_choice

from .upstream import taken

B, K, D, WORLD = 3, 4, 8, 2
IDS = torch.tensor([5, 1, 2, 3, 5, 1])
FLAGS = list(itertools.product((False, True), repeat=2))


def rank_features(rank, k=K):
    generator = torch.Generator().manual_seed(rank)
    draw = [torch.randn(n, D, generator=generator, dtype=torch.float64) for n in (B, B * k)]
    leaves = [torch.nn.functional.normalize(x, dim=-1).requires_grad_() for x in draw]
    scalars = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (6.0, -2.0)]
    return [*leaves, *scalars]


def outcome(loss, inputs):
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [loss.detach(), *(torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True))]


def by_slices(single, inputs):
    """The mean of upstream's own loss over the K slices."""
    images, texts, *rest = taken(single, inputs)
    return sum(single(images, texts.view(B, K, D)[:, j].contiguous(), *rest) for j in range(K)) / K


def teacher(rank):
    images, texts, scale, _ = rank_features(rank + WORLD)
    return {"dist_image_features": images, "dist_text_features": texts, "dist_logit_scale": scale * 2}


def distilled_by_slices(single, inputs, teacher):
    """The mean of upstream's own distillation loss over the K slices."""
    images, texts, scale, _ = inputs
    theirs = teacher["dist_text_features"].view(B, K, D)
    return (
        sum(
            single(
                images,
                texts.view(B, K, D)[:, j].contiguous(),
                scale,
                **teacher | {"dist_text_features": theirs[:, j].contiguous()},
            )[1]
            for j in range(K)
        )
        / K
    )


def worker(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    mode = {"rank": rank, "world_size": WORLD}
    inputs, one = rank_features(rank), rank_features(rank, k=1)
    found = {}
    for flags in FLAGS:
        switches = dict(zip(("local_loss", "gather_with_grad"), flags, strict=True), **mode)
        upstream = ClipLoss(**switches)
        found["ours", flags] = outcome(MultiTextLoss(upstream, **switches)(*inputs), inputs)
        found["upstream", flags] = outcome(by_slices(upstream, inputs), inputs)
        found["ours, one", flags] = outcome(MultiTextLoss(upstream, **switches)(*taken(upstream, one)), one)
        found["upstream, one", flags] = outcome(upstream(*taken(upstream, one)), one)
        with_teacher = MultiTextLoss(DistillClipLoss(**switches), **switches)(*inputs, **teacher(rank))
        found["ours, distilled", flags] = outcome(with_teacher[1], inputs)
        expected = distilled_by_slices(DistillClipLoss(**switches), inputs, teacher(rank))
        found["upstream, distilled", flags] = outcome(expected, inputs)
        for name, options in VARIANTS.items():
            loss = MultiTextLoss(None, **switches, **options)
            found[name, flags] = outcome(loss(*inputs, row_ids=IDS[rank * B :][:B]), inputs)
    siglip = SigLipLoss(**mode)
    found["ours", "siglip"] = outcome(MultiTextLoss(siglip, "siglip", **mode)(*inputs), inputs)
    found["upstream", "siglip"] = outcome(by_slices(siglip, inputs), inputs)
    masked = MultiTextLoss(None, "siglip", mask_duplicates=True, **mode)
    found["masked", "siglip"] = outcome(masked(*inputs, row_ids=IDS[rank * B :][:B]), inputs)
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


VARIANTS = {
    "all": {"negatives": "all"},
    "sampled": {"text_side": "sampled", "step_seed": 4},
    "masked": {"mask_duplicates": True},
    "all sampled masked": {"negatives": "all", "text_side": "sampled", "mask_duplicates": True, "step_seed": 4},
}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("ranks"))
    multiprocessing.spawn(worker, (folder,), nprocs=WORLD)
    return [torch.load(f"{folder}/{rank}.pt", weights_only=True) for rank in range(WORLD)]


@pytest.mark.parametrize("flags", [*FLAGS, "siglip"], ids=str)
def test_equals_the_mean_of_upstreams_loss_over_the_slices(found, flags):
    for rank in found:
        for got, want in zip(rank["ours", flags], rank["upstream", flags], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_distillation_equals_the_mean_of_upstreams_over_the_slices(found, flags):
    for rank in found:
        for got, want in zip(rank["ours, distilled", flags], rank["upstream, distilled", flags], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)
        assert not torch.equal(rank["ours, distilled", flags][0], rank["ours", flags][0])


@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_one_text_is_bit_identical_to_upstream(found, flags):
    for rank in found:
        assert all(map(torch.equal, rank["ours, one", flags], rank["upstream, one", flags]))


@pytest.mark.parametrize("local", [False, True])
def test_two_processes_give_the_gradients_of_one_on_the_same_global_batch(found, local):
    """With gathered gradients, as for open_clip's own loss: data-parallel training averages over the ranks."""
    both = [rank_features(rank) for rank in range(WORLD)]
    whole = [torch.cat([rank[i] for rank in both]).detach().requires_grad_() for i in range(2)] + both[0][2:]
    value, image_grad, text_grad, scale_grad, _ = outcome(MultiTextLoss()(*whole), whole)
    ranks = [rank["ours", (local, True)] for rank in found]
    torch.testing.assert_close(sum(rank[0] for rank in ranks) / WORLD, value, rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.cat([rank[1] for rank in ranks]) / WORLD, image_grad, rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(torch.cat([rank[2] for rank in ranks]) / WORLD, text_grad, rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(sum(rank[3] for rank in ranks) / WORLD, scale_grad, rtol=1e-11, atol=1e-14)


def rank_reference(rank, features, options, local, with_grad):
    """Rank ``rank``'s loss from everybody's features, in loops; rows that carry no gradient there are detached."""

    def seen(index):
        parts = []
        for other in range(WORLD):
            x = features[other][index]
            parts.append(x if with_grad or (other == rank and not local) else x.detach())
        return torch.cat(parts)

    images, texts = seen(0), seen(1).view(WORLD * B, K, D)
    own = features[rank]
    scale, bias = own[2:]
    rows = range(rank * B, rank * B + B) if local else range(WORLD * B)
    row_image = {i: own[0][i - rank * B] if local else images[i] for i in rows}
    row_texts = {i: own[1].view(B, K, D)[i - rank * B] if local else texts[i] for i in rows}
    ids = IDS.tolist() if options.get("mask_duplicates") else list(range(WORLD * B))
    choice = text_choice(side_key(4), WORLD * B, K, IDS, torch.device("cpu")).tolist()
    total = 0
    for i in rows:
        rivals = [c for c in range(WORLD * B) if ids[c] != ids[i]]
        for j in range(K):
            slices = range(K) if options.get("negatives") == "all" else [j]
            candidates = [texts[i, j], *(texts[c, s] for c in rivals for s in slices)]
            logits = torch.stack([scale * row_image[i] @ t + bias for t in candidates])
            total = total - torch.log_softmax(logits, 0)[0] / K
        for j in [choice[i]] if options.get("text_side") == "sampled" else range(K):
            logits = torch.stack([scale * row_texts[i][j] @ images[c] + bias for c in [i, *rivals]])
            total = total - torch.log_softmax(logits, 0)[0] / (1 if options.get("text_side") == "sampled" else K)
    return total / len(rows) / 2


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("flags", FLAGS, ids=str)
def test_variants_equal_plain_loops_on_both_ranks(found, flags, name):
    features = [rank_features(rank) for rank in range(WORLD)]
    losses = [rank_reference(rank, features, VARIANTS[name], *flags) for rank in range(WORLD)]
    for rank in range(WORLD):
        value, *got = found[rank][name, flags]
        assert value.item() == pytest.approx(losses[rank].item(), rel=1e-12)
        # What flows back to a rank's features comes from every rank's loss if gathered with gradients.
        sources = sum(losses) if flags[1] else losses[rank]
        want = [*torch.autograd.grad(sources, features[rank][:2], retain_graph=True)]
        want += torch.autograd.grad(losses[rank], features[rank][2:], retain_graph=True)
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)


def test_masked_siglip_equals_plain_loops_on_both_ranks(found):
    features = [rank_features(rank) for rank in range(WORLD)]
    losses = []
    for rank in range(WORLD):
        scale, bias = features[rank][2:]
        total = 0
        for i, image in enumerate(features[rank][0]):
            for c, j in itertools.product(range(WORLD * B), range(K)):
                logit = scale * image @ features[c // B][1][c % B * K + j] + bias
                if c == rank * B + i:
                    total = total - torch.nn.functional.logsigmoid(logit)
                elif IDS[c] != IDS[rank * B + i]:
                    total = total - torch.nn.functional.logsigmoid(-logit)
        losses.append(total / B / K)
    for rank in range(WORLD):
        value, image_grad, text_grad, _, bias_grad = found[rank]["masked", "siglip"]
        assert value.item() == pytest.approx(losses[rank].item(), rel=1e-12)
        want = torch.autograd.grad(sum(losses), features[rank][:2], retain_graph=True)
        torch.testing.assert_close(image_grad, want[0], rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(text_grad, want[1], rtol=1e-10, atol=1e-13)
        (want_bias,) = torch.autograd.grad(losses[rank], features[rank][3], retain_graph=True)
        torch.testing.assert_close(bias_grad, want_bias, rtol=1e-10, atol=1e-13)
