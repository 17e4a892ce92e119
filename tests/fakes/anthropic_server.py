"""The Messages API on loopback: says what a script tells it, misbehaves as told, and writes its own bill.

It stands where a paid service would. Its prices are its own, not those of the library under test, and so is its
prompt cache: a prefix that ends at a `cache_control` mark is written once and read from then on, also by a request that
has its mark up to twenty blocks later, as the provider documents.
"""

import contextlib
import hashlib
import json
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Dollars per million tokens: input, cache write, cache read, output.
PRICES = {"claude-sonnet-5-5": (2.0, 2.5, 0.1, 10.0), "claude-opus-5-5": (4.0, 5.0, 0.2, 20.0)}
BYTES_PER_TOKEN = 3.5
POLL_S = 0.02
LOOK_BACK_BLOCKS = 20

Document = dict[str, Any]


def text(words: str) -> Document:
    return {"type": "text", "text": words}


def tool_use(name: str, arguments: Document, identifier: str = "") -> Document:
    return {"type": "tool_use", "id": identifier or f"toolu_{time.monotonic_ns()}", "name": name, "input": arguments}


@dataclass
class Answer:
    """A message. `usage` None: counted from the bytes and the cache; `without_usage`: the field is missing."""

    content: list[Document]
    stop_reason: str | None = None
    usage: Document | None = None
    without_usage: bool = False
    model: str | None = None
    delay_s: float = 0.0


@dataclass
class Refusal:
    """An error status. `is_billed`: the provider did the work all the same."""

    status: int
    kind: str = "api_error"
    message: str = "refused by the fake"
    headers: dict[str, str] = field(default_factory=dict)
    is_billed: bool = False


@dataclass
class Hang:
    """No answer for so long; with `pings`, headers at once and then a blank now and then. The work is billed."""

    seconds: float = 30.0
    pings: bool = False


@dataclass
class Raw:
    """Whatever bytes with status 200; `cut`: the connection closes before they are all sent. Billed."""

    body: bytes
    content_type: str = "text/html"
    cut: bool = False


Turn = Answer | Refusal | Hang | Raw
Script = Callable[[Document], Turn]


@dataclass
class Received:
    """One HTTP call as it arrived, and what became of it."""

    document: Document
    body: bytes
    headers: dict[str, str]
    at: float
    usage: Document | None = None
    billed_usd: float = 0.0
    disconnected_at: float | None = None


class AnthropicServer:
    """Answers requests in turn with the `turns`, or as the `script` says."""

    def __init__(self, turns: list[Turn] | None = None, script: Script | None = None) -> None:
        self.turns = list(turns or [])
        self.script = script
        self.received: list[Received] = []
        self.unexpected = 0
        self._cached: set[str] = set()
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def billed_usd(self) -> float:
        return sum(each.billed_usd for each in self.received)

    def total(self, name: str) -> int:
        """Sum one kind of token over what was answered with a usage."""
        return sum((each.usage or {}).get(name, 0) for each in self.received)

    def close(self) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def take(self, received: Received) -> Turn:
        with self._lock:
            self.received.append(received)
            if self.script is not None:
                return self.script(received.document)
            if self.turns:
                return self.turns.pop(0)
            self.unexpected += 1
            return Refusal(400, "invalid_request_error", "the script is at its end")

    def bill(self, received: Received, answer: Answer) -> Document:
        """Return the usage of a call and write it down, priced, cache included."""
        with self._lock:
            usage = answer.usage if answer.usage is not None else self._count(received, answer)
        received.usage = usage
        received.billed_usd = priced(str(received.document.get("model")), usage)
        return usage

    def _count(self, received: Received, answer: Answer) -> Document:
        read = marked = 0
        prefixes = list(_prefixes(received.document))
        for number, (_, size, is_marked) in enumerate(prefixes):
            if is_marked:
                marked = size
                seen = prefixes[max(0, number - LOOK_BACK_BLOCKS) : number + 1]
                read = max([read, *(size for digest, size, _ in seen if digest in self._cached)])
        written = marked - read
        self._cached.update(digest for digest, _, is_marked in prefixes if is_marked)
        everything = int(len(received.body) / BYTES_PER_TOKEN)
        return {
            "input_tokens": max(0, everything - read - written),
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "output_tokens": max(1, int(len(json.dumps(answer.content)) / BYTES_PER_TOKEN)),
        }


def priced(model: str, usage: Document) -> float:
    kinds = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    return sum(usage.get(kind, 0) * price for kind, price in zip(kinds, PRICES[model], strict=True)) / 1e6


def _prefixes(document: Document) -> Iterator[tuple[str, int, bool]]:
    """Yield what leads up to each block, in the provider's order (tools, system, messages): its digest and tokens, and
    whether the block has a cache mark."""
    system = document.get("system") or []
    blocks: list[Document] = [*document.get("tools", [])]
    blocks += [text(system)] if isinstance(system, str) else system
    for message in document.get("messages", []):
        content = message["content"]
        blocks += [text(content)] if isinstance(content, str) else content
    prefix = b""
    for block in blocks:
        plain = {key: value for key, value in block.items() if key != "cache_control"}
        prefix += json.dumps(plain, sort_keys=True).encode()
        tokens = int(len(prefix) / BYTES_PER_TOKEN)
        yield hashlib.sha256(prefix).hexdigest(), tokens, "cache_control" in block


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that hangs up, or is killed, is no fault
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: "AnthropicServer"

    def log_message(self, *_: object) -> None:
        return

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        document = json.loads(body)
        received = Received(document, body, {k.lower(): v for k, v in self.headers.items()}, time.monotonic())
        turn = self.fake.take(received)
        with contextlib.suppress(ConnectionError):
            self._play(turn, received)

    def _play(self, turn: Turn, received: Received) -> None:
        if isinstance(turn, Answer):
            time.sleep(turn.delay_s)
            usage = self.fake.bill(received, turn)
            self._send(200, message(turn, received.document, usage))
        elif isinstance(turn, Refusal):
            if turn.is_billed:
                self.fake.bill(received, Answer([text("lost")]))
            error = {"type": "error", "error": {"type": turn.kind, "message": turn.message}}
            self._send(turn.status, error, turn.headers)
        elif isinstance(turn, Hang):
            self.fake.bill(received, Answer([text("never seen")]))
            self._hang(turn, received)
        else:
            self.fake.bill(received, Answer([text("never seen")]))
            self._send_raw(turn)

    def _hang(self, turn: Hang, received: Received) -> None:
        self.close_connection = True
        if turn.pings:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
        until = time.monotonic() + turn.seconds
        while time.monotonic() < until and not self.fake.stopping.is_set():
            if self._client_is_gone():
                received.disconnected_at = time.monotonic()
                return
            if turn.pings:
                self.wfile.write(b" ")
            time.sleep(POLL_S)

    def _client_is_gone(self) -> bool:
        readable, _, _ = select.select([self.connection], [], [], 0)
        try:
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except ConnectionError:
            return True

    def _send_raw(self, turn: Raw) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", turn.content_type)
        self.send_header("content-length", str(len(turn.body) + (1000 if turn.cut else 0)))
        self.end_headers()
        self.wfile.write(turn.body)

    def _send(self, status: int, document: Document, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def message(answer: Answer, request: Document, usage: Document) -> Document:
    """Return the body of an answer, stop reason inferred from its content unless given."""
    calls = any(block["type"] == "tool_use" for block in answer.content)
    document = {
        "id": f"msg_{time.monotonic_ns()}",
        "type": "message",
        "role": "assistant",
        "model": answer.model or request["model"],
        "content": answer.content,
        "stop_reason": answer.stop_reason or ("tool_use" if calls else "end_turn"),
        "stop_sequence": None,
        "usage": usage,
    }
    if answer.without_usage:
        del document["usage"]
    return document
