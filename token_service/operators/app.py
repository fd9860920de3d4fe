"""The operators' own application: their API and their page, on a listener that the public does not reach."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from service_kit.http_server import note_headers
from service_kit.web import MAX_BODY_BYTES, add_document, add_headers, answer_errors
from token_service.openapi import PATH
from token_service.operators.handlers import Operators, operators_only
from token_service.operators.keys import OperatorKey
from token_service.operators.openapi import operator_document
from token_service.page import add_page, page_policy, read_page

PAGE_FOLDER: Final = Path(__file__).parent / "page"


def create_operator_app(
    operators: Operators, keys: Callable[[], tuple[OperatorKey, ...]], *, hsts: bool
) -> web.Application:
    """The application; the resources behind it belong to the public one, and ``keys`` are those in force now.

    It works with keys that are too old for anything else: whoever can end sessions must not be locked out.
    """
    app = web.Application(
        middlewares=[note_headers, answer_errors(operators.tally.refused), operators_only(keys)],
        client_max_size=MAX_BODY_BYTES,
    )
    app.on_response_prepare.append(add_headers(hsts=hsts))
    operators.add_routes(app)
    add_document(app, PATH, operator_document())
    add_page(
        app,
        read_page(PAGE_FOLDER),
        {"Content-Security-Policy": page_policy("'self'"), "Permissions-Policy": "microphone=()"},
    )
    return app
