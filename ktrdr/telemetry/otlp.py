"""Send spans to a collector by OTLP, over gRPC or HTTP as the standard OTEL_* variables say."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ktrdr.config import TracingSettings
from ktrdr.telemetry.spans import Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

# A collector that does not answer within this is asked again later; nothing waits for it.
EXPORT_TIMEOUT_S = 1.0
_SCOPE = "ktrdr"


class OtlpSender:
    """A connection to a collector. The libraries behind it are imported with the first span."""

    def __init__(self, settings: TracingSettings, version: str) -> None:
        self._settings = settings
        self._version = version
        self._exporter: SpanExporter | None = None

    def send(self, spans: Sequence[Span]) -> bool:
        """Return whether the collector has taken the spans. Waits a few seconds at the most."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        if self._exporter is None:
            self._exporter = _connect(self._settings)
        return self._exporter.export(self._encode(spans)) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Give the connection back."""
        if self._exporter is not None:
            self._exporter.shutdown()

    def _encode(self, spans: Sequence[Span]) -> "list[ReadableSpan]":
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        resource = Resource.create({"service.name": _SCOPE, "service.version": self._version})
        scope = InstrumentationScope(_SCOPE, self._version)

        def context(span: Span, span_id: str) -> SpanContext:
            sampled = TraceFlags(TraceFlags.SAMPLED)
            return SpanContext(int(span.trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=sampled)

        return [
            ReadableSpan(
                span.name,
                context=context(span, span.span_id),
                parent=None if span.parent_id is None else context(span, span.parent_id),
                resource=resource,
                attributes=dict(span.attributes),
                kind=SpanKind.CLIENT if span.is_remote_call else SpanKind.INTERNAL,
                status=Status(StatusCode.OK) if span.failure is None else Status(StatusCode.ERROR, span.failure),
                start_time=span.start_ms * 1_000_000,
                end_time=span.end_ms * 1_000_000,
                instrumentation_scope=scope,
            )
            for span in spans
        ]


def _connect(settings: TracingSettings) -> "SpanExporter":
    # What an unreachable collector is called is said once, by who sends; the exporter repeats it with every attempt.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    if settings.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter(timeout=EXPORT_TIMEOUT_S)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter(timeout=EXPORT_TIMEOUT_S)
