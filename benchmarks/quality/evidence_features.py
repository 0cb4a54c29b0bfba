"""From a judged text with its evidence to numbers, in groups by what they cost.

``words``: what ``truth`` looks at, and counts. ``own pass``: the model's log-probabilities as it wrote the text, which
the engine has anyway: by token, by word, and of the words that are new, by kind. ``contrast``: the same tokens after
other prompts, further passes of the model. ``encoder``: MiniLM. ``relations``: what the new words are to the caption's,
by the synonyms that ship and by WordNet if nltk finds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from laclip_aug.eda.sources import load_table
from laclip_aug.eda.synonyms import Candidates
from laclip_aug.quality import truth
from laclip_aug.quality.encoder import DEFAULT, Encoder, best_matches
from laclip_aug.quality.stems import FUNCTION_WORDS, shipped, stem, stems_of, words_of
from laclip_aug.quality.words import novelty, shares

Row = dict[str, Any]
Numbers = npt.NDArray[np.float64]


def of_words(row: Row) -> dict[str, float]:
    """From the two texts alone."""
    caption, text = row["caption"], row["text"]
    kept, invented = shares(caption, text)
    lengths = len(words_of(caption)), len(words_of(text))
    return {
        **truth.features(caption, text),
        "kept": kept,
        "invented": invented,
        "novelty": novelty(caption, text),
        "length ratio": min(2.0, lengths[1] / max(1, lengths[0])),
        "caption length": float(np.log1p(lengths[0])),
        "frame": float(text.casefold().startswith(("you can see", "here ", "there ", "this ", "a photo of", "it is"))),
    }


def of_own_pass(row: Row) -> dict[str, float]:
    """From the log-probabilities after the text's own caption."""
    read = {name: np.array(values) for name, values in row["after"]["caption"].items()}
    lp, rank, entropy = read["lp"], read["rank"], read["entropy"]
    found = {
        "mean": lp.mean(),
        "sum": lp.sum(),
        "worst token": lp.min(),
        "worst three": np.sort(lp)[:3].mean(),
        "end": lp[-1],
        "first": lp[0],
        "less than expected": (lp + entropy).mean(),
        "worst less than expected": (lp + entropy).min(),
        "below the best": (lp - read["most"]).mean(),
        "entropy": entropy.mean(),
        "greatest entropy": entropy.max(),
        "greatest rank": np.log1p(rank.max()),
        "mean rank": np.log1p(rank).mean(),
        "not the best": (rank > 0).mean(),
        "beyond the fourth": (rank > 3).sum(),
        "worst word": min((lp[at].sum() for _, at in words_at(row["pieces"])), default=0.0),
    }
    for kind, places in kinds(row).items():
        found |= {
            f"{kind}: number": min(6, len(places)),
            f"{kind}: worst": min((lp[at].sum() for at in places), default=0.0),
            f"{kind}: sum": sum(lp[at].sum() for at in places),
            f"{kind}: worst less than expected": min(((lp + entropy)[at].min() for at in places), default=0.0),
            f"{kind}: greatest rank": np.log1p(max((rank[at].max() for at in places), default=0)),
        }
    return {name: float(np.clip(value, -30, 30)) for name, value in found.items()}


def of_contrast(row: Row) -> dict[str, float]:
    """From the same tokens after other prompts, and the caption's after the text."""
    lp = {name: np.array(read["lp"]) for name, read in row["after"].items()}
    back = {name: np.array(values) for name, values in row["back"].items()}
    gains = {name: lp["caption"] - lp[name] for name in lp if name != "caption"}
    found = {f"gain over {name}": gain.mean() for name, gain in gains.items()}
    found |= {f"least gain over {name}": gain.min() for name, gain in gains.items()}
    for kind, places in kinds(row).items():
        for name, gain in gains.items():
            found[f"{kind}: gain over {name}"] = min((gain[at].sum() for at in places), default=5.0)
    found |= {f"back: gain over {name}": (back["text"] - back[name]).mean() for name in back if name != "text"}
    said = set(stems_of(row["text"]))
    left_out = [
        at
        for word, at in words_at(row["caption pieces"])
        if word not in FUNCTION_WORDS and stem(word) not in said and word.isalnum()
    ]
    found |= {
        "back: mean": back["text"].mean(),
        "back: worst": back["text"].min(),
        "back: worst left out": min((back["text"][at].sum() for at in left_out), default=0.0),
        "back: number left out": min(6, len(left_out)),
    }
    return {name: float(np.clip(value, -15, 15)) for name, value in found.items()}


def of_encoder(rows: Sequence[Row]) -> list[dict[str, float]]:
    """Of MiniLM's vectors: the whole, and each token's best match in the other text."""
    encoder, found = Encoder(DEFAULT), []
    for row in rows:
        caption, text = encoder.encode([row["caption"], row["text"]])
        support, omission = (np.sort(best_matches(*pair)) for pair in ((text, caption), (caption, text)))
        places = (text.tokens @ caption.tokens.T).argmax(axis=1)
        found.append(
            {
                "sentence": float(caption.sentence @ text.sentence),
                **{f"support, {name}": value for name, value in _ends(support).items()},
                **{f"omission, {name}": value for name, value in _ends(omission).items()},
                "in order": float((np.diff(places) == 1).mean()) if len(places) > 1 else 1.0,
            }
        )
    return found


def of_relations(row: Row) -> dict[str, float]:
    """What the new words are to the caption's words: counts."""
    there = words_of(row["caption"])
    known, synonyms = set(stems_of(row["caption"])), _synonyms()
    new = [word for word in words_of(row["text"]) if word not in FUNCTION_WORDS and stem(word) not in known]
    out = [word for word in there if word not in FUNCTION_WORDS and stem(word) not in set(stems_of(row["text"]))]
    found = {
        "synonym": sum(any(word in _flat(synonyms.get(own, ())) for own in there) for word in new),
        "rarity of what is left out": min(40.0, sum(shipped().rarity[stem(word)] for word in out)),
    }
    for relation in ("same", "wider", "narrower", "beside"):
        found[relation] = sum(any(relation in related(word, own) for own in there) for word in new)
    found["unrelated"] = sum(not any(related(word, own) for own in there) for word in new)
    return {name: float(value) for name, value in found.items()}


@cache
def _synonyms() -> Mapping[str, Candidates]:
    return load_table("builtin").entries


@cache
def related(word: str, other: str) -> frozenset[str]:
    """WordNet's relations of the first three senses: ``wider`` if ``word`` is a hypernym within two steps of other."""
    try:
        from nltk.corpus import wordnet

        senses, others = wordnet.synsets(word)[:3], wordnet.synsets(other)[:3]
    except LookupError:
        return frozenset()
    wider, other_wider = (_wider(own) for own in (senses, others))
    found = {
        "same": set(senses) & set(others),
        "wider": set(senses) & other_wider,
        "narrower": set(others) & wider,
        "beside": {parent for own in senses for parent in own.hypernyms()}
        & {parent for own in others for parent in own.hypernyms()},
    }
    return frozenset(name for name, shared in found.items() if shared)


def _wider(senses: Iterable[Any]) -> set[Any]:
    first = {parent for sense in senses for parent in sense.hypernyms()}
    return first | {parent for sense in first for parent in sense.hypernyms()}


def words_at(pieces: Sequence[str]) -> list[tuple[str, list[int]]]:
    """The words, case folded, with the places of their pieces; punctuation is left out."""
    found: list[tuple[str, list[int]]] = []
    for place, piece in enumerate(pieces):
        plain = piece.strip().casefold()
        if found and not piece.startswith(" ") and plain[:1].isalnum() and found[-1][0][-1:].isalnum():
            found[-1] = (found[-1][0] + plain, [*found[-1][1], place])
        else:
            found.append((plain, [place]))
    return [(word, at) for word, at in found if any(map(str.isalnum, word))]


def kinds(row: Row) -> dict[str, list[list[int]]]:
    """Places of the content words that the caption has not, of such small words, and of all others."""
    stems, words = set(stems_of(row["caption"])), set(words_of(row["caption"]))
    found: dict[str, list[list[int]]] = {"new": [], "new small": [], "old": []}
    for word, at in words_at(row["pieces"]):
        small = word in FUNCTION_WORDS or len(word) < 2
        there = word in words if small else stem(word) in stems
        found["old" if there else "new small" if small else "new"].append(at)
    return found


def _ends(values: npt.NDArray[np.float32]) -> dict[str, float]:
    if not len(values):
        return {"mean": 0.0, "worst": 0.0, "worst three": 0.0}
    return {"mean": float(values.mean()), "worst": float(values[0]), "worst three": float(values[:3].mean())}


def _flat(candidates: Iterable[Iterable[str]]) -> set[str]:
    return {word for words in candidates for word in words}
