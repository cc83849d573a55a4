"""Listeners that ship, and that no listener hurts a run: broken, slow, or never returning."""

from __future__ import annotations

import http.server
import json
import os
import re
import sys
import threading
import time

import pytest

from executors import InProcessFramework
from executors.events import EventStream, Registered
from executors.listeners.metrics import MetricsFile
from executors.listeners.notify import CommandTarget, Notifier, UrlTarget
from supertask.errors import ExecutionError
from tests.executors.frames import plan

SAMPLE = re.compile(r'^(\w+)(?:\{((?:\w+="(?:[^"\\]|\\.)*",?)*)\})? (\S+)$')


def parse(text):
    """Read Prometheus' text format strictly: name, labels → value; every family with HELP and TYPE first."""
    found, typed, helped = {}, {}, set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split(" ", 3)[2])
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind in {"counter", "gauge"}
            assert name not in typed, "a family comes once"
            typed[name] = kind
        else:
            name, labels, value = SAMPLE.match(line).groups()
            assert name in typed
            assert name in helped
            assert typed[name] == "gauge" or name.endswith("_total")
            pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")
            key = (name, *sorted(pairs))
            assert key not in found
            found[key] = float(value)
    return found


def value(found, name, **labels):
    (only,) = [v for k, v in found.items() if k[0] == name and set(labels.items()) <= set(k[1:])]
    return only


# -- the stream ------------------------------------------------------------------------------------


def test_a_listener_that_never_returns_holds_up_nobody():
    heard, stuck = [], threading.Event()
    stream = EventStream([lambda _: stuck.wait(60), heard.append])
    begun = time.monotonic()
    for n in range(100):
        stream.emit(Registered(n))
    stream.settle(0.3)
    assert time.monotonic() - begun < 5
    assert [e.datasets for e in heard] == list(range(100))
    (said,) = stream.broken
    assert "was too slow: 100 events were not told to it" in said
    stuck.set()
    stream.close()


def test_a_slow_listener_hears_all_in_order_and_costs_the_run_nothing():
    heard = []

    def slow(event):
        time.sleep(0.002)
        heard.append(event.datasets)

    stream = EventStream([slow])
    begun = time.monotonic()
    for n in range(200):
        stream.emit(Registered(n))
    assert time.monotonic() - begun < 0.2
    stream.settle()
    assert heard == list(range(200))
    assert stream.broken == []
    stream.close()


def test_one_that_ends_its_thread_is_named():
    stream = EventStream([lambda _: sys.exit(3)])
    stream.emit(Registered(1))
    stream.settle(2)
    assert "raised SystemExit: 3; it is not called again" in stream.broken[0]
    stream.close()


# -- metrics ---------------------------------------------------------------------------------------


def test_metrics_say_how_a_run_went(framework, butler, control, tmp_path):
    (control / "stack-2").write_text("raise")
    file = tmp_path / "run.prom"
    with MetricsFile(file) as metrics:
        framework.execute(plan(butler, control), butler, listeners=[metrics])
    found = parse(file.read_text())
    assert value(found, "supertask_run_quanta", task="reduce") == 12
    assert value(found, "supertask_attempts_total", task="reduce", status="succeeded") == 12
    assert value(found, "supertask_attempts_total", task="stack", status="failed") == 1
    assert value(found, "supertask_run_blocked", task="report") == 1
    assert value(found, "supertask_run_running", task="reduce") == 0
    assert (value(found, "supertask_run_active"), value(found, "supertask_run_exit_code")) == (0, 1)
    assert value(found, "supertask_attempt_written_bytes_total", task="reduce") > 0
    assert value(found, "supertask_datasets_registered_total", run="u/test/run") > 12
    assert os.listdir(tmp_path).count("run.prom") == 1
    assert not [n for n in os.listdir(tmp_path) if n.endswith(".tmp")]


def test_labels_are_escaped():
    metrics = MetricsFile("x.prom")
    metrics._run = 'a"b\\c\nd'
    assert r'run="a\"b\\c\nd"' in metrics.text()
    parse(metrics.text())


def test_metrics_of_a_folder_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(ExecutionError, match=r"there is no folder .*nowhere; make it"):
        MetricsFile(tmp_path / "nowhere" / "run.prom")
    with pytest.raises(ExecutionError, match="it is a folder"):
        MetricsFile(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ExecutionError, match="it is a device or pipe"):
        MetricsFile(tmp_path / "pipe")


def test_metrics_that_cannot_be_written_hurt_nothing(here, butler, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    with MetricsFile(folder / "run.prom") as metrics:
        folder.rmdir()
        assert here.execute(plan(butler), butler, listeners=[metrics]).exit_code == 0
    assert "No such file" in metrics.problem


# -- notifications ---------------------------------------------------------------------------------

RECORD = """
import json, os, sys
message = json.load(sys.stdin)
message["environment"] = [os.environ["SUPERTASK_EVENT"], os.environ["SUPERTASK_RUN"],
                          os.environ.get("SUPERTASK_EXIT_CODE")]
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(message) + "\\n")
"""


def test_a_command_is_told_of_the_first_failures_and_of_the_end(framework, butler, control, tmp_path):
    (control / "reduce-@").write_text("raise")
    told = tmp_path / "told; rm -rf $HOME"
    target = CommandTarget((sys.executable, "-c", RECORD, str(told)))
    with Notifier([target], failures=2) as notifier:
        framework.execute(plan(butler, control), butler, listeners=[notifier])
    messages = [json.loads(line) for line in told.read_text().splitlines()]
    assert [m["event"] for m in messages] == ["failed", "failed", "ended"]
    first, _, end = messages
    assert (first["task"], first["exception"], first["message"]) == (
        "reduce", "ValueError", "the sky was cloudy",
    )  # fmt: skip
    assert set(first["dataId"]) == {"instrument", "visit", "detector"}
    assert (end["exit_code"], end["counts"]) == (1, {"failed": 12, "blocked": 5})
    assert end["environment"] == ["ended", "u/test/run", "1"]
    assert notifier.problems == []


@pytest.fixture
def web():
    """A web server that keeps what is posted; and one path where nobody answers."""
    posted = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/hang":
                time.sleep(1.0)
            posted.append((self.headers["Content-Type"], json.loads(body)))
            self.send_response(500 if self.path == "/broken" else 204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", posted
    server.shutdown()
    server.server_close()


def test_an_address_gets_json(here, butler, web):
    url, posted = web
    with Notifier([UrlTarget(f"{url}/hook")]) as notifier:
        here.execute(plan(butler), butler, listeners=[notifier])
    ((kind, message),) = posted
    assert kind == "application/json"
    assert (message["event"], message["exit_code"], message["run"]) == ("ended", 0, "u/test/run")


def test_who_cannot_be_told_is_named_and_the_others_are_told(here, butler, web):
    url, posted = web
    targets = [
        CommandTarget(("/no/such/program",)),
        CommandTarget((sys.executable, "-c", "raise SystemExit(4)")),
        CommandTarget((sys.executable, "-c", "import time; time.sleep(60)")),
        UrlTarget(f"{url}/broken"),
        UrlTarget(f"{url}/hang"),
        UrlTarget(f"{url}/hook"),
    ]
    with Notifier(targets, timeout=0.5) as notifier:
        assert here.execute(plan(butler), butler, listeners=[notifier]).exit_code == 0
    said = "\n".join(notifier.problems)
    assert len(notifier.problems) == 5
    for words in ("/no/such/program", "exit code 4", "took more than 0.5 s", "500", "timed out"):
        assert words in said
    assert posted[-1][1]["event"] == "ended"


def test_a_run_that_is_broken_off_is_told(tmp_path, butler, monkeypatch):
    told = tmp_path / "told"

    def full(self, driver):
        raise ExecutionError("the journal cannot be written: no room")

    monkeypatch.setattr(InProcessFramework, "walk", full)
    with (
        pytest.raises(ExecutionError),
        Notifier([CommandTarget((sys.executable, "-c", RECORD, str(told)))]) as notifier,
    ):
        InProcessFramework().execute(plan(butler), butler, listeners=[notifier])
    (line,) = told.read_text().splitlines()
    assert json.loads(line)["event"] == "broken off"
    assert "no room" in json.loads(line)["message"]


@pytest.mark.parametrize("url", ["ftp://x/y", "file:///etc/passwd", "host/path", "http://"])
def test_what_is_no_web_address_is_refused(url):
    with pytest.raises(ExecutionError, match="it is not an address like https://host/path"):
        UrlTarget(url)


def test_a_command_without_words_is_refused():
    with pytest.raises(ExecutionError, match="a list of words, and this one has none"):
        CommandTarget(())
