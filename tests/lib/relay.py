"""A TCP relay with a delay, to put between two servers: a slow, cut or dead network. And an upstream that never answers."""
import socket
import threading
import time


class Relay:
    """Forwards connections on `port` to `target_port`. Every block from the caller waits `delay_s` before it is passed on;
    with `cut_after_bytes` set, a connection is broken after that many bytes of its next answer. Both may change at any time."""

    def __init__(self, target_port, delay_s=0.0, cut_after_bytes=None):
        self.target_port, self.delay_s, self.cut_after_bytes = target_port, delay_s, cut_after_bytes
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(caller,), daemon=True).start()

    def _serve(self, caller):
        try:
            target = socket.create_connection(("127.0.0.1", self.target_port))
        except OSError:
            caller.close()
            return
        threading.Thread(target=self._pump, args=(caller, target, True), daemon=True).start()
        self._pump(target, caller, False)

    def _pump(self, source, sink, asking):
        try:
            while block := source.recv(65536):
                if asking:
                    time.sleep(self.delay_s)
                elif self.cut_after_bytes is not None:
                    sink.sendall(block[: self.cut_after_bytes])
                    break
                sink.sendall(block)
        except OSError:
            pass
        for side in (source, sink):
            try:
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            side.close()
