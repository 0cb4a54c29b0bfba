"""Trimmed text towers against the same towers untrimmed: real open_clip models of tiny size."""

import copy
import logging

import pytest
import torch
from open_clip.coca_model import CoCa
from open_clip.model import CLIP, CustomTextCLIP
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode

from laclip_aug.errors import ConfigurationError
from laclip_aug.training.trim import install_trimming, remove_trimming

from .upstream import END_TOKEN_BY_ID, LOCKS_TEXT

VISION = {"layers": 1, "width": 16, "head_width": 8, "patch_size": 16, "image_size": 32}
TEXT = {"context_length": 77, "vocab_size": 300, "width": 32, "heads": 4, "layers": 3}
END = 299


def build(kind=CLIP, dtype=torch.float32, **text):
    torch.manual_seed(0)
    model = kind(16, VISION, TEXT | text)
    for parameter in model.parameters():
        # far from the initial values, so that attention is not nearly uniform
        if parameter.ndim > 1:
            parameter.data.normal_(0, 0.15)
    return model.to(dtype).train()


def captions(lengths=(2, 5, 15, 16, 17, 23, 24, 25, 33, 60, 76, 77, 9, 9, 31), end=END, repeat=1):
    generator = torch.Generator().manual_seed(1)
    text = torch.zeros(len(lengths), 77, dtype=torch.long)
    for row, length in enumerate(lengths):
        text[row, : length - 1] = torch.randint(0, 298, (length - 1,), generator=generator)
        text[row, text[row] == end] = 7
        text[row, length - 1] = end
    return text.repeat(repeat, 1)


def run(model, text):
    """Features, and the gradients of an arbitrary function of them in all parameters that the text reaches."""
    model.zero_grad(set_to_none=True)
    features = model.encode_text(text, normalize=True)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (features * weights.to(features.dtype)).sum().backward()
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return features.detach(), found


def seen_lengths(model):
    """A list that grows by the length of each sequence that goes through the transformer."""
    transformer = model.text.transformer if hasattr(model, "text") else model.transformer
    lengths = []
    transformer.register_forward_pre_hook(lambda _, args: lengths.append(tuple(args[0].shape[:2])))
    return lengths


CAUSAL = {
    "clip": (CLIP, {}, END),
    "clip eos": (CLIP, {"pool_type": "eos", "eos_id": 150}, 150),
    "clip first": (CLIP, {"pool_type": "first"}, END),
    "custom": (CustomTextCLIP, {}, END),
    "custom eos, linear": (CustomTextCLIP, {"pool_type": "eos", "eos_id": 3, "proj_bias": True}, 3),
}


CAUSAL = {name: case for name, case in CAUSAL.items() if END_TOKEN_BY_ID or "eos_id" not in case[1]}


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=["fp32", "fp64"])
@pytest.mark.parametrize("name", CAUSAL)
def test_features_and_gradients_are_equal(name, dtype, tolerance, checkpointing):
    kind, options, end = CAUSAL[name]
    model = build(kind, dtype, **options)
    model.set_grad_checkpointing(checkpointing)
    text = captions(end=end, repeat=2)
    expected, expected_grads = run(model, text)
    report = install_trimming(model)
    assert report.exact, report.reason
    lengths = seen_lengths(model)
    features, grads = run(model, text)
    assert {length for _, length in lengths} <= {16, 24, 32, 48, 77}
    assert sum(rows * length for rows, length in lengths) < text.numel() / 2  # the work really is less
    assert (features - expected).abs().max() <= tolerance * expected.abs().max()
    assert grads.keys() == expected_grads.keys()
    for key, want in expected_grads.items():
        assert grads[key].shape == want.shape
        assert (grads[key] - want).norm() <= tolerance * max(1.0, want.norm().item()), key


def test_each_text_goes_to_the_least_length_that_holds_it_and_repeats_go_once():
    model = build()
    install_trimming(model, buckets=(16, 40))
    lengths = seen_lengths(model)
    model.encode_text(captions((2, 16, 17, 40, 41, 77, 16), repeat=3))
    assert lengths == [(3, 16), (2, 40), (2, 77)]


@pytest.mark.parametrize("kind", [CLIP, CustomTextCLIP])
def test_the_models_own_forward_is_trimmed(kind):
    model = build(kind, torch.float64)
    images, text = torch.zeros(4, 3, 32, 32, dtype=torch.float64), captions((5, 16, 17, 60))
    (_, expected, *_) = model(images, text)
    report = install_trimming(model)
    assert "394 of 770 positions" in report.reason  # of two texts of each length: 2 x (16 + 24 + 32 + 48 + 77)
    lengths = seen_lengths(model)
    (_, found, *_) = model(images, text)
    assert lengths == [(2, 16), (1, 24), (1, 77)]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_forward_that_encodes_on_another_way_is_found_out(caplog):
    """As a version of open_clip might, whose ``forward`` no longer comes by what is replaced."""

    class Other(CLIP):
        def forward(self, image=None, text=None):
            return image, torch.nn.functional.normalize(CLIP.encode_text(self, text), dim=-1), self.logit_scale.exp()

        def encode_text(self, text, normalize=False):
            return CLIP.encode_text(self, text, normalize)

    class Elsewhere(Other):
        def forward(self, image=None, text=None):
            return Other.forward.__get__(self._plain if hasattr(self, "_plain") else self)(image, text)

    model = build(Elsewhere)
    object.__setattr__(model, "_plain", copy.deepcopy(model))
    with caplog.at_level(logging.INFO, "laclip_aug"):
        report = install_trimming(model)
    assert not report.exact
    assert "on another way" in report.reason
    assert "text trimming off" in caplog.text
    assert type(model) is Elsewhere


def test_the_trial_leaves_modes_and_random_state_as_they_were():
    model = build()
    model.visual.eval()
    before, modes = torch.get_rng_state(), [module.training for module in model.modules()]
    assert install_trimming(model).exact
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in model.modules()] == modes


@pytest.mark.parametrize("kind", [CLIP, CustomTextCLIP])
def test_a_trimmed_model_is_pickled_as_the_plain_one(kind, tmp_path):
    model = build(kind)
    install_trimming(model)
    torch.save(model, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)

    tower = again.text if kind is CustomTextCLIP else again
    assert type(again) is kind
    assert type(tower) is type(build(kind).text if kind is CustomTextCLIP else again)
    assert vars(tower).keys() == vars(build(kind).text if kind is CustomTextCLIP else build(kind)).keys()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
    text = captions()
    torch.testing.assert_close(again.encode_text(text), model.encode_text(text), rtol=1e-4, atol=1e-4)


def test_equal_ids_of_different_texts_change_nothing(monkeypatch):
    model = build(dtype=torch.float64)
    text = captions(repeat=2)[torch.randperm(30, generator=torch.Generator().manual_seed(4))]
    expected, gradients = run(model, text)
    install_trimming(model)
    # All ids collide, or those of every third text.
    for ids in (torch.zeros(30, dtype=torch.long), torch.arange(30) % 3):
        monkeypatch.setattr("laclip_aug.training.trim.row_ids", lambda _, ids=ids: ids)
        found, grads = run(model, text)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(grads, gradients, rtol=1e-10, atol=1e-10)


def test_no_operation_waits_for_a_gpu_but_one_copy():
    # On a GPU the host waits where an operation's answer or its shape depends on the data. The one copy that is left,
    # of the buckets' sizes, is no operation of that kind.
    class Waits(TorchDispatchMode):
        found = ()

        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            tags = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
            by_number = operation is torch.ops.aten.index.Tensor and all(i.dtype == torch.long for i in args[1])
            if tags & set(operation.tags) and not by_number:  # an index of booleans would be waited for
                self.found = (*self.found, operation)
            return operation(*args, **(kwargs or {}))

    model, text = build(), captions(repeat=2)
    install_trimming(model)
    with Waits() as step:
        run(model, text)
    assert step.found == ()
    with Waits() as known:  # it would be seen
        text.unique(), text.sum().item(), text[text > 0]
    assert len(known.found) == 3


def test_padding_is_told_by_the_pooled_position_and_not_by_its_id():
    # Token 0 occurs within the text, and what stands behind the end is no padding.
    model = build(dtype=torch.float64)
    text = captions((20, 20))
    text[0, 3:18] = 0
    text[1, 20:] = 11
    expected, _ = run(model, text)
    install_trimming(model)
    torch.testing.assert_close(run(model, text)[0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.skipif(not END_TOKEN_BY_ID, reason="this open_clip pools at the largest id")
def test_text_without_an_end_token_is_encoded_as_before():
    model = build(dtype=torch.float64, pool_type="eos", eos_id=150)
    text = captions((20, 40), end=150)
    text[0, 19] = 1  # no position 150: open_clip then pools position 0
    expected, _ = run(model, text)
    install_trimming(model)
    torch.testing.assert_close(run(model, text)[0], expected, rtol=1e-12, atol=1e-12)


LEFT_ALONE = {
    "siglip": (CustomTextCLIP, {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}, "not causal"),
    "not causal, argmax": (CustomTextCLIP, {"no_causal_mask": True}, "not causal"),
    "class token": (CustomTextCLIP, {"embed_cls": True}, "class token"),
    "last": (CLIP, {"pool_type": "last"}, "pooling 'last'"),
    "all tokens": (CustomTextCLIP, {"output_tokens": True}, "all its tokens"),
    "short context": (CLIP, {"context_length": 16}, "no text length below"),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_other_towers_are_left_alone_with_a_reason(name, caplog):
    kind, options, reason = LEFT_ALONE[name]
    model = build(kind, **options)
    before = {id(module): type(module) for module in model.modules()}
    with caplog.at_level(logging.INFO, "laclip_aug"):
        report = install_trimming(model)
    assert not report.exact
    assert reason in report.reason
    assert f"text trimming off: {report.reason}" in caplog.text
    assert {id(module): type(module) for module in model.modules()} == before
    assert remove_trimming(model) is False


def test_coca_is_left_alone():
    decoder = {"context_length": 77, "vocab_size": 300, "width": 32, "heads": 4, "layers": 1}
    model = CoCa(16, decoder, TEXT | {"embed_cls": True, "output_tokens": True}, VISION | {"output_tokens": True})
    report = install_trimming(model)
    assert not report.exact
    assert "class token" in report.reason


def test_a_tower_of_another_library_is_left_alone():
    model = build(CustomTextCLIP)
    model.text = torch.nn.Embedding(300, 16)
    assert "none of open_clip's own" in install_trimming(model).reason
    assert "none of open_clip's own" in install_trimming(torch.nn.Linear(2, 2)).reason


def test_a_mask_that_is_not_causal_is_seen():
    model = build()
    model.attn_mask[0, 5] = 0
    assert "not the causal one" in install_trimming(model).reason


def test_the_probe_refuses_a_tower_whose_numbers_differ():
    """A causal mask and end-of-text pooling, but a layer that mixes positions all the same."""

    class Leak(torch.nn.Module):
        def forward(self, x):
            return x + x.mean(dim=1, keepdim=True)

    model = build()
    model.ln_final = Leak()
    report = install_trimming(model)
    assert not report.exact
    assert "off by" in report.reason


def test_wrapped_models():
    compiled = torch.compile(build(), backend="eager")
    assert "torch.compile" in install_trimming(compiled).reason
    scripted = build()
    scripted.ln_final = torch.jit.script(torch.nn.LayerNorm(32))
    assert "torchscript" in install_trimming(scripted).reason


def test_a_model_compiled_afterwards_is_right_if_untrimmed():
    model = build(dtype=torch.float64)
    text = captions()
    expected, _ = run(model, text)
    install_trimming(model)
    features = torch.compile(lambda t: model.encode_text(t, normalize=True), backend="eager")(text)
    torch.testing.assert_close(features, expected, rtol=1e-12, atol=1e-12)


def test_evaluation_is_bit_identical_to_the_untouched_model():
    model = build().eval()
    text = captions()
    expected = model.encode_text(text)
    install_trimming(model)
    lengths = seen_lengths(model)
    assert torch.equal(model.encode_text(text), expected)
    assert lengths == [(len(text), 77)]


@pytest.mark.parametrize("kind", [CLIP, CustomTextCLIP])
def test_an_exception_leaves_the_tower_whole_and_removal_restores_it(kind):
    model = build(kind)
    tower = model.text if kind is CustomTextCLIP else model
    table, mask, embedding, own = tower.positional_embedding, tower.attn_mask, tower.token_embedding, type(tower)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    install_trimming(model)

    def fail(*_):
        raise RuntimeError("out of memory")

    handle = tower.transformer.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        model.encode_text(captions())
    handle.remove()
    assert tower.positional_embedding is table
    assert tower.attn_mask is mask
    assert tower.token_embedding is embedding
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert isinstance(tower, own)
    assert remove_trimming(model) is True
    assert type(tower) is own
    assert vars(tower).keys() == vars(build(kind).text if kind is CustomTextCLIP else build(kind)).keys()


def test_installing_twice_is_one_installation():
    model = build()
    assert install_trimming(model).exact
    assert install_trimming(model).exact
    remove_trimming(model)
    assert type(model) is CLIP


def test_a_deep_copy_trains_its_own_parameters():
    model = build()
    install_trimming(model)
    twin = copy.deepcopy(model)
    lengths = seen_lengths(twin)
    twin.encode_text(captions()).sum().backward()
    assert len(lengths) == 5  # trimmed as well
    assert model.positional_embedding.grad is None
    assert twin.positional_embedding.grad is not None


def test_bfloat16_autocast():
    model = build()
    text = captions()
    with torch.autocast("cpu", torch.bfloat16):
        expected, _ = run(model, text)
        install_trimming(model)
        features, _ = run(model, text)
    assert (features - expected).abs().max() < 0.03


@pytest.fixture
def one_process(tmp_path):
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_sharded_models_are_left_alone(one_process):
    model = build(CustomTextCLIP)
    fully_shard(model.text, mesh=init_device_mesh("cpu", (1,)))
    assert "FSDP" in install_trimming(model).reason


@pytest.mark.parametrize("kind", [CLIP, CustomTextCLIP])
def test_a_locked_tower_and_data_parallel(kind, one_process):
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    text = captions((5, 20, 30, 60))

    def gradients(wrapped):
        image_features, text_features, scale = wrapped(images, text)
        (scale * image_features * text_features).sum().backward()
        inner = getattr(wrapped, "module", wrapped)
        return {name: p.grad for name, p in inner.named_parameters() if p.grad is not None}

    plain, trimmed = build(kind, torch.float64), build(kind, torch.float64)
    for model in (plain, trimmed):
        if LOCKS_TEXT:
            model.lock_text_tower(unlocked_layers=1)
    expected = gradients(plain)
    wrapped = DistributedDataParallel(trimmed)
    assert install_trimming(wrapped).exact
    lengths = seen_lengths(trimmed)
    found = gradients(wrapped)
    assert [length for _, length in lengths] == [16, 24, 32, 77]
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        torch.testing.assert_close(found[name], want, rtol=1e-10, atol=1e-12)


def test_an_empty_batch_and_other_lengths_go_the_plain_way():
    model = build()
    install_trimming(model)
    for length in (0, 30):  # open_clip 4 refuses the first as well, both take texts of the full length only
        text = torch.zeros(length and 2, length or 77, dtype=torch.long)
        assert outcome(model, text) == outcome(build(), text)


def outcome(model, text):
    """The shape of the features, or what kind of error there is."""
    try:
        return model.encode_text(text).shape
    except RuntimeError as error:
        return type(error)


def test_wrong_lengths():
    with pytest.raises(ConfigurationError, match="must be positive"):
        install_trimming(build(), buckets=(0, 16))
