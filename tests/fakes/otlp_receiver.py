"""A collector of traces on loopback that keeps what it is sent, by OTLP over gRPC."""

from concurrent import futures

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class OtlpReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Listens on a free port; `spans` are all that were received, as the protocol has them."""

    def __init__(self):
        self.spans = []
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Export(self, request, context):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def traces(self):
        """Return the spans by trace, each trace's by span id."""
        found = {}
        for span in self.spans:
            found.setdefault(span.trace_id.hex(), {})[span.span_id.hex()] = span
        return found

    def close(self):
        self._server.stop(None)
