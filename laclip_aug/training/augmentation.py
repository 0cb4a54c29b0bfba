"""What text augmentation does to a trainer of open_clip's form: to its data, its model and its loss.

Nothing here reaches into the trainer. :mod:`laclip_aug.training.hook` puts these methods into its places from outside;
a source checkout with one of the files of ``patches/`` applied calls them itself.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable
from itertools import chain
from typing import Any, cast

from torch import Tensor, nn

from laclip_aug import openclip
from laclip_aug.augmenter import create_augmenter
from laclip_aug.errors import ConfigurationError
from laclip_aug.seeding import derive
from laclip_aug.training import coverage
from laclip_aug.training.loader import TrainingLoader, describe_draws
from laclip_aug.training.loss import MultiTextLoss
from laclip_aug.training.options import DEFAULT_POOL, TextAugOptions
from laclip_aug.training.rows import row_ids
from laclip_aug.training.sampling import AugmenterLookup, TextSampler
from laclip_aug.training.tokenizer import AugmentingTokenizer, DrawCounts, SharedEpoch
from laclip_aug.training.trim import install_trimming

_UNTRIMMED = {
    "torchcompile": "wants equal shapes in each step",
    "ddp_static_graph": "wants equal shapes in each step",
    "fsdp": "keeps the model's parameters in shards",
}
"""Options of the trainer under which texts keep their padding, and why."""
_ONE_LENGTH = ("use_naflex", "variable_text", "genlip", "genlap")
"""Values in the trainer's arguments that stand for batches of another form than padded texts ``[B, L]``."""


def sampler_for(options: TextAugOptions) -> TextSampler:
    """The sampler that ``options`` describe, over a cache or over an augmenter that works while loading."""
    shared: dict[str, Any] = {"seed": options.seed, "original_prob": options.original_prob}
    if options.cache is None:
        pool = DEFAULT_POOL if options.num_texts is None else options.num_texts
        augmenter = create_augmenter(options.mode, **options.augmenter_options)
        return TextSampler(AugmenterLookup(augmenter, pool - 1, options.seed), pool=pool, **shared)
    from laclip_aug.cache.lookup import CaptionCache

    cache = CaptionCache(options.cache)
    made, sources = max(cache.manifest.config.n, cache.manifest.counts.most), cache.sources  # imports vary in number
    chosen = sources if options.strategies is None else options.strategies
    return TextSampler(
        cache,
        multi=options.mode == "laclip-mt",
        pool=1 + sum(sources[j % len(sources)] in chosen for j in range(made if sources else 0)),
        num_texts=options.num_texts,
        strategies=options.strategies,
        on_miss=options.on_miss,
        **shared,
    )


class TextAugmentation:
    """Text augmentation of one training run. With mode ``none``, every method changes nothing.

    Call :meth:`check` with the trainer's arguments first, then the others in any order.

    Raises:
        ConfigurationError: the options do not fit the cache.
        CacheError: the cache cannot be read.
    """

    def __init__(self, options: TextAugOptions) -> None:
        self.options = options
        self.sampler = None if options.mode == "none" else sampler_for(options)
        self.multi_text_loss: MultiTextLoss | None = None
        self._arguments = Namespace()

    @property
    def multi_text(self) -> bool:
        """Whether a loss over several texts per image takes the place of the trainer's own."""
        return self.sampler is not None and (self.sampler.num_texts > 1 or self.options.mt_mask_duplicates)

    @property
    def trims(self) -> bool:
        """Whether to trim texts. By default not where no text is ever changed: that run is open_clip's, to the bit."""
        if self.options.trim != "auto":
            return self.options.trim == "on"
        return self.sampler is not None and self.sampler.changes_texts

    def check(self, args: Namespace) -> None:
        """Refuse what would train on something else than it says, and note our options in ``args`` for the log.

        Raises:
            ConfigurationError: the trainer's arguments and our options do not go together.
        """
        self._arguments = args
        if self.sampler is not None:
            self._refuse_other_batches(args)
        if self.multi_text:
            self._refuse_other_losses(args)
        vars(args).update(self.options.as_namespace())

    def dataset_fn(self, dataset_fn: Callable[..., Any]) -> Callable[..., Any]:
        """A function of open_clip's ``get_csv_dataset`` form, as one whose training data has augmented texts.

        Only calls with ``is_train=True`` are changed; validation keeps its texts. Batches have texts ``[B*K, L]``.
        """
        sampler = self.sampler
        if sampler is None:
            return dataset_fn

        def build(
            args: Namespace, preprocess: Any, is_train: bool, epoch: int = 0, tokenizer: Any = None, **rest: Any
        ) -> Any:
            if not is_train:
                return dataset_fn(args, preprocess, is_train=is_train, epoch=epoch, tokenizer=tokenizer, **rest)
            self._refuse_other_batches(args)  # once more: the trainer has looked at the model since
            shared = SharedEpoch(epoch)
            counts = DrawCounts(sampler.strategies, args.workers)
            augmenting = AugmentingTokenizer(tokenizer, sampler, shared, counts)
            info = dataset_fn(args, preprocess, is_train=is_train, epoch=epoch, tokenizer=augmenting, **rest)
            self._look_into_cache(augmenting, info.dataloader, args)
            return self._follow_epochs(info, shared, counts, args)

        return build

    def trim(self, model: nn.Module) -> None:
        """Leave the padding out of the model's text tower where that is exact and wanted; the log says which."""
        if not self.trims:
            return
        for option, why in _UNTRIMMED.items():
            if getattr(self._arguments, option, False):
                logging.info("text trimming off: --%s %s", option.replace("_", "-"), why)
                return
        install_trimming(model)

    def loss(self, single: nn.Module, args: Namespace) -> nn.Module:
        """The loss to train with, where the trainer's own for one text per image is ``single``."""
        if not self.multi_text:
            return single
        distributed = {"local_loss": args.local_loss, "gather_with_grad": args.gather_with_grad}
        self.multi_text_loss = self._loss_for(args, single, **distributed, rank=args.rank, world_size=args.world_size)
        return self.multi_text_loss

    def task(self, task: nn.Module, args: Namespace) -> nn.Module:
        """A training task of open_clip 4, with its loss replaced by :meth:`loss` where there are several texts.

        Raises:
            ConfigurationError: the task has no contrastive loss.
        """
        if self.multi_text:
            single = getattr(task, "loss", None)
            if not isinstance(single, nn.Module):
                raise ConfigurationError(
                    f"{type(task).__name__} of open_clip has no contrastive loss; it cannot train on several texts per "
                    "image: use laclip"
                )
            task.loss = self.loss(single, args)
        return task

    def _loss_for(self, args: Namespace, single: nn.Module | None, **distributed: Any) -> MultiTextLoss:
        options = self.options
        return MultiTextLoss(
            single,
            kind="siglip" if args.siglip else "clip",
            reduction=options.mt_reduction,
            text_side=options.mt_text_side,
            negatives=options.mt_negatives,
            mask_duplicates=options.mt_mask_duplicates,
            **distributed,
        )

    def _refuse_other_batches(self, args: Namespace) -> None:
        other = [name for name in _ONE_LENGTH if getattr(args, name, False)]
        if "audio" in str(args.dataset_type):
            other.append("dataset_type")
        if other:
            raise ConfigurationError(
                f"text augmentation needs batches of images and of texts padded to one length, which "
                f"{', '.join(other)} of open_clip's arguments rules out; use another model or --text-aug none"
            )

    def _refuse_other_losses(self, args: Namespace) -> None:
        texts = f"{1 if self.sampler is None else self.sampler.num_texts} texts per image"
        if openclip.is_generative(args.model):
            raise ConfigurationError(
                f"{args.model} decodes one caption per image; it cannot train on {texts}: use laclip"
            )
        if args.distill_model is not None and args.distill_pretrained is not None:
            raise ConfigurationError(
                f"open_clip's distillation loss pairs one text with an image, not {texts}: use laclip"
            )
        if getattr(args, "horovod", False):
            raise ConfigurationError(
                f"the loss over {texts} gathers by torch.distributed; start with torchrun, not horovod"
            )
        self._loss_for(args, None)  # its constructor names combinations of loss options that have no meaning

    def _look_into_cache(self, tokenizer: AugmentingTokenizer, loader: Any, args: Namespace) -> None:
        """Check that the cache covers the training data, and let the tokenizer learn the words of both."""
        if self.options.cache is None:
            return
        from laclip_aug.cache.lookup import CaptionCache

        lookup = cast(CaptionCache, tokenizer.sampler.lookup)
        shards = None if args.train_data is None else str(args.train_data)
        keys = coverage.keys_of(args)
        captions = coverage.training_captions(getattr(loader, "dataset", None), shards, self.options.seed, keys=keys)
        measured = coverage.measure(lookup, captions)
        if args.rank == 0 or self.options.on_miss == "error":  # each process stops by itself; none is left waiting
            coverage.check(measured, str(shards), self.options.cache, self.options.on_miss, keys)
        tokenizer.learn(chain(captions, lookup.texts()))

    def _follow_epochs(self, info: Any, shared: SharedEpoch, counts: DrawCounts, args: Namespace) -> Any:
        """``info`` with an augmented loader, and with a ``set_epoch`` that reaches the workers and the loss."""
        set_epoch = info.set_epoch

        def follow(epoch: int) -> None:
            set_epoch(epoch)
            shared.set(epoch)
            counts.take()
            if self.multi_text_loss is not None:
                self.multi_text_loss.step_seed = derive(self.options.seed, epoch)

        def note_rows(texts: Tensor, texts_per_image: int) -> None:
            if self.multi_text_loss is not None and self.multi_text_loss.needs_rows:
                self.multi_text_loss.record_rows(row_ids(texts, texts_per_image))

        def report() -> None:
            if args.rank == 0:
                where = f" (by rank 0 of {args.world_size})" if args.world_size > 1 else ""
                logging.info("%s%s", describe_draws(counts.take(), shared.get()), where)

        info.set_epoch = follow
        info.dataloader = TrainingLoader(info.dataloader, note_rows, report)
        return info
