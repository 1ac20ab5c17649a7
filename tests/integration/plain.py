"""Plain HTTP without the cost of TLS.

An httpx client reads all public certificate authorities when it is made, 30 ms and more on a busy machine. Tests that
make one for each request would keep the gateways, which live on the same loop, from their work.
"""

import ssl

NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For `verify`: trusts nobody, so that it serves plain HTTP alone."""
