"""A worker's own metrics, for a Prometheus that asks it: what only this process can tell, wherever it runs."""

import errno
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ktrdr.config import ExporterSettings
from ktrdr.errors import InvalidInput, WorkspaceUnusable
from ktrdr.telemetry.child_processes import child_use

# Workers of one machine share their settings: each takes the next port that is free.
PORTS_TRIED = 16
_logger = logging.getLogger(__name__)


class WorkerExporter:
    """Answers on a port of its own, in threads of its own, as long as the process lives."""

    def __init__(self, settings: ExporterSettings) -> None:
        """Take a port and begin to answer.

        Raises:
            InvalidInput: The address is not this machine's, or may not be listened on.
            WorkspaceUnusable: That port and those after it are taken (`metrics_port_taken`).
        """
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self.port = _serve(settings, self._registry)

    def tell(
        self,
        executor_id: str,
        queues: Sequence[str],
        *,
        running: Callable[[], Mapping[str, int] | None],
        type_of_module: Mapping[str, str],
    ) -> None:
        """Tell of the worker that this process has become.

        Args:
            executor_id: Its id.
            queues: Which it serves.
            running: How many operations it runs now, by queue; None where that cannot be known at the moment.
            type_of_module: The type of operation that each module of a job process stands for.
        """
        _logger.info("metrics of %s are at port %d", executor_id, self.port)
        self._registry.register(_WorkerCollector(executor_id, queues, running, type_of_module))


class _WorkerCollector(Collector):
    def __init__(
        self,
        executor_id: str,
        queues: Sequence[str],
        running: Callable[[], Mapping[str, int] | None],
        type_of_module: Mapping[str, str],
    ) -> None:
        self._executor_id = executor_id
        self._queues = queues
        self._running = running
        self._type_of_module = type_of_module
        self._cpu_s = 0.0

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("worker_info", "Which worker answers here, always 1.", labels=["worker", "queues"])
        info.add_metric([self._executor_id, ",".join(self._queues)], 1)
        yield info
        running = self._running()
        if running is not None:
            family = GaugeMetricFamily(
                "worker_running_operations", "Operations that this worker runs.", labels=["queue"]
            )
            for queue, count in {**dict.fromkeys(self._queues, 0), **running}.items():
                family.add_metric([queue], count)
            yield family
        use = child_use()
        memory = GaugeMetricFamily(
            "worker_child_memory_bytes", "Resident memory of this worker's jobs and of what they started.",
            labels=["type"],
        )  # fmt: skip
        held = {kind: use.memory_bytes.get(module, 0) for module, kind in self._type_of_module.items()}
        for kind, size in held.items():
            memory.add_metric([kind], size)
        yield memory
        self._cpu_s = max(self._cpu_s, use.cpu_s)  # one that ended between two looks was missed for a moment
        yield CounterMetricFamily(
            "worker_child_cpu_seconds", "Processor time of all this worker's jobs.", value=self._cpu_s
        )


def _serve(settings: ExporterSettings, registry: CollectorRegistry) -> int:
    for port in range(settings.port, min(settings.port + PORTS_TRIED, 65_536)):
        try:
            server, _ = start_http_server(port, settings.host, registry)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            raise InvalidInput(
                f"KTRDR_METRICS_PORT: cannot listen on {settings.host}:{port}: {error.strerror or error}. Choose "
                "another port, or an address of this machine in KTRDR_METRICS_HOST"
            ) from error
        return int(server.server_port)
    raise WorkspaceUnusable(
        f"KTRDR_METRICS_PORT: {settings.port} and the {PORTS_TRIED - 1} ports after it are taken; choose another",
        reason="metrics_port_taken",
    )
