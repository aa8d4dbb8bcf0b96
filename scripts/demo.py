#!/usr/bin/env python3
"""The demonstration itself; scripts/demo sets up and builds first, and says what the options are."""
import argparse
import json
import math
import os
import shutil
import socket
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))

from lib.processes import PROMSPLIT, Server, ServerError, Stage, prometheus_binary  # noqa: E402

SCRAPE_S = 2
STEP_S = 5
QUERIES = (
    ("90th percentile of request durations: Prometheus shapes what the engine summed",
     "histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[5m])))"),
    ("a ratio of two sums",
     'sum(rate(node_cpu_seconds_total{mode!="idle"}[1m])) / sum(rate(node_cpu_seconds_total[1m]))'),
    ("a subquery", "max_over_time(sum by (job) (rate(process_cpu_seconds_total[30s]))[1m:5s])"),
    ("a plain selector", "up"),
)
BOLD, DIM, RED, GREEN, PLAIN = ("\033[1m", "\033[2m", "\033[31m", "\033[32m", "\033[0m") if sys.stdout.isatty() else [""] * 5


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/demo")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--prometheus-port", type=int, default=9090)
    parser.add_argument("--promsplit-port", type=int, default=9095)
    parser.add_argument("--node-port", type=int, default=9100)
    options = parser.parse_args()
    if options.seconds < 30:
        parser.error("--seconds: at least 30, so that a rate has something to work on")
    return options


def check_port(port, option):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            sys.exit(f"demo: port {port} is taken (is one running already?): choose another with {option}")


def start(stage, name, command, port, health):
    print(f"starting {name:13} http://localhost:{port}")
    directory = os.path.join(stage.directory, name)
    server = Server(name, command(directory), directory, port, health)
    stage.servers.append(server)
    return server.start()


def start_all(stage, options):
    """node_exporter, promsplit, Prometheus: the last writes to and reads from the one before."""
    for port, option in ((options.prometheus_port, "--prometheus-port"), (options.promsplit_port, "--promsplit-port"),
                         (options.node_port, "--node-port")):
        check_port(port, option)
    for name in ("node_exporter", "promsplit", "prometheus"):
        os.mkdir(os.path.join(stage.directory, name))
    prometheus = prometheus_binary("2.42") or prometheus_binary("3.5") or shutil.which("prometheus")
    node = os.path.join(ROOT, ".deps/node-exporter/usr/bin/prometheus-node-exporter")
    if prometheus is None or not os.access(node, os.X_OK):
        sys.exit("demo: no Prometheus or node_exporter here: scripts/setup unpacks them on Debian 12")
    start(stage, "node_exporter", lambda d: [node, f"--web.listen-address=127.0.0.1:{options.node_port}"], options.node_port, "/")
    promsplit = start(stage, "promsplit", lambda d: [
        PROMSPLIT, "serve", f"--web.listen-address=127.0.0.1:{options.promsplit_port}", f"--storage.path={d}/data",
        f"--upstream.url=http://127.0.0.1:{options.prometheus_port}", "--upstream.probe-interval=1s", "--log.level=debug", "--log.format=json",
    ], options.promsplit_port, "/-/healthy")
    write_config(os.path.join(stage.directory, "prometheus", "prometheus.yml"), options)
    upstream = start(stage, "prometheus", lambda d: [
        prometheus, f"--config.file={d}/prometheus.yml", f"--storage.tsdb.path={d}/data",
        f"--web.listen-address=127.0.0.1:{options.prometheus_port}", "--log.level=warn",
    ], options.prometheus_port, "/-/ready")
    promsplit.wait_for("/-/ready")
    print("promsplit is ready: a probe went through Prometheus and was read back\n")
    return promsplit, upstream


def write_config(path, options):
    """deploy/prometheus.yml with this demonstration's ports and pace."""
    with open(os.path.join(ROOT, "deploy", "prometheus.yml"), encoding="utf-8") as file:
        text = file.read()
    for old, new in (("scrape_interval: 15s", f"scrape_interval: {SCRAPE_S}s"), ("localhost:9090", f"localhost:{options.prometheus_port}"),
                     ("localhost:9095", f"localhost:{options.promsplit_port}"), ("localhost:9100", f"localhost:{options.node_port}"),
                     ("batch_send_deadline: 5s", "batch_send_deadline: 1s")):
        if old not in text:
            sys.exit(f"demo: deploy/prometheus.yml no longer has '{old}'")
        text = text.replace(old, new)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def progress(text, always=False):
    """One line that is written over; where nobody watches, a line now and then."""
    if sys.stdout.isatty():
        print(f"\r{text:70}", end="" if not text.endswith("\n") else "\n", flush=True)
    elif always:
        print(text, flush=True)


def collect(promsplit, upstream, seconds):
    """Waits, with a line that moves; returns an evaluation time whose samples both sides have."""
    for left in range(seconds, 0, -1):
        stored = promsplit.api.metric("promsplit_write_samples_total", '{result="written"}') or 0
        progress(f"collecting: {left:3} s to go, {stored:,.0f} samples stored by promsplit", always=left % 10 == 0)
        time.sleep(1)
    at = int(time.time()) - SCRAPE_S
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        sent = [line.rpartition(" ")[2] for line in upstream.api.get("/metrics").body.decode().splitlines()
                if line.startswith("prometheus_remote_storage_queue_highest_sent_timestamp_seconds{")]
        if sent and float(sent[0]) >= at + SCRAPE_S:
            progress("collecting: done, everything delivered\n", always=True)
            return at
        progress("collecting: waiting for the last samples to be delivered")
        time.sleep(0.5)
    sys.exit("\ndemo: Prometheus does not deliver its samples to promsplit:\n" + upstream.log_tail() + promsplit.log_tail())


def same(a, b):
    x, y = float(a), float(b)
    return a == b or (math.isnan(x) and math.isnan(y)) or abs(x - y) <= 1e-9 * max(abs(x), abs(y))


def name(labels):
    text = labels.get("__name__", "") + "{" + ", ".join(f'{n}="{v}"' for n, v in sorted(labels.items()) if n != "__name__") + "}"
    return text if len(text) <= 56 else text[:53] + "..."


def by_labels(series):
    return {tuple(sorted(s["metric"].items())): s for s in series}


def result(answer, who):
    body = answer.json()
    if body["status"] != "success":
        raise ServerError(f"{who} answers {answer.status} {body['errorType']}: {body['error']}")
    return body["data"]["result"]


def compare_instant(promsplit, upstream, query, at):
    """Prints both answers side by side; True if they are equal."""
    want = by_labels(result(upstream.api.query(query, at), "Prometheus"))
    got = by_labels(result(promsplit.api.query(query, at), "promsplit"))
    print(f"  {'series':56} {'Prometheus, own data':>24} {'through promsplit':>24}")
    equal = bool(want)
    for key in sorted(want.keys() | got.keys()):
        values = [side[key]["value"][1] if key in side else "-" for side in (want, got)]
        fine = "-" not in values and same(*values)
        equal = equal and fine
        print(f"  {name(dict(key)):56} {values[0]:>24} {values[1]:>24} {GREEN + '=' if fine else RED + 'DIFFERENT'}{PLAIN}")
    return equal


def compare_range(promsplit, upstream, query, at, seconds):
    """The same over the time collected: (equal, points compared)."""
    window = (at - seconds // STEP_S * STEP_S, at, STEP_S)
    want = by_labels(result(upstream.api.query_range(query, *window), "Prometheus"))
    got = by_labels(result(promsplit.api.query_range(query, *window), "promsplit"))
    points = sum(len(s["values"]) for s in want.values())
    equal = points > 0 and want.keys() == got.keys() and all(
        len(want[k]["values"]) == len(got[k]["values"])
        and all(a[0] == b[0] and same(a[1], b[1]) for a, b in zip(want[k]["values"], got[k]["values"]))
        for k in want)
    return equal, points


def log_of(promsplit, query):
    """What promsplit's log tells of the last time it was asked `query`: its own line, and those of its tasks."""
    with open(promsplit.log_path, encoding="utf-8") as log:
        lines = [json.loads(line) for line in log if line.startswith("{")]
    asked = [line for line in lines if line["msg"] == "query" and line["query"] == query][-1]
    return asked, [line for line in lines if line["msg"] == "task" and line["query_id"] == asked["query_id"]]


def show_what_ran(promsplit, query, at):
    """Asks once more, and shows from the log what went where under which TaskID."""
    result(promsplit.api.query(query, at), "promsplit")
    asked, tasks = log_of(promsplit, query)
    print("\n  What ran just now, from promsplit's log:\n")
    for task in tasks:
        print(f"  TaskID {BOLD}{task['task_id']}{PLAIN}: {task['rows']} series in {task['took_ms']} ms in DuckDB, read back {task['reads']} time(s)")
        print(DIM + "".join(f"    {line}\n" for line in task["sql"].splitlines()) + PLAIN, end="")
    print(f"  Sent to Prometheus:\n    {asked['residual']}")


def show(promsplit, upstream, title, query, at, seconds):
    print(f"{BOLD}{title}{PLAIN}\n{BOLD}  {query}{PLAIN}\n")
    plan = promsplit.api.get("/api/v1/explain", query=query, time=at, format="text").body.decode()
    print(DIM + "".join(f"  {line}\n" for line in plan.rstrip().splitlines()) + PLAIN)
    equal = compare_instant(promsplit, upstream, query, at)
    if query == QUERIES[0][1]:
        show_what_ran(promsplit, query, at)
    equal_range, points = compare_range(promsplit, upstream, query, at, seconds)
    verdict = f"{GREEN}equal{PLAIN}" if equal and equal_range else f"{RED}DIFFERENT{PLAIN}"
    print(f"\n  {verdict}: now, and at {points} points over the last {seconds} s every {STEP_S} s\n")
    return equal and equal_range


def main():
    options = arguments()
    with Stage() as stage:
        try:
            promsplit, upstream = start_all(stage, options)
            at = collect(promsplit, upstream, options.seconds)
            equal = all([show(promsplit, upstream, *query, at, options.seconds - 10) for query in QUERIES])
            reads = promsplit.api.metric("promsplit_task_reads_total")
            direct = promsplit.api.metric("promsplit_queries_direct_total")
            print(f"Prometheus read {reads:.0f} tasks back from promsplit, readiness probes included; {direct:.0f} queries needed no Prometheus at all.")
            print(f"{BOLD}Grafana: a data source of type Prometheus with the URL {promsplit.api.url}{PLAIN}")
            if options.keep:
                print("Running until Ctrl-C.")
                while promsplit.alive and upstream.alive:
                    time.sleep(1)
        except (ServerError, OSError) as error:
            sys.exit(f"\ndemo: {error}")
        except KeyboardInterrupt:
            print("\nstopping")
            return
    if not equal:
        sys.exit("demo: the answers differ")
    print("All answers are equal.")


if __name__ == "__main__":
    main()
