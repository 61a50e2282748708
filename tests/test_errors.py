"""Every error of the project says whether its message may hold what a user wrote."""

import importlib
import inspect
import pkgutil

import pytest

import assets
import journeys_dagster
import lab
from journeys_dagster.errors import ExpectedError, JourneysError, without_quoted

PACKAGES = (assets, journeys_dagster, lab)


def test_every_error_of_the_project_says_whether_it_carries_user_text() -> None:
    found = set()
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            members = inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
            found |= {
                member for _, member in members if issubclass(member, Exception) and member.__module__ == module.name
            }
    assert len(found) > 20
    assert not [error for error in found if not issubclass(error, JourneysError)]
    assert all("carries_user_text" in vars(error) for error in found)


def test_an_error_that_does_not_say_so_cannot_be_defined() -> None:
    with pytest.raises(TypeError, match="carries_user_text"):
        type("ForgottenError", (ExpectedError,), {})
    said = type("SaidError", (ExpectedError, ValueError), {}, carries_user_text=False)
    assert said.carries_user_text is False  # type: ignore[attr-defined]
    assert isinstance(said("why"), ValueError)


def test_what_stands_in_quotes_is_left_out() -> None:
    assert without_quoted("could not read 'a' nor \"b\"; see `c`") == "could not read '…' nor '…'; see '…'"
    assert without_quoted("unfinished 'a and more") == "unfinished '…'"
