"""The operators' own application: their API and their page, on a listener that the public does not reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from service_kit.hashed_keys import OperatorKey
from service_kit.operator_listener import Numbers
from service_kit.operator_listener import create_operator_app as create_listener_app
from service_kit.web import Readiness, add_document
from token_service.openapi import PATH
from token_service.operators.handlers import Operators
from token_service.operators.openapi import operator_document
from token_service.page import add_page, page_policy, read_page

PAGE_FOLDER: Final = Path(__file__).parent / "page"


def create_operator_app(
    operators: Operators,
    keys: Callable[[], tuple[OperatorKey, ...]],
    numbers: Numbers,
    readiness: Readiness,
    *,
    hsts: bool,
) -> web.Application:
    """The application; the resources behind it belong to the public one, and ``keys`` are those in force now."""
    app = create_listener_app(
        keys, numbers, operators.tally.refused, service="token_service", readiness=readiness, hsts=hsts
    )
    operators.add_routes(app)
    add_document(app, PATH, operator_document())
    add_page(
        app,
        read_page(PAGE_FOLDER),
        {"Content-Security-Policy": page_policy("'self'"), "Permissions-Policy": "microphone=()"},
    )
    return app
