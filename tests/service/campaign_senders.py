#!/usr/bin/env python3
"""An hour's scrapes of every real sender at once: every sample and every family's metadata is accounted for.

usage: campaign_senders.py [--scrapes N]    how many scrapes, one a second (default 240: an hour's, at 15 s)

Prometheus 2.42 and 3.5 by remote write 1.0, 3.5 by 2.0 and vmagent scrape a target of their own and send to a promsplit
of their own. In the middle each Prometheus is killed and started again. In the end a promsplit has what its Prometheus
has, no more and no less, and of vmagent what its target served; no sender says it lost anything.
Environment: PROMSPLIT=PATH tests another build.
"""
import argparse
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.insert(0, HERE)

from fixture import until  # noqa: E402
from lib import target  # noqa: E402
from lib.processes import Stage, free_port, prometheus_binary  # noqa: E402
from lib.report import Report  # noqa: E402
from test_8_senders import VMAGENT, lost, samples_of, scrape_config, vmagent  # noqa: E402

class Sender:
    """A Prometheus that scrapes, sends and is upstream."""

    def __init__(self, stage, name, version, write, features=()):
        self.name, self.target = name, target.Target()
        port = free_port()
        config = scrape_config(self.target, f"http://127.0.0.1:{port}", write, interval="1s")
        self.upstream = stage.prometheus(f"upstream-{name}", prometheus_binary(version), config=config, flags=features,
                                         remote_read=f"http://127.0.0.1:{port}", start=False)
        self.promsplit = stage.promsplit(f"promsplit-{name}", self.upstream.port, port=port)
        self.upstream.start()

    def disturb(self):
        self.upstream.kill()
        self.upstream.start()

    def close(self):
        self.upstream.kill()  # it would wait for promsplit, which is stopped first
        self.target.close()

    def end(self, seconds):
        """What was found: samples; or an AssertionError."""
        at = time.time() - 2
        window = f"{int(seconds) + 60}s"
        api, peer = self.promsplit.api, self.upstream.api
        until(lambda: samples_of(api, window, at) == samples_of(peer, window, at), 15, f"{self.name}: what the sender has")
        said = {f: v for f, v in api.get("/api/v1/metadata").json()["data"].items() if f.startswith("target_")}
        wanted = {f: [{"type": kind, "unit": "", "help": words}] for f, (kind, words) in target.FAMILIES.items()}
        assert said == wanted, f"{self.name}: metadata {said}"
        assert lost(peer) == set(), f"{self.name}: {lost(peer)}"
        for result in ("conflicting", "out_of_order"):
            n = api.metric("promsplit_write_samples_total", f'{{result="{result}"}}')
            assert n == 0, f"{self.name}: {n} samples {result}"
        return sum(map(len, samples_of(api, window, at).values()))


class Agent:
    """vmagent: what it sends is held against what its target served."""

    def __init__(self, stage, name):
        self.name, self.served = name, []
        self.target = target.Target(self._serve)
        self.promsplit, _ = stage.pair(f"promsplit-{name}", prometheus_binary("2.42"))
        self.agent = vmagent(stage, self.target, self.promsplit, "1s")

    def _serve(self, now_s):
        self.served.append(int(now_s * 1000) % 10_000_000)
        return target.text(now_s)

    def close(self):
        self.agent.kill()
        self.target.close()

    def disturb(self):
        pass  # its queue lies in memory: killed, it loses what it has not sent

    def end(self, seconds):
        api, window = self.promsplit.api, f"{int(seconds) + 60}s"
        self.agent.stop()
        counter = lambda: [s for k, s in samples_of(api, window).items() if dict(k).get("path") == "/0"]  # noqa: E731
        until(lambda: counter() and len(counter()[0]) >= len(self.served), 15, f"{self.name}: what was served")
        found = [int(v) for _, v in sorted(counter()[0].items())]
        assert found == self.served, f"{self.name}: {len(self.served)} scrapes served, {len(found)} samples"
        said = api.get("/api/v1/metadata").json()["data"]
        assert set(target.FAMILIES) <= set(said), f"{self.name}: metadata {said}"
        assert api.metric("promsplit_write_requests_total", '{code="400"}') == 0, self.name
        return sum(map(len, samples_of(api, window).values()))


def senders(stage, report):
    yield Sender(stage, "prometheus-2.42", "2.42", "metadata_config: {send_interval: 1s}")
    if prometheus_binary("3.5"):
        yield Sender(stage, "prometheus-3.5", "3.5", "metadata_config: {send_interval: 1s}")
        yield Sender(stage, "prometheus-3.5-2.0", "3.5", "protobuf_message: io.prometheus.write.v2.Request",
                     ("--enable-feature=metadata-wal-records",))
    else:
        report.skip("Prometheus 3.5", "scripts/setup could not unpack it")
    if os.access(VMAGENT, os.X_OK):
        yield Agent(stage, "vmagent")
    else:
        report.skip("vmagent", "not in .deps/victoria-metrics-sid")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--scrapes", type=int, default=240)
    scrapes = parser.parse_args().scrapes
    report, stage, all_ = Report("senders"), Stage(), []
    try:
        began = time.monotonic()
        all_ += senders(stage, report)
        time.sleep(scrapes / 2)
        for sender in all_:
            sender.disturb()
        time.sleep(scrapes / 2 + 5)
        for sender in all_:
            try:
                n = sender.end(time.monotonic() - began)
                assert n > 10 * scrapes, f"{sender.name}: {n} samples only"
                print(f"{sender.name}: {n} samples, all there", flush=True)
                report.ok()
            except AssertionError as wrong:
                report.fail(str(wrong))
    finally:
        for sender in all_:
            sender.close()
        stage.close()
    report.finish()


if __name__ == "__main__":
    main()
