"""Errors of the services on the wire: `application/problem+json` (RFC 9457), as everywhere in Atoll."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from atoll import state

AGAIN = {"Retry-After": "1"}


class ProblemError(Exception):
    """Raised by a handler to answer with a problem document.

    `kind` is stable, for programs to test; `detail` is for people: what happened and what would be right.
    """

    def __init__(self, status: HTTPStatus, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail


def answer_with_problems(api: FastAPI) -> None:
    """Makes every error that `api` answers a problem document: its own, unknown routes, invalid input, no majority."""

    @api.exception_handler(ProblemError)
    async def own(request: Request, error: ProblemError) -> JSONResponse:
        return problem(request, error.status, error.kind, error.detail)

    @api.exception_handler(HTTPException)
    async def of_routing(request: Request, error: HTTPException) -> JSONResponse:
        status = HTTPStatus(error.status_code)
        kind = status.phrase.lower().replace(" ", "-")
        return problem(request, status, kind, error.detail, error.headers)

    @api.exception_handler(RequestValidationError)
    async def of_input(request: Request, error: RequestValidationError) -> JSONResponse:
        # Where and why, but never the value: it may be personal, and problem documents end up in logs.
        detail = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        return problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, "invalid-request", detail)

    @api.exception_handler(state.Unavailable)
    async def of_a_minority(request: Request, error: state.Unavailable) -> JSONResponse:
        return problem(request, HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", str(error), AGAIN)

    @api.exception_handler(state.Unknown)
    async def of_a_lost_answer(request: Request, error: state.Unknown) -> JSONResponse:
        detail = f"{error}. Send the same request again: what was done is not done twice"
        return problem(request, HTTPStatus.SERVICE_UNAVAILABLE, "outcome-unknown", detail, AGAIN)


def problem(
    request: Request, status: HTTPStatus, kind: str, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """A problem document. `request_id` is the one that came with the request; without one it is left out."""
    document: dict[str, str | int] = {
        "type": f"urn:atoll:problem:{kind}",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
    }
    if request_id := request.headers.get("x-request-id"):
        document["request_id"] = request_id
    return JSONResponse(document, status.value, headers, media_type="application/problem+json")
