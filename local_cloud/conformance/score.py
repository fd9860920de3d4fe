"""What a relay scored: outcomes by check, counted by group, as a table for people and as JSON for programs. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from local_cloud.conformance.check import Check, Outcome, Result


@dataclass(frozen=True, slots=True)
class Score:
    """The outcomes of one run."""

    outcomes: Mapping[Check, Outcome]

    @property
    def is_clean(self) -> bool:
        """Whether nothing failed."""
        return all(outcome.result is not Result.FAIL for outcome in self.outcomes.values())

    def counts(self, group: str | None = None) -> Counter[Result]:
        """How often each result came, in one group or in all."""
        return Counter(
            outcome.result for check, outcome in self.outcomes.items() if group in (None, check.group)
        )  # fmt: skip

    def table(self) -> str:
        """The counts of each group."""
        groups = dict.fromkeys(check.group for check in self.outcomes)
        rows = [(group, self.counts(group)) for group in groups] + [("all", self.counts())]
        head = f"{'group':<14}{'pass':>6}{'fail':>6}{'n.a.':>6}\n"
        return head + "".join(
            f"{name:<14}{counts[Result.PASS]:>6}{counts[Result.FAIL]:>6}{counts[Result.NOT_APPLICABLE]:>6}\n"
            for name, counts in rows
        )

    def as_json(self) -> str:
        """All of it."""
        checks = [
            {"group": check.group, "name": check.name, "result": outcome.result, "evidence": outcome.evidence}
            for check, outcome in self.outcomes.items()
        ]
        return json.dumps({"counts": self.counts(), "checks": checks}, indent=2) + "\n"


def line(check: Check, outcome: Outcome) -> str:
    """One outcome, for people."""
    return f"{outcome.result:<5} {check.group:<14} {check.name}: {outcome.evidence}"


def chosen(checks: Iterable[Check], groups: Iterable[str]) -> list[Check]:
    """The checks of some groups; all of them, if no group is named."""
    wanted = set(groups)
    return [check for check in checks if not wanted or check.group in wanted]
