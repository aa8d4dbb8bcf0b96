"""Real servers for tests: Prometheus and promsplit on free ports, each in a directory of its own, all gone at the end.

Every server is started with a parent-death signal and stopped by `Stage`'s exit, so that neither a failing nor a killed
test leaves one behind.
"""
import ctypes
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from lib.api import Api

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROMSPLIT = os.environ.get("PROMSPLIT", os.path.join(ROOT, "build", "promsplit"))

_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class ServerError(Exception):
    pass


def prometheus_binary(version):
    """The Prometheus that scripts/setup unpacked ("2.42", "3.5"), or None."""
    path = os.path.join(ROOT, ".deps", f"prometheus-{version}", "usr", "bin", "prometheus")
    return path if os.access(path, os.X_OK) else None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One process with an HTTP port. `start` returns when it is healthy; `log` is everything it wrote."""

    def __init__(self, name, command, directory, port, health="/-/healthy"):
        self.name, self.command, self.directory, self.port, self.health = name, command, directory, port, health
        self.api = Api(port)
        self.process = None
        self.log_path = os.path.join(directory, "log")

    def start(self, wait_s=30):
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            self.command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=self.directory,
            preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),
        )
        log.close()
        self.wait_for(self.health, wait_s)
        return self

    def wait_for(self, path, wait_s=30):
        """Until a GET of `path` answers 200."""
        deadline = time.monotonic() + wait_s
        last = "no answer"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerError(f"{self.name} ended with {self.process.returncode}:\n{self.log_tail()}")
            try:
                answer = self.api.get(path)
                if answer.status == 200:
                    return
                last = repr(answer)
            except (OSError, http.client.HTTPException) as error:
                last = str(error)
            time.sleep(0.05)
        raise ServerError(f"{self.name}: {path} not 200 after {wait_s} s ({last}):\n{self.log_tail()}")

    @property
    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """As a power cut would: no chance to tidy up."""
        self.process.kill()
        self.process.wait()

    def stop(self, wait_s=15):
        """Asks it to end; returns its exit code. One that does not is killed, and said so."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(wait_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise ServerError(f"{self.name} did not end within {wait_s} s of SIGTERM:\n{self.log_tail()}")
        return self.process.returncode

    def log_tail(self, lines=15):
        try:
            with open(self.log_path, errors="replace") as log:
                return "".join("    " + line for line in log.readlines()[-lines:])
        except OSError:
            return "    (no log)\n"

    def _status_bytes(self, field):
        with open(f"/proc/{self.process.pid}/status") as status:
            for line in status:
                if line.startswith(field + ":"):
                    return int(line.split()[1]) * 1024
        return 0

    def memory_bytes(self):
        return self._status_bytes("VmRSS")

    def memory_peak_bytes(self):
        return self._status_bytes("VmHWM")

    def processor_s(self):
        """Processor time of all its threads since it was started."""
        with open(f"/proc/{self.process.pid}/stat") as stat:
            user, system = stat.read().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def niceness(self):
        """{name of threads: the nicenesses they have}"""
        found = {}
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{thread}/stat") as stat:
                name, _, rest = stat.read().partition("(")[2].rpartition(")")
            found.setdefault(name, set()).add(int(rest.split()[16]))
        return found


COMPACT_ROWS = 3000


class Stage:
    """A temporary directory and the servers started in it. `keep` leaves the directory, for looking at logs."""

    def __init__(self, keep=False):
        self.keep = keep
        self.directory = tempfile.mkdtemp(prefix="promsplit-test-")
        self.servers = []

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def close(self):
        """More than once does no harm."""
        if self.directory is None:
            return
        for server in reversed(self.servers):
            try:
                server.stop(wait_s=20)
            except ServerError as error:
                print(error, file=sys.stderr)
        if self.keep:
            print(f"kept: {self.directory}", file=sys.stderr)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)
        self.directory = None

    def _directory(self, name):
        path = os.path.join(self.directory, f"{len(self.servers):02d}-{name}")
        os.mkdir(path)
        return path

    def _start(self, server, start):
        self.servers.append(server)
        return server.start() if start else server

    def prometheus(self, name, binary, remote_read=None, config="", flags=(), port=None, start=True, one_block=True):
        """A Prometheus with an empty store, which accepts remote writes of any age.

        remote_read: text of its list entries, or a promsplit's URL for the right one. config: its YAML, else a plain one.
        one_block: everything in one head block, so that samples may come in any order within 12 h.
        Prometheus 3 is run with its experimental functions, so that they are compared too.
        """
        directory = self._directory(name)
        if remote_read and remote_read.startswith("http"):
            remote_read = remote_read_stanza(remote_read)
        text = config or "global: {evaluation_interval: 1m}\n"
        if remote_read:
            text += "remote_read:\n" + remote_read
        with open(os.path.join(directory, "prometheus.yml"), "w") as file:
            file.write(text)
        port = port or free_port()
        command = [
            binary,
            f"--config.file={directory}/prometheus.yml",
            f"--storage.tsdb.path={directory}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-remote-write-receiver",
            *(["--storage.tsdb.min-block-duration=24h", "--storage.tsdb.max-block-duration=24h"] if one_block else []),
            "--storage.tsdb.retention.time=100y",
            "--log.level=warn",
            *(["--enable-feature=promql-experimental-functions"] if "prometheus-3" in binary else []),
            *flags,
        ]
        return self._start(Server(name, command, directory, port, health="/-/ready"), start)

    def victoria_metrics(self, name, binary, flags=(), start=True):
        """An empty VictoriaMetrics, which keeps samples of any age and no results of queries."""
        directory = self._directory(name)
        port = free_port()
        command = [
            binary,
            f"-storageDataPath={directory}/data",
            f"-httpListenAddr=127.0.0.1:{port}",
            "-retentionPeriod=100y",
            "-search.disableCache",
            "-loggerLevel=WARN",
            *flags,
        ]
        return self._start(Server(name, command, directory, port, health="/health"), start)

    def promsplit(self, name, upstream_port, flags=(), binary=None, port=None, start=True, storage=None):
        directory = self._directory(name)
        port = port or free_port()
        command = [
            binary or PROMSPLIT,
            "serve",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.path={storage or directory + '/data'}",
            f"--upstream.url=http://127.0.0.1:{upstream_port}",
            "--upstream.probe-interval=1s",
            *flags,
        ]
        return self._start(Server(name, command, directory, port), start)

    def pair(self, name, prometheus, push="all", flags=(), ready=True):
        """promsplit in front of an empty Prometheus of its own, which reads back from it. Returns (promsplit, upstream).

        With nothing pushed, samples stay as they came; else most of them are in chunks, and some are not yet.
        """
        if push != "none":
            flags = (f"--storage.compact-rows={COMPACT_ROWS}", *flags)
        port = free_port()
        upstream = self.prometheus(f"{name}-upstream", prometheus, remote_read=f"http://127.0.0.1:{port}")
        promsplit = self.promsplit(name, upstream.port, flags=(f"--planner.push={push}", *flags), port=port)
        if ready:
            promsplit.wait_for("/-/ready")
        return promsplit, upstream


def remote_read_stanza(url, read_recent="true", filter_external_labels="false", required=True, more=""):
    text = f"  - url: {url}/api/v1/read\n    read_recent: {read_recent}\n"
    text += f"    filter_external_labels: {filter_external_labels}\n"
    if required:
        text += "    required_matchers: {__task_kind__: fragment}\n"
    return text + more
