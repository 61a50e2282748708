"""What the fault tests share: the figures they measure, printed below the results for `docs/reliability.md`."""

from collections.abc import Callable

import pytest

_FIGURES = pytest.StashKey[dict[str, dict[str, object]]]()


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Record figures of the test by name; they are printed when all tests have ended."""
    test = request.node.nodeid.rsplit("/", 1)[-1]
    of_test = request.config.stash.setdefault(_FIGURES, {}).setdefault(test, {})

    def record(**values: object) -> None:
        of_test.update(values)

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures."""
    measured = {test: values for test, values in config.stash.get(_FIGURES, {}).items() if values}
    if not measured:
        return
    terminalreporter.section("figures")
    for test, values in measured.items():
        terminalreporter.write_line(test)
        for name, value in values.items():
            terminalreporter.write_line(
                f"    {name}: {value:.3f}" if isinstance(value, float) else f"    {name}: {value}"
            )
