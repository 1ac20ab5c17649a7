"""How a request to an upstream can fail, and how far it got: what may be sent again follows from that."""


class UpstreamError(Exception):
    """A request could not be completed. `bytes_sent` says whether the far side may have seen any of it."""

    bytes_sent = False


class ConnectFailed(UpstreamError):
    """No connection could be opened; nothing left this process."""


class ConnectRefused(ConnectFailed):
    """The far side refused, or no way leads to it."""


class ConnectTimedOut(ConnectFailed):
    """No usable connection within the connect timeout, the greeting included."""


class GreetingRefused(ConnectFailed):
    """The far gateway answered the greeting with something else than 200."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class RequestNotSent(UpstreamError):
    """No connection came free in time, or the pool is closed; nothing left this process."""


class ResponseLost(UpstreamError):
    """The connection ended before the response head; the request may have been executed.

    `reused` says that the connection had served an earlier request: then the far side most likely closed it
    for idleness just as this request went out. RFC 9112, section 9.3.1 allows only idempotent requests to be
    sent again without asking.
    """

    bytes_sent = True

    def __init__(self, message: str, *, reused: bool) -> None:
        super().__init__(message)
        self.reused = reused


class Abandoned(UpstreamError):
    """`fail_all` ended the attempt before its response head. `bytes_sent` is false if it still waited to
    be sent.
    """

    def __init__(self, message: str, *, bytes_sent: bool = True) -> None:
        super().__init__(message)
        self.bytes_sent = bytes_sent


class Truncated(UpstreamError):
    """The connection ended within the response body."""

    bytes_sent = True


class ProtocolError(UpstreamError):
    """The response could not be understood, or its head is too large."""

    bytes_sent = True
