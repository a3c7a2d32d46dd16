"""A server in a thread of this process."""

import threading


class ServerThread:
    """Of a ``socketserver`` on this machine.

    ``fault`` is asked for each request (method, path) and returns None, or what happens to it; ``requests`` lists them.
    """

    def __init__(self, server):
        self.fault = lambda method, path: None
        self.requests = []
        self._server = server
        self.address = f"http://127.0.0.1:{server.server_address[1]}"
        self._thread = threading.Thread(target=server.serve_forever, daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
