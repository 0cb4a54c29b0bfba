"""Text augmentation inside open_clip's trainer, without a change to its files.

``install`` replaces three of the trainer's globals (see :mod:`laclip_aug.openclip`) and ``uninstall`` puts them back::

    with install(TextAugOptions(mode="laclip", cache="rewrites")):
        openclip.run_trainer(arguments)

The training loader gets a tokenizer that draws the texts; validation and zero-shot keep the plain one. Several texts
per image travel as ``[B*K, L]``, so that the model is called as always, and the loss finds K again from the shapes.
"""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from laclip_aug import openclip
from laclip_aug.augmenter import create_augmenter
from laclip_aug.errors import ConfigurationError
from laclip_aug.openclip import Seam
from laclip_aug.seeding import derive
from laclip_aug.training import coverage
from laclip_aug.training.loader import TrainingLoader, describe_draws
from laclip_aug.training.loss import MultiTextLoss
from laclip_aug.training.options import DEFAULT_POOL, TextAugOptions
from laclip_aug.training.rows import row_ids
from laclip_aug.training.sampling import AugmenterLookup, TextSampler
from laclip_aug.training.tokenizer import AugmentingTokenizer, DrawCounts, SharedEpoch
from laclip_aug.training.trim import install_trimming

_installed: Hook | None = None


def install(options: TextAugOptions) -> Hook:
    """Let open_clip's trainer train with ``options`` from now on; a context manager that uninstalls at its end.

    Raises:
        UnsupportedOpenClipError: the installed open_clip lacks a seam; nothing has been replaced then.
        ConfigurationError: a hook is installed already, or the options do not fit the cache.
        CacheError: the cache cannot be read.
    """
    global _installed
    if _installed is not None:
        raise ConfigurationError("text augmentation is installed already; call uninstall() first")
    openclip.check_seams()
    hook = Hook(options)
    hook.attach()
    _installed = hook
    return hook


def uninstall() -> None:
    """Put back everything that ``install`` replaced; does nothing if nothing is installed."""
    global _installed
    if _installed is not None:
        _installed.detach()
        _installed = None


def sampler_for(options: TextAugOptions) -> TextSampler:
    """The sampler that ``options`` describe, over a cache or over an augmenter that works while loading."""
    shared: dict[str, Any] = {"seed": options.seed, "original_prob": options.original_prob}
    if options.cache is None:
        pool = DEFAULT_POOL if options.num_texts is None else options.num_texts
        augmenter = create_augmenter(options.mode, **options.augmenter_options)
        return TextSampler(AugmenterLookup(augmenter, pool - 1, options.seed), pool=pool, **shared)
    from laclip_aug.cache.lookup import CaptionCache

    cache = CaptionCache(options.cache)
    made, sources = cache.manifest.config.n, cache.sources
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


class Hook:
    """What stands in for the trainer's globals while text augmentation is installed."""

    def __init__(self, options: TextAugOptions) -> None:
        self.options = options
        self.sampler = None if options.mode == "none" else sampler_for(options)
        self.loss: MultiTextLoss | None = None
        self._arguments = Namespace()
        self._originals: list[tuple[Seam, Callable[..., Any]]] = []

    def __enter__(self) -> Hook:
        return self

    def __exit__(self, *exception: object) -> None:
        uninstall()

    def attach(self) -> None:
        """Replace the globals; with mode ``none`` only the parser, so that the options are logged."""
        replacements: list[tuple[Seam, Callable[..., Any]]] = [(openclip.PARSE_ARGS, self._parse_args)]
        if self.sampler is not None:
            replacements += [(openclip.GET_DATASET_FN, self._get_dataset_fn), (openclip.CREATE_LOSS, self._create_loss)]
        if self._trims:
            replacements.append((openclip.CREATE_MODEL, self._create_model))
        for seam, replacement in replacements:
            original = seam.get()
            self._originals.append((seam, original))
            seam.set(replacement(original))

    def detach(self) -> None:
        """Put the globals back."""
        while self._originals:
            seam, original = self._originals.pop()
            seam.set(original)

    def _parse_args(self, original: Callable[..., Namespace]) -> Callable[..., Namespace]:
        def parse_args(args: list[str]) -> Namespace:
            self._arguments = namespace = original(args)
            self._refuse_unsound(namespace)
            for name, value in self.options.as_namespace().items():
                setattr(namespace, name, value)
            return namespace

        return parse_args

    def _get_dataset_fn(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def get_dataset_fn(data_path: str, dataset_type: str) -> Callable[..., Any]:
            dataset_fn = original(data_path, dataset_type)

            def build(args: Namespace, preprocess: Any, is_train: bool, epoch: int = 0, tokenizer: Any = None) -> Any:
                if not is_train:
                    return dataset_fn(args, preprocess, is_train=is_train, epoch=epoch, tokenizer=tokenizer)
                shared = SharedEpoch(epoch)
                counts = DrawCounts(self._sampler.strategies, args.workers)
                augmenting = AugmentingTokenizer(tokenizer, self._sampler, shared, counts)
                info = dataset_fn(args, preprocess, is_train=is_train, epoch=epoch, tokenizer=augmenting)
                self._check_coverage(info.dataloader, args)
                return self._follow_epochs(info, shared, counts, args)

            return build

        return get_dataset_fn

    def _create_loss(self, original: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        def create_loss(args: Namespace) -> nn.Module:
            single = original(args)
            if not self._multi_text:
                return single
            distributed = {"local_loss": args.local_loss, "gather_with_grad": args.gather_with_grad}
            self.loss = self._loss_for(args, single, **distributed, rank=args.rank, world_size=args.world_size)
            return self.loss

        return create_loss

    def _create_model(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def create_model_and_transforms(*args: Any, **kwargs: Any) -> Any:
            model, *transforms = original(*args, **kwargs)
            for option in ("torchcompile", "ddp_static_graph"):
                if getattr(self._arguments, option, False):
                    logging.info("text trimming off: --%s wants equal shapes in each step", option.replace("_", "-"))
                    break
            else:
                install_trimming(model)
            return model, *transforms

        return create_model_and_transforms

    @property
    def _trims(self) -> bool:
        """Whether to trim texts. By default not where no text is ever changed: that run is open_clip's, to the bit."""
        if self.options.trim != "auto":
            return self.options.trim == "on"
        return self.sampler is not None and self.sampler.changes_texts

    @property
    def _sampler(self) -> TextSampler:
        if self.sampler is None:
            raise ConfigurationError("mode none draws no texts; install with a mode such as laclip")
        return self.sampler

    @property
    def _multi_text(self) -> bool:
        return self._sampler.num_texts > 1 or self.options.mt_mask_duplicates

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

    def _refuse_unsound(self, args: Namespace) -> None:
        """Refuse what would train on something else than it says, before any work is done."""
        if self.sampler is None or not self._multi_text:
            return
        texts = f"{self.sampler.num_texts} texts per image"
        if openclip.is_generative(args.model):
            raise ConfigurationError(
                f"{args.model} decodes one caption per image; it cannot train on {texts}: use laclip"
            )
        if args.distill_model is not None and args.distill_pretrained is not None:
            raise ConfigurationError(
                f"open_clip's distillation loss pairs one text with an image, not {texts}: use laclip"
            )
        if args.horovod:
            raise ConfigurationError(
                f"the loss over {texts} gathers by torch.distributed; start with torchrun, not horovod"
            )
        self._loss_for(args, None)  # its constructor names combinations of loss options that have no meaning

    def _check_coverage(self, loader: Any, args: Namespace) -> None:
        if self.options.cache is None:
            return
        shards = None if args.train_data is None else str(args.train_data)
        captions = coverage.training_captions(getattr(loader, "dataset", None), shards, self.options.seed)
        measured = coverage.measure(self._sampler.lookup, captions)
        if args.rank == 0 or self.options.on_miss == "error":  # each process stops by itself; none is left waiting
            coverage.check(measured, str(shards), self.options.cache, self.options.on_miss)

    def _follow_epochs(self, info: Any, shared: SharedEpoch, counts: DrawCounts, args: Namespace) -> Any:
        """``info`` with an augmented loader, and with a ``set_epoch`` that reaches the workers and the loss."""
        set_epoch = info.set_epoch

        def follow(epoch: int) -> None:
            set_epoch(epoch)
            shared.set(epoch)
            counts.take()
            if self.loss is not None:
                self.loss.step_seed = derive(self.options.seed, epoch)

        def note_rows(texts: Tensor, texts_per_image: int) -> None:
            if self.loss is not None and self.loss.needs_rows:
                self.loss.record_rows(row_ids(texts, texts_per_image))

        def report() -> None:
            if args.rank == 0:
                where = f" (by rank 0 of {args.world_size})" if args.world_size > 1 else ""
                logging.info("%s%s", describe_draws(counts.take(), shared.get()), where)

        info.set_epoch = follow
        info.dataloader = TrainingLoader(info.dataloader, note_rows, report)
        return info
