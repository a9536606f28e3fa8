"""Runs the tests of the binding and prints, last, "N passed, N failed, N skipped"; 1 if one failed."""
from __future__ import annotations

import sys
import unittest
from pathlib import Path
from typing import Any


class Counted(unittest.TextTestResult):
    passed = 0

    def addSuccess(self, test: Any) -> None:
        self.passed += 1
        super().addSuccess(test)

    def addSkip(self, test: Any, reason: str) -> None:
        print(f"SKIP {test}: {reason}")
        super().addSkip(test, reason)


def main() -> int:
    names = sys.argv[1:]
    here = str(Path(__file__).parent)
    sys.path.insert(0, here)
    loader = unittest.TestLoader()
    suite = loader.loadTestsFromNames(names) if names else loader.discover(here, "test_*.py")
    result = unittest.TextTestRunner(verbosity=2, resultclass=Counted, warnings="ignore").run(suite)
    failed = len(result.failures) + len(result.errors)
    passed = result.passed if isinstance(result, Counted) else 0
    print(f"{passed} passed, {failed} failed, {len(result.skipped)} skipped")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
