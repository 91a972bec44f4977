"""A plugin of pytest: writes how each test came out into the file $OUTCOMES, as lines of JSON."""

import json
import os


def pytest_runtest_logreport(report):
    if report.when != "call" and report.outcome == "passed":
        return
    said = report.longrepr[2] if report.skipped and isinstance(report.longrepr, tuple) else str(report.longrepr or "")
    with open(os.environ["OUTCOMES"], "a", encoding="utf-8") as file:
        why = said.strip().splitlines()[-1] if said.strip() else ""
        file.write(json.dumps({"test": report.nodeid, "outcome": report.outcome, "why": why}) + "\n")
