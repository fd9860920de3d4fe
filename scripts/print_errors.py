"""Print docs/errors.md from the one error table: ``python -m scripts.print_errors > docs/errors.md``."""

import sys

from service_kit.errors import TABLE

HEAD = """# Public codes

Every refusal and every ending has one of these codes. Over HTTP it stands in `error.code` of the answer; on a WebSocket
in an `error` event followed by a close frame with the close code, and the code as its reason. Messages say what to do
and end with a request id; `error.retry` and `error.retry_after` (seconds) say whether trying again helps. Once a token
cannot be given back, the hint becomes "with a new token".

Printed from `service_kit/errors.py`; a test compares.

| code | HTTP | close | try again | ending | message |
| --- | --- | --- | --- | --- | --- |
"""


def errors_page() -> str:
    """The whole page, as Markdown."""
    lines = (
        f"| `{row.code}` | {row.http or '-'} | {row.close or '-'} | {row.retry} "
        f"| {', '.join(f'`{ending}`' for ending in row.endings) or '-'} | {row.message} |\n"
        for row in TABLE.values()
    )
    return HEAD + "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(errors_page())
