"""Word-level augmentation: speed and damage beside nlpaug, TextAttack and eda_nlp.

An augmenter that runs in the loader has to keep up with it: at 50,000 captions a second one core serves several GPUs.
And it must not turn "two red cars" into "cars". Both are measured here, in one process, the contenders taking turns.

Speed: one text per caption, synonym replacement of a tenth of the words by each library (equal work), and the
mixture of operations where a library has one. eda_nlp makes texts by all four operations whatever the number asked
for, so one text is its worst case; nine, its default, are timed against nine of ours. Damage: on 2,000 captions,
counted with word lists of this file's own.

    python benchmarks/eda.py cc3m_validation.tsv --damage-captions coco.jsonl laion.jsonl --eda-nlp DIR

Captions: Conceptual Captions' validation split (https://ai.google.com/research/ConceptualCaptions/download),
MS-COCO's captions (https://cocodataset.org), any LAION metadata file; TSV (first column), JSON lines or plain text.
Peers: ``pip install nlpaug textattack`` in an environment of their own beside this package, and
``git clone https://github.com/jasonwei20/eda_nlp`` (give its ``code`` directory). A peer that is missing is left out
and named. All use the WordNet that nltk finds (``python -m nltk.downloader wordnet omw-1.4 stopwords``).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import platform
import random
import re
import signal
import statistics
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from tqdm import tqdm

from laclip_aug.eda import EDAAugmenter

Augment = Callable[[str], str]
Many = Callable[[list[str]], object]
"""A slice of captions, one text each: what is timed."""

COLOURS = set(
    "red orange yellow green blue purple violet pink brown black white gray grey beige tan golden silver turquoise "
    "teal cyan magenta maroon crimson scarlet indigo lavender burgundy khaki navy ivory bronze blonde blond".split()
)
NUMBERS = set(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand "
    "million dozen pair couple "
    "first second third fourth fifth half double triple once twice".split()
)
NEGATIONS = set("no not never none nobody nothing neither nor without cannot".split())
PATIENCE = 10.0  # seconds for one hostile input
HOSTILE = {
    "empty": "", "blank": " \t\n", "one word": "dog", "mark": "!", "digits": "12345", "NUL": "a dog\0runs here",
    "Chinese": "一只狗在海滩上奔跑", "Arabic": "كلب يركض على الشاطئ", "emoji": "🐶🐾 😀",
    "emoji sequence": "👨\u200d👩\u200d👧 on the beach",
    "lone surrogate": "a dog \ud800 runs", "combining": "cafe\u0301 a\u0300 dog", "placeholder": "<PERSON> rides",
    "brackets": "((((( [ { <", "very long": "a dog runs on the beach " * 500, "long word": "a" * 20_000,
}  # fmt: skip


def read_captions(path: Path) -> list[str]:
    """The captions of a TSV (first column, header dropped), JSON lines (the text fields) or a text file."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = [line.rstrip("\r\n") for line in file]
    if path.suffix == ".tsv":
        return [line.split("\t")[0] for line in lines[1:]]
    if path.suffix != ".jsonl":
        return lines
    found = []
    for line in lines:
        record = json.loads(line)
        for value in record.values() if isinstance(record, dict) else [record]:
            if isinstance(value, str) and " " in value:
                found.append(value)
            elif isinstance(value, list):
                found += [text for text in value if isinstance(text, str)]
    return found


def our_augmenters(synonyms: str) -> dict[str, dict[str, Augment]]:
    """This package, called as a loader calls it: one caption at a time."""
    replace = EDAAugmenter(synonyms=synonyms, operations="sr")
    mixture = EDAAugmenter(synonyms=synonyms)
    return {
        "laclip-aug": {
            "replacement": lambda caption: replace.augment([caption], 1, 0)[0][0],
            "mixture": lambda caption: mixture.augment([caption], 1, 0)[0][0],
        }
    }


def peer_augmenters(eda_nlp: Path | None) -> tuple[dict[str, dict[str, Augment]], list[str]]:
    """The peers that can be loaded, and a note for each that cannot or that needed help."""
    peers: dict[str, dict[str, Augment]] = {}
    notes = []
    for name, load in (
        ("eda_nlp", lambda: load_eda_nlp(eda_nlp, notes)),
        ("nlpaug", lambda: load_nlpaug(notes)),
        ("TextAttack", load_textattack),
    ):
        try:
            peers[name] = load()
            for augment in peers[name].values():
                augment("a man is riding a big bike on the street")
        except Exception as error:  # whatever a peer raises, it is named and left out
            peers.pop(name, None)
            notes.append(f"{name} left out: {type(error).__name__}: {' '.join(str(error).split())[:160]}")
    return peers, notes


def load_eda_nlp(directory: Path | None, notes: list[str]) -> dict[str, Augment]:
    if directory is None:
        raise ImportError("give its code directory with --eda-nlp")
    sys.path.insert(0, str(directory))
    import eda

    def nine(caption: str) -> str:
        return eda.eda(caption)[0]

    return {
        "replacement": lambda caption: eda.eda(caption, alpha_ri=0, alpha_rs=0, p_rd=0, num_aug=1)[0],
        "mixture": lambda caption: eda.eda(caption, num_aug=1)[0],
        "mixture, 9 texts": nine,
    }


def load_nlpaug(notes: list[str]) -> dict[str, Augment]:
    import nltk
    from nlpaug.augmenter.word import SynonymAug
    from nltk.corpus import wordnet

    try:
        nltk.pos_tag(["dog"])
    except LookupError:
        # nlpaug asks nltk's tagger; its data are a download of their own
        tags = {"n": "NN", "v": "VB", "a": "JJ", "s": "JJ", "r": "RB"}

        @functools.cache
        def tag(token: str) -> tuple[str, str]:
            return token, next((tags[synset.pos()] for synset in wordnet.synsets(token)), "DT")

        nltk.pos_tag = lambda tokens: [tag(token) for token in tokens]
        notes.append(
            "nlpaug ran with a stand-in for nltk's part-of-speech tagger, whose data were not installed: a remembered "
            "look-up, faster than the tagger"
        )
    augmenter = SynonymAug(aug_src="wordnet", aug_p=0.1)

    def augment(caption: str) -> str:
        made = augmenter.augment(caption, n=1)
        return made[0] if isinstance(made, list) else made

    return {"replacement": augment}


def load_textattack() -> dict[str, Augment]:
    from textattack.augmentation import EasyDataAugmenter, WordNetAugmenter

    replace = WordNetAugmenter(pct_words_to_swap=0.1, transformations_per_example=1)
    mixture = EasyDataAugmenter(pct_words_to_swap=0.1, transformations_per_example=1)
    return {
        "replacement": lambda caption: replace.augment(caption)[0],
        "mixture": lambda caption: mixture.augment(caption)[0],
    }


def one_by_one(augment: Augment) -> Many:
    """The work of a contender that takes one caption a call."""
    return lambda captions: [augment(caption) for caption in captions]


def our_batches(synonyms: str) -> dict[str, Many]:
    """This package as a cache build calls it: a slice of captions a call."""
    replace = EDAAugmenter(synonyms=synonyms, operations="sr")
    mixture = EDAAugmenter(synonyms=synonyms)
    return {
        "replacement: laclip-aug": lambda captions: replace.augment(captions, 1, 0),
        "mixture: laclip-aug": lambda captions: mixture.augment(captions, 1, 0),
        "mixture, 9 texts: laclip-aug": lambda captions: mixture.augment(captions, 9, 0),
    }


def measure(contenders: dict[str, Many], captions: list[str], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Captions per CPU-second of each contender in each round; they take turns, each for about ``seconds``.

    Before, each gets a warm-up of up to 20 times ``seconds`` over the captions, which fills the peers' own caches.
    """
    counts = {}
    for name, augment in contenders.items():
        done, start = 0, time.process_time()
        while time.process_time() - start < 20 * seconds and done < len(captions):
            augment(captions[done : done + 50])
            done += 50
        start = time.process_time()
        augment(captions[:50])
        counts[name] = max(10, min(len(captions), int(50 / (time.process_time() - start) * seconds)))
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        names = list(contenders)
        random.Random(turn).shuffle(names)
        for name in names:
            augment, chosen = contenders[name], random.Random(turn).sample(captions, counts[name])
            start = time.process_time()
            augment(chosen)
            rates[name].append(len(chosen) / (time.process_time() - start))
    return rates


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text)


def _outer_marks(text: str) -> Counter[str]:
    """Punctuation that is not inside a word: the comma in "dogs, cats", not the hyphen in "well-made"."""
    inner = re.sub(r"(?<=[^\W_])[-'’](?=[^\W_])", "", text)
    return Counter(mark for mark in inner if unicodedata.category(mark)[0] == "P")


def _listed(text: str, listed: set[str]) -> Counter[str]:
    return Counter(word for word in _words(text.lower()) if word in listed)


def _negations(text: str) -> Counter[str]:
    lower = text.lower()
    return _listed(text, NEGATIONS) + Counter(re.findall(r"n['’]t\b", lower))


def _numbers(text: str) -> Counter[str]:
    return _listed(text, NUMBERS) + Counter(re.findall(r"\d+(?:[.,]\d+)*", text))


def _case_lost(before: str, after: str) -> bool:
    """The text's first letter lost its capital, or a word inside it that is still there did."""
    if before[:1].isupper() and after[:1].islower():
        return True
    still = Counter(word.lower() for word in _words(after))
    capitals = Counter(word for word in _words(after) if word != word.lower())
    inside = Counter(word for word in _words(before)[1:] if word != word.lower())
    return any(capitals[word] < min(count, still[word.lower()]) for word, count in inside.items())


DAMAGE: dict[str, tuple[Callable[[str], object], Callable[[str, str], bool]]] = {
    "case lost": (lambda text: text != text.lower(), _case_lost),
    "punctuation broken": (
        _outer_marks,
        lambda before, after: (
            _outer_marks(before) != _outer_marks(after)
            or len(re.findall(r" [,.;:!?)]", after)) > len(re.findall(r" [,.;:!?)]", before))
        ),
    ),
    "colour lost": (
        lambda text: _listed(text, COLOURS),
        lambda before, after: bool(_listed(before, COLOURS) - _listed(after, COLOURS)),
    ),
    "number lost": (_numbers, lambda before, after: bool(_numbers(before) - _numbers(after))),
    "negation lost": (_negations, lambda before, after: bool(_negations(before) - _negations(after))),
}
"""Name: which captions can suffer it, and whether a text did."""


class TooSlow(BaseException):
    """A hostile input took longer than ``PATIENCE``; no Exception, so that no peer catches it."""


def _give_up(signum: int, frame: object) -> None:
    raise TooSlow


def damage(augment: Augment, captions: Iterable[str]) -> dict[str, object]:
    """Counts of damaged texts among the captions that could suffer each kind, and the failures."""
    lost: Counter[str] = Counter()
    able: Counter[str] = Counter()
    raised = 0
    for caption in captions:
        try:
            text = augment(caption)
        except Exception:
            raised += 1
            continue
        for kind, (can, did) in DAMAGE.items():
            if can(caption):
                able[kind] += 1
                lost[kind] += did(caption, text)
    hostile, endless = [], []
    for name, caption in HOSTILE.items():
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                augment(caption)
        except TooSlow:
            endless.append(name)
        except Exception as error:
            hostile.append(f"{name}: {type(error).__name__}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return {
        "lost": {kind: lost[kind] for kind in DAMAGE},
        "able": {kind: able[kind] for kind in DAMAGE},
        "exceptions": raised,
        "hostile": hostile,
        "too slow": endless,
    }


def markdown(result: dict) -> str:
    """The results as two tables."""
    speed, bad = result["speed"], result["damage"]
    lines = [
        "# EDA: speed and damage",
        "",
        f"{result['machine']}; Python {result['python']}; {result['captions']} captions. "
        f"Our synonyms: {result['synonyms']}.",
        "Captions per CPU-second on one core: median of the rounds (lowest to highest), all in one run. "
        "This package gets a list of captions a call, as in a cache build, and one a call where the row says so.",
        "",
        "| work | library | captions/s | this package is |",
        "|---|---|---|---|",
    ]
    for name, row in speed.items():
        work, _, library = name.partition(": ")
        ours = speed[f"{work}: laclip-aug"]["median"]
        ratio = "" if library.startswith("laclip-aug") else f"{ours / row['median']:.1f}× as fast"
        lines.append(
            f"| {work} | {library} | {row['median']:,.0f} ({row['min']:,.0f} to {row['max']:,.0f}) | {ratio} |"
        )
    kinds = list(DAMAGE)
    lines += [
        "",
        f"Damage on {result['damage_captions']} captions: texts damaged, of the captions that could be. "
        f"A hostile input is too slow after {PATIENCE:.0f} seconds.",
        "",
        "| work | library | " + " | ".join(kinds) + f" | exceptions | {len(HOSTILE)} hostile inputs |",
        "|---|---|" + "---|" * (len(kinds) + 2),
    ]
    for name, row in bad.items():
        work, _, library = name.partition(": ")
        cells = [f"{row['lost'][kind]} of {row['able'][kind]}" for kind in kinds]
        failed = f"{len(row['hostile'])} failed" + f", {len(row['too slow'])} too slow" * bool(row["too slow"])
        lines.append(f"| {work} | {library} | " + " | ".join(cells) + f" | {row['exceptions']} | {failed} |")
    if result["notes"]:
        lines += ["", *(f"- {note}" for note in result["notes"])]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "captions", type=Path, help="captions for the speed, and for the damage unless others are given"
    )
    parser.add_argument("--damage-captions", type=Path, nargs="+", help="captions with capitals and punctuation")
    parser.add_argument("--eda-nlp", type=Path, metavar="DIR", help="the code directory of the eda_nlp repository")
    parser.add_argument("--synonyms", default="wordnet+builtin", help="as laclip-aug's --synonyms")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn")
    parser.add_argument("--note", action="append", default=[], help="a remark about this run, kept with its results")
    parser.add_argument("--count", type=int, default=2000, help="captions of the damage table")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    captions = read_captions(options.captions)
    paths = options.damage_captions or [options.captions]
    sample = [
        caption
        for path in paths
        for caption in random.Random(0).sample(read_captions(path), options.count // len(paths))
    ]
    signal.signal(signal.SIGALRM, _give_up)
    peers, notes = peer_augmenters(options.eda_nlp)
    contenders = {
        f"{work}: {library}": augment
        for library, works in (our_augmenters(options.synonyms) | peers).items()
        for work, augment in works.items()
    }
    contenders = dict(sorted(contenders.items(), key=lambda item: item[0].partition(":")[0] != "replacement"))
    timed = {name.replace("laclip-aug", "laclip-aug, one a call"): one_by_one(f) for name, f in contenders.items()}
    timed = our_batches(options.synonyms) | timed
    timed = dict(sorted(timed.items(), key=lambda item: item[0].partition(":")[0] != "replacement"))
    rates = measure(timed, captions, options.rounds, options.seconds)
    table = EDAAugmenter(synonyms=options.synonyms).describe()["synonyms"]
    result = {
        "machine": f"{platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
        "captions": len(captions),
        "damage_captions": len(sample),
        "synonyms": f"{table['origin']}, {table['words']:,} word forms",
        "speed": {
            name: {"median": statistics.median(rate), "min": min(rate), "max": max(rate), "rounds": rate}
            for name, rate in rates.items()
        },
        "damage": {
            name: damage(augment, tqdm(sample, desc=name))
            for name, augment in contenders.items()
            if "texts" not in name
        },
        "notes": notes + options.note,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "eda.md").write_text(markdown(result), encoding="utf-8")
    (options.out / "eda.json").write_text(json.dumps(result, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")
    print(markdown(result))
    print(json.dumps({name: round(row["median"]) for name, row in result["speed"].items()}))


if __name__ == "__main__":
    main()
