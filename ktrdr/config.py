"""Settings, read from the environment here and nowhere else, and passed down as values."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ktrdr.errors import InvalidInput

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Limits of the two gates, and the name under which they are recorded with every result."""

    profile: str
    min_accuracy: float
    max_final_loss: float
    min_profit_factor: float
    max_drawdown: float
    min_sharpe_ratio: float


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a process is told from outside."""

    workspace: Path
    database_url: str
    api_url: str | None
    gates: GateSettings
    max_concurrent_cycles: int
    training_start_timeout_s: float

    def child_environment(self) -> dict[str, str]:
        """Return this process's environment with the workspace in it, for a process that it starts."""
        return {**os.environ, "KTRDR_WORKSPACE": str(self.workspace)}

    @property
    def data_folder(self) -> Path:
        """Where bars are kept."""
        return self.workspace / "data"

    @property
    def strategies_folder(self) -> Path:
        """Where finished strategies are kept, one folder each."""
        return self.workspace / "strategies"

    @property
    def state_folder(self) -> Path:
        """Where the database, the leases and unfinished attempts are kept."""
        return self.workspace / ".ktrdr"

    @property
    def attempts_folder(self) -> Path:
        """Where a phase writes before its files are whole."""
        return self.state_folder / "attempts"


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; `environment` defaults to the process's own.

    Raises:
        InvalidInput: A variable has a value that cannot be used; the message names it.
    """
    variables = os.environ if environment is None else environment
    workspace = Path(variables.get("KTRDR_WORKSPACE") or ".").expanduser().resolve()
    try:
        default_database = f"sqlite:///{quote(str(workspace / '.ktrdr' / 'state.sqlite'))}"
    except UnicodeEncodeError:
        raise InvalidInput(f"the workspace's path must be UTF-8, was {str(workspace)!r}") from None
    return Settings(
        workspace=workspace,
        database_url=variables.get("KTRDR_DATABASE_URL") or default_database,
        api_url=(variables.get("KTRDR_API_URL") or "").rstrip("/") or None,
        gates=GateSettings(
            profile="default",
            min_accuracy=_number(variables, "KTRDR_GATE_MIN_ACCURACY", 0.45),
            max_final_loss=_number(variables, "KTRDR_GATE_MAX_FINAL_LOSS", 0.8),
            min_profit_factor=_number(variables, "KTRDR_GATE_MIN_PROFIT_FACTOR", 0.8),
            max_drawdown=_number(variables, "KTRDR_GATE_MAX_DRAWDOWN", 0.40),
            min_sharpe_ratio=_number(variables, "KTRDR_GATE_MIN_SHARPE_RATIO", -0.5),
        ),
        max_concurrent_cycles=int(_number(variables, "KTRDR_AGENT_MAX_CONCURRENT_CYCLES", 1, minimum=1)),
        training_start_timeout_s=_number(variables, "KTRDR_TRAINING_START_TIMEOUT_S", 60, minimum=0),
    )


def _number(variables: Mapping[str, str], name: str, default: float, *, minimum: float = float("-inf")) -> float:
    text = variables.get(name)
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not minimum <= value < float("inf"):
        bound = "" if minimum == float("-inf") else f" >= {minimum:g}"
        raise InvalidInput(f"{name}: need a finite number{bound}, was {text!r}")
    return value
