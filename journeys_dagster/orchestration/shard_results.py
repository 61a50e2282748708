"""What an asset says of its shards, as plain data on the way to the driver, and put together there."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

_NUMBER = (int, float)


def encoded_results(results: Iterable[dg.MaterializeResult | dg.AssetCheckResult]) -> dict[str, Any]:
    """Results of one shard as JSON has them: metadata, and checks by name."""
    metadata: dict[str, Any] = {}
    checks: list[dict[str, Any]] = []
    for result in results:
        if isinstance(result, dg.AssetCheckResult):
            checks.append(_encoded_check(result))
            continue
        metadata |= _encoded(result.metadata or {})
        checks += [_encoded_check(check) for check in result.check_results or ()]
    return {"metadata": metadata, "checks": checks}


def merged_checks(replies: Sequence[Mapping[str, Any]]) -> list[dg.AssetCheckResult]:
    """One result of each check over all shards: it is passed where all have passed it."""
    by_name: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for shard, reply in enumerate(replies):
        for check in reply["checks"]:
            by_name.setdefault(check["name"], []).append((shard, check))
    return [_merged_check(name, found) for name, found in by_name.items()]


def merged_metadata(replies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers added up, and of what is no number what the first shard says; with how long shards took."""
    seconds = [reply["seconds"] for reply in replies]
    slowest = seconds.index(max(seconds))
    return {
        **_merged([reply["metadata"] for reply in replies]),
        "shards": len(replies),
        "shard_seconds": round(sum(seconds), 3),
        "slowest_shard": f"{slowest}: {seconds[slowest]:.1f} s",
    }


def _merged_check(name: str, found: Sequence[tuple[int, Mapping[str, Any]]]) -> dg.AssetCheckResult:
    failed = [(shard, check) for shard, check in found if not check["passed"]]
    # What is shown beside the numbers is of a shard that has failed, if one has.
    ordered = [check for _, check in failed] + [check for _, check in found if check["passed"]]
    said = [f"shard {shard}: {check['description']}" for shard, check in failed if check["description"]]
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failed,
        severity=dg.AssetCheckSeverity[found[0][1]["severity"]],
        metadata=_merged([check["metadata"] for check in ordered]),
        description="; ".join(said) or ordered[0]["description"],
    )


def _merged(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for metadata in each for name in metadata):
        values = [metadata[name] for metadata in each if name in metadata]
        if all(isinstance(value, _NUMBER) and not isinstance(value, bool) for value in values):
            merged[name] = sum(values)
        else:
            merged[name] = _decoded(values[0])
    return merged


def _encoded_check(check: dg.AssetCheckResult) -> dict[str, Any]:
    return {
        "name": check.check_name,
        "passed": bool(check.passed),
        "severity": check.severity.name,
        "metadata": _encoded(check.metadata or {}),
        "description": check.description,
    }


def _encoded(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _encoded_value(value) for name, value in metadata.items()}


def _encoded_value(value: Any) -> Any:  # noqa: ANN401 - any metadata
    if isinstance(value, dg.MarkdownMetadataValue):
        return {"markdown": value.md_str}
    if isinstance(value, dg.TableColumnLineage):
        upstream = value.deps_by_column.items()
        return {"lineage": {name: [[dep.asset_key.path, dep.column_name] for dep in deps] for name, deps in upstream}}
    if isinstance(value, dg.MetadataValue):
        return value.value if isinstance(value.value, (*_NUMBER, str, bool)) else str(value.value)
    return value


def _decoded(value: Any) -> Any:  # noqa: ANN401 - any metadata
    if not isinstance(value, dict):
        return value
    if "markdown" in value:
        return dg.MetadataValue.md(value["markdown"])
    deps = value["lineage"].items()
    return dg.TableColumnLineage(
        {name: [dg.TableColumnDep(dg.AssetKey(path), column) for path, column in each] for name, each in deps}
    )
