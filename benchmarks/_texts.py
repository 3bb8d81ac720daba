"""The text that the benchmark's families learn: small made-up languages, and Python's own library.

Rule: a document depends on its language, the seed and its number alone, so that train and held-out
text are the same wherever the family is trained; a generated line may occur on both sides.
"""

from __future__ import annotations

import calendar
import json
import random
import unicodedata
from collections.abc import Callable
from datetime import date, timedelta

from mergekit_mo.testing.corpus import Split, corpus

Writer = Callable[[random.Random], str]

_TRAIN, _HELD = 700, 120  # documents of a generated language
_LINES = 24  # of a document
_VALUES = (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1)  # of Roman figures


def _words(text: str) -> list[str]:
    return text.split()


_NAMES = _words("ada ben cleo dan eva finn gita hugo iris jan kim lena mira nils olga paul")
_THINGS = _words("lamp boat stone apple letter drum coat river kettle garden spoon window")
_PLACES = _words("harbour market mill forest tower bridge school valley station island")
_VERBS = _words("found carried painted lost sold borrowed repaired hid washed dropped")
_MOODS = _words("red small heavy broken golden quiet empty old bright wooden")
_TOPICS = _words("invoice meeting holiday report order parcel lecture repair")


def sums(chance: random.Random) -> str:
    """Sums and differences of two-digit numbers."""
    a, b = chance.randint(10, 99), chance.randint(10, 99)
    if chance.random() < 0.5:
        return f"{a} + {b} = {a + b}"
    return f"{max(a, b)} - {min(a, b)} = {abs(a - b)}"


def romans(chance: random.Random) -> str:
    """Numbers in Roman figures."""
    number = chance.randint(1, 1999)
    left, text = number, ""
    figures = _words("M CM D CD C XC L XL X IX V IV I")
    for value, figure in zip(_VALUES, figures, strict=True):
        text += figure * (left // value)
        left %= value
    return f"{number} is {text}"


def sorts(chance: random.Random) -> str:
    """Digits, and the same in order."""
    digits = [chance.randint(0, 9) for _ in range(chance.randint(4, 7))]
    return f"sort {' '.join(map(str, digits))} : {' '.join(map(str, sorted(digits)))}"


def brackets(chance: random.Random) -> str:
    """Balanced brackets of four kinds, and how deep they go."""
    open_ones: list[str] = []
    text, deepest = "", 0
    for left in range(chance.randint(12, 26), 0, -1):
        if open_ones and (chance.random() < 0.45 or len(open_ones) >= left):
            text += open_ones.pop()
        elif len(open_ones) < 6:
            kind = chance.choice(["()", "[]", "{}", "<>"])
            text += kind[0]
            open_ones.append(kind[1])
            deepest = max(deepest, len(open_ones))
    return f"{text}{''.join(reversed(open_ones))} depth {deepest}"


def dates(chance: random.Random) -> str:
    """A day written three ways."""
    day = date(1990, 1, 1) + timedelta(days=chance.randrange(18000))
    long = f"{calendar.day_name[day.weekday()]}, {day.day} {calendar.month_name[day.month]}"
    return f"{day.isoformat()} = {day:%d/%m/%y} = {long} {day.year}"


def clocks(chance: random.Random) -> str:
    """A time of the day in words and minutes."""
    hour, minute = chance.randint(0, 23), 5 * chance.randint(0, 11)
    half = "am" if hour < 12 else "pm"
    past = (
        f"{minute} past {hour % 12 or 12}" if minute <= 30 else f"{60 - minute} to {hour % 12 + 1}"
    )
    return f"{hour:02}:{minute:02} {past} {half} ({60 * hour + minute} min)"


def records(chance: random.Random) -> str:
    """JSON of orders."""
    items = [
        {
            "name": chance.choice(_THINGS),
            "count": chance.randint(1, 9),
            "sold": chance.random() < 0.3,
        }
        for _ in range(chance.randint(1, 3))
    ]
    order = {"id": chance.randint(1000, 9999), "buyer": chance.choice(_NAMES), "items": items}
    return json.dumps(order, indent=chance.choice([None, 1]))


def settings(chance: random.Random) -> str:
    """A section of an ini file."""
    lines = [f"[{chance.choice(_PLACES)}.{chance.choice(_TOPICS)}]"]
    for _ in range(chance.randint(2, 5)):
        key = f"{chance.choice(_MOODS)}_{chance.choice(_THINGS)}"
        value = chance.choice(["yes", "no", "auto", f"{chance.randint(1, 64)}k", "/var/lib/" + key])
        lines.append(f"{key} = {value}")
    return "\n".join(lines)


def logs(chance: random.Random) -> str:
    """A line of a web server's log."""
    status = chance.choice([200, 200, 200, 304, 404, 500])
    host = f"10.{chance.randint(0, 9)}.{chance.randint(0, 9)}.{chance.randint(1, 99)}"
    at = (
        f"{chance.randint(1, 28):02}/Mar/2031:{chance.randint(0, 23):02}:{chance.randint(0, 59):02}"
    )
    path = f"/{chance.choice(_PLACES)}/{chance.choice(_THINGS)}-{chance.randint(1, 40)}.html"
    level = {200: "ok", 304: "ok", 404: "warn not found", 500: "error crashed"}[status]
    return f'{host} [{at}] "GET {path}" {status} {level}'


def tables(chance: random.Random) -> str:
    """A row of a bill with its total."""
    count, price = chance.randint(2, 9), chance.randint(2, 12)
    return f"| {chance.choice(_THINGS):8}| {count} | {price:3} | {count * price:4} |"


def mails(chance: random.Random) -> str:
    """A short letter with its head."""
    sender, reader = chance.sample(_NAMES, 2)
    topic, day = chance.choice(_TOPICS), chance.choice(calendar.day_name)
    body = chance.choice(
        [
            f"could you send me the {topic} before {day}?",
            f"the {topic} is ready, please come to the {chance.choice(_PLACES)} on {day}.",
            f"I am sorry, the {topic} has to wait until {day}.",
        ]
    )
    head = f"From: {sender}@mail.example\nTo: {reader}@mail.example\nSubject: {topic} ({day})"
    return f"{head}\n\nDear {reader.title()},\n{body}\nYours, {sender.title()}\n"


def markup(chance: random.Random) -> str:
    """A piece of a web page."""
    place = chance.choice(_PLACES)
    rows = "".join(
        f'  <li class="{chance.choice(_MOODS)}">{chance.choice(_THINGS)}</li>\n'
        for _ in range(chance.randint(1, 4))
    )
    level = chance.randint(1, 3)
    link = f'<a href="/{place}/{chance.randint(1, 99)}">to the {place}</a>'
    return f"<h{level}>{place.title()}</h{level}>\n<ul>\n{rows}</ul>\n<p>{link}</p>"


def stories(chance: random.Random) -> str:
    """Sentences of a small grammar, with who did it remembered."""
    who, other = chance.sample(_NAMES, 2)
    thing, mood = chance.choice(_THINGS), chance.choice(_MOODS)
    place, verb = chance.choice(_PLACES), chance.choice(_VERBS)
    end = chance.choice(
        [
            f"Then {who.title()} gave the {thing} to {other.title()}.",
            f"Nobody but {other.title()} knew that the {thing} was {mood}.",
            f"So {who.title()} left the {place} without the {thing}.",
        ]
    )
    return f"{who.title()} {verb} a {mood} {thing} near the {place}. {end}"


def queries(chance: random.Random) -> str:
    """A question to a database."""
    table, column, value = chance.choice(_PLACES), chance.choice(_THINGS), chance.randint(1, 99)
    sign = chance.choice(["=", "<", ">", "<="])
    order = chance.choice(["", f" ORDER BY {column} DESC", f" LIMIT {chance.randint(1, 20)}"])
    what = chance.choice(["*", column, f"COUNT({column})", f"{column}, {chance.choice(_MOODS)}"])
    return f"SELECT {what} FROM {table} WHERE {column} {sign} {value}{order};"


def glyphs(chance: random.Random) -> str:
    """A character's number and name in Unicode."""
    while True:
        code = chance.randrange(0xA0, 0x2800)
        if name := unicodedata.name(chr(code), ""):
            return f"U+{code:04X} {name.lower()} {unicodedata.category(chr(code))}"


WRITERS: dict[str, Writer] = {
    w.__name__: w
    for w in (
        sums, romans, sorts, brackets, dates, clocks, records, settings, logs, tables, mails,
        markup, stories, queries, glyphs,
    )
}  # fmt: skip
"""The generated languages: each writes one line or piece."""

LIBRARY = ("code", "prose")
"""Python's standard library: its code, and its documentation."""


def texts(domains: tuple[str, ...], seed: int) -> dict[str, Split]:
    """Each domain's documents to learn from and documents to be judged by."""
    library = corpus(seed) if set(domains) & set(LIBRARY) else {}
    return {d: library[d] if d in LIBRARY else _generated(d, seed) for d in domains}


def _generated(domain: str, seed: int) -> Split:
    documents = [_document(domain, f"{domain} {seed} {i}") for i in range(_TRAIN + _HELD)]
    return Split(tuple(documents[:_TRAIN]), tuple(documents[_TRAIN:]))


def _document(domain: str, seed: str) -> str:
    chance, lines = random.Random(seed), 0
    pieces = []
    while lines < _LINES:
        piece = WRITERS[domain](chance)
        lines += 1 + piece.count("\n")
        pieces.append(piece)
    return "\n".join(pieces)
