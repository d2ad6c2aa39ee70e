#!/usr/bin/python3
"""The test upstream itself: a checker that lets faults pass proves nothing."""

import json
import os
import socket
import ssl

import lumnid_it
from lumnid_it import KEY, zstd

HEAD = {
    "Authorization": f"Bearer {KEY}",
    "Content-Type": "application/json",
    "Idempotency-Key": '"a-1"',
    "User-Agent": "lumnid/0",
    "Lumni-Run-Part": "1",
    "Lumni-Run-Reason": "end",
}
EVENTS = "/v1/ingest/events"
GOOD = b'{"runId":"r","events":[{"n":1},{"n":2}]}'


def post(up, body=GOOD, path=EVENTS, without=(), **over):
    head = dict(HEAD)
    for name, v in over.items():
        head[name.replace("_", "-").title()] = v
    for name in without:
        del head[name]
    return up.request("POST", path, body, head)


def test_takes_what_is_right(t):
    up = t.upstream()
    t.equal(post(up)[0], 202)
    packed = zstd(GOOD)
    t.equal(post(up, packed, content_encoding="zstd",
                 idempotency_key='"a-2"', lumni_run_part="2")[0], 202)
    for path in ("changes", "policies"):
        t.equal(post(up, b'{"a":[1,-2.5e3,"\\u00e9",{}]}',
                     "/v1/ingest/" + path, idempotency_key=f'"{path}"',
                     without=("Lumni-Run-Part", "Lumni-Run-Reason"))[0], 202)
    sums = up.stats()
    t.equal((sums["events"], sums["batches"], sums["records"],
             sums["violations"]), (4, 2, 2, 0))
    line = up.requests()[1]
    t.equal(line["body"], json.loads(GOOD))
    t.equal((line["encoding"], line["bytes"], line["part"], line["reason"]),
            ("zstd", len(packed), 2, "end"))


BAD_HEADS = {
    "key without bearer": dict(authorization=KEY),
    "content type": dict(content_type="text/json"),
    "charset": dict(content_type="application/json; charset=utf-8"),
    "coding": dict(content_encoding="gzip"),
    "bare id": dict(idempotency_key="a-1"),
    "empty id": dict(idempotency_key='""'),
    "quoted twice": dict(idempotency_key='"a"b"'),
    "part zero": dict(lumni_run_part="0"),
    "part word": dict(lumni_run_part="1x"),
    "reason": dict(lumni_run_reason="because"),
    "agent": dict(user_agent="curl/8"),
    "no part": dict(without=("Lumni-Run-Part",)),
    "no reason": dict(without=("Lumni-Run-Reason",)),
    "no id": dict(without=("Idempotency-Key",)),
    "no key": dict(without=("Authorization",)),
    "path": dict(path="/v1/ingest/event"),
    "query": dict(path=EVENTS + "?a=1"),
    "record with part": dict(path="/v1/ingest/changes"),
}


def test_refuses_bad_heads(t):
    up = t.upstream()
    for name, over in BAD_HEADS.items():
        t.equal(post(up, **over)[0], 400, name)
    t.equal(up.request("PUT", EVENTS, GOOD, HEAD)[0], 400, "method")
    t.equal(up.stats()["violations"], len(BAD_HEADS) + 1)


BAD_BODIES = [
    b"", b"{}", b"[]", b"null",
    b'{"events":[{}],"runId":"r"}',
    b'{"runId":"r","events":[]}',
    b'{"runId":"r","events":[1]}',
    b'{"runId":"r","events":[{}],"x":1}',
    b'{"runId":1,"events":[{}]}',
    b'{"runId":"","events":[{}]}',
    b'{"runId":"' + b"r" * 257 + b'","events":[{}]}',
    b'{"runId":"r", "events":[{}]}',
    b'{"runId":"r","events":[{} ]}',
    b'{"runId":"r","events":[{}]}\n',
    b'{"runId":"r","events":[{}]}{}',
    b'{"runId":"r","events":[{},]}',
    b'{"runId":"r","events":[{"a":}]}',
    b'{"runId":"r","events":[{"a" :1}]}',
    b'{"runId":"r","events":[{"a":01}]}',
    b'{"runId":"r","events":[{"a":1.}]}',
    b'{"runId":"r","events":[{"a":NaN}]}',
    b'{"runId":"r","events":[{"a":"\xff"}]}',
    b'{"runId":"r","events":[{"a":"\xed\xa0\x80"}]}',
    b'{"runId":"r","events":[{"a":"\xc0\x80"}]}',
    b'{"runId":"r","events":[{"a":"\xf4\x90\x80\x80"}]}',
    b'{"runId":"r","events":[{"a":"\n"}]}',
    b'{"runId":"r","events":[{"a":"\\x"}]}',
    b'{"runId":"r","events":[{"a":"\\u12g4"}]}',
    b'{"runId":"r","events":[{"a":1}',
    b'{"runId":"r","events":[' + b'{"a":' * 60 + b"1" + b"}" * 60 + b"]}",
]


def test_refuses_bad_bodies(t):
    up = t.upstream()
    for body in BAD_BODIES:
        t.equal(post(up, body)[0], 400, repr(body))
    packed = zstd(GOOD)
    for body in (GOOD, packed[:-3], packed + b"x", packed + packed, b""):
        t.equal(post(up, body, content_encoding="zstd")[0], 400, repr(body))
    sums = up.stats()
    t.equal(sums["violations"], len(BAD_BODIES) + 5)
    t.equal(sums["events"], 0)


def test_keys(t):
    up = t.upstream(dedupe=True)
    t.equal(post(up, authorization="Bearer other")[0], 401)
    up.script("key=other")
    t.equal(post(up)[0], 401)
    up.script(f"key={KEY}")
    t.equal(post(up)[0], 202)
    t.equal(post(up)[0], 202)
    t.equal(post(up, zstd(GOOD), content_encoding="zstd")[0], 202)
    t.equal(post(up, GOOD.replace(b"1", b"3"))[0], 400, "other bytes")
    sums = up.stats()
    t.equal((sums["events"], sums["batches"], sums["duplicates"]), (2, 1, 2))


def test_one_coding_is_one_string(t):
    """The same JSON in another zstd frame is another request."""
    up = t.upstream(dedupe=True)
    text = json.dumps([i * i for i in range(2000)], separators=(",", ":"))
    body = b'{"runId":"r","events":[{"n":' + text.encode() + b'}]}'
    t.true(zstd(body, 1) != zstd(body, 19), "two levels, two frames")
    t.equal(post(up, zstd(body, 1), content_encoding="zstd")[0], 202)
    t.equal(post(up, body)[0], 202)
    t.equal(post(up, zstd(body, 19), content_encoding="zstd")[0], 400)


def test_memory_lasts_over_a_restart(t):
    up = t.upstream(dedupe=True)
    t.equal(post(up)[0], 202)
    up.stop()
    up = t.upstream(dedupe=True)
    t.equal(post(up)[0], 202)
    t.equal(up.stats()["duplicates"], 1)
    t.equal(len(t.taken()), 1)
    t.check_runs({"r": [1, 2]})


def fails(up, **kw):
    """The connection ends, or stays silent, without an answer."""
    try:
        post(up, **kw)
    except (ConnectionError, lumnid_it.http.client.HTTPException,
            TimeoutError, socket.timeout) as e:
        return type(e).__name__
    return None


def test_faults(t):
    up = t.upstream(script="when=next:2 status=503 retry_after=7\n")
    for want in (503, 503, 202):
        status, head, _ = post(up, idempotency_key=f'"{want}"')
        t.equal((status, head["Retry-After"]),
                (want, "7" if want == 503 else None))
    up.script("when=next:1 reset=before  # comment\n"
              "when=next:1 reset=after\nwhen=next:1 cut=before")
    t.equal(fails(up), "ConnectionResetError")
    t.equal(fails(up), "ConnectionResetError")
    t.true(fails(up), "half an answer")
    t.equal([(x["taken"], x["status"]) for x in up.requests()[-3:]],
            [(False, 0), (True, 0), (False, 0)])
    up.script("over=50 status=413\nencoding=zstd status=415\n"
              "marker=POISON status=422 body={\"error\": \"no, not it\"}\n"
              "route=changes status=302 location=/elsewhere\n"
              "events_over=1 status=207 close=1")
    big = b'{"runId":"r","events":[{"n":12345678901234567890}]}'
    t.equal(post(up, big, idempotency_key='"b"')[0], 413)
    t.equal(post(up, zstd(GOOD), content_encoding="zstd")[0], 415)
    t.equal(post(up, b'{"runId":"r","events":[{"POISON":1}]}',
                 idempotency_key='"c"')[2], b'{"error": "no, not it"}')
    t.equal(post(up)[0], 207)
    up.script("taken=0 when=next:1 reset=after\ntaken=1 status=409")
    t.equal(fails(up, idempotency_key='"d"'), "ConnectionResetError")
    t.equal([post(up, idempotency_key=f'"{k}"')[0] for k in "dede"],
            [409, 202, 409, 409])
    t.equal(up.request("POST", "/_test/script", b"when=later status=1")[0],
            400)


def test_partial(t):
    up = t.upstream(script="marker=BAD status=200 partial=422")
    body = b'{"runId":"r","events":[{"n":1},{"n":"BAD"},{"n":3}]}'
    status, _, answer = post(up, body)
    t.equal((status, json.loads(answer)), (200, {"errors": [
        {"index": 1, "status": 422, "error": "refused"}]}))
    t.equal(up.stats()["events"], 2)
    t.check_runs({"r": [1, 3]})


def test_chance_is_repeatable(t):
    up = t.upstream()
    rounds = []
    for _ in range(2):
        up.script("seed=7\nwhen=random:0.5 status=500\n"
                  "when=every:3 status=429\nwhen=from:5-6 status=408")
        rounds.append([post(up)[0] for _ in range(30)])
    t.equal(rounds[0], rounds[1])
    t.equal(set(rounds[0]), {500, 429, 408, 202})


def test_delay_and_stall(t):
    up = t.upstream(script="when=next:1 delay=300\n")
    start = lumnid_it.time.monotonic()
    t.equal(post(up)[0], 202)
    t.true(lumnid_it.time.monotonic() - start >= 0.3, "delayed")
    up.script("stall=after")
    with socket.create_connection(("127.0.0.1", up.port)) as s:
        head = "".join(f"{k}: {v}\r\n" for k, v in HEAD.items())
        s.sendall(f"POST {EVENTS} HTTP/1.1\r\nHost: x\r\n{head}"
                  f"Content-Length: {len(GOOD)}\r\n\r\n".encode() + GOOD)
        up.wait_sums(requests=2)
    t.equal(up.requests()[-1]["taken"], True)


def test_unix_socket(t):
    up = t.upstream(unix_path=t.dir + "/up.sock")
    t.equal(post(up)[0], 202)


def test_tls(t):
    """Against a certificate of its own making."""
    cert, key = os.path.join(t.dir, "cert.pem"), os.path.join(t.dir, "key.pem")
    made = t.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                 "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
                 "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
                 "-keyout", key, "-out", cert)
    t.equal(made.returncode, 0, made.stderr)
    up = t.upstream(extra=["--tls-cert", cert, "--tls-key", key])
    for _ in range(2):
        con = lumnid_it.http.client.HTTPSConnection(
            "127.0.0.1", up.port,
            context=ssl.create_default_context(cafile=cert))
        con.request("POST", EVENTS, GOOD, HEAD)
        t.equal(con.getresponse().status, 202)
        con.close()
    t.equal(len(t.taken()), 2)


def test_cheap(t):
    up = t.upstream(extra=["--cheap", t.dir + "/cheap"])
    t.equal(post(up)[0], 202)
    t.equal(post(up, zstd(GOOD), content_encoding="zstd",
                 idempotency_key='"x"', lumni_run_part="2")[0], 202)
    t.equal(up.wait_sums(requests=2)["requests"], 2)
    t.equal(up.requests(), [])
    up.stop()
    t.equal([x["body"] for x in t.taken()], [json.loads(GOOD)] * 2)


if __name__ == "__main__":
    lumnid_it.main()
