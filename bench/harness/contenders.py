"""The servers that are compared. Each is started empty, in a directory of its own, and alone on the machine.

Prometheus comes from scripts/setup, VictoriaMetrics from bench/peers. One that cannot be had stays in the list with the reason.
"""
import os
import subprocess

from lib.processes import PROMSPLIT, ROOT, free_port, prometheus_binary

PROMETHEUS, VICTORIA_METRICS = "Prometheus", "VictoriaMetrics"  # families
OWN = "promsplit"
TIMEOUT_S = 1800  # of a query; the slowest is minutes long


class Contender:
    """Names a column of the table. `absent` is None, or why it takes no part."""

    def __init__(self, key, family, version, binary, absent=None):
        self.key, self.family, self.version, self.binary, self.absent = key, family, version, binary, absent
        self.title = f"{family} {version}" if family != OWN else OWN

    def start(self, stage, flags=()):
        server = self._start(stage, flags)
        server.api.timeout_s = TIMEOUT_S
        return server


class Prometheus(Contender):
    """Its window rule is the major version of promsplit's --upstream.version."""

    def __init__(self, version):
        binary = prometheus_binary(version)
        super().__init__(f"prometheus-{version}", PROMETHEUS, version, binary, None if binary else "scripts/setup did not get it")

    @property
    def rule(self):
        return self.version.split(".", maxsplit=1)[0]

    def _start(self, stage, flags):
        limits = (f"--query.timeout={TIMEOUT_S}s", "--query.max-samples=2000000000", "--web.enable-admin-api")
        return stage.prometheus(self.key, self.binary, one_block=False, flags=(*limits, *flags))

    def ask(self, server, ask):
        return ask.send(server)


class VictoriaMetrics(Contender):
    def __init__(self, folder, version, reasons):
        home = os.path.join(ROOT, ".deps", folder)
        absent = reasons.get(folder)
        if not absent:
            with open(os.path.join(home, "version")) as file:
                version = ".".join(file.read().split(".")[:2])
        super().__init__(folder, VICTORIA_METRICS, version, os.path.join(home, "usr", "bin", "victoria-metrics"), absent)

    def _start(self, stage, flags):
        limits = (f"-search.maxQueryDuration={TIMEOUT_S}s", "-search.maxUniqueTimeseries=3000000")
        return stage.victoria_metrics(self.key, self.binary, flags=(*limits, *flags))

    def ask(self, server, ask):
        return ask.send(server, nocache=1)


class Promsplit(Contender):
    """`rule`: the Prometheus major version whose windows it follows; it needs no upstream for queries it answers itself."""

    def __init__(self, rule):
        super().__init__(OWN, OWN, "", PROMSPLIT)
        self.rule = rule

    def _start(self, stage, flags):
        return stage.promsplit(self.key, free_port(), flags=(f"--upstream.version={self.rule}", f"--query.timeout={TIMEOUT_S}s", *flags))

    def ask(self, server, ask):
        return ask.send(server)


def set_flag(server, name, value):
    """Takes effect at the server's next start."""
    server.command = [part for part in server.command if not part.startswith(name + "=")] + [f"{name}={value}"]


class Ask:
    """One query of the table: a range if it has a step, else an instant at `end`. Times in seconds."""

    def __init__(self, figure, query, start, end, step=None):
        self.figure, self.query, self.start, self.end, self.step = figure, query, start, end, step

    def send(self, server, **more):
        if self.step is None:
            return server.api.query(self.query, self.end, **more)
        return server.api.query_range(self.query, self.start, self.end, self.step, **more)


def all_contenders():
    """Peers first, so that promsplit's answers can be held against theirs."""
    done = subprocess.run([os.path.join(ROOT, "bench", "peers")], stdout=subprocess.PIPE, text=True)
    reasons = dict(line.split("\t", 1) for line in done.stdout.splitlines())
    for folder in ("victoria-metrics-1.79", "victoria-metrics-sid"):
        if not os.path.exists(os.path.join(ROOT, ".deps", folder, "version")):
            reasons.setdefault(folder, "bench/peers failed")
    peers = [Prometheus("2.42"), Prometheus("3.5"), VictoriaMetrics("victoria-metrics-1.79", "1.79", reasons),
             VictoriaMetrics("victoria-metrics-sid", "of Debian sid", reasons)]
    rules = [peer.rule for peer in peers if peer.family == PROMETHEUS and not peer.absent]
    return peers, Promsplit(max(rules, default="3"))
