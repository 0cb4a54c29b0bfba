"""What a caption says: content concepts, people, and words that may trade places in a photo caption."""

from __future__ import annotations

import re
from functools import lru_cache

from nltk.stem import PorterStemmer

GROUPS: tuple[tuple[str, ...], ...] = tuple(
    tuple(part.strip() for part in line.split(","))
    for line in """
    man, guy, gentleman, male, fellow
    men, guys, gentlemen
    woman, lady, female
    women, ladies
    child, kid, youngster
    children, kids, youngsters
    boy, young boy, little boy
    girl, young girl, little girl
    baby, infant
    people, persons, individuals
    person, individual
    group, bunch, crowd
    dog, canine, pooch
    dogs, canines
    puppy, pup
    cat, kitty, feline
    horse, pony
    bicycle, bike, cycle
    bicycles, bikes
    bicyclist, cyclist, biker
    motorcycle, motorbike
    motorcycles, motorbikes
    car, automobile, vehicle
    cars, automobiles, vehicles
    airplane, plane, aircraft, jet
    airplanes, planes, jets
    boat, vessel, ship
    train, locomotive
    street, road, roadway
    sidewalk, pavement, walkway
    path, trail, track
    sofa, couch
    television, tv, television set
    tv, tv set
    cellphone, cell phone, mobile phone, phone
    computer, laptop
    photo, picture, image, photograph
    photos, pictures, images
    picture, shot, photo
    stone, rock
    stones, rocks
    ocean, sea
    beach, shore, seaside, sand
    forest, woods
    field, meadow, grassy field
    hill, slope, hillside
    mountain, peak
    yard, garden, lawn
    store, shop
    restaurant, cafe, diner
    house, home
    building, structure
    large, big
    huge, enormous, giant
    small, little, tiny
    young, youthful
    old, elderly, older
    beautiful, gorgeous, lovely
    colorful, brightly colored, multicolored
    several, a few
    many, lots of
    multiple, several, various
    next to, beside, near, by
    on top of, atop, on
    behind, in back of
    beneath, under, underneath, below
    above, over
    inside, in, within
    outside, outdoors
    through, across
    close to, near, by
    a lot of, lots of
    wearing, dressed in
    wears, is wearing, is dressed in
    holding, carrying
    holds, is holding, carries
    stands, is standing
    stand, are standing
    sits, is sitting, is seated
    sit, are sitting, are seated
    sitting, seated
    walks, is walking
    walk, are walking
    runs, is running
    run, are running
    plays, is playing
    play, are playing
    rides, is riding
    ride, are riding
    jumps, leaps, is jumping
    jumping, leaping
    looks, is looking, stares, gazes
    looking, staring, gazing
    watches, is watching, looks at
    watching, looking at, observing
    smiles, is smiling, grins
    smiling, grinning
    eats, is eating
    eat, are eating
    eating, having
    lies, is lying, lays, is laying
    lying, laying, resting
    works, is working
    working on, fixing
    makes, is making
    making, preparing
    talks, is talking, speaks
    talking, chatting, speaking
    talk, chat, are talking
    throws, is throwing, tosses
    throwing, tossing
    catches, is catching
    catch, grab
    climbs, is climbing
    swims, is swimming
    flies, is flying
    flying, soaring
    poses, is posing
    takes, is taking
    performs, is performing
    performing, doing
    performs, does
    does, performs, is doing
    carries, is carrying
    pulls, is pulling
    pushes, is pushing
    skis, is skiing
    surfs, is surfing
    dances, is dancing
    sleeps, is sleeping
    sleeping, napping, asleep
    covered with, covered in, full of
    filled with, full of
    surrounded by, in the middle of
    parked, sitting
    outfit, clothes, clothing
    jacket, coat
    hat, cap
    sneakers, shoes
    glasses, eyeglasses
    trousers, pants
    rug, carpet
    meal, food, dish
    plate, dish
    slice, piece
    desk, table
    bench, seat
    river, stream
    lake, pond
    grass, lawn
    player, athlete
    players, athletes
    ball player, baseball player
    toddler, small child
    couple of, pair of
    bathroom, restroom
    kitchen, kitchen area
    sign, signboard
    railroad, railway
    skateboarder, skater
    snowy, snow covered
    city, town
    crowded, busy
    beverage, drink
    game, match
    that is, which is
    and, as well as
    while, as
    """.strip().splitlines()
)
"""Words and phrases that may stand for each other in a photo caption, by form. Written for this project."""

STOP = frozenset(
    """a an the of in on at to with and or is are was were be being been his her its their this that these those there
    it he she they them him who which while as by for from into onto up down over out off near next front top behind
    beside under above below through across along around inside outside between some very has have having had do does
    one other another each also just both all so than then but if photo picture image view shot it's background
    where what when s""".split()
)
_PEOPLE = {
    word: kind
    for kind, words in {
        "man": "man men guy guys male males gentleman gentlemen boy boys he his him father dad groom husband",
        "woman": "woman women lady ladies female females girl girls she her mother mom bride wife",
    }.items()
    for word in words.split()
}
_YOUNG = frozenset("boy boys girl girls child children kid kids baby babies toddler toddlers infant youngster".split())
_GROWN = frozenset("man men woman women lady ladies gentleman gentlemen elderly".split())
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_porter = PorterStemmer()
_concept = {
    word: group[0] for group in GROUPS for word in group if " " not in word and len(word) > 3 and word not in STOP
}


@lru_cache(maxsize=200_000)
def concept(word: str) -> str:
    """The concept behind a lower-case word: ``"lady"`` is ``"woman"``'s, ``"jumping"`` is ``"jumps"``'s."""
    return str(_porter.stem(_concept.get(word, word)))


def words(text: str) -> list[str]:
    """Lower-case words."""
    return _WORD.findall(text.lower())


def concepts(text: str) -> list[str]:
    """Content concepts in order, stop words left out; one may occur twice."""
    return [concept(word) for word in words(text) if word not in STOP]


def people(text: str) -> tuple[frozenset[str], bool, bool]:
    """Genders named, whether young people are named, whether grown ones are."""
    found = words(text)
    return (
        frozenset(_PEOPLE[w] for w in found if w in _PEOPLE),
        any(w in _YOUNG for w in found),
        any(w in _GROWN for w in found),
    )
