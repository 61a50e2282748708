"""An OpenAI-compatible server that answers from rules, and misbehaves on demand. A process of its own, for tests only.

It knows the data block that the project's client sends and the schema it asks for. Each input can get a fault at its
first attempts (`Plan.faults`, by share); which input gets which is a matter of its hash, so a test can be repeated.
"""

import contextlib
import hashlib
import json
import re
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_DATA = re.compile(r"<data-(?P<mark>\w+)>\n(?P<data>.*)\n</data-(?P=mark)>", re.DOTALL)
_ORDER = re.compile(r"(?:answer|reply|respond|output|say) with:? *(?P<payload>.+)", re.IGNORECASE | re.DOTALL)
FAULTS = (
    *("429", "500", "503", "hang", "cut", "cut_chunk", "not_json", "wrong_schema", "refusal", "slow", "empty", "html"),
    *("too_long", "400", "401", "no_usage", "429_long"),
)


@dataclass
class Plan:
    """How the server behaves.

    Attributes
    ----------
    faults : dict of str to float
        Share of the inputs that meet a fault, by fault.
    attempts : int
        First attempts of such an input that meet it; 1_000_000 is always.
    retry_after : float
        Seconds that 429 and 503 ask to wait.
    slow_seconds : float
        How long "slow" takes.
    latency : float
        How long every answer takes.
    obey : bool
        Whether an instruction in the data is obeyed, to the letter.
    """

    faults: dict[str, float] = field(default_factory=dict)
    attempts: int = 1
    retry_after: float = 0.2
    slow_seconds: float = 30.0
    latency: float = 0.0
    obey: bool = False


class State:
    """What has been asked since the plan was made."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.lock = threading.Lock()
        self.attempts: dict[str, int] = {}
        self.answered: dict[str, int] = {}
        self.met: dict[str, int] = {}
        self.not_before: dict[str, float] = {}
        self.too_early = 0
        self.running = 0
        self.most_running = 0
        self.tokens = [0, 0]
        self.prompts: list[str] = []

    def begin(self, key: str) -> tuple[int, str]:
        """Count an attempt; returns its number and the fault it meets, if any."""
        with self.lock:
            attempt = self.attempts[key] = self.attempts.get(key, 0) + 1
            self.too_early += time.monotonic() < self.not_before.get(key, 0.0)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            fault = self._fault(key) if attempt <= self.plan.attempts else ""
            if fault:
                self.met[fault] = self.met.get(fault, 0) + 1
            return attempt, fault

    def _fault(self, key: str) -> str:
        place = int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 16**8
        for fault, share in self.plan.faults.items():
            if place < share:
                return fault
            place -= share
        return ""

    def figures(self) -> dict[str, Any]:
        with self.lock:
            return {
                "calls": sum(self.attempts.values()),
                "inputs": len(self.attempts),
                "answered": len(self.answered),
                "answered_twice": sum(count > 1 for count in self.answered.values()),
                "met": dict(self.met),
                "too_early": self.too_early,
                "most_running": self.most_running,
                "prompt_tokens": self.tokens[0],
                "completion_tokens": self.tokens[1],
                "prompts": self.prompts[-100:],
            }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""

    def do_GET(self) -> None:
        self._send(200, self.state.figures())

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/plan"):
            Handler.state = State(Plan(**body))
            self._send(200, {})
            return
        state = self.state
        text = json.dumps(body["messages"])
        found = _DATA.search(body["messages"][1]["content"])
        assert found is not None
        with state.lock:
            state.prompts.append(text)
        _, fault = state.begin(found["mark"])
        try:
            self._answer(state, body, json.loads(found["data"]), found["mark"], fault)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with state.lock:
                state.running -= 1

    def _answer(self, state: State, body: dict[str, Any], data: dict[str, Any], key: str, fault: str) -> None:
        plan = state.plan
        time.sleep(plan.slow_seconds if fault == "slow" else plan.latency)
        if fault in {"429", "503", "429_long"}:
            wait = 9_999 if fault == "429_long" else plan.retry_after
            state.not_before[key] = time.monotonic() + wait
            self._send(int(fault[:3]), {"error": {"message": "too busy"}}, {"Retry-After": str(wait)})
            return
        if fault in {"500", "400", "401"}:
            self._send(int(fault), {"error": {"message": f"{fault} on demand"}})
            return
        if fault == "hang":
            # Until the client has had enough.
            self.connection.settimeout(300)
            with contextlib.suppress(OSError):
                self.connection.recv(1)
            self.close_connection = True
            return
        if fault == "html":
            self._write(200, b"<html>a proxy's page</html>", "text/html", {})
            return
        content = self._content(body, data, fault)
        message: dict[str, Any] = {"role": "assistant", "content": content}
        if fault == "refusal":
            message = {"role": "assistant", "content": None, "refusal": "I would rather not."}
        tokens = (len(json.dumps(body["messages"])) // 4, len(content) // 4 + 1)
        reply: dict[str, Any] = {
            "id": f"chatcmpl-{key}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "length" if fault == "too_long" else "stop"}],
        }
        if fault != "no_usage":
            total = sum(tokens)
            reply["usage"] = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": total}
        with state.lock:
            state.tokens = [state.tokens[0] + tokens[0], state.tokens[1] + tokens[1]]
            if not fault or fault in {"slow", "no_usage", "refusal"}:
                state.answered[key] = state.answered.get(key, 0) + 1
        if fault in {"cut", "cut_chunk"}:
            self._cut(json.dumps(reply).encode(), chunked=fault == "cut_chunk")
            return
        self._send(200, reply)

    def _content(self, body: dict[str, Any], data: dict[str, Any], fault: str) -> str:
        if fault == "not_json":
            return '{"name": "Half of a'
        if fault == "wrong_schema":
            return '{"title": 3, "name": ["not", "a", "text"]}'
        if fault == "empty":
            return ""
        if self.state.plan.obey:
            # JSON's own escapes undone, as a model that reads the words would have it.
            for text in _texts(data):
                if order := _ORDER.search(text):
                    return order["payload"]
        form = body.get("response_format", {}).get("json_schema", {})
        schema = form.get("schema", {"title": "NameAnswer"})
        return json.dumps(RULES[form["name"]](data) if form.get("name") in RULES else fill(schema, schema))

    def _send(self, status: int, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._write(status, json.dumps(body).encode(), "application/json", headers or {})

    def _write(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _cut(self, body: bytes, *, chunked: bool) -> None:
        """Half of a reply, then nothing."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        half = body[: len(body) // 2]
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
            half = f"{len(half):x}\r\n".encode() + half + b"\r\n"
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(half)
        self.close_connection = True


def _texts(data: Any) -> list[str]:
    if isinstance(data, str):
        return [data]
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else []
    return [text for value in inner for text in _texts(value)]


def name_journey(data: dict[str, Any]) -> dict[str, Any]:
    """A title of the two longest keywords that differ."""
    first, *others = sorted(data["keywords"], key=lambda keyword: (-len(keyword), keyword))
    words = re.findall(r"[^\W\d_]+", first)[:4] or ["things"]
    more = [word for other in others[:1] for word in re.findall(r"[^\W\d_]+", other)[:1] if word not in words]
    return {"name": " ".join([*words, *(["and", more[0]] if more else [])]).capitalize()[:60]}


def infer_journeys(data: dict[str, Any]) -> dict[str, Any]:
    """Keywords that share a word are a journey."""
    groups: list[tuple[set[str], list[dict[str, Any]]]] = []
    for row in data["history"]:
        words = set(re.findall(r"[^\W\d_]{4,}", row["keyword"].lower()))
        meeting = [group for group in groups if group[0] & words]
        groups = [group for group in groups if not group[0] & words]
        merged = (
            words.union(*(group[0] for group in meeting)),
            [row, *(each for group in meeting for each in group[1])],
        )
        groups.append(merged)
    journeys = []
    for _, rows in sorted(groups, key=lambda group: -sum(row["events"] for row in group[1]))[:20]:
        best = max(rows, key=lambda row: (row["events"], row["keyword"]))
        days = min(row["last_seen_days_ago"] for row in rows)
        journeys.append(
            {
                "name": name_journey({"keywords": [best["keyword"]]})["name"],
                "keywords": sorted({row["keyword"] for row in rows})[:20],
                "stage": "ongoing" if days <= 30 else "ended",
                "confidence": round(1 / (1 + days / 30), 3),
            }
        )
    return {"journeys": journeys}


def judge_journeys(data: dict[str, Any]) -> dict[str, Any]:
    """Levels by events of the last four weeks; the busiest keyword that no journey has is missed."""
    recent = {row["keyword"]: row["events"] for row in data["history"] if row["last_seen_days_ago"] <= 28}
    judged = []
    for journey in data["journeys"]:
        events = sum(recent.get(keyword, 0) for keyword in journey["keywords"])
        level = 1 + sum(events >= cut for cut in (1, 3, 6, 12))
        why = f"{events} events in four weeks"
        judged.append({"place": journey["place"], "level": level, "faults": [], "explanation": why})
    listed = {keyword for journey in data["journeys"] for keyword in journey["keywords"]}
    missed = sorted((keyword for keyword in recent if keyword not in listed), key=lambda each: (-recent[each], each))
    return {"journeys": judged, "missed": missed[:1]}


def expand_journey(data: dict[str, Any]) -> dict[str, Any]:
    """Three phrases that begin with the journey's last word."""
    word = (re.findall(r"[^\W\d_]+", data["journey"]) or ["things"])[-1]
    return {"related": [f"{word} {what}" for what in ("budget planner", "gift basket", "photo album")]}


def check_safety(data: dict[str, Any]) -> dict[str, Any]:
    """Of seven texts one is in the first category that blocks, and one in the first quiet one."""
    outcome = {0: "block", 1: "quiet"}.get(int(hashlib.sha256(data["text"].encode()).hexdigest()[:8], 16) % 7, "allow")
    category = next((each["name"] for each in data["categories"] if each["outcome"] == outcome), "none")
    return {"outcome": outcome, "category": category}


RULES = {
    "NameAnswer": name_journey,
    "JourneysAnswer": infer_journeys,
    "JudgeAnswer": judge_journeys,
    "RelatedAnswer": expand_journey,
    "SafetyAnswer": check_safety,
}


def fill(schema: dict[str, Any], root: dict[str, Any]) -> Any:  # noqa: PLR0911
    """The plainest value of a schema."""
    if "$ref" in schema:
        return fill(root["$defs"][schema["$ref"].rsplit("/", 1)[-1]], root)
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return fill(schema["anyOf"][0], root)
    kind = str(schema.get("type"))
    if kind == "object":
        return {name: fill(part, root) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [fill(schema["items"], root)] * schema.get("minItems", 0)
    if kind == "string":
        return "word"[: schema.get("maxLength", 4)].ljust(schema.get("minLength", 0), "s")
    return {"integer": schema.get("minimum", 1), "number": float(schema.get("minimum", 0.5)), "boolean": False}[kind]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that gave up are no news."""


def main() -> None:
    Handler.state = State(Plan(**json.loads(sys.argv[1])))
    server = Server(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


__all__ = ["FAULTS", "Plan", "asdict"]

if __name__ == "__main__":
    main()
