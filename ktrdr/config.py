"""Settings, read from the environment here and nowhere else, and passed down as values."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import quote

from ktrdr.errors import InvalidInput

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8000
DEFAULT_PROFILE, STRICT_PROFILE = "default", "strict"
DEFAULT_MCP_PORT = 8001
# What the numeric libraries read. PyTorch's own count is set where it trains.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")
# Without it cuBLAS may add in another order each time, and PyTorch refuses to be deterministic.
_CUDA_VARIABLES = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
MIN_TOKEN_CHARACTERS = 16
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Limits of the two gates, and the name under which they are recorded with every result.

    `needs_skill`: training must also beat its nulls; the profile `strict` asks for it.
    """

    profile: str
    needs_skill: bool
    min_accuracy: float
    max_final_loss: float
    min_profit_factor: float
    max_drawdown: float
    min_sharpe_ratio: float


@dataclass(frozen=True, slots=True)
class BudgetSettings:
    """Dollars that LLM calls may cost: in one UTC day, and in one cycle."""

    daily_usd: float
    cycle_usd: float


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """Where a language model is reached. The key is kept out of every representation."""

    api_key: str | None = field(repr=False)
    base_url: str


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """Who answers for the agents, and within which bounds. Times are seconds.

    `is_openai_free`: the endpoint of `openai` is the user's own machine, and its models cost nothing.
    """

    anthropic: ProviderSettings
    openai: ProviderSettings
    is_openai_free: bool
    call_timeout_s: float
    tool_timeout_s: float
    phase_timeout_s: float
    retry_backoff_s: float
    max_turns: int
    max_output_tokens: int


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """How spans reach a collector; where it is, the exporter reads itself. `shows_content`: prompts and answers too."""

    protocol: Literal["grpc", "http"]
    shows_content: bool


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Where Interactive Brokers' TWS or IB Gateway listens, and as which of its clients it is asked."""

    host: str
    port: int
    client_id: int


@dataclass(frozen=True, slots=True)
class ExporterSettings:
    """Where a worker answers a Prometheus of its own accord; the next free port is taken where this one is not."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class AccessSettings:
    """What the API asks of a request. The token is kept out of every representation."""

    token: str | None = field(repr=False)
    max_upload_bytes: int
    body_timeout_s: float


@dataclass(frozen=True, slots=True)
class ArtifactsSettings:
    """The store that machines share, and how long work waits for it. The URL may hold a password."""

    url: str = field(repr=False)
    patience_s: float


@dataclass(frozen=True, slots=True)
class RepeatSettings:
    """How often a phase that failed for a passing reason is tried again by itself, and how long it waits at first."""

    times: int
    backoff_s: float


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a process is told from outside.

    `fetch_url`: scheme and host that providers of bars are asked at, in place of their own. `tracing` is None where no
    collector is named, `exporter` where workers answer no Prometheus. `artifacts`: where machines share strategies and
    bars, None where the workspace itself does it. `device`: where this machine fits networks, `auto`: on a GPU where it
    has one.
    """

    workspace: Path
    database_url: str
    artifacts: ArtifactsSettings | None
    api_url: str | None
    fetch_url: str | None
    ib_gateway: GatewaySettings
    access: AccessSettings
    gates: GateSettings
    budget: BudgetSettings
    agent: AgentSettings
    max_concurrent_cycles: int
    max_sweep_variants: int
    training_start_timeout_s: float
    tracing: TracingSettings | None
    exporter: ExporterSettings | None
    jaeger_url: str | None
    checkpoint_interval_s: float
    device: Device
    repeat: RepeatSettings
    worker_grace_s: float

    def child_environment(self) -> dict[str, str]:
        """Return this process's environment with the workspace in it, for a process that it starts."""
        return {**os.environ, "KTRDR_WORKSPACE": str(self.workspace)}

    def job_environment(self, concurrency: int) -> dict[str, str]:
        """Return the environment of one of `concurrency` jobs that share this machine's cores."""
        threads = str(max(1, len(os.sched_getaffinity(0)) // concurrency))
        limits = dict.fromkeys(_THREAD_VARIABLES, threads)
        return {**limits, **_CUDA_VARIABLES, **self.child_environment()}  # whoever sets one of them knows better

    @property
    def is_single_machine(self) -> bool:
        """Whether the database is a file, so that every process lives on this machine."""
        return self.database_url.startswith("sqlite:")

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
    def logs_folder(self) -> Path:
        """Where each worker keeps its log."""
        return self.state_folder / "logs"

    @property
    def shared_cache_folder(self) -> Path:
        """Where it is kept which versions of shared artefacts this machine has."""
        return self.state_folder / "shared"

    @property
    def trials_folder(self) -> Path:
        """Where the out-of-sample returns of every trial are kept, for good."""
        return self.state_folder / "trials"

    @property
    def vault_folder(self) -> Path:
        """Where reports of exams are kept, for good: away from the strategies, which agents read."""
        return self.state_folder / "vault"

    @property
    def attempts_folder(self) -> Path:
        """Where a phase writes before its files are whole."""
        return self.state_folder / "attempts"

    @property
    def checkpoints_folder(self) -> Path:
        """Where trainings that have not ended keep how far they are, a folder for each operation."""
        return self.state_folder / "checkpoints"


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; `environment` defaults to the process's own.

    Raises:
        InvalidInput: A variable has a value that cannot be used; the message names it.
    """
    variables = os.environ if environment is None else environment
    profile = _gate_profile(variables)
    workspace = Path(variables.get("KTRDR_WORKSPACE") or ".").expanduser().resolve()
    try:
        default_database = f"sqlite:///{quote(str(workspace / '.ktrdr' / 'state.sqlite'))}"
    except UnicodeEncodeError:
        raise InvalidInput(f"the workspace's path must be UTF-8, was {str(workspace)!r}") from None
    return Settings(
        workspace=workspace,
        database_url=variables.get("KTRDR_DATABASE_URL") or default_database,
        artifacts=_artifacts_settings(variables),
        api_url=(variables.get("KTRDR_API_URL") or "").rstrip("/") or None,
        fetch_url=(variables.get("KTRDR_FETCH_URL") or "").rstrip("/") or None,
        ib_gateway=GatewaySettings(
            host=variables.get("KTRDR_IB_HOST") or "127.0.0.1",
            port=int(_number(variables, "KTRDR_IB_PORT", 4002, minimum=1)),
            client_id=int(_number(variables, "KTRDR_IB_CLIENT_ID", 17, minimum=0)),
        ),
        access=_access_settings(variables),
        gates=GateSettings(
            profile=profile,
            needs_skill=profile == STRICT_PROFILE,
            min_accuracy=_number(variables, "KTRDR_GATE_MIN_ACCURACY", 0.45),
            max_final_loss=_number(variables, "KTRDR_GATE_MAX_FINAL_LOSS", 0.8),
            min_profit_factor=_number(variables, "KTRDR_GATE_MIN_PROFIT_FACTOR", 0.8),
            max_drawdown=_number(variables, "KTRDR_GATE_MAX_DRAWDOWN", 0.40),
            min_sharpe_ratio=_number(variables, "KTRDR_GATE_MIN_SHARPE_RATIO", -0.5),
        ),
        budget=BudgetSettings(
            daily_usd=_number(variables, "KTRDR_AGENT_DAILY_BUDGET_USD", 5, minimum=0),
            cycle_usd=_number(variables, "KTRDR_AGENT_CYCLE_BUDGET_USD", 0.50, minimum=0),
        ),
        agent=_agent_settings(variables),
        max_concurrent_cycles=int(_number(variables, "KTRDR_AGENT_MAX_CONCURRENT_CYCLES", 1, minimum=1)),
        max_sweep_variants=int(_number(variables, "KTRDR_SWEEP_MAX_VARIANTS", 10_000, minimum=1)),
        training_start_timeout_s=_number(variables, "KTRDR_TRAINING_START_TIMEOUT_S", 60, minimum=0),
        tracing=_tracing_settings(variables),
        exporter=_exporter_settings(variables),
        jaeger_url=(variables.get("KTRDR_JAEGER_URL") or "").rstrip("/") or None,
        checkpoint_interval_s=_number(variables, "KTRDR_CHECKPOINT_INTERVAL_S", 5, minimum=0),
        device=_device(variables),
        repeat=RepeatSettings(
            times=int(_number(variables, "KTRDR_AGENT_PHASE_RETRIES", 2, minimum=0)),
            backoff_s=_number(variables, "KTRDR_AGENT_PHASE_BACKOFF_S", 5, minimum=0),
        ),
        worker_grace_s=_number(variables, "KTRDR_WORKER_GRACE_S", 10, minimum=1),
    )


def known_settings() -> set[str]:
    """Return the names of all environment variables that `load_settings` reads."""
    asked: set[str] = set()

    class Asked(dict[str, str]):
        def get(self, name: str, default: object = None) -> None:  # type: ignore[override]
            asked.add(name)

    load_settings(Asked())
    return asked


def _gate_profile(variables: Mapping[str, str]) -> str:
    profile = variables.get("KTRDR_GATE_PROFILE") or DEFAULT_PROFILE
    if profile not in (DEFAULT_PROFILE, STRICT_PROFILE):
        raise InvalidInput(f"KTRDR_GATE_PROFILE: need {DEFAULT_PROFILE!r} or {STRICT_PROFILE!r}, was {profile!r}")
    return profile


def _device(variables: Mapping[str, str]) -> Device:
    named = variables.get("KTRDR_DEVICE") or "auto"
    for device in get_args(Device):
        if named == device:
            return device  # type: ignore[no-any-return]
    raise InvalidInput(f"KTRDR_DEVICE: need auto, cpu or cuda, was {named!r}")


def _artifacts_settings(variables: Mapping[str, str]) -> ArtifactsSettings | None:
    url = (variables.get("KTRDR_ARTIFACTS_URL") or "").strip()
    patience_s = _number(variables, "KTRDR_ARTIFACTS_PATIENCE_S", 120, minimum=0)
    if not url:
        return None
    if "://" not in url:  # and so is a path no URL: relative, it would mean another folder to each process
        raise InvalidInput(
            "KTRDR_ARTIFACTS_URL: need a URL with its protocol, such as file:///mnt/lab or s3://bucket/lab"
        )
    return ArtifactsSettings(url, patience_s)


def _access_settings(variables: Mapping[str, str]) -> AccessSettings:
    return AccessSettings(
        token=_token(variables),
        max_upload_bytes=int(_number(variables, "KTRDR_API_MAX_UPLOAD_MB", 512, minimum=1) * 1024 * 1024),
        body_timeout_s=_number(variables, "KTRDR_API_BODY_TIMEOUT_S", 30, minimum=0.1),
    )


def _token(variables: Mapping[str, str]) -> str | None:
    token = variables.get("KTRDR_API_TOKEN")
    if not token:
        return None
    # The message does not repeat it: it may be a good token with a stray newline.
    if len(token) < MIN_TOKEN_CHARACTERS or not all("!" <= character <= "~" for character in token):
        raise InvalidInput(
            f"KTRDR_API_TOKEN: need at least {MIN_TOKEN_CHARACTERS} ASCII characters without spaces, such as "
            "`openssl rand -hex 32` prints"
        )
    return token


def _agent_settings(variables: Mapping[str, str]) -> AgentSettings:
    return AgentSettings(
        anthropic=ProviderSettings(
            variables.get("ANTHROPIC_API_KEY") or None,
            variables.get("ANTHROPIC_BASE_URL") or "https://api.anthropic.com",
        ),
        openai=ProviderSettings(
            variables.get("OPENAI_API_KEY") or None, variables.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
        ),
        is_openai_free=variables.get("KTRDR_AGENT_OPENAI_IS_FREE") == "1",
        call_timeout_s=_number(variables, "KTRDR_AGENT_CALL_TIMEOUT_S", 120, minimum=0.1),
        tool_timeout_s=_number(variables, "KTRDR_AGENT_TOOL_TIMEOUT_S", 30, minimum=0.1),
        phase_timeout_s=_number(variables, "KTRDR_AGENT_PHASE_TIMEOUT_S", 900, minimum=0.1),
        retry_backoff_s=_number(variables, "KTRDR_AGENT_RETRY_BACKOFF_S", 1, minimum=0),
        max_turns=int(_number(variables, "KTRDR_AGENT_MAX_TURNS", 12, minimum=1)),
        max_output_tokens=int(_number(variables, "KTRDR_AGENT_MAX_OUTPUT_TOKENS", 4000, minimum=256)),
    )


def _tracing_settings(variables: Mapping[str, str]) -> TracingSettings | None:
    """Read the standard variables of OTLP exporters: no endpoint, no tracing."""
    endpoint = variables.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or variables.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not endpoint or variables.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    named = variables.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or variables.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if named not in (None, "", "grpc", "http/protobuf"):
        raise InvalidInput(f"OTEL_EXPORTER_OTLP_PROTOCOL: need grpc or http/protobuf, was {named!r}")
    # Collectors listen to gRPC on 4317 and to HTTP on 4318.
    is_http = named == "http/protobuf" or (not named and ":4318" in endpoint)
    return TracingSettings("http" if is_http else "grpc", variables.get("KTRDR_TRACE_CONTENT") == "1")


def _exporter_settings(variables: Mapping[str, str]) -> ExporterSettings | None:
    # Both are asked for, so that both are known settings.
    host, port = variables.get("KTRDR_METRICS_HOST"), variables.get("KTRDR_METRICS_PORT")
    if not port:
        return None
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise InvalidInput(f"KTRDR_METRICS_PORT: need a port, 1..65535, or 0 for any that is free, was {port!r}")
    return ExporterSettings(host or DEFAULT_HOST, int(port))


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
