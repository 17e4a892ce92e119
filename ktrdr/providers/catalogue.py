"""The providers by name, and what to install for each."""

import importlib.util
from pathlib import Path

from ktrdr.errors import InvalidInput
from ktrdr.providers.ccxt_provider import CcxtProvider
from ktrdr.providers.provider import Provider
from ktrdr.providers.yfinance_provider import YfinanceProvider

PROVIDERS = ("yfinance", "ccxt")


def check_provider(name: str) -> str:
    """Return the name if there is such a provider and its library is installed.

    Raises:
        InvalidInput: Neither.
    """
    library, _, exchange = name.partition(":")
    if library not in PROVIDERS or (library == "ccxt") != bool(exchange):
        raise InvalidInput(f"need a provider yfinance or ccxt:EXCHANGE (such as ccxt:kraken), was {name!r}")
    if importlib.util.find_spec(library) is None:
        raise InvalidInput(
            f"the provider {name} needs the library {library}: install it with `pip install 'ktrdr[{library}]'`",
            reason="provider_missing",
        )
    return name


def open_provider(name: str, base_url: str | None, cache: Path) -> Provider:
    """Return a provider.

    Args:
        name: As `check_provider` takes it.
        base_url: Takes the place of scheme and host of its own addresses.
        cache: Folder for what its library remembers.

    Raises:
        InvalidInput: There is none of this name, or its library is not installed.
    """
    library, _, exchange = check_provider(name).partition(":")
    return YfinanceProvider(base_url, cache) if library == "yfinance" else CcxtProvider(exchange, base_url)
