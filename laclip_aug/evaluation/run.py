"""A protocol on a data set with a model: features from the store, figures from the protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from laclip_aug import openclip
from laclip_aug.errors import ConfigurationError, InputError
from laclip_aug.evaluation.captions import captioned, hard_negatives
from laclip_aug.evaluation.composition import composition
from laclip_aug.evaluation.datasets import DataSet, Labelled, same_classes
from laclip_aug.evaluation.features import FeatureStore
from laclip_aug.evaluation.fewshot import episodes, few_shot
from laclip_aug.evaluation.model import Model
from laclip_aug.evaluation.probe import linear_probe
from laclip_aug.evaluation.protocols import Composition, FewShot, LinearProbe, Protocol, Retrieval, ZeroShot
from laclip_aug.evaluation.results import Result
from laclip_aug.evaluation.retrieval import retrieval
from laclip_aug.evaluation.zeroshot import zero_shot

Vectors = NDArray[np.float32]
UNREADABLE, UNLABELLED = "unreadable images", "images without a class"
Found = tuple[dict[str, float], dict[str, int], dict[str, int], str]
"""Figures, counts, counts of what was left out by reason, and the fingerprint of the images."""


class Evaluation:
    """What protocols are run with.

    Args:
        model: the model.
        store: where features are kept.
    """

    def __init__(self, model: Model, store: FeatureStore) -> None:
        self.model, self.store = model, store

    def run(self, protocol: Protocol, data: DataSet) -> Result:
        """The figures of ``protocol`` on ``data``.

        Raises:
            ConfigurationError: the data lack a split or a file that the protocol needs.
            InputError: the data cannot be read, or have no classes or captions.
        """
        metrics, counts, left_out, fingerprint = _RUN[type(protocol)](self, protocol, data)
        about = {"name": data.spec.name, "version": data.spec.version, "splits": data.splits, "images": fingerprint}
        settings = {k: v for k, v in asdict(protocol).items() if k not in ("name", "version", "seed")}
        left_out = {reason: count for reason, count in left_out.items() if count}
        seed = getattr(protocol, "seed", None)
        return Result(protocol.name, protocol.version, about, metrics, counts, left_out, seed, settings)

    def zero_shot(self, protocol: ZeroShot, data: DataSet) -> Found:
        """What :meth:`run` is made of, for zero-shot classification."""
        part = data.labelled("zero-shot")
        templates = part.images.templates if protocol.templates == "own" else protocol.templates
        if not templates:
            raise ConfigurationError(f"{data.spec.name} has no templates of its own; use another protocol")
        vectors, labels, failed = self._labelled(part, part.labels)
        version = f"open_clip {openclip.installed_version()}"
        classifier = self.store.classifier(self.model, part.images.classes, templates, version)
        counts = {"images": len(labels), "classes": len(part.images.classes)}
        left_out = {UNREADABLE: failed, UNLABELLED: part.without_label}
        return zero_shot(vectors, labels, classifier), counts, left_out, part.images.fingerprint

    def few_shot(self, protocol: FewShot, data: DataSet) -> Found:
        """What :meth:`run` is made of, for few-shot classification."""
        parts = [data.labelled(role) for role in ("train", "test")]
        labels = same_classes(parts)
        drawn = episodes(labels[0], labels[1], 1, protocol.ways, protocol.shots, protocol.queries, protocol.seed)
        next(drawn)  # raises if there are too few images, before any is read
        ((train, train_labels), (test, test_labels)), counts, left_out, images = self._splits(data, "train", "test")
        found = few_shot(
            train, train_labels, test, test_labels,
            protocol.episodes, protocol.ways, protocol.shots, protocol.queries, protocol.seed,
        )  # fmt: skip
        return found, counts, left_out, images

    def linear_probe(self, protocol: LinearProbe, data: DataSet) -> Found:
        """What :meth:`run` is made of, for a linear probe."""
        (train, val, test), counts, left_out, images = self._splits(data, "train", "val", "test")
        mean = data.spec.metric == "mean-per-class"
        found = linear_probe(train, val, test, protocol, mean, self.model.device)
        return found, counts, left_out, images

    def retrieval(self, protocol: Retrieval, data: DataSet) -> Found:
        """What :meth:`run` is made of, for retrieval of images and captions."""
        images, chosen = data.images("test")
        found = captioned(images.only(chosen.tolist()), data.captions, data.folders("test"))
        features = self.store.images(self.model, found.images)
        there = np.flatnonzero(features.readable)
        captions = [found.images.captions[place] for place in there]  # type: ignore[index]
        texts = self.store.texts(self.model, [text for own in captions for text in own])
        owners = np.repeat(np.arange(len(captions)), [len(own) for own in captions])
        counts = {"images": len(there), "texts": len(texts)}
        left_out = {**found.left_out, UNREADABLE: int((~features.readable).sum())}
        return (
            retrieval(features.vectors[there], texts, owners, protocol.at),
            counts,
            left_out,
            found.images.fingerprint,
        )

    def composition(self, protocol: Composition, data: DataSet) -> Found:
        """What :meth:`run` is made of, for captions against hard negatives."""
        if not data.negatives:
            raise ConfigurationError(f"{data.spec.name} names no file of hard negatives; give it with --negatives")
        images, chosen = data.images("test")
        images = images.only(chosen.tolist())
        metrics: dict[str, float] = {}
        counts, left_out = Counter[str](), Counter[str]()
        files = [hard_negatives(images, file, data.folders("test")) for file in data.negatives]
        for rows in files:
            used = sorted(set(rows.images))
            features = self.store.images(self.model, images.only(used))
            places = np.searchsorted(used, rows.images)
            whole = np.flatnonzero(features.readable[places])
            wrong = [rows.wrong[row] for row in whole]
            texts = [rows.right[row] for row in whole] + [text for own in wrong for text in own]
            vectors = self.store.texts(self.model, texts)
            owners = np.repeat(np.arange(len(wrong)), [len(own) for own in wrong])
            right, others = vectors[: len(whole)], vectors[len(whole) :]
            metrics[rows.name] = composition(features.vectors[places[whole]], right, others, owners)
            counts.update({"images": len(used), "texts": len(texts)})
            left_out.update({**rows.left_out, UNREADABLE: int((~features.readable).sum())})
        mean = float(np.mean(list(metrics.values())))
        return {**metrics, "mean": mean}, dict(counts), dict(left_out), images.fingerprint

    def _labelled(self, part: Labelled, labels: NDArray[np.int64]) -> tuple[Vectors, NDArray[np.int64], int]:
        """Features and labels of what can be read, and how many cannot."""
        features = self.store.images(self.model, part.images)
        there = features.readable[part.chosen]
        if not there.any():
            raise InputError(f"{part.images.name}: a split has no image that can be read and has a class")
        return features.vectors[part.chosen[there]], labels[there], int((~there).sum())

    def _splits(self, data: DataSet, *roles: str) -> tuple[list[Any], dict[str, int], dict[str, int], str]:
        """(features, labels) of each split, and what a result says of them; ``images`` are those of the last."""
        parts = [data.labelled(role) for role in roles]
        counts: dict[str, int] = {}
        left_out = Counter[str]()
        found: list[Any] = []
        for role, part, labels in zip(roles, parts, same_classes(parts), strict=True):
            vectors, kept, failed = self._labelled(part, labels)
            found.append((vectors, kept))
            counts |= {"images": len(kept), f"{role} images": len(kept)}
            left_out.update({UNREADABLE: failed, UNLABELLED: part.without_label})
        return found, counts, dict(left_out), parts[-1].images.fingerprint


def fitting(data: DataSet, protocols: Sequence[Protocol]) -> Iterator[tuple[Protocol, str]]:
    """Each of ``protocols`` and why ``data`` do not fit it, or nothing if they do."""
    images, _ = data.images("zero-shot" if "zero-shot" in data.splits else "test")
    classes = images.labels is not None and len(images.classes) > 1
    for protocol in protocols:
        why = ""
        if isinstance(protocol, ZeroShot | FewShot | LinearProbe) and not classes:
            why = "no classes"
        elif isinstance(protocol, ZeroShot) and protocol.templates == "own" and not images.templates:
            why = "no templates of its own"
        elif isinstance(protocol, FewShot) and not data.has("train", "test"):
            why = "no split for training"
        elif isinstance(protocol, FewShot) and len(images.classes) < protocol.ways:
            why = f"{len(images.classes)} classes"
        elif isinstance(protocol, LinearProbe) and not data.has("train", "val", "test"):
            why = "no splits for training and validation"
        elif isinstance(protocol, Retrieval) and data.captions is None and images.captions is None:
            why = "no captions"
        elif isinstance(protocol, Composition) and not data.negatives:
            why = "no hard negatives"
        yield protocol, why


_RUN: dict[type[Protocol], Callable[[Evaluation, Any, DataSet], Found]] = {
    ZeroShot: Evaluation.zero_shot,
    FewShot: Evaluation.few_shot,
    LinearProbe: Evaluation.linear_probe,
    Retrieval: Evaluation.retrieval,
    Composition: Evaluation.composition,
}
