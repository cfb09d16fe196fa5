"""What a check found, and how it is told."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One comparison with a definition: passed if `found` is at most `allowed`; not a number never passes."""

    name: str
    found: float
    allowed: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.found <= self.allowed

    def __str__(self) -> str:
        detail = f"  {self.detail}" if self.detail else ""
        return f"{'ok  ' if self.passed else 'FAIL'} {self.name}: {self.found:.2e}, allowed {self.allowed:.0e}{detail}"


def report(title: str, checks: Iterable[Check]) -> bool:
    """Prints the checks and returns whether there were any and all passed."""
    print(title)
    results = []
    for check in checks:
        print(f"  {check}")
        results.append(check.passed)
    if not results:
        print("  FAIL nothing was checked")
    return bool(results) and all(results)
