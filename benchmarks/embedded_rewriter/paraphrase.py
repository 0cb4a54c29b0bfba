"""Paraphrases by rule: all of a caption's content, in other words and another order.

Human pairs teach what else a caption may sound like, and lose detail. These pairs lose none: a few exchanges that are
safe in any photo caption, a phrase of place moved to the front, a clause opened with "there is". They are less natural
than human text, so they are a part of the training only.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from benchmarks.embedded_rewriter.forms import Forms

_SAFE: dict[str, tuple[str, ...]] = {}
for _line in """
    man = guy
    guy = man
    men = guys
    woman = lady
    lady = woman
    women = ladies
    ladies = women
    child = kid
    children = kids
    kids = children
    bicycle = bike
    bike = bicycle
    motorcycle = motorbike
    airplane = plane
    plane = airplane
    street = road
    sidewalk = pavement
    couch = sofa
    sofa = couch
    tv = television
    photo = picture
    picture = photo
    ocean = sea
    forest = woods
    large = big
    big = large
    small = little
    little = small
    older = elderly
    elderly = old
    several people = a group of people, some people
    a group of people = several people, some people, people
    group of people = people
    next to = beside, by, near
    beside = next to, near
    near = close to, by, next to
    close to = near
    on top of = on, atop
    inside = in
    underneath = under
    beneath = under
    while = as
    some = a few
    sits on = is sitting on, is seated on
    sits in = is sitting in, is seated in
    sits at = is sitting at, is seated at
    sit on = are sitting on, are seated on
    sit in = are sitting in
    sit at = are sitting at, are seated at
    is sitting = sits, is seated
    are sitting = sit, are seated
    sitting on = seated on, sits on
    sitting at = seated at
    sitting in = seated in
    stands = is standing
    stand = are standing
    is standing = stands
    are standing = stand
    walks = is walking
    walk = are walking
    is walking = walks
    are walking = walk
    runs = is running
    run = are running
    is running = runs
    are running = run
    plays = is playing
    play = are playing
    is playing = plays
    are playing = play
    rides = is riding
    is riding = rides
    are riding = ride
    holds = is holding
    is holding = holds
    are holding = hold
    wears = is wearing, has on
    looks at = is looking at, watches
    is looking at = looks at, watches
    are looking at = look at, watch
    jumps = is jumping, leaps
    is jumping = jumps, leaps
    jumping = leaping
    smiles = is smiling
    is smiling = smiles
    works on = is working on
    is working on = works on
    talks = is talking
    are talking = talk, chat
    throws = is throwing
    is throwing = throws
    makes = is making
    takes a picture of = photographs
    taking a picture of = photographing
    is taking = takes
    lies = is lying
    is laying = lies, is lying
    laying = lying
    are parked = sit parked
    is parked = stands
    filled with = full of
    covered in = covered with
    covered with = covered in
    a lot of = many, lots of
    lots of = many, a lot of
    many = lots of, a lot of
    is eating = eats
    eats = is eating
    is climbing = climbs
    climbs = is climbing
    is performing = performs
    performs = is performing
    is flying = flies
    flies = is flying
    that is = which is
    who is = that is
    trying to = attempting to
    attempting to = trying to
    colorful = brightly colored
    a variety of = different kinds of, various
    a bunch of = a lot of, many
    dressed in = wearing
    outside = outdoors
    meal = dish
    attached to = fixed to
    surrounded by = in the middle of
    preparing to = about to
    about to = ready to
    getting ready to = about to
    """.strip().splitlines():
    _old, _new = _line.split(" = ")
    _SAFE[_old.strip()] = tuple(_word.strip() for _word in _new.split(","))
_PATTERN = re.compile(
    r"(?<![\w'-])(" + "|".join(sorted(map(re.escape, _SAFE), key=len, reverse=True)) + r")(?![\w'-])", re.I
)
_GARMENT = (
    r"(?:shirt|shirts|jacket|jackets|dress|coat|hat|suit|suits|sweater|t-shirt|shorts|jeans|uniform|uniforms|top|vest|"
    r"costume|costumes|hoodie|cap|helmet|clothes|outfit|bikini|apron|robe|skirt|pants)"
)
_IN = re.compile(rf"\b(?<!dressed )in ((?:an? |his |her |their )?(?:[\w-]+ ){{0,3}}?{_GARMENT})\b")
_WEARING = re.compile(rf"\b(?:is |are )?wearing ((?:an? |his |her |their )?(?:[\w-]+ ){{0,3}}?{_GARMENT})\b")
_SUBJECT = r"((?:An?|The|One|Two|Three|Four|Five|Six|Some|Several)(?: [\w'-]+){1,4}?)"
_ATTRIBUTE = r"(?!(?:is|are|was|wearing|holding|carrying|having|including|containing) )"
_BARE = re.compile(
    rf"^{_SUBJECT} {_ATTRIBUTE}([a-z]+ing) (?!.*\b(?:is|are|stand|walk|ride|sit|run|stands|walks|rides|sits|runs)\b)"
)
_FULL = re.compile(rf"^{_SUBJECT} (?:is|are) ([a-z]+ing) ")
_PLACE = re.compile(
    r" (?=(?:in|on|at|near|by|beside|behind|under|next to|in front of|along|through|inside) (?:an?|the|his|her|their) )"
)
_MANY = re.compile(r"^(?:Two|Three|Four|Five|Six|Some|Several|Many|People|Men|Women|Children)\b")


def _exchange(text: str, rng: random.Random) -> str:
    def other(match: re.Match[str]) -> str:
        new = rng.choice(_SAFE[match[0].lower()]) if rng.random() < 0.75 else match[0]
        return new[:1].upper() + new[1:] if match[0][:1].isupper() else new

    return _PATTERN.sub(other, text)


def _dress(text: str, rng: random.Random) -> str:
    if _WEARING.search(text):
        return _WEARING.sub(r"in \1", text, count=1)
    return _IN.sub(r"wearing \1", text, count=1)


def _verb(text: str, rng: random.Random) -> str:
    if _FULL.search(text):
        return _FULL.sub(r"\1 \2 ", text)
    return _BARE.sub(lambda m: f"{m[1]} {'are' if _MANY.match(m[1]) else 'is'} {m[2]} ", text)


def _front(text: str, rng: random.Random) -> str:
    """The last phrase of place goes to the front, if what stays has a verb of its own and the phrase is short."""
    body = text.rstrip(". ")
    parts = _PLACE.split(body)
    if (
        len(parts) < 2
        or len(parts[-1].split()) > 8
        or re.search(r"\b(?:is|are|that|and|of|to|up|as)$", " ".join(parts[:-1]))
    ):
        return text
    if not re.search(r"ing\b|\b(?:is|are|with|of)\b|s\b", " ".join(parts[:-1])):
        return text
    last = parts[-1]
    return f"{last[:1].upper()}{last[1:]}, {_lowered(' '.join(parts[:-1]))}."


def _there(text: str, rng: random.Random) -> str:
    if not re.match(r"(?:An?|Two|Three|Four|Five|Some|Several|Many) ", text):
        return text
    bare = _FULL.sub(r"\1 \2 ", text)
    if not _BARE.search(bare):
        return text
    return f"There {'are' if _MANY.match(text) else 'is'} {_lowered(bare)}"


def _lowered(text: str) -> str:
    return text if text.split(" ", 1)[0].isupper() and not text.startswith("A ") else text[:1].lower() + text[1:]


_STEPS: dict[str, tuple[Callable[[str, random.Random], str], ...]] = {
    "bard": (_dress, _exchange, _verb, _front),
    "mscoco": (_there, _dress, _exchange),
    "human": (_verb, _dress, _exchange),
    "chatgpt": (_exchange, _dress, _front, _there),
}


def paraphrase(text: str, strategy: str, rng: random.Random) -> str:
    """``text`` in other words; each strategy prefers other turns. It may come back unchanged."""
    for step in _STEPS[strategy]:
        if rng.random() < 0.8:
            text = step(text, rng)
    words = text.split(" ")
    if rng.random() < 0.4 and len(words) > 4:
        text = re.sub(r"(?<=[a-z] )an? (?=[a-z]+ ?\w*\.?$)", "the ", text)
    elif rng.random() < 0.3:
        text = re.sub(r"(?<=(?:on|in|at|by) )the (?=[a-z]+)", "a ", text, count=1)
    return text if text.endswith(".") else text + "."


def completed(text: str, forms: Forms, rng: random.Random) -> str:
    """An alt-text with the words that it leaves out: "boy grooming his horse" is "A boy is grooming his horse".

    "poses" becomes "is posing" now and then, "players celebrate" becomes "some players celebrate".
    """
    words = text.split(" ")
    subject = next((i for i, w in enumerate(words[:4]) if w.lower() in forms.singular | forms.plural), None)
    if words[0].lower() in forms.singular:
        lead = rng.choice(("A", "A", "The")) if words[0][0].lower() not in "aeiou" else rng.choice(("An", "The"))
        words = [lead, _lowered(words[0]), *words[1:]]
        subject = None if subject is None else subject + 1
    elif words[0].lower() in forms.plural and rng.random() < 0.7:
        words = [*rng.choice((["Some"], ["Several"], ["A", "group", "of"])), _lowered(words[0]), *words[1:]]
        return " ".join(words)
    if subject is not None and words[subject].lower() in forms.singular:
        for i in range(subject + 1, min(subject + 3, len(words))):
            if words[i] in forms.progressive and rng.random() < 0.6:
                words[i] = f"is {forms.progressive[words[i]]}"
                break
            if words[i].endswith("ing") and i == subject + 1 and words[i] in forms.progressive.values():
                words[i] = f"is {words[i]}"
                break
            if words[i] in ("of", "in", "on", "with", "and", "is", "to", ","):
                break
    return " ".join(words)


def announced(text: str, rng: random.Random) -> str:
    """``text`` after words that announce a picture, for texts that no rule can change."""
    lead = rng.choice(("A photo of", "A picture of", "An image of", "This is", "This picture shows", "A view of"))
    return f"{lead} {_lowered(text).rstrip('.')}."
