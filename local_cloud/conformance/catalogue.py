"""Every check, in the order in which they run: what fills the relay's logs comes before the looks into them."""

from local_cloud.conformance import (
    compatibility,
    endings,
    leaks,
    limits,
    lock,
    scrub,
    single_use,
    token_life,
    wire_hygiene,
)
from local_cloud.conformance.check import Check

CHECKS: tuple[Check, ...] = (
    *compatibility.CHECKS,
    *single_use.CHECKS,
    *token_life.CHECKS,
    *lock.CHECKS,
    *scrub.CHECKS,
    *limits.CHECKS,
    *endings.CHECKS,
    *wire_hygiene.CHECKS,
    *leaks.CHECKS,
)
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(check.group for check in CHECKS))
