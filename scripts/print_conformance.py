"""Print the table of docs/conformance.md from the kit's checks: ``python -m scripts.print_conformance [--write]``."""

from local_cloud.conformance.catalogue import CHECKS, GROUPS
from scripts.printed_page import PrintedPage


def tables() -> str:
    """Every check, group by group, as Markdown."""
    return "\n".join(
        f"### {group}\n\n| Check | Else | Rule |\n| --- | --- | --- |\n"
        + "".join(f"| {check.name} | {check.why} | {check.source} |\n" for check in CHECKS if check.group == group)
        for group in GROUPS
    )


PAGE = PrintedPage("conformance.md", "local_cloud/conformance", tables)

if __name__ == "__main__":
    PAGE.main()
