"""Print the table of docs/configuration.md from .env.example: ``python -m scripts.print_configuration [--write]``."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from relay.secrets import RelaySecrets
from relay.settings import RelaySettings
from scripts.printed_page import PrintedPage
from service_kit.secrets import variable_of
from token_service.secrets import TokenServiceSecrets
from token_service.settings import TokenServiceSettings

EXAMPLE: Final = Path(__file__).parent.parent / ".env.example"
_SECTION: Final = re.compile(r"^# --- (.+?) -+$")
_VARIABLE: Final = re.compile(r"^# ([A-Z][A-Z0-9_]+)=")


def read_by(variable: str) -> str:
    """Which of the services read a variable."""
    readers: list[tuple[str, Iterable[str], Iterable[str]]] = [
        ("token service", TokenServiceSettings.model_fields, TokenServiceSecrets.understood({})),
        ("relay", RelaySettings.model_fields, RelaySecrets.understood({})),
    ]
    names = [
        service
        for service, settings, secrets in readers
        if variable in map(str.upper, settings) or variable in map(variable_of, secrets)
    ]
    return {0: "`make run`", 1: names[0] if names else "", 2: "both"}[len(names)]


def tables() -> str:
    """Every setting with what .env.example says of it, section by section, as Markdown."""
    printed, words, names = [], list[str](), list[str]()

    def end_paragraph() -> None:
        if names:
            cell = ", ".join(f"`{name}`" for name in names)
            printed.append(f"| {cell} | {read_by(names[0])} | {' '.join(words)} |")
        words.clear()
        names.clear()

    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if section := _SECTION.match(line):
            end_paragraph()
            title = section[1].partition(" (")[0]
            printed.append(f"\n## {title}\n\n| Variable | Read by | Means |\n| --- | --- | --- |")
        elif variable := _VARIABLE.match(line):
            names.append(variable[1])
        elif line.startswith("# "):
            if names:
                end_paragraph()
            words.append(line.removeprefix("# "))
        else:
            end_paragraph()
    end_paragraph()
    return "\n".join(printed).lstrip("\n") + "\n"


PAGE: Final = PrintedPage("configuration.md", ".env.example", tables)

if __name__ == "__main__":
    PAGE.main()
