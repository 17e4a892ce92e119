"""An FTP server on a folder, on the loopback address: a store that several machines reach over a network."""

import logging
import threading
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it uses asyncore, and brings a copy where Python has it no more
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

PASSWORD = "s3cret-of-the-store"


class FtpServer:
    """Serves `folder` as long as it is open; `stop` and `start` again are an outage."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder / "store"
        logging.getLogger("pyftpdlib").setLevel(logging.CRITICAL)
        authorizer = DummyAuthorizer()
        authorizer.add_user("lab", PASSWORD, str(folder), perm="elradfmwMT")
        self._handler = type("Handler", (FTPHandler,), {"authorizer": authorizer, "banner": "lab"})
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"ftp://lab:{PASSWORD}@127.0.0.1:{self._port}/store"

    def start(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._server = ThreadedFTPServer(("127.0.0.1", self._port), self._handler)
        self._port = self._server.address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"timeout": 0.1}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.close_all()
        self._thread.join(5)
