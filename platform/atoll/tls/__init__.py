"""Mutual TLS between cells: who a certificate speaks for, and certificates that change while the process runs.

    identity   which region a certificate speaks for, and under which name a role is called   (no I/O)
    material   certificate, key and authorities of a process, read from files and proved
    renewal    a process's side of TLS: changed files are taken up, an end that comes near is told
    listener   accepts connections and shakes hands, so many at a time, each within a time

TLS 1.3 alone, both sides show a certificate of the deployment's authorities. It proves the region; that the other side
belongs to this deployment's processes is still shown by the token that they share.

No session is resumed: it would save half of a handshake (measured: 0.9 of 1.9 ms), which pooled connections pay once an
hour, and the other side would not be asked for its certificate. No ALPN either: the roles' names differ, a listener
speaks one protocol, and the first bytes of neither pass for the other.
"""

from atoll.tls.identity import Certificate, Role, Stranger, server_name
from atoll.tls.listener import SHUTDOWN_S, TlsListener, bind
from atoll.tls.material import TlsError
from atoll.tls.renewal import Calling, CellTls, Serving, TlsStatistics, Toward

__all__ = [
    "SHUTDOWN_S",
    "Calling",
    "CellTls",
    "Certificate",
    "Role",
    "Serving",
    "Stranger",
    "TlsError",
    "TlsListener",
    "TlsStatistics",
    "Toward",
    "bind",
    "server_name",
]
