"""How a client shows the API's token."""


def token_headers(token: str | None) -> dict[str, str]:
    """Return the headers of a request, none without a token."""
    return {} if token is None else {"authorization": f"Bearer {token}"}
