#!/usr/bin/python3
"""A real Prometheus scrapes lumnid; its tools check the metrics, the example
alert rules and, expression by expression, the example dashboard."""

import json
import os
import re
import shutil
import socket
import urllib.error
import urllib.parse
import urllib.request

import lumnid_it
from lumnid_it import SOURCE, Failure, Skip, wait_for

EXAMPLES = os.path.join(SOURCE, "conf", "examples")
NAME = re.compile(r"\b(?:lumnid|process)_[a-z0-9_]+\b")


def need(*tools):
    for tool in tools:
        if shutil.which(tool) is None:
            raise Skip(f"{tool} is not installed (package prometheus)")


def start(t):
    """lumnid with something to tell of every kind: delivered, refused, dead,
    records, an upstream that failed once."""
    up = t.upstream(script="when=next:1 status=503")
    t.lumnid(listen={"http": "127.0.0.1:0"}, log={"level": "info"},
             runs={"idle": "100ms"})
    s = t.stream()
    for n in range(3):
        s.ask({"runId": f"r{n}", "events": [{"n": n}], "ack": n, "end": True})
    s.ask({"change": {"what": "x"}, "ack": 9})
    s.ask({"runId": "", "events": [{}], "ack": 10})
    t.udp().send({"runId": "u", "n": 1, "type": "run_end"})
    up.wait_sums(events=4, records=1)
    return up


def test_metrics_are_clean(t):
    need("promtool")
    start(t)
    status, text = t.daemon.get("/metrics")
    t.equal(status, 200)
    done = t.run("promtool", "check", "metrics", stdin=text, seconds=60)
    t.equal((done.returncode, done.stdout + done.stderr), (0, ""))
    # The check of the check.
    done = t.run("promtool", "check", "metrics", seconds=60,
                 stdin=text.replace("_accepted_total", "_accepted"))
    t.true(done.returncode != 0, "a counter without _total is refused")
    for line in ('lumnid_input_events_accepted_total{input="stream"} 3',
                 'lumnid_input_events_accepted_total{input="udp"} 1',
                 'lumnid_input_records_accepted_total{input="stream"} 1',
                 'lumnid_messages_refused_total{code="bad_run_id"} 1',
                 'lumnid_upstream_answers_total{code="503"} 1'):
        t.true(line + "\n" in text, f"{line} in\n{text}")


def test_alert_rules(t):
    need("promtool")
    for name in "lumnid-alerts.yml", "prometheus.yml":
        shutil.copy(os.path.join(EXAMPLES, name), t.dir)
    shutil.copy(os.path.join(SOURCE, "tests", "it", "alerts_test.yml"), t.dir)
    for what in (("check", "rules", "lumnid-alerts.yml"),
                 ("check", "config", "prometheus.yml"),
                 ("test", "rules", "alerts_test.yml")):
        done = t.run("promtool", *what, seconds=60)
        t.equal(done.returncode, 0, done.stdout + done.stderr)
    # A rule that does not fire is noticed, for each of them.
    with open(os.path.join(t.dir, "lumnid-alerts.yml"),
              encoding="utf-8") as f:
        text = f.read()
    with open(os.path.join(t.dir, "alerts_test.yml"), encoding="utf-8") as f:
        tests = f.read()
    for alert in re.findall(r"- alert: (\w+)", text):
        t.true(f'alertname="{alert}"' in tests, f"{alert} has no test")


class Prometheus(lumnid_it.Process):
    """A server of its own data, on a free port."""

    def __init__(self, t, target):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        with open(os.path.join(EXAMPLES, "prometheus.yml"),
                  encoding="utf-8") as f:
            conf = f.read().replace("127.0.0.1:8842", target)
        with open(os.path.join(t.dir, "prometheus.yml"), "w",
                  encoding="utf-8") as f:
            f.write("global: {scrape_interval: 200ms, scrape_timeout: 200ms, "
                    "evaluation_interval: 200ms}\n" + conf)
        shutil.copy(os.path.join(EXAMPLES, "lumnid-alerts.yml"), t.dir)
        super().__init__(t, [
            "prometheus", "--config.file=" + os.path.join(
                t.dir, "prometheus.yml"),
            "--storage.tsdb.path=" + os.path.join(t.dir, "tsdb"),
            f"--web.listen-address=127.0.0.1:{self.port}"], "prometheus",
            env={"GOMAXPROCS": "2"})
        self.wait_line("Server is ready to receive", seconds=60)

    def api(self, path, **query):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?" + \
            urllib.parse.urlencode(query)
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as e:
            raise Failure(f"{query}: {e.read().decode()}") from None

    def query(self, expr):
        return self.api("query", query=expr)["result"]


def test_prometheus_scrapes(t):
    """Every family arrives with its type, the numbers are lumnid's, all rules
    are evaluated, and each expression of the dashboard is good and finds
    something."""
    need("prometheus")
    start(t)
    p = Prometheus(t, f"127.0.0.1:{t.daemon.http_port()}")
    # Two scrapes, so that there are rates.
    wait_for("two good scrapes", lambda: p.query(
        'count_over_time(up{job="lumnid"}[1h]) >= 3 and up == 1'), 60, 0.1,
        t.logs)
    text = t.daemon.get("/metrics")[1]
    families = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    got = {x["metric"]: x["type"] for x in p.api(
        "targets/metadata", match_target='{job="lumnid"}')}
    t.equal(got, families, "families")
    t.equal([x["value"][1] for x in p.query(
        'lumnid_input_events_accepted_total{input="stream"}')], ["3"])
    t.equal([x["value"][1] for x in p.query(
        'lumnid_events_delivered_total + lumnid_records_delivered_total')],
        ["5"])

    def evaluated():
        rules = [r for g in p.api("rules")["groups"] for r in g["rules"]]
        return all(r["health"] == "ok" for r in rules) and rules
    rules = wait_for("the rules' evaluation", evaluated, 60, 0.2, t.logs)
    t.true(len(rules) >= 15, f"{len(rules)} rules")
    # This lumnid has refused a message, and nothing else is wrong.
    t.equal({r["name"] for r in rules if r["state"] == "firing"} - {
        "LumnidMessagesRefused"}, set(), "alerts")

    with open(os.path.join(EXAMPLES, "lumnid-dashboard.json"),
              encoding="utf-8") as f:
        board = json.load(f)
    ids = [x["id"] for x in board["panels"]]
    t.equal(len(ids), len(set(ids)), "panels' ids")
    shown = set()
    for panel in board["panels"]:
        for target in panel["targets"]:
            expr = target["expr"].replace("$instance", ".*")
            shown |= set(NAME.findall(expr))
            result = p.query(re.sub(r"\[5m\]", "[1h]", expr))
            # What nobody has counted yet has no samples.
            t.true(result, f"{panel['title']}: {expr} finds nothing")
    with open(os.path.join(EXAMPLES, "lumnid-alerts.yml"),
              encoding="utf-8") as f:
        shown |= set(NAME.findall(re.sub(r"description:.*", "", f.read())))
    series = set(families) | {f + s for f, kind in families.items()
                              if kind == "histogram"
                              for s in ("_bucket", "_sum", "_count")}
    t.equal(shown - series, set(), "metrics that lumnid does not have")
    p.stop()


if __name__ == "__main__":
    lumnid_it.main()
