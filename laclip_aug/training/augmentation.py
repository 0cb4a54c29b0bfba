"""What text augmentation does to a trainer of open_clip's form: to its data, its model and its loss.

Nothing here reaches into the trainer. :mod:`laclip_aug.training.hook` puts these methods into its places from outside;
a source checkout with one of the files of ``patches/`` applied calls them itself.
"""

from __future__ import annotations

import inspect
import logging
from argparse import Namespace
from collections.abc import Callable
from functools import wraps
from itertools import chain, islice, zip_longest
from typing import Any

from torch import Tensor, nn

from laclip_aug import openclip
from laclip_aug.errors import ConfigurationError, UnsupportedOpenClipError
from laclip_aug.models import refuse_file
from laclip_aug.seeding import derive
from laclip_aug.training import coverage, provenance
from laclip_aug.training.counts import DrawCounts
from laclip_aug.training.linked import Linked
from laclip_aug.training.loader import TrainingLoader, VariableLength
from laclip_aug.training.loss import MultiTextLoss
from laclip_aug.training.options import TextAugOptions
from laclip_aug.training.pairing import pair
from laclip_aug.training.refusals import refuse_batches, refuse_images, refuse_losses, refuse_resume
from laclip_aug.training.rows import row_ids
from laclip_aug.training.samplers import origin, sampler_for
from laclip_aug.training.table import refuse_tables
from laclip_aug.training.tokenizer import AugmentingTokenizer, SharedEpoch
from laclip_aug.training.trim import install_trimming

_UNTRIMMED = {
    "torchcompile": "wants equal shapes in each step",
    "ddp_static_graph": "wants equal shapes in each step",
    "fsdp": "keeps the model's parameters in shards",
}
"""Options of the trainer under which texts keep their padding, and why."""
_LOADER = ("args", "is_train", "epoch", "tokenizer")
_PLAIN_LOSSES = ("ClipLoss", "SigLipLoss", "DistillClipLoss")
_CHECK_EVERY = 64  # batches


class TextAugmentation:
    """Text augmentation of one training run. With mode ``none``, every method changes nothing.

    Call :meth:`check` with the trainer's arguments first, then the others in any order.

    Raises:
        ConfigurationError: the options do not fit the cache.
        CacheError: the cache cannot be read.
    """

    def __init__(self, options: TextAugOptions) -> None:
        self.options = options
        self.sampler = None if options.mode == "none" and not options.linked else sampler_for(options)
        for lookup in () if self.sampler is None else self.sampler.lookups:
            refuse_images(lookup)
        self.multi_text_loss: MultiTextLoss | None = None
        self._origin = {} if self.sampler is None else origin(self.sampler)
        self._arguments = Namespace()
        self._changed: list[str] = []
        self._writer: Any = None

    @property
    def multi_text(self) -> bool:
        """Whether a loss over several texts per image takes the place of the trainer's own."""
        return self.sampler is not None and (self.sampler.num_texts > 1 or self.options.mt_mask_duplicates)

    @property
    def trims(self) -> bool:
        """Whether to trim texts. By default not where no text is ever changed: that run is open_clip's, to the bit."""
        if self.options.trim != "auto":
            return self.options.trim == "on"
        return self.sampler is not None and (self.sampler.changes_texts or bool(self.options.linked))

    def check(self, args: Namespace) -> None:
        """Refuse what would train on something else than it says, and note our options in ``args`` for the log.

        Raises:
            ConfigurationError: the trainer's arguments and our options do not go together.
        """
        self._arguments = args
        refuse_resume(args)
        refuse_tables(args)
        refuse_file(args.model)
        if self.sampler is not None:
            refuse_batches(args)
            if self.multi_text:
                refuse_losses(args, self.sampler.num_texts)
                self._loss_for(args, None)  # its constructor names combinations of loss options that have no meaning
        ours = self.options.as_namespace() | {f"text_aug_{name}": value for name, value in self._origin.items()}
        self._changed = provenance.differences(provenance.noted(args), ours)
        vars(args).update(ours)

    def dataset_fn(self, dataset_fn: Callable[..., Any]) -> Callable[..., Any]:
        """A function of open_clip's ``get_csv_dataset`` form, as one whose training data has augmented texts.

        Only calls with ``is_train=True`` are changed; validation keeps its texts. Batches have texts ``[B*K, L]``.

        Raises:
            UnsupportedOpenClipError: the function has not the parameters that are relied on.
        """
        signature = inspect.signature(dataset_fn)
        if missing := [name for name in _LOADER if name not in signature.parameters]:
            raise UnsupportedOpenClipError(
                f"the trainer's loader {getattr(dataset_fn, '__name__', dataset_fn)} has no parameter "
                f"{', '.join(missing)}; use a version of open_clip that laclip-aug's README names"
            )

        @wraps(dataset_fn)  # a patched trainer under the command's hook is wrapped twice: the parameters must show
        def build(*positional: Any, **named: Any) -> Any:
            call = signature.bind(*positional, **named)
            call.apply_defaults()
            given = call.arguments
            if not given["is_train"]:
                return dataset_fn(*positional, **named)
            args = given["args"]
            if self._changed and args.rank == 0:
                logging.warning("the resumed run had other text augmentation: %s", "; ".join(self._changed))
            if self.sampler is None:
                return dataset_fn(*positional, **named)
            # once more: the trainer has looked at the model since
            refuse_batches(args, *(v for name, v in given.items() if name != "tokenizer"))
            for lookup in self.sampler.lookups:
                provenance.warn_of_contexts(lookup, given["tokenizer"], args)
            provenance.check_ranks(self._origin["fingerprint"], args.world_size)
            shared, counts = SharedEpoch(given["epoch"]), DrawCounts(self.sampler.strategies, args.workers)
            wants_pairs = self.options.linked or self.sampler.changes_texts
            handover = pair(dataset_fn, given, bool(self.options.linked)) if wants_pairs else None
            linked = Linked(self.options.linked, self.options.seed, args.workers) if self.options.linked else None
            augmenting = AugmentingTokenizer(given["tokenizer"], self.sampler, shared, counts, handover, linked)
            given["tokenizer"] = augmenting
            info = dataset_fn(*call.args, **call.kwargs)
            self._look_into_cache(augmenting, info.dataloader, args)
            variable = VariableLength.asked_for(augmenting, args)
            return self._follow_epochs(info, shared, counts, linked, variable, args)

        return build

    def log_to(self, writer: Any) -> None:
        """Send what was drawn to ``writer`` too, a TensorBoard ``SummaryWriter`` or None; W&B is found by itself."""
        self._writer = writer

    def trim(self, model: nn.Module) -> None:
        """Leave the padding out of the model's text tower where that is exact and wanted; the log says which."""
        if not self.trims:
            return
        for option, why in _UNTRIMMED.items():
            if getattr(self._arguments, option, False):
                logging.info("text trimming off: --%s %s", option.replace("_", "-"), why)
                return
        args: Any = self._arguments
        if getattr(args, "distributed", False) and args.grad_checkpointing and openclip.checkpoints_reentrantly():
            # DDP then counts a weight as done at the first of the lengths that its layer runs at
            logging.info("text trimming off: --grad-checkpointing in several processes wants open_clip 3 or newer")
            return
        install_trimming(model)

    def loss(self, single: nn.Module, args: Namespace) -> nn.Module:
        """The loss to train with, where the trainer's own for one text per image is ``single``.

        Raises:
            ConfigurationError: ``single`` is not CLIP's, SigLIP's or the distillation loss, which alone have a form
                over several texts.
        """
        if not self.multi_text:
            return single
        if (name := type(single).__name__) not in _PLAIN_LOSSES:
            raise ConfigurationError(f"open_clip's {name} pairs one text with an image, not several: use laclip")
        if args.siglip and getattr(args, "loss_dist_impl", None) and args.rank == 0:
            logging.warning(
                "--loss-dist-impl %s is passed over: the sigmoid loss over several texts gathers all of them at once",
                args.loss_dist_impl,
            )
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

    def _look_into_cache(self, tokenizer: AugmentingTokenizer, loader: Any, args: Namespace) -> None:
        """Check that each cache covers the training data, and let the tokenizer learn the words of both."""
        if not self.options.caches:  # a table's captions are at hand, and hold the words of what is made of them
            tokenizer.learn(map(str, getattr(getattr(loader, "dataset", None), "captions", None) or ()))
            return
        caches: list[tuple[Any, list[str]]] = tokenizer.sampler.caches
        captions = coverage.training_captions(getattr(loader, "dataset", None), args, self.options.seed)
        if args.rank == 0 or self.options.on_miss == "error":  # each process stops by itself; none is left waiting
            coverage.check_caches(caches, captions, args, self.options)
        in_turns = chain.from_iterable(zip_longest(*(cache.texts() for cache, _ in caches), fillvalue=""))
        tokenizer.learn(chain(islice(captions, coverage.SAMPLE_SIZE), in_turns))

    def _follow_epochs(
        self,
        info: Any,
        shared: SharedEpoch,
        counts: DrawCounts,
        linked: Linked | None,
        variable: VariableLength | None,
        args: Namespace,
    ) -> Any:
        """``info`` with an augmented loader, and with a ``set_epoch`` that reaches the workers and the loss."""
        set_epoch, batches = info.set_epoch, 0

        def follow(epoch: int) -> None:
            set_epoch(epoch)
            shared.set(epoch)
            counts.take()
            if self.multi_text_loss is not None:
                self.multi_text_loss.step_seed = derive(self.options.seed, epoch)

        def note(texts: Tensor, texts_per_image: int) -> None:
            nonlocal batches
            batches += 1
            if self.options.max_miss and batches % _CHECK_EVERY == 0:
                coverage.check_draws(counts.seen(), self.options)
            if self.multi_text_loss is not None and self.multi_text_loss.needs_rows:
                self.multi_text_loss.record_rows(row_ids(texts, texts_per_image))

        def report() -> None:
            drawn, epoch = counts.take(), shared.get()
            if args.rank == 0:
                where = f" (by rank 0 of {args.world_size})" if args.world_size > 1 else ""
                logging.info("%s%s", drawn.line(epoch), where)
                if linked is not None:
                    logging.info("%s%s", linked.line(epoch), where)
                steps = info.dataloader.num_batches // args.accum_freq
                openclip.log_scalars(drawn.scalars(), steps * (epoch + 1) - 1, self._writer, args)
            coverage.check_draws(drawn, self.options)

        info.set_epoch = follow
        info.dataloader = TrainingLoader(info.dataloader, note, report, variable)
        return info
