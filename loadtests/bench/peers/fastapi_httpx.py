"""What most people would write: a FastAPI route that asks httpx, on uvicorn with uvloop and httptools."""

import sys

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response

from loadtests.bench.workbench import Running, Workbench, free_port


def start(bench: Workbench, upstream: int) -> Running:
    """A proxy before `upstream`."""
    port = free_port()
    return bench.python("fastapi-httpx", port, __name__, str(port), str(upstream))


def make(upstream: str) -> FastAPI:
    """The application."""
    application = FastAPI()
    client = httpx.AsyncClient(
        base_url=upstream,
        trust_env=False,
        limits=httpx.Limits(max_connections=256, max_keepalive_connections=256),
    )

    @application.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE"])
    async def forward(path: str, request: Request) -> Response:
        answer = await client.request(
            request.method, f"/{path}", params=request.query_params, content=await request.body()
        )
        return Response(answer.content, answer.status_code, {"content-type": answer.headers["content-type"]})

    return application


def main() -> None:
    """Runs the proxy: the port, and the upstream's port."""
    port, upstream = map(int, sys.argv[1:])
    uvicorn.run(
        make(f"http://127.0.0.1:{upstream}"),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
