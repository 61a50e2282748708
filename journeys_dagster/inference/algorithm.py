"""The fingerprint of everything that decides what journeys come out."""

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

STEP_CODE_VERSIONS: Mapping[str, str] = MappingProxyType(
    {
        "users_in_scope": "1",
        "keyword_embeddings": "1",
        "clusters": "3",
        "journey_identities": "1",
        "ranking_labels": "1",
        "ranking_model": "2",
        "stage_model": "1",
        "rankings": "2",
        "diversification_trade_off": "1",
        "diversified_journeys": "2",
        "naming_model": "1",
        "stages": "2",
        "names": "2",
        "safety_verdicts": "1",
        "safety": "1",
    }
)
"""Version of each step's Python code. Raise a step's number when its results change."""


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
