"""Contrastive losses over several texts per image: LaCLIP-MT (Fan et al. 2023, arXiv 2305.20088).

With ``K = M + 1`` texts per image, the image side is the paper's

    L_I* = -(1/M) sum_i sum_j log [ exp(<I_i, T_j^i>/tau) / sum_k exp(<I_i, T_j^k>/tau) ]

(averaged over the batch, as in CLIP). The default divides by K in place of M, so that one text per image gives CLIP's
loss. :class:`MultiTextLoss` takes the features in the layout that the text sampler emits: texts flattened sample-major,
text ``j`` of image ``b`` in row ``b * K + j``.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor, nn

from laclip_aug.errors import ConfigurationError, UnknownNameError
from laclip_aug.training.distill import TEACHER, check_teacher, chosen, distillation
from laclip_aug.training.gather import gather, gather_ids, gathered
from laclip_aug.training.rows import side_key, text_choice
from laclip_aug.training.symmetric import symmetric
from laclip_aug.training.tiled import Problem, contrast

_OPTIONS = {
    "kind": ("clip", "siglip"),
    "reduction": ("mean", "paper"),
    "text_side": ("all", "sampled"),
    "negatives": ("index", "all"),
}


class MultiTextLoss(nn.Module):
    """CLIP's or SigLIP's loss over K texts per image, called like open_clip's ``ClipLoss`` and ``SigLipLoss``.

    K is read off the shapes (texts / images). At K = 1 the call goes to ``single``, so that its result is bit for bit
    what it would be without this class; without ``single``, the same formulas are used at K = 1.

    Args:
        single: the loss for one text per image, such as open_clip's own; or None.
        kind: ``clip`` (InfoNCE), or ``siglip``: the sigmoid loss with K positives per image, the sum over the B x BK
            pairs divided by B K, which is the mean of SigLIP's loss over the K slices.
        reduction: ``mean`` over the texts, or ``paper``: 1/M over M + 1 texts, so K/(K-1) times the mean.
        text_side: ``all``: every text is contrasted with the images. ``sampled``: one text per image, drawn by
            ``step_seed`` and row; this side is then CLIP's own and takes no factor from ``reduction``.
        negatives: ``index``: text j competes with the texts j of the other images (the paper's). ``all``: with all
            texts of the other images; the K - 1 other texts of its own image are left out, being no negatives. The
            text side, whose negatives are images, is the same in both.
        mask_duplicates: leave out pairs of different rows that carry the same caption; needs row ids.
        local_loss, gather_with_grad, rank, world_size: as open_clip's. With both flags off the gathered features carry
            no gradient except this rank's; with ``local_loss`` alone not even those. ``siglip`` always has them all.
        step_seed: seed of the ``sampled`` draw; set the attribute anew for each epoch (or step).

    Raises:
        ConfigurationError: an option or a combination is wrong.
    """

    def __init__(
        self,
        single: nn.Module | None = None,
        kind: str = "clip",
        reduction: str = "mean",
        text_side: str = "all",
        negatives: str = "index",
        mask_duplicates: bool = False,
        local_loss: bool = False,
        gather_with_grad: bool = False,
        rank: int = 0,
        world_size: int = 1,
        step_seed: int = 0,
    ) -> None:
        super().__init__()
        given = {"kind": kind, "reduction": reduction, "text_side": text_side, "negatives": negatives}
        for option, value in given.items():
            if value not in _OPTIONS[option]:
                raise UnknownNameError(option, value, _OPTIONS[option])
        if kind == "siglip" and (text_side, negatives) != ("all", "index"):
            raise ConfigurationError(
                "the sigmoid loss counts every pair of image and text once: text_side and negatives do not apply to "
                "kind='siglip'; leave them at 'all' and 'index'"
            )
        if not 0 <= rank < world_size:
            raise ConfigurationError(f"rank {rank} is outside of 0..{world_size - 1}; check rank and world_size")
        self.single = single
        self.kind, self.reduction, self.text_side, self.negatives = kind, reduction, text_side, negatives
        self.mask_duplicates = mask_duplicates
        self.local_loss, self.gather_with_grad = local_loss, gather_with_grad
        self.rank, self.world_size = rank, world_size
        self._side_key = torch.zeros((), dtype=torch.int64)  # a tensor, so that a new epoch compiles nothing anew
        self.step_seed = step_seed
        self._rows: deque[Tensor] = deque()

    @property
    def step_seed(self) -> int:
        """Seed of the ``sampled`` draw."""
        return self._step_seed

    @step_seed.setter
    def step_seed(self, seed: int) -> None:
        self._step_seed = seed
        self._side_key.fill_(side_key(seed))

    @property
    def needs_rows(self) -> bool:
        """Whether ``record_rows`` has to be called for each batch (or ``row_ids`` given to ``forward``)."""
        return self.mask_duplicates or self.text_side == "sampled"

    def record_rows(self, row_ids: Tensor) -> None:
        """Note the ids ``[B]`` (int64) of a batch that a trainer is about to use; equal ids mean equal captions.

        For loops that give the loss nothing but features, call it once for each batch read, in order. ``forward`` then
        takes the newest rows, as many as it has images, so gradient accumulation over several batches is right too.
        """
        self._rows.append(row_ids.detach())

    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor | float,
        logit_bias: Tensor | float | None = None,
        output_dict: bool = False,
        *,
        row_ids: Tensor | None = None,
        dist_image_features: Tensor | None = None,
        dist_text_features: Tensor | None = None,
        dist_logit_scale: Tensor | None = None,
        **extra: Any,
    ) -> Tensor | tuple[Tensor, Tensor] | dict[str, Tensor]:
        """The loss of this rank's batch, a scalar; in a dict as ``contrastive_loss`` if ``output_dict``.

        With a teacher's features of the same images and texts there is a second loss, ``distill_loss``: the mean over
        the K slices of open_clip's (cross-entropy with the teacher's softmax, both ways). ``reduction`` and
        ``text_side`` hold for it too. ``negatives`` and ``mask_duplicates`` do not: what is alike, the teacher knows.

        Args:
            image_features: ``[B, D]``, normalised.
            text_features: ``[B * K, D]``, normalised, sample-major.
            logit_scale: a scalar, already exponentiated.
            logit_bias: a scalar, or None.
            row_ids: ``[B]`` int64, in place of what ``record_rows`` noted.
            dist_image_features, dist_text_features, dist_logit_scale: the teacher's: ``[B, D']``, ``[B * K, D']``,
                normalised, and a scalar. They get no gradient.
            extra: handed on to ``single`` at K = 1; otherwise refused.

        Raises:
            ConfigurationError: the features have another form or give no whole K, row ids are needed and absent,
                ``extra`` at K > 1, or a teacher of another number of texts or with ``kind='siglip'``.
        """
        if image_features.ndim != 2 or text_features.ndim != 2:
            raise ConfigurationError(
                f"features of the form {tuple(image_features.shape)} and {tuple(text_features.shape)}: give image "
                "features [B, D] and give text features [B*K, D], text j of image b in row b*K + j"
            )
        images, texts = image_features.shape[0], text_features.shape[0]
        if images == 0 or texts == 0 or texts % images:
            raise ConfigurationError(
                f"{texts} texts for {images} images is no whole number of texts per image; give text features [B*K, D]"
            )
        k = texts // images
        given = (dist_image_features, dist_text_features, dist_logit_scale)
        taught = {name: value for name, value in zip(TEACHER, given, strict=True) if value is not None}
        if k == 1 and self.single is not None and not self.mask_duplicates:
            self._rows.clear()
            more = taught | ({} if logit_bias is None else {"logit_bias": logit_bias}) | extra
            answer: Tensor | tuple[Tensor, Tensor] | dict[str, Tensor] = self.single(
                image_features, text_features, logit_scale=logit_scale, output_dict=output_dict, **more
            )
            return answer
        if extra:
            raise ConfigurationError(
                f"a multi-text loss has no use for {', '.join(sorted(extra))}; train with one text per image, or "
                "without caption losses"
            )
        if taught:
            if self.kind == "siglip":
                raise ConfigurationError("distillation is of softmax losses: use kind='clip', or no teacher")
            check_teacher(taught, images, texts)
        ids = self._ids(row_ids, images)
        scale = _as_tensor(logit_scale, image_features)
        bias = None if logit_bias is None else _as_tensor(logit_bias, image_features)
        losses = self._losses(image_features, text_features, scale, bias, ids, list(taught.values()))
        if output_dict:
            return dict(zip(("contrastive_loss", "distill_loss"), losses, strict=False))
        return losses if len(losses) == 2 else losses[0]

    def _ids(self, given: Tensor | None, images: int) -> Tensor | None:
        """The ids of the newest ``images`` rows; older ones are forgotten."""
        if not self.needs_rows:
            self._rows.clear()
            return None
        if given is None and self._rows:
            given = torch.cat(tuple(self._rows))[-images:]
            self._rows = deque([given])
        if given is not None and given.shape == (images,):
            return given
        if self.mask_duplicates or given is not None:
            have = "none" if given is None else str(given.numel())
            raise ConfigurationError(
                f"row ids of {images} images are needed and there are {have}; pass row_ids [B], or call record_rows "
                "for each batch"
            )
        return None

    def _losses(
        self,
        images: Tensor,
        texts: Tensor,
        scale: Tensor,
        bias: Tensor | None,
        ids: Tensor | None,
        taught: list[Tensor],
    ) -> tuple[Tensor] | tuple[Tensor, Tensor]:
        k, whole = len(texts) // len(images), not self.local_loss or self.world_size == 1
        ranks = {"rank": self.rank, "world_size": self.world_size}
        own = torch.arange(len(images), device=images.device) + self.rank * len(images)
        if ids is not None:
            ids = ids.to(images.device)
            ids = gather_ids(ids, self.world_size) if self.world_size > 1 else ids
        factor = k / (k - 1) if self.reduction == "paper" and k > 1 else 1.0
        mask_ids = ids if self.mask_duplicates else None

        def side(queries: Tensor, keys: Tensor, rows: Tensor, loss: str) -> Tensor:
            query_ids = None if mask_ids is None else mask_ids[rows]
            one: Tensor = contrast(queries, keys, scale, bias, Problem(rows, query_ids, mask_ids, loss))
            return one

        if self.kind == "siglip":
            keys = gather(texts, with_grad=True, keep_own=True, **ranks) if self.world_size > 1 else texts
            return (factor * side(images, keys.view(-1, k, keys.shape[1]).transpose(0, 1), own, "sigmoid"),)

        ours = gathered(images, texts, whole=whole, with_grad=self.gather_with_grad, **ranks)
        own = torch.arange(len(ours.images), device=own.device) if whole else own
        keys = ours.all_texts.view(-1, k, texts.shape[1])
        choice, weight = None, factor
        if self.text_side == "sampled":
            choice, weight = text_choice(self._side_key, len(keys), k, ids, own.device)[own], 1.0
        # On a CPU matrix products cost most, and sharing the logits saves a third of them; on a GPU it is the passes
        # over the logits, of which the two directions apart make fewer.
        if whole and images.device.type == "cpu" and choice is None and self.negatives == "index":
            contrastive: Tensor = factor * symmetric(ours.images, keys, scale, bias, mask_ids)
        else:
            image_side = side(ours.images, keys.transpose(0, 1), own, "joint" if self.negatives == "all" else "index")
            rows = own.repeat_interleave(k) if choice is None else own
            text_side = side(chosen(ours.texts, choice), ours.all_images[None], rows, "index")
            contrastive = (factor * image_side + weight * text_side) / 2
        if not taught:
            return (contrastive,)
        their_images, their_texts, their_scale = (part.detach() for part in taught)
        theirs = gathered(their_images, their_texts, whole=whole, with_grad=False, **ranks)
        image_side, text_side = distillation(ours, scale, theirs, their_scale, choice)
        return contrastive, (factor * image_side + weight * text_side) / 2


def _as_tensor(value: Tensor | float, like: Tensor) -> Tensor:
    """A scale or bias, which may be fixed, where the features are."""
    return value if isinstance(value, Tensor) else torch.tensor(float(value), device=like.device)
