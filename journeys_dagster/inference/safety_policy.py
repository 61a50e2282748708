"""The policy that journeys are checked against: its file, read and checked once.

How a text is compared with it belongs to `safety`.
"""

import hashlib
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from journeys_dagster.errors import ExpectedError
from journeys_dagster.inference.safety_text import plain

BUNDLED_POLICY = "bundled"
ALLOW, UNKNOWN, QUIET, BLOCK = "allow", "unknown", "quiet", "block"
OUTCOMES = (ALLOW, UNKNOWN, QUIET, BLOCK)
"""From the mildest to the strictest."""
_OF_CODE = r"[={}<>\\^`]"
_BUNDLED_FILE = Path(__file__).with_suffix(".toml")


class PolicyError(ExpectedError, ValueError, carries_user_text=False):
    """A policy file that cannot be used; the message names the file and the fault."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Category(_Entry):
    """One subject of the policy, see the file's own header.

    Attributes
    ----------
    outcome : str
        ``block`` or ``quiet``.
    """

    name: str = Field(pattern=r"^[a-z][a-z-]*$")
    outcome: str = Field(pattern=f"^({QUIET}|{BLOCK})$")
    terms: tuple[str, ...] = Field(min_length=1, strict=False)
    exceptions: tuple[str, ...] = Field((), strict=False)
    descriptions: tuple[str, ...] = Field(min_length=1, strict=False)


class _Harmless(_Entry):
    descriptions: tuple[str, ...] = Field(min_length=1, strict=False)


class _File(_Entry):
    scripts: tuple[str, ...] = Field(("Latin",), min_length=1, strict=False)
    category: tuple[Category, ...] = Field(min_length=1, strict=False)
    harmless: _Harmless


@dataclass(frozen=True)
class Policy:
    """A policy as read from its file.

    Attributes
    ----------
    scripts : sequence of str
        Unicode scripts of the languages that the policy is about.
    categories : sequence of Category
        The strictest first, else as in the file.
    harmless : sequence of str
        What harmless texts are like.
    revision : str
        Fingerprint of what the file says; comments and layout do not count.
    """

    scripts: Sequence[str]
    categories: Sequence[Category]
    harmless: Sequence[str]
    revision: str

    def outcome_of(self, category: str) -> str:
        """What happens to texts of a category."""
        return next(entry.outcome for entry in self.categories if entry.name == category)

    def covers(self, text: pl.Expr) -> pl.Expr:
        """Whether the policy has something to say of a text: it has letters or digits, none of other scripts, and no
        signs of code.
        """
        of_script = "".join(rf"\p{{{script}}}" for script in self.scripts)
        foreign = rf"[^{of_script}\p{{Common}}\p{{Inherited}}]|{_OF_CODE}"
        return text.str.contains(r"[\p{L}\p{N}]") & ~text.str.contains(foreign)


def load_policy(name: str) -> Policy:
    """Read a policy.

    Parameters
    ----------
    name : str
        `BUNDLED_POLICY`, or the path of a file.

    Raises
    ------
    PolicyError
        The file is missing, unreadable or no TOML, or an entry is wrong. Every fault is named.
    """
    return _load(_BUNDLED_FILE if name == BUNDLED_POLICY else Path(name).resolve())


@lru_cache(maxsize=8)
def _load(path: Path) -> Policy:
    try:
        content = path.read_bytes()
        file = _File.model_validate(tomllib.loads(content.decode("utf-8-sig")))
    except OSError as error:
        raise PolicyError(
            f"policy {path} cannot be read: {error.strerror}. Set safety.policy to a policy file."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyError(f"policy {path} is not valid TOML: {error}") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise PolicyError(f"policy {path}: {faults}") from None
    if faults := "; ".join(_faults(file)):
        raise PolicyError(f"policy {path}: {faults}")
    strictest_first = sorted(file.category, key=lambda category: -OUTCOMES.index(category.outcome))
    revision = hashlib.sha256(file.model_dump_json().encode()).hexdigest()[:12]
    return Policy(file.scripts, tuple(strictest_first), file.harmless.descriptions, revision)


def _faults(file: _File) -> Iterator[str]:
    for script in file.scripts:
        try:
            pl.select(pl.lit("").str.contains(rf"^\p{{{script}}}"))
        except pl.exceptions.ComputeError:
            yield f"scripts: {script!r} is no Unicode script such as Latin, Cyrillic or Han"
    names = [category.name for category in file.category]
    yield from (f"category {name!r} is there twice" for name in sorted({n for n in names if names.count(n) > 1}))
    phrase = pl.col("phrase")
    # A phrase of any other form would never match, and nobody would notice.
    wrong = (
        pl.DataFrame(
            [(category.name, each) for category in file.category for each in (*category.terms, *category.exceptions)],
            schema={"category": pl.String, "phrase": pl.String},
            orient="row",
        )
        .with_columns(words=phrase.str.strip_suffix("*"), wanted=plain(phrase.str.replace_all("*", " ", literal=True)))
        .filter((pl.col("words") == "") | (pl.col("words") != plain(pl.col("words"))))
    )
    for name, each, wanted in wrong.select("category", "phrase", "wanted").iter_rows():
        yield f"category {name!r}: {each!r} never matches: texts are compared as {wanted!r}"
