"""Who may ask: decided from a request's headers alone, before anything else is read."""

import hmac
import ipaddress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers

# What a supervisor may ask without a token: it says that the process lives, and nothing of the work.
OPEN_PATH = "/health"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SCHEME = "bearer"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request may not go on."""

    status: HTTPStatus
    reason: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """What a request must show.

    A server on loopback trusts whoever is on the machine, and a web page is not. A page of another site reaches
    us in two ways: with a name of its own that resolves to 127.0.0.1 (DNS rebinding: the Host header tells), or
    with a cross-origin request (Origin and Sec-Fetch-Site tell). A server that others can reach has names that it
    does not know itself; there the token keeps a rebound page out.

    Args:
        token: What every request but the one of `OPEN_PATH` must carry; None for none.
        is_loopback: The server is reached by names of this machine only, and answers to no others.
    """

    token: str | None = field(repr=False)
    is_loopback: bool = True

    def refusal(self, method: str, path: str, headers: Headers) -> Refusal | None:
        """Return why a request is refused, None for one that may go on."""
        return self._refused_page(method, headers) or self._refused_stranger(path, headers)

    def _refused_page(self, method: str, headers: Headers) -> Refusal | None:
        host = headers.get("host", "")
        if self.is_loopback and not is_loopback_name(_host_name(host)):
            detail = f"this server answers to localhost and 127.0.0.1 only, not to {host[:100]!r}"
            return Refusal(HTTPStatus.FORBIDDEN, "host_not_allowed", detail)
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
            detail = f"requests from pages of {origin[:100]!r} are refused"
            return Refusal(HTTPStatus.FORBIDDEN, "origin_not_allowed", detail)
        if method not in _SAFE_METHODS and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            detail = f"a page of another site may not send {method} requests"
            return Refusal(HTTPStatus.FORBIDDEN, "origin_not_allowed", detail)
        return None

    def _refused_stranger(self, path: str, headers: Headers) -> Refusal | None:
        if self.token is None or path == OPEN_PATH:
            return None
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() != _SCHEME:
            detail = "this server needs `Authorization: Bearer TOKEN`; set KTRDR_API_TOKEN to the server's own"
            return Refusal(
                HTTPStatus.UNAUTHORIZED, "token_missing", detail, {"www-authenticate": 'Bearer realm="ktrdr"'}
            )
        # Constant time, and over bytes: text that is not ASCII would raise.
        if hmac.compare_digest(shown.strip().encode(), self.token.encode()):
            return None
        challenge = 'Bearer realm="ktrdr", error="invalid_token"'
        detail = "the token is not this server's; set KTRDR_API_TOKEN to the server's own"
        return Refusal(HTTPStatus.UNAUTHORIZED, "token_wrong", detail, {"www-authenticate": challenge})


def is_loopback_name(host: str | None) -> bool:
    """Whether a host name or address means this machine, whatever a name server says."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
