"""Collectors of traces on loopback that keep what they are sent, by OTLP over gRPC and over HTTP."""

import gzip
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


class ReceivedSpans:
    """`spans` are all that were received, as the protocol has them."""

    def __init__(self):
        self.spans = []

    def take(self, request):
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)

    def traces(self):
        """Return the spans by trace, each trace's by span id."""
        found = {}
        for span in self.spans:
            found.setdefault(span.trace_id.hex(), {})[span.span_id.hex()] = span
        return found


class OtlpReceiver(ReceivedSpans, trace_service_pb2_grpc.TraceServiceServicer):
    """Listens to gRPC on a free port."""

    def __init__(self):
        super().__init__()
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def Export(self, request, context):
        self.take(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def close(self):
        self._server.stop(None)


class OtlpHttpReceiver(ReceivedSpans):
    """Listens to HTTP with protobuf bodies on a free port; any path but the protocol's own is not found."""

    def __init__(self):
        super().__init__()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                is_ours = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
                if is_ours:
                    receiver.take(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
                self.send_response(200 if is_ours else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
