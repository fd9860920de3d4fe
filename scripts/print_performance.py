"""Print the tables of docs/performance.md from bench/results, which `make bench` and `make bench-soak` publish.

``python -m scripts.print_performance --write`` puts them into the page.
"""

import sys

from bench.keeping import PAGE, page_with_tables, published

if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print("\n".join(published().values()))
