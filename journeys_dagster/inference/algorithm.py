"""The fingerprint of everything that decides what journeys come out."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

STEP_CODE_VERSIONS: Mapping[str, str] = MappingProxyType(
    {
        "users_in_scope": "1",
        "keywords": "1",
        "keyword_embeddings": "1",
        "clusters": "4",
        "journey_identities": "1",
        "journey_events": "1",
        "ranking_labels": "1",
        "ranking_model": "2",
        "stage_model": "1",
        "rankings": "2",
        "diversification_trade_off": "1",
        "diversified_journeys": "2",
        "naming_model": "1",
        "stages": "2",
        "names": "2",
        "safety_verdicts": "2",
        "safety": "2",
        "journey_expansions": "2",
        "expansions": "1",
        "judge_scores": "1",
    }
)
"""Version of each step's Python code. Raise a step's number when its results change."""


@dataclass(frozen=True)
class Algorithm:
    """What decides results: its fingerprint, and the parts that the fingerprint is made of.

    Attributes
    ----------
    version : str
        See `algorithm_version`.
    parts : mapping of str to str
        Value of each part as JSON, by name: ``clusters.distance_threshold``, ``model keywords`` (an SQL model's hash),
        ``step stages``, ``embedding model``.
    """

    version: str
    parts: Mapping[str, str]


def current_algorithm(
    *, settings: Mapping[str, Any], model_revision: str, policy_revision: str, sql_code_versions: Mapping[str, str]
) -> Algorithm:
    """The algorithm with its parts; parameters as of `algorithm_version`."""
    version = algorithm_version(
        settings=settings,
        model_revision=model_revision,
        policy_revision=policy_revision,
        sql_code_versions=sql_code_versions,
    )
    parts: dict[str, Any] = {"embedding model": model_revision, "safety policy": policy_revision}
    parts |= {f"step {name}": code for name, code in STEP_CODE_VERSIONS.items()}
    parts |= {f"model {name}": code for name, code in sql_code_versions.items()}
    parts |= _flat(settings)
    return Algorithm(version, {name: json.dumps(value, sort_keys=True) for name, value in sorted(parts.items())})


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def algorithm_version(
    *, settings: Mapping[str, Any], model_revision: str, policy_revision: str, sql_code_versions: Mapping[str, str]
) -> str:
    """Fingerprint of step code versions, model and policy revision and settings.

    Parameters
    ----------
    settings : mapping
        The settings that decide results, as plain values.
    model_revision : str
        The embedding model, see `journeys_dagster.inference.embedding.model_revision`.
    policy_revision : str
        The policy that journeys are checked against, see `journeys_dagster.inference.safety_policy.Policy`.
    sql_code_versions : mapping of str to str
        Hash of each SQL model.

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    parts = {
        "steps": dict(STEP_CODE_VERSIONS),
        "sql": dict(sql_code_versions),
        "model": model_revision,
        "policy": policy_revision,
        "settings": dict(settings),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
