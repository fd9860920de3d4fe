"""A page of docs/ whose tables the code prints: they stand between two markers, and ``--write`` renews them."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_DOCS = Path(__file__).parent.parent / "docs"
_END = "<!-- end -->\n"


def with_table(page: str, source: str, table: str) -> str:
    """The page with what was printed from ``source`` between its markers."""
    begin = f"<!-- printed from {source} -->\n"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(_END)
    return f"{before}{begin}\n{table}\n{_END}{after}"


@dataclass(frozen=True, slots=True)
class PrintedPage:
    """The page's file name, what its tables are printed from, and what prints them, as Markdown."""

    name: str
    source: str
    tables: Callable[[], str]

    def text(self) -> str:
        """The page as it is."""
        return (_DOCS / self.name).read_text(encoding="utf-8")

    def renewed(self) -> str:
        """The page with the tables of now."""
        return with_table(self.text(), self.source, self.tables())

    def write(self) -> None:
        """Put the tables where they belong."""
        (_DOCS / self.name).write_text(self.renewed(), encoding="utf-8")

    def main(self) -> None:
        """Print the tables, or put them where they belong."""
        if "--write" in sys.argv:
            self.write()
        else:
            sys.stdout.write(self.tables())
