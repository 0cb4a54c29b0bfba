"""Meta-input-output pairs from other people's files: a COCO captions annotation, or the paper's Python file of pairs.

The MSCOCO strategy of the paper takes two human captions of one image as a pair. The released code of LaCLIP keeps its
pairs as module-level lists of a Python file; that file is parsed here, never executed.
"""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from laclip_aug.errors import InputError
from laclip_aug.rewrite.examples import Pair, checked_pair, load_pairs, read_text
from laclip_aug.seeding import derive, generator

PAIRS_DRAWN = 16
_LIST_NAME = re.compile(r"(\w+?)_(source|target)_caption_list|(coco)_caption_list")


def pairs_from_file(path: str | Path, seed: int = 0) -> dict[str, tuple[Pair, ...]]:
    """All pairs of a file, by strategy; the suffix tells the kind.

    ``.jsonl``, ``.ndjson`` and ``.tsv`` hold one strategy, named after the file; ``.json`` is a COCO captions
    annotation (strategy ``mscoco``); ``.py`` is a Python file of pairs as in LaCLIP's release, one strategy or more.

    Raises:
        InputError: the file cannot be read, or is not what its suffix says.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".py":
        return pairs_from_python(path, seed)
    if suffix == ".json":
        return {"mscoco": pairs_from_coco(path, seed)}
    if suffix in (".jsonl", ".ndjson", ".tsv"):
        return {path.stem: load_pairs(path)}
    raise InputError(f"{path}: unknown kind of pairs file {suffix!r}; give .jsonl, .tsv, .json (COCO captions) or .py")


def pairs_from_coco(path: str | Path, seed: int = 0, count: int = PAIRS_DRAWN) -> tuple[Pair, ...]:
    """``count`` pairs, each two captions of one image, drawn from a COCO captions annotation file.

    The draw is a function of ``seed`` and the annotations, not of their order in the file.

    Raises:
        InputError: no such file, no COCO captions annotation, or fewer than ``count`` images with two captions.
    """
    path = Path(path)
    try:
        document = json.loads(read_text(path, limit=1 << 30))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise InputError(f"{path}{where}: no JSON ({error}); give a COCO captions annotation file") from error
    annotations = document.get("annotations") if isinstance(document, dict) else None
    if not isinstance(annotations, list):
        raise InputError(f'{path}: no list "annotations"; give a COCO file such as captions_val2017.json')
    by_image: dict[str, set[str]] = defaultdict(set)
    for index, row in enumerate(annotations):
        if not isinstance(row, dict) or not isinstance(row.get("caption"), str) or "image_id" not in row:
            raise InputError(f'{path}: annotation {index} lacks "image_id" or a "caption" text; is it a captions file?')
        if text := " ".join(row["caption"].split()):
            by_image[str(row["image_id"])].add(text)
    images = sorted((i for i, texts in by_image.items() if len(texts) > 1), key=lambda i: (derive(seed, "coco", i), i))
    if len(images) < count:
        raise InputError(f"{path}: {len(images)} images have two different captions; {count} are needed")
    return tuple(_drawn(sorted(by_image[i]), seed, i, f"{path}, image {i}") for i in images[:count])


def pairs_from_python(path: str | Path, seed: int = 0) -> dict[str, tuple[Pair, ...]]:
    """The pairs of a Python file in the shape of LaCLIP's release, which is read as a syntax tree and never run.

    Known are module-level lists of strings ``X_source_caption_list`` and ``X_target_caption_list`` of equal length for
    a strategy ``X``, and ``coco_caption_list``, a list of lists with two or more captions of one image (strategy
    ``mscoco``, two drawn by ``seed``). All else in the file is left alone.

    Raises:
        InputError: no Python, no such list, or a list that holds other things than text; names the line.
    """
    path = Path(path)
    text = read_text(path, limit=1 << 22)
    try:
        tree = ast.parse(text, filename=str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise InputError(f"{path}, line {line}: no Python that can be parsed ({error}); check the file") from error
    sides: dict[str, dict[str, list[tuple[str, int]]]] = defaultdict(dict)
    found: dict[str, tuple[Pair, ...]] = {}
    for statement in tree.body:
        if not isinstance(statement, ast.Assign) or len(statement.targets) != 1:
            continue
        target = statement.targets[0]
        match = _LIST_NAME.fullmatch(target.id) if isinstance(target, ast.Name) else None
        if match is None:
            continue
        if match[3]:
            images = [[text for text, _ in _texts(item, path)] for item in _items(statement.value, path)]
            found["mscoco"] = tuple(
                _drawn(texts, seed, str(index), f"{path}, line {item.lineno}")
                for index, (texts, item) in enumerate(zip(images, _items(statement.value, path), strict=True))
            )
        else:
            sides[match[1]][match[2]] = _texts(statement.value, path)
    for strategy, lists in sides.items():
        if lists.keys() != {"source", "target"}:
            raise InputError(f"{path}: strategy {strategy!r} has only its {next(iter(lists))} list; both are needed")
        sources, targets = lists["source"], lists["target"]
        if len(sources) != len(targets):
            raise InputError(
                f"{path}: strategy {strategy!r} has {len(sources)} source and {len(targets)} target captions; "
                "give as many of one as of the other"
            )
        found[strategy] = tuple(
            checked_pair(source, target, str(path), f"{path}, line {line}")
            for (source, line), (target, _) in zip(sources, targets, strict=True)
        )
    if not found or not all(found.values()):
        raise InputError(
            f"{path}: no list such as chatgpt_source_caption_list with captions in it; is it the right file?"
        )
    return found


def _items(node: ast.expr, path: Path) -> list[ast.expr]:
    if not isinstance(node, (ast.List, ast.Tuple)):
        raise InputError(f"{path}, line {node.lineno}: a plain list is expected, and nothing is executed; write it out")
    return node.elts


def _texts(node: ast.expr, path: Path) -> list[tuple[str, int]]:
    texts = []
    for item in _items(node, path):
        if not (isinstance(item, ast.Constant) and isinstance(item.value, str)):
            raise InputError(
                f"{path}, line {item.lineno}: a plain text is expected, and nothing is executed; write it out"
            )
        texts.append((item.value, item.lineno))
    return texts


def _drawn(texts: Sequence[str], seed: int, key: str, where: str) -> Pair:
    """Two different captions of one image, in drawn order."""
    if len(texts) < 2:
        raise InputError(f"{where}: fewer than two captions of the image; a pair needs two")
    caption, rewrite = generator(seed, "coco-pair", key).sample(texts, 2)
    return checked_pair(caption, rewrite, where, where)
