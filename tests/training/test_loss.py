"""The multi-text losses against plain loops over single pairs, in float64."""

import itertools
import math

import pytest
import torch
from open_clip.loss import ClipLoss, DistillClipLoss, SigLipLoss

from laclip_aug.errors import ConfigurationError
from laclip_aug.training.loss import MultiTextLoss
from laclip_aug.training.rows import row_ids, side_key, text_choice

from .upstream import taken


def features(b, k, d=8, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(b, d, generator=generator, dtype=torch.float64)
    texts = torch.randn(b * k, d, generator=generator, dtype=torch.float64)
    leaves = [torch.nn.functional.normalize(x, dim=-1).to(dtype).requires_grad_() for x in (images, texts)]
    return [
        *leaves,
        torch.tensor(7.0, dtype=dtype, requires_grad=True),
        torch.tensor(-3.0, dtype=dtype).requires_grad_(),
    ]


def gradients(loss, inputs):
    found = torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, inputs, strict=True)]


def log_share(positive, others):
    """log of exp(positive) / (exp(positive) + sum of exp(others)), for scalars."""
    return positive - torch.logsumexp(torch.stack([positive, *others]), dim=0)


def reference(images, texts, scale, bias, kind, reduction, text_side, negatives, ids=None, choice=None):
    """Each pair's logit by itself, each term of the formula by itself."""
    b, k = len(images), len(texts) // len(images)
    logit = [[[scale * images[i] @ texts[c * k + j] + bias for j in range(k)] for c in range(b)] for i in range(b)]
    ids = list(range(b)) if ids is None else ids.tolist()
    rivals = [[c for c in range(b) if ids[c] != ids[i]] for i in range(b)]
    factor = 1 / (k - 1) if reduction == "paper" and k > 1 else 1 / k
    if kind == "siglip":
        total = 0
        for i, j in itertools.product(range(b), range(k)):
            total = total - torch.nn.functional.logsigmoid(logit[i][i][j])
            for c in rivals[i]:
                total = total - torch.nn.functional.logsigmoid(-logit[i][c][j])
        return total * factor / b
    image_side = text_side_all = 0
    for i, j in itertools.product(range(b), range(k)):
        slices = [j] if negatives == "index" else range(k)
        image_side = image_side - log_share(logit[i][i][j], [logit[i][c][s] for c in rivals[i] for s in slices])
        text_side_all = text_side_all - log_share(logit[i][i][j], [logit[c][i][j] for c in rivals[i]])
    if text_side == "all":
        return factor * (image_side + text_side_all) / b / 2
    sampled = 0
    for i, j in enumerate(choice.tolist()):
        sampled = sampled - log_share(logit[i][i][j], [logit[c][i][j] for c in rivals[i]])
    return (factor * image_side + sampled) / b / 2


CASES = [
    *(("clip", *rest) for rest in itertools.product(("mean", "paper"), ("all", "sampled"), ("index", "all"))),
    ("siglip", "mean", "all", "index"),
    ("siglip", "paper", "all", "index"),
]


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_value_and_gradients_equal_plain_loops(case, masked, k):
    inputs = features(6, k)
    ids = torch.tensor([4, 9, 4, 7, 9, 4]) if masked else torch.arange(6) * 11
    loss = MultiTextLoss(None, *case, mask_duplicates=masked, step_seed=3)
    choice = text_choice(side_key(3), 6, k, ids, torch.device("cpu"))
    expected = reference(*inputs, *case, ids=ids if masked else None, choice=choice)
    answer = loss(*inputs, row_ids=ids)
    assert answer.item() == pytest.approx(expected.item(), rel=1e-12)
    for got, want in zip(gradients(answer, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_float32_is_near_the_float64_reference(case):
    ids = torch.arange(6)
    choice = text_choice(side_key(0), 6, 3, ids, torch.device("cpu"))
    inputs, exact = features(6, 3, dtype=torch.float32), features(6, 3)
    expected = reference(*exact, *case, choice=choice)
    answer = MultiTextLoss(None, *case)(*inputs, row_ids=ids)
    assert answer.dtype == torch.float32
    assert answer.item() == pytest.approx(expected.item(), rel=1e-5)
    for got, want in zip(gradients(answer, inputs), gradients(expected, exact), strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-5)


def test_by_hand():
    # Two images along the axes, two texts each: text 0 matches exactly, text 1 matches the other image.
    images = torch.eye(2, dtype=torch.float64)
    texts = images[[0, 1, 1, 0]]
    scale = torch.tensor(2.0, dtype=torch.float64)
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert MultiTextLoss()(images, texts, scale).item() == pytest.approx((right + wrong) / 2)
    assert MultiTextLoss(reduction="paper")(images, texts, scale).item() == pytest.approx(right + wrong)


@pytest.mark.parametrize("single", [ClipLoss(), SigLipLoss()], ids=["clip", "siglip"])
def test_one_text_is_bit_identical_to_upstream(single):
    kind = "siglip" if isinstance(single, SigLipLoss) else "clip"
    inputs = taken(single, features(7, 1, dtype=torch.float32))
    ours = MultiTextLoss(single, kind, reduction="paper")(*inputs, output_dict=True)
    theirs = single(*inputs, output_dict=True)
    assert ours.keys() == theirs.keys() == {"contrastive_loss"}
    assert torch.equal(ours["contrastive_loss"], theirs["contrastive_loss"])
    pairs = zip(gradients(ours["contrastive_loss"], inputs), gradients(theirs["contrastive_loss"], inputs), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("single", [ClipLoss(), SigLipLoss()], ids=["clip", "siglip"])
def test_the_mean_over_slices_of_upstreams_loss(single):
    kind = "siglip" if isinstance(single, SigLipLoss) else "clip"
    images, texts, *rest = inputs = taken(single, features(7, 4))
    expected = sum(single(images, texts.view(7, 4, -1)[:, j], *rest) for j in range(4)) / 4
    answer = MultiTextLoss(single, kind)(*inputs)
    assert answer.item() == pytest.approx(expected.item(), rel=1e-13)
    for got, want in zip(gradients(answer, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-13)


def test_answers_as_open_clips_loop_asks():
    images, texts, scale, _ = features(4, 2)
    answer = MultiTextLoss(ClipLoss())(image_features=images, text_features=texts, logit_scale=scale, output_dict=True)
    assert list(answer) == ["contrastive_loss"]
    assert answer["contrastive_loss"].shape == ()


def taught(b, k):
    """A teacher's answers, of features of another width."""
    images, texts, scale, _ = features(b, k, d=5, seed=1)
    return {"dist_image_features": images, "dist_text_features": texts, "dist_logit_scale": scale}


def test_distillation_is_the_mean_over_slices_of_upstreams():
    images, texts, scale, _ = features(7, 4)
    inputs, teacher, single = [images, texts, scale], taught(7, 4), DistillClipLoss()
    expected = [0, 0]
    for j in range(4):
        sliced = teacher | {"dist_text_features": teacher["dist_text_features"].view(7, 4, -1)[:, j]}
        for part, value in enumerate(single(images, texts.view(7, 4, -1)[:, j], scale, **sliced)):
            expected[part] = expected[part] + value / 4

    answer = MultiTextLoss(single)(*inputs, output_dict=True, **teacher)
    assert list(answer) == ["contrastive_loss", "distill_loss"]
    for got, want in zip(answer.values(), expected, strict=True):
        assert got.item() == pytest.approx(want.item(), rel=1e-13)
        for a, b in zip(gradients(got, inputs), gradients(want, inputs), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
    answer = sum(MultiTextLoss(single)(*inputs, **teacher))
    assert torch.autograd.grad(answer, [*teacher.values()], allow_unused=True) == (None, None, None)

    paper = MultiTextLoss(single, reduction="paper")(*inputs, **teacher)
    assert [value.item() for value in paper] == pytest.approx([value.item() * 4 / 3 for value in expected], rel=1e-12)


def test_sampled_distillation_equals_a_plain_loop():
    images, texts, scale, _ = features(6, 3)
    inputs, teacher = [images, texts, scale], taught(6, 3)
    choice = text_choice(side_key(3), 6, 3, torch.arange(6), torch.device("cpu")).tolist()
    their_images, their_texts, their_scale = teacher.values()
    expected = 0
    for i in range(6):
        for j in range(3):
            places = [c * 3 + j for c in range(6)]
            said = torch.softmax(torch.stack([their_scale * their_images[i] @ their_texts[p] for p in places]), 0)
            ours = torch.log_softmax(torch.stack([scale * images[i] @ texts[p] for p in places]), 0)
            expected = expected - (said.detach() * ours).sum() / 3
        own = i * 3 + choice[i]
        said = torch.softmax(torch.stack([their_scale * their_texts[own] @ image for image in their_images]), 0)
        ours = torch.log_softmax(torch.stack([scale * texts[own] @ image for image in images]), 0)
        expected = expected - (said.detach() * ours).sum()
    expected = expected / 12

    loss = MultiTextLoss(text_side="sampled", negatives="all", mask_duplicates=True, step_seed=3)
    answer = loss(*inputs, row_ids=torch.arange(6), output_dict=True, **teacher)["distill_loss"]
    assert answer.item() == pytest.approx(expected.item(), rel=1e-12)
    for a, b in zip(gradients(answer, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)


def test_one_text_with_a_teacher_is_bit_identical_to_upstream():
    images, texts, scale, _ = features(7, 1, dtype=torch.float32)
    teacher = {name: value.float() for name, value in taught(7, 1).items()}
    ours, theirs = (
        loss(images, texts, scale, **teacher) for loss in (MultiTextLoss(DistillClipLoss()), DistillClipLoss())
    )
    assert all(map(torch.equal, ours, theirs))


def test_recorded_rows_follow_accumulation():
    """Ids are recorded per micro-batch; the loss sees the concatenation, once for each micro-batch."""
    images, texts, scale, _ = features(6, 2)
    first, second = torch.tensor([1, 2, 1]), torch.tensor([2, 5, 6])
    loss = MultiTextLoss(mask_duplicates=True)
    expected = loss(images, texts, scale, row_ids=torch.cat([first, second]))
    for batch in (torch.tensor([8, 8, 8]), first, second):  # a batch left over from the epoch before comes first
        loss.record_rows(batch)
    assert loss(images, texts, scale) == expected
    assert loss(images, texts, scale) == expected
    for batch in (second, second):
        loss.record_rows(batch)
    assert loss(images, texts, scale) == loss(images, texts, scale, row_ids=torch.cat([second, second]))


def test_row_ids_are_equal_for_equal_first_texts_only():
    texts = torch.tensor([[5, 6, 0], [1, 1, 1], [6, 5, 0], [1, 1, 1], [5, 6, 0], [2, 2, 2]])
    a, b, c = row_ids(texts, 2).tolist()
    assert a == c != b
    many = torch.randint(0, 49408, (20_000, 8), generator=torch.Generator().manual_seed(0))
    assert len(set(row_ids(many).tolist())) == len({tuple(row) for row in many.tolist()})


def test_the_sampled_choice_is_uniform_and_depends_on_seed_and_row_alone():
    ids = row_ids(torch.arange(40_000).view(-1, 1))
    choice = text_choice(side_key(1), 40_000, 5, ids, torch.device("cpu"))
    shares = torch.bincount(choice, minlength=5) / 40_000
    assert (shares - 0.2).abs().max() < 0.01
    assert torch.equal(text_choice(side_key(1), 100, 5, ids[:100], torch.device("cpu")), choice[:100])
    agreement = (text_choice(side_key(2), 40_000, 5, ids, torch.device("cpu")) == choice).double().mean()
    assert agreement.item() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "siglib"}, "did you mean 'siglip'"),
        ({"negatives": "none"}, "unknown negatives"),
        ({"kind": "siglip", "negatives": "all"}, "do not apply"),
        ({"rank": 2, "world_size": 2}, "check rank"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ConfigurationError, match=message):
        MultiTextLoss(**options)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@pytest.mark.parametrize("k", [1, 3])
def test_a_fixed_scale_may_be_a_number(kind, k):
    """As in open_clip's own losses."""
    images, texts = (part.detach() for part in features(4, k)[:2])
    plain, numbers = (ClipLoss(), [20.0]) if kind == "clip" else (SigLipLoss(), [20.0, -10.0])
    expected = sum(float(plain(images, texts[j::k], *numbers)) for j in range(k)) / k
    assert float(MultiTextLoss(kind=kind)(images, texts, *numbers)) == pytest.approx(expected)


def test_wrong_calls():
    images, texts, scale, _ = features(4, 2)
    with pytest.raises(ConfigurationError, match="whole number of texts"):
        MultiTextLoss()(images, texts[:7], scale)
    with pytest.raises(ConfigurationError, match=r"and \(4, 2, .*give text features \[B\*K, D\]"):
        MultiTextLoss()(images, texts.view(4, 2, -1), scale)
    with pytest.raises(ConfigurationError, match="no use for labels"):
        MultiTextLoss()(images, texts, scale, labels=images)
    teacher = {"dist_image_features": images, "dist_text_features": texts[:4], "dist_logit_scale": scale}
    with pytest.raises(ConfigurationError, match="4 images and 8 texts"):
        MultiTextLoss()(images, texts, scale, **teacher)
    with pytest.raises(ConfigurationError, match="a teacher needs"):
        MultiTextLoss()(images, texts, scale, dist_image_features=images)
    with pytest.raises(ConfigurationError, match="kind='clip'"):
        MultiTextLoss(kind="siglip")(images, texts, scale, **teacher)
    with pytest.raises(ConfigurationError, match="row ids of 4 images are needed and there are none"):
        MultiTextLoss(mask_duplicates=True)(images, texts, scale)
    with pytest.raises(ConfigurationError, match="there are 3"):
        MultiTextLoss(mask_duplicates=True)(images, texts, scale, row_ids=torch.arange(3))
