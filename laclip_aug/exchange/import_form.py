"""What a user says of an input of rewrites: where its texts and captions are, and what made them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ImportForm:
    """Where an input has its rewrites; at most one of ``rewrite_keys``, ``group_key``, ``list_key`` and ``lines``.

    ``image_key`` is the column of the images' keys, by which records are found instead of by their captions.
    ``captions`` are files of captions, where the texts' own have none, and ``join`` the column by which they belong
    together, ``"uid"`` or ``"uid=id"``. ``sources`` names what made the texts: one per rewrite key, one for groups and
    lists, none for lines, whose items are ``"source=file"``. None of all these means what ``export`` wrote, a published
    set (:mod:`laclip_aug.exchange.sets`), or a column ``rewrites``.
    """

    rewrite_keys: tuple[str, ...] = ()
    group_key: str | None = None
    index_key: str | None = None
    list_key: str | None = None
    lines: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    join: str | None = None
    sources: tuple[str, ...] = ()
    image_key: str | None = None
