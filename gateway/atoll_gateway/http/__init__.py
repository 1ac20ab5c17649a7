"""An HTTP/1.1 server that runs ASGI applications, strict in what it reads and bounded in what it keeps."""

from atoll_gateway.http.connection import EXTENSION, Connection
from atoll_gateway.http.exchange import Application, ClientGone, CutResponse, Message, Receive, Scope, Send
from atoll_gateway.http.limits import Limits
from atoll_gateway.http.problem import Problem
from atoll_gateway.http.server import HttpServer, ServerStatistics
from atoll_gateway.http.upgrade import UPGRADE, Upgrade

__all__ = [
    "EXTENSION",
    "UPGRADE",
    "Application",
    "ClientGone",
    "Connection",
    "CutResponse",
    "HttpServer",
    "Limits",
    "Message",
    "Problem",
    "Receive",
    "Scope",
    "Send",
    "ServerStatistics",
    "Upgrade",
]
