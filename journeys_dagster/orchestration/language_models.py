"""What an asset shows that asks a language model: what it took, how far it is, and whether anything is left."""

from collections.abc import Callable

import dagster as dg

from journeys_dagster.llm.answers import Usage

ANSWERED = "llm_answered"
_FAILED_SHARE = 0.05


def answered_spec(asset: str) -> dg.AssetCheckSpec:
    """The check whether the language model was asked about everything, and answered."""
    return dg.AssetCheckSpec(
        ANSWERED, asset=asset, description="Nothing is left unasked, and at most one input in twenty has failed."
    )


def answered_check(usage: Usage) -> dg.AssetCheckResult:
    """A warning where inputs are left for another run, or too many failed; it says why."""
    passed = not usage.left and usage.failed <= _FAILED_SHARE * usage.inputs
    said = f"{usage.answered:,} of {usage.inputs:,} inputs have an answer, {usage.failed:,} failed"
    if usage.faults:
        said += f" ({'; '.join(usage.faults_by_count())})"
    if usage.left:
        said += f"; {usage.left:,} are left, as {usage.stopped}. Run the day again to go on from here."
    return dg.AssetCheckResult(
        check_name=ANSWERED, passed=passed, severity=dg.AssetCheckSeverity.WARN, description=said
    )


def every_tenth(log: Callable[[str], object], prefix: str = "") -> Callable[[int, int], None]:
    """Progress that is logged at each tenth of the inputs."""
    told = 0

    def progress(done: int, inputs: int) -> None:
        nonlocal told
        if (tenth := 10 * done // max(inputs, 1)) != told:
            told = tenth
            log(f"{prefix}{done:,} of {inputs:,} inputs of the language model done")

    return progress
