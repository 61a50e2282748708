"""How far the work is, said where there is no terminal."""

import re
import subprocess
import sys

STANDS_STILL = """
import sys
from journeys_dagster.cli import progress
progress._TELL_EVERY_SECONDS = 0.01
with progress.progress_bar("infer", total=None) as advance:
    advance("keyword_events", 2, 41)
    sys.stdin.readline()
    advance("names", 3, 41)
"""


def test_what_stands_still_is_said_until_it_ends() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", STANDS_STILL], stdin=pipe, stderr=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert next(lines) == "infer …\n"
        said = [next(lines) for _ in range(5)]
        process.stdin.write("go on\n")
        process.stdin.close()
        said += lines
    assert process.returncode == 0
    steps = [line for line in said if "still" not in line]
    assert steps[:2] == ["infer: keyword_events (3 of 41)\n", "infer: names (4 of 41)\n"]
    assert re.fullmatch(r"infer: done in \d+:\d\d:\d\d\n", steps[2])
    still = [line for line in said[:5] if "still" in line]
    assert len(still) >= 3
    assert all(re.fullmatch(r"infer: still at (it|keyword_events), for \d+:\d\d:\d\d\n", line) for line in still)
    assert "keyword_events" in still[-1]


def test_what_a_run_warns_of_is_printed_as_it_is() -> None:
    code = "from journeys_dagster.cli.pipeline import say; say(\"pip install 'package[extra]' [red]\")"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "pip install 'package[extra]' [red]\n"
