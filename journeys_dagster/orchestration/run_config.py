"""Run configuration besides partitions: the scope, and the last day that training sees."""

import dagster as dg

EVERYONE = "all_users"
SCOPES = ("active_users", EVERYONE)


class ScopeConfig(dg.Config):
    """Which users a run infers: active_users (a row of theirs arrived that day) or all_users (any history)."""

    scope: str = SCOPES[0]


class TrainingConfig(dg.Config):
    """When to train: `as_of` is the last day whose rows are seen, as YYYY-MM-DD; the newest day where it is empty."""

    as_of: str = ""
