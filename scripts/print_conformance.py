"""Print the table of docs/conformance.md from the kit's checks: ``python -m scripts.print_conformance``.

The page has it between its markers; ``--write`` puts it there.
"""

import sys
from pathlib import Path

from local_cloud.conformance.catalogue import CHECKS, GROUPS

PAGE = Path(__file__).parent.parent / "docs/conformance.md"
BEGIN, END = "<!-- printed from local_cloud/conformance -->\n", "<!-- end -->\n"


def tables() -> str:
    """Every check, group by group, as Markdown."""
    return "\n".join(
        f"### {group}\n\n| Check | Else | Rule |\n| --- | --- | --- |\n"
        + "".join(f"| {check.name} | {check.why} | {check.source} |\n" for check in CHECKS if check.group == group)
        for group in GROUPS
    )


def page_with(text: str, printed: str) -> str:
    """The page with these tables between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{printed}\n{END}{after}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), tables()), encoding="utf-8")
    else:
        sys.stdout.write(tables())
