"""Text augmentation inside open_clip's trainer, without a change to its files.

``install`` replaces a few of the trainer's globals (see :mod:`laclip_aug.openclip`) and ``uninstall`` puts them back::

    with install(TextAugOptions(mode="laclip", cache="rewrites")):
        openclip.run_trainer(arguments)

The training loader gets a tokenizer that draws the texts; validation and zero-shot keep the plain one. Several texts
per image travel as ``[B*K, L]``, so that the model is called as always, and the loss finds K again from the shapes.

A trainer that is changed in its source (see ``patches/``) calls :func:`from_namespace` in place of ``install``.
"""

from __future__ import annotations

import inspect
from argparse import Namespace
from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import nn

from laclip_aug import openclip
from laclip_aug.errors import ConfigurationError
from laclip_aug.openclip import Seam
from laclip_aug.training.augmentation import TextAugmentation
from laclip_aug.training.options import TextAugOptions
from laclip_aug.training.parser import options_of

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


def from_namespace(args: Namespace) -> TextAugmentation:
    """The text augmentation that ``args`` ask for, checked against them; for a trainer that calls its methods itself.

    ``args`` come from a parser with :func:`laclip_aug.training.parser.add_arguments`. Under an installed hook, such
    as the ``open_clip`` command's, which has seen to everything, the answer changes nothing.

    Raises:
        ConfigurationError: an option is wrong, or does not fit the cache or the trainer's other arguments.
        CacheError: the cache cannot be read.
    """
    if _installed is not None:
        return TextAugmentation(TextAugOptions())
    augmentation = TextAugmentation(options_of(args))
    augmentation.check(args)
    return augmentation


class Hook:
    """What stands in for the trainer's globals while text augmentation is installed."""

    def __init__(self, options: TextAugOptions) -> None:
        self.augmentation = TextAugmentation(options)
        self.sampler = self.augmentation.sampler
        self.arguments: Namespace | None = None  # the trainer's own object, in which it notes the name that it makes
        self.named = False  # whether the user gave a name
        self.goes_on = False  # whether the run goes on with the latest checkpoint of its name
        self._attached = True
        self._replaced: list[tuple[Seam, Callable[..., Any], Callable[..., Any]]] = []

    def __enter__(self) -> Hook:
        return self

    def __exit__(self, *exception: object) -> None:
        uninstall()

    def attach(self) -> None:
        """Replace the globals; with mode ``none`` only what logs the options and what a resumed run had."""
        dataset_fn = openclip.dataset_seam()
        replacements: list[tuple[Seam, Callable[..., Any]]] = [
            (openclip.PARSE_ARGS, self._parse_args),
            (dataset_fn, self._get_dataset_fn),
        ]
        if self.sampler is not None:
            loss = self._create_task if openclip.has_tasks() else self._create_loss
            replacements += [(openclip.loss_seam(), loss), (openclip.TRAIN_ONE_EPOCH, self._train_one_epoch)]
        if self.augmentation.trims:
            replacements.append((openclip.CREATE_MODEL, self._create_model))
        for seam, make in replacements:
            original = seam.get()
            standing_in = self._while_attached(original, make(original))
            self._replaced.append((seam, original, standing_in))
            seam.set(standing_in)

    def detach(self) -> None:
        """Put the globals back. What others have wrapped around ours stays theirs, and calls the trainer's own."""
        self._attached = False
        while self._replaced:
            seam, original, ours = self._replaced.pop()
            if seam.get() is ours:
                seam.set(original)

    def _while_attached(self, original: Callable[..., Any], replacement: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def call(*args: Any, **named: Any) -> Any:
            return (replacement if self._attached else original)(*args, **named)

        return call

    def _parse_args(self, original: Callable[..., Namespace]) -> Callable[..., Namespace]:
        def parse_args(*args: Any, **named: Any) -> Namespace:
            namespace = original(*args, **named)
            self.augmentation.check(namespace)
            self.arguments = namespace
            self.named = namespace.name is not None
            self.goes_on = namespace.resume == "latest"
            return namespace

        return parse_args

    def _get_dataset_fn(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def get_dataset_fn(*args: Any, **named: Any) -> Callable[..., Any]:
            return self.augmentation.dataset_fn(original(*args, **named))

        return get_dataset_fn

    def _create_loss(self, original: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        def create_loss(*args: Any, **named: Any) -> nn.Module:
            return self.augmentation.loss(original(*args, **named), _given(original, args, named)["args"])

        return create_loss

    def _create_task(self, original: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        def create_task(*args: Any, **named: Any) -> nn.Module:
            return self.augmentation.task(original(*args, **named), _given(original, args, named)["args"])

        return create_task

    def _train_one_epoch(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def train_one_epoch(*args: Any, **named: Any) -> Any:
            self.augmentation.log_to(_given(original, args, named).get("tb_writer"))
            return original(*args, **named)

        return train_one_epoch

    def _create_model(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def create_model_and_transforms(*args: Any, **kwargs: Any) -> Any:
            model, *transforms = original(*args, **kwargs)
            self.augmentation.trim(model)
            return model, *transforms

        return create_model_and_transforms


def _given(function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a call by the function's own names for them, wherever a version has their places."""
    return dict(inspect.signature(function).bind(*args, **named).arguments)
