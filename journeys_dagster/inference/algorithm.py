"""The fingerprint of everything that decides what journeys come out."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Algorithm:
    """What decides results: its fingerprint, and the parts that the fingerprint is made of.

    Attributes
    ----------
    version : str
        Twelve hexadecimal digits.
    parts : mapping of str to str
        Value of each part as JSON, by name: ``clusters.distance_threshold``, ``model keywords`` (an SQL model's hash),
        ``step stages``, ``embedding model``.
    """

    version: str
    parts: Mapping[str, str]


def current_algorithm(
    *,
    settings: Mapping[str, Any],
    model_revision: str,
    policy_revision: str,
    step_code_versions: Mapping[str, str],
    sql_code_versions: Mapping[str, str],
) -> Algorithm:
    """The algorithm with its parts.

    Parameters
    ----------
    settings : mapping
        The settings that decide results, as plain values.
    model_revision : str
        The embedding model, see `journeys_dagster.inference.embedding.model_revision`.
    policy_revision : str
        The policy that journeys are checked against, see `journeys_dagster.inference.safety_policy.Policy`.
    step_code_versions : mapping of str to str
        Of each step, see `journeys_dagster.inference.fingerprint.step_version`.
    sql_code_versions : mapping of str to str
        Hash of each SQL model.
    """
    values: dict[str, Any] = {"embedding model": model_revision, "safety policy": policy_revision}
    values |= {f"step {name}": code for name, code in step_code_versions.items()}
    values |= {f"model {name}": code for name, code in sql_code_versions.items()}
    values |= _flat(settings)
    parts = {name: json.dumps(value, sort_keys=True) for name, value in sorted(values.items())}
    return Algorithm(hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12], parts)


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
