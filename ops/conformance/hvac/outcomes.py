"""A pytest plug-in that chooses tests by name, bounds their time and notes how each ended.

`CONFORMANCE_PATTERNS` holds one pattern a line; a test is kept whose name contains one of them.
`CONFORMANCE_OUTCOMES` names the file that gets one line of JSON for each test that ran.
"""

import ctypes
import json
import os
import signal
import sys

import pytest

# Beside a busy machine a class's set-up takes seconds, and no test as long.
PHASE_SECONDS_MAX = 120
MESSAGE_CHARACTERS_MAX = 400
PR_SET_PDEATHSIG = 1

# Without the command that started it this run has no clusters any more: it is to end too.
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def pytest_collection_modifyitems(config, items):
    patterns = os.environ.get("CONFORMANCE_PATTERNS", "").split("\n")
    kept = [item for item in items if any(pattern in item.nodeid for pattern in patterns)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


class TooLong(BaseException):
    """No `Exception`: what a test takes for a server's failure it may catch, and try again."""


def give_up(*_):
    raise TooLong(f"it took longer than {PHASE_SECONDS_MAX} s")


signal.signal(signal.SIGALRM, give_up)


@pytest.hookimpl(wrapper=True)
def bounded(item):
    signal.alarm(PHASE_SECONDS_MAX)
    try:
        return (yield)
    finally:
        signal.alarm(0)


pytest_runtest_setup = pytest_runtest_call = pytest_runtest_teardown = bounded


def pytest_runtest_logreport(report):
    # A test has passed once its call has; it has failed wherever it broke, also in a set-up.
    if report.when == "call" or report.outcome != "passed":
        note({"name": report.nodeid, "outcome": report.outcome, "message": message(report)})


def message(report):
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr or "")
    return text[:MESSAGE_CHARACTERS_MAX]


def note(line):
    with open(os.environ["CONFORMANCE_OUTCOMES"], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
