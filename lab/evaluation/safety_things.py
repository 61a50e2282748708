"""What can be bought, eaten, grown, kept, played and travelled to, after WordNet 3.0: examples of harmless texts.

``python -m lab.evaluation.safety_things data.noun`` writes the file that the classifier learns from anew. Debian has
``data.noun`` in its package wordnet-base.
"""

import hashlib
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from journeys_dagster.inference.safety import check_texts
from journeys_dagster.inference.safety_classifier import THINGS, stored_classifier
from journeys_dagster.inference.safety_policy import ALLOW, Policy, load_policy
from journeys_dagster.settings import Settings

# By WordNet's files of nouns: how many of each, and what these are below, where not all of them are meant.
_ACT, _ANIMAL, _ARTIFACT, _LANGUAGE, _FOOD, _PLACE, _PLANT, _SUBSTANCE = 4, 5, 6, 10, 13, 15, 20, 27
_HOW_MANY = {
    _FOOD: 3000,
    _ARTIFACT: 5000,
    _ANIMAL: 1500,
    _PLANT: 1500,
    _ACT: 1000,
    _LANGUAGE: 600,
    _PLACE: 1200,
    _SUBSTANCE: 800,
}
_BELOW = {
    _ACT: {"sport", "game", "diversion", "handicraft", "art"},
    _LANGUAGE: {"natural_language"},
    _PLACE: {"district", "city", "town", "land", "country", "municipality"},
}
# fmt: off
_SENSITIVE = frozenset(
    {
        "weapon", "weaponry", "gun", "ammunition", "ammo", "projectile", "missile", "bomb", "explosive",
        "explosive_device", "armament", "warship", "fighting", "military_vehicle", "instrument_of_execution",
        "instrument_of_torture", "gallows", "poison", "poison_gas", "toxin", "toxicant", "venom", "acid",
        "drug", "narcotic", "medicine", "tincture", "hormone", "tobacco", "alcohol", "contraceptive", "sex",
        "sexual_activity", "fetish", "fuck", "whorehouse", "blood_sport", "crime", "gambling",
        "correctional_institution", "medical_instrument", "prosthesis", "place_of_worship",
        "religious_residence", "grave", "memorial", "flag", "currency",
    }
)
# fmt: on
"""What else is left out is what a term of the policy stands in."""


_WORDED = 5000
_WORDINGS = (
    *("{} - {}", "{}/{}", "{} & {}", "{} and {}", "{} with {}", "vintage {} {}", "set of 6 {}", "{} pack of 12"),
    *("{}, large", "small white {}", "red {}", "plain {}", "premium {}", "organic {}", "frozen {}", "sliced {}"),
    *("{} accessories", "{} kit", "{} holder", "{} refill", "spare parts for {}", "ready to use {}", "{} 500 ml"),
    *("mens {}", "ladies {}", "kids {}"),
)
"""How shops word what they sell: without these, a thing beside another is as strange as one it has never seen."""


@dataclass(frozen=True)
class _Meaning:
    kind: int
    words: tuple[str, ...]
    broader: tuple[str, ...]


class Nouns:
    """The meanings of WordNet's nouns, by the lines of its file."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._meanings = dict(_read(line) for line in lines if not line.startswith(" "))
        self._above: dict[str, frozenset[str]] = {}

    def above(self, place: str) -> frozenset[str]:
        """The words of a meaning and of all broader ones."""
        if place not in self._above:
            meaning = self._meanings[place]
            words = frozenset(word.lower() for word in meaning.words)
            self._above[place] = words.union(*map(self.above, meaning.broader))
        return self._above[place]

    @cached_property
    def things(self) -> dict[str, int]:
        """Harmless things and their kinds; a word that has a sensitive meaning too is none."""
        found: dict[str, int] = {}
        for place, meaning in self._meanings.items():
            if self._is_sensitive(place) or not self._is_thing(place):
                continue
            for word in meaning.words:
                text = _text(word)
                is_scientific = meaning.kind in {_ANIMAL, _PLANT} and word[0].isupper()
                if not is_scientific and re.search("[a-z]{3}", text):
                    found.setdefault(text, meaning.kind)
        sensitive = {
            _text(word)
            for place, meaning in self._meanings.items()
            if self._is_sensitive(place)
            for word in meaning.words
        }
        return {text: kind for text, kind in found.items() if text not in sensitive}

    def _is_sensitive(self, place: str) -> bool:
        return not _SENSITIVE.isdisjoint(self.above(place))

    def _is_thing(self, place: str) -> bool:
        kind = self._meanings[place].kind
        return kind in _HOW_MANY and (kind not in _BELOW or not _BELOW[kind].isdisjoint(self.above(place)))


def _read(line: str) -> tuple[str, _Meaning]:
    """A line: its place, and what it says (wndb(5WN))."""
    place, kind, _, count, *rest = line.split(" | ", maxsplit=1)[0].split()
    words, (_, *pointers) = rest[: 2 * int(count, 16) : 2], rest[2 * int(count, 16) :]
    broader = tuple(to for sign, to in zip(pointers[::4], pointers[1::4], strict=False) if sign in {"@", "@i"})
    return place, _Meaning(int(kind), tuple(words), broader)


def _text(word: str) -> str:
    return re.sub(r"\(.*?\)$", "", word).replace("_", " ").lower()


def chosen_things(nouns: Nouns, policy: Policy) -> list[str]:
    """Some of each kind, by their hashes, and some as shops word them; none with a term of the policy, sorted."""
    chosen: list[str] = []
    for kind, many in _HOW_MANY.items():
        chosen += sorted((text for text, each in nouns.things.items() if each == kind), key=_hash)[:many]
    by_hash = sorted(chosen, key=lambda text: _hash(f"worded {text}"))
    chosen += [
        _WORDINGS[place % len(_WORDINGS)].format(text, other)
        for place, (text, other) in enumerate(zip(by_hash[:_WORDED], by_hash[::-1], strict=False))
    ]
    classifier = stored_classifier()
    if classifier is None:
        raise FileNotFoundError("the classifier beside the policy is missing")
    by_terms = Settings().safety.model_copy(update={"quiet_probability": 1.0})
    unread = np.zeros((len(chosen), classifier.dimensions), dtype=np.float32)
    verdicts = check_texts(pl.Series(chosen), unread, policy, classifier, by_terms)
    return sorted({*verdicts.filter(outcome=ALLOW)["text"]})


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    nouns = Nouns(Path(sys.argv[1]).read_text(encoding="latin1").splitlines())
    notice = [line for line in THINGS.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    lines = [*notice, *chosen_things(nouns, load_policy("bundled"))]
    THINGS.write_text("\n".join(lines) + "\n", encoding="utf-8")
