"""Problem bodies: how every error of the gateway looks on the wire (RFC 9457)."""

import json
from dataclasses import dataclass
from http import HTTPStatus

CONTENT_TYPE = b"application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """One kind of failure. `type` is a name relative to ``urn:atoll:problem:``, stable for programs to test;
    `detail` is for the person who reads it: what happened and what to do.
    """

    status: int
    type: str
    title: str
    detail: str

    def body(self, request_id: str) -> bytes:
        """The `application/problem+json` document that tells a client of this failure."""
        return json.dumps(
            {
                "type": f"urn:atoll:problem:{self.type}",
                "title": self.title,
                "status": self.status,
                "detail": self.detail,
                "request_id": request_id,
            }
        ).encode()


def reason_phrase(status: int) -> str:
    """The registered phrase of a status, or an empty string for an unregistered one."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
