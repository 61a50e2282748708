"""Stems of English words: what two texts have in common whatever the endings."""

import re
from functools import lru_cache

from lab.naming.word_forms import FUNCTION_WORDS, singular, tokens

_VOWEL = re.compile(r"[aeiouy]")
_DOUBLED = re.compile(r"([bdfgmnprt])\1$")


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """What forms of an English word share: "bake", "bakes" and "baking"; not "christmas" and "christening".

    Parameters
    ----------
    word : str
        In lower case.
    """
    word = singular(word)
    for ending, least in (("ing", 3), ("ed", 3), ("er", 5), ("ion", 5)):
        left = word.removesuffix(ending)
        if left != word and len(left) >= least and _VOWEL.search(left):
            word = _DOUBLED.sub(r"\1", left)
            break
    # "photography" and "photographer"; but "party" is no part.
    is_long = len(word) > (7 if word.endswith("y") else 3)
    return word[:-1] if is_long and word[-1] in "ey" else word


@lru_cache(maxsize=500_000)
def stems(text: str) -> frozenset[str]:
    """Stems of the words of a text that say something."""
    words = (word.lower() for word in tokens(text))
    return frozenset(stem(word.replace("’", "'").removesuffix("'s")) for word in words if word not in FUNCTION_WORDS)
