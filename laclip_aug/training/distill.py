"""Distillation over K texts per image: the student's softmax is drawn to a teacher's, for each slice of the texts.

open_clip's ``--distill-model`` adds this to the contrastive loss, for one text per image. Over K texts it is the mean
over the slices, since images and the texts at one place are a batch of their own. The teacher sees the same texts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from laclip_aug.errors import ConfigurationError
from laclip_aug.training.gather import Features
from laclip_aug.training.tiled import Problem, Teacher, contrast

TEACHER = ("dist_image_features", "dist_text_features", "dist_logit_scale")
"""What a trainer calls the teacher's features ``[B, D']`` and ``[B * K, D']`` and its scale."""


def check_teacher(given: Mapping[str, Tensor], images: int, texts: int) -> None:
    """Raise :class:`ConfigurationError` unless ``given`` has all of ``TEACHER``, of as many images and texts."""
    if len(given) < len(TEACHER) or (len(given[TEACHER[0]]), len(given[TEACHER[1]])) != (images, texts):
        raise ConfigurationError(
            f"a teacher needs {', '.join(TEACHER)} of the student's {images} images and {texts} texts; give it the "
            "same batch"
        )


def distillation(
    student: Features, scale: Tensor, teacher: Features, teacher_scale: Tensor, choice: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The cross-entropy with the teacher's softmax, from the side of the images and from that of the texts.

    Means over images and slices. The teacher gets no gradient. ``choice`` ``[m]``: the text side takes of each image
    this one of its texts only.
    """
    k = len(student.texts) // len(student.images)

    def side(queries: Tensor, keys: Tensor, their_queries: Tensor, their_keys: Tensor) -> Tensor:
        rows = torch.arange(len(queries), device=queries.device)  # not used where there is a teacher
        one: Tensor = contrast(
            queries, keys, scale, None, Problem(rows, teacher=Teacher(their_queries, their_keys, teacher_scale))
        )
        return one

    keys, their_keys = (part.all_texts.view(len(part.all_images), k, -1).transpose(0, 1) for part in (student, teacher))
    images = side(student.images, keys, teacher.images, their_keys)
    drawn, their_drawn = chosen(student.texts, choice), chosen(teacher.texts, choice)
    return images, side(drawn, student.all_images[None], their_drawn, teacher.all_images[None])


def chosen(texts: Tensor, choice: Tensor | None) -> Tensor:
    """Of ``texts`` ``[m * K, D]`` the one that each image has chosen, ``[m, D]``; all of them without a ``choice``."""
    if choice is None:
        return texts
    rows = torch.arange(len(choice), device=texts.device)
    return texts.view(len(choice), -1, texts.shape[1])[rows, choice]
