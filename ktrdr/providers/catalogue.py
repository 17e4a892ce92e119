"""The providers by name, and what to install for each."""

import importlib.util
from pathlib import Path

from ktrdr.config import GatewaySettings
from ktrdr.errors import InvalidInput
from ktrdr.providers.ccxt_provider import CcxtProvider
from ktrdr.providers.ib_provider import MOST_REQUESTS, WINDOW_S, IbProvider
from ktrdr.providers.pacing import Pace
from ktrdr.providers.provider import Provider
from ktrdr.providers.yfinance_provider import YfinanceProvider

# Each with the library it needs, which the extra of the provider's name brings.
PROVIDERS = {"yfinance": "yfinance", "ccxt": "ccxt", "ib": "ib_async"}
REQUESTS_FILE = "ib_requests.json"


def check_provider(name: str) -> str:
    """Return the name if there is such a provider and its library is installed.

    Raises:
        InvalidInput: Neither.
    """
    library, _, exchange = name.partition(":")
    if library not in PROVIDERS or (library == "ccxt") != bool(exchange):
        raise InvalidInput(f"need a provider yfinance or ccxt:EXCHANGE (such as ccxt:kraken), or ib, was {name!r}")
    if importlib.util.find_spec(PROVIDERS[library]) is None:
        raise InvalidInput(
            f"the provider {name} needs {PROVIDERS[library]}: install it with `pip install 'ktrdr[{library}]'`",
            reason="provider_missing",
        )
    return name


def open_provider(
    name: str, base_url: str | None, cache: Path, *, gateway: GatewaySettings, state_folder: Path
) -> Provider:
    """Return a provider, to be closed after use.

    Args:
        name: As `check_provider` takes it.
        base_url: Takes the place of scheme and host of its own addresses.
        cache: Folder for what its library remembers.
        gateway: Where Interactive Brokers' gateway listens.
        state_folder: Where it is counted how often that was asked of late.

    Raises:
        InvalidInput: There is none of this name, or its library is not installed.
    """
    library, _, exchange = check_provider(name).partition(":")
    if library == "ib":
        return IbProvider(gateway, Pace(state_folder / REQUESTS_FILE, MOST_REQUESTS, WINDOW_S))
    return YfinanceProvider(base_url, cache) if library == "yfinance" else CcxtProvider(exchange, base_url)
