"""The control surface under ``/-/``, in FastAPI: what clients and operators may ask a gateway about itself."""

from collections.abc import Mapping
from typing import Annotated, Protocol

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from atoll.routing.explain import ExplainDocument
from atoll_gateway.http.problem import CONTENT_TYPE, Problem
from atoll_gateway.views import RegionsDocument


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class SteerPlace(_Model):
    """Where the client is taken to be."""

    country: str | None
    latitude: float | None
    longitude: float | None
    source: str


class SteerGateway(_Model):
    """A gateway that the client may talk to."""

    region: str
    url: str
    rtt_ms: float


class SteerDocument(_Model):
    """Ranked gateways for a client's place, best first, and for how long to believe it."""

    ttl_s: int
    topology_revision: int
    place: SteerPlace
    gateways: list[SteerGateway]


class Ready(_Model):
    """Whether any service can be served from anywhere."""

    ready: bool
    reason: str


class Control(Protocol):
    """What the control surface needs of a gateway."""

    def ready(self) -> Ready: ...

    def steer(self, peer: str, headers: Mapping[bytes, bytes]) -> SteerDocument: ...

    def regions(self) -> RegionsDocument: ...

    def explain(self, client: str, service: str, source: str | None) -> ExplainDocument: ...

    def exposition(self) -> tuple[bytes, str]: ...

    async def state_exposition(self) -> bytes: ...


class Asked(Exception):
    """A question about something that there isn't; `problem` says what there is."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def public_app(control: Control) -> FastAPI:
    """What clients may ask: alive, ready, steering."""
    app = _app("Atoll gateway", docs=False)

    @app.get("/-/healthz", summary="Is this process alive?")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get(
        "/-/readyz", summary="Can any service be served from anywhere?", responses={503: {"model": Ready}}
    )
    async def readyz() -> JSONResponse:
        ready = control.ready()
        return JSONResponse(ready.model_dump(), status_code=200 if ready.ready else 503)

    @app.get("/-/steer", summary="Which gateways should this client talk to?")
    async def steer(request: Request) -> SteerDocument:
        peer = request.client.host if request.client is not None else ""
        return control.steer(peer, dict(request.scope["headers"]))

    return app


def admin_app(control: Control) -> FastAPI:
    """What operators may ask: metrics, this gateway's view of the regions, explanations, and these pages."""
    app = _app("Atoll gateway, for operators", docs=True)

    @app.get("/-/healthz", summary="Is this process alive?")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/-/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        content, media_type = control.exposition()
        return Response(content + await control.state_exposition(), media_type=media_type)

    @app.get("/-/regions", summary="What this gateway knows of every region")
    async def regions() -> RegionsDocument:
        return control.regions()

    @app.get("/-/explain", summary="Why would a request go where it goes?")
    async def explain(
        client: Annotated[str, Query(description="Address of the client")],
        service: Annotated[str, Query(description="Name of the service")],
        source: Annotated[str | None, Query(alias="from", description="Region to route from")] = None,
    ) -> ExplainDocument:
        return control.explain(client, service, source)

    return app


def _app(title: str, *, docs: bool) -> FastAPI:
    app = FastAPI(
        title=title,
        docs_url="/-/docs" if docs else None,
        openapi_url="/-/openapi.json" if docs else None,
        redoc_url=None,
    )

    async def asked(request: Request, error: Exception) -> Response:
        assert isinstance(error, Asked)
        return _problem(error.problem)

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        detail = (
            "There is no such page; see /-/docs on the admin listener."
            if error.status_code == 404
            else error.detail
        )
        return _problem(Problem(error.status_code, "control", str(error.detail), detail))

    async def invalid(request: Request, error: Exception) -> Response:
        return _problem(Problem(422, "bad-question", "The question is incomplete", str(error)))

    app.add_exception_handler(Asked, asked)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    return app


def _problem(problem: Problem) -> Response:
    return Response(problem.body(""), status_code=problem.status, media_type=CONTENT_TYPE.decode())
