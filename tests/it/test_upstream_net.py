#!/usr/bin/python3
"""The road to the upstream with real things on it: an HTTP/2 server, a
forward proxy, certificates, a resolver."""

import contextlib
import os
import shutil
import signal
import socket
import time

import lumnid_it
from lumnid_it import KEY, SLOW, Process, Skip, wait_for

# GET /status tells the books.
BOOKS = {"http": "127.0.0.1:0"}
SAN = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"


def tool(name):
    """The path of a program, or a skip."""
    path = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        raise Skip(f"{name} is not installed")
    return path


def hold_port(t, host="127.0.0.1"):
    """A port for a server that cannot choose one: bound, never listening."""
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind((host, 0))
    except OSError as e:
        s.close()
        raise Skip(f"{host}: {e}") from None
    t.files.callback(s.close)
    return s.getsockname()[1]


class Server(Process):
    """A server that listens on a known port, ended by a kill."""

    def __init__(self, t, argv, name, host, port):
        super().__init__(t, argv, name)

        def listens():
            if not self.alive():
                raise lumnid_it.Failure(f"{name} ended\n" + self.log())
            with contextlib.suppress(OSError):
                socket.create_connection((host, port), 1).close()
                return True
            return False
        wait_for(f"{name} to listen", listens, context=self.log)

    def stop(self, seconds=20):
        self.kill()


# --- certificates ---

def openssl(t, *args):
    done = t.run(tool("openssl"), *args)
    t.equal(done.returncode, 0, done.stderr)


class Authority:
    """A private CA, and what it signs."""

    def __init__(self, t):
        self.t = t
        self.cert, self.key = t.dir + "/ca.pem", t.dir + "/ca.key"
        openssl(t, "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                "/CN=a private CA", "-keyout", self.key, "-out", self.cert)

    def sign(self, name, san=SAN, days=2):
        """Returns (certificate, key)."""
        base = os.path.join(self.t.dir, name)
        openssl(self.t, "req", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                "-keyout", base + ".key", "-out", base + ".csr")
        with open(base + ".ext", "w", encoding="ascii") as f:
            f.write(san + "\n")
        openssl(self.t, "x509", "-req", "-in", base + ".csr", "-CA",
                self.cert, "-CAkey", self.key, "-CAcreateserial", "-days",
                str(days), "-extfile", base + ".ext", "-out", base + ".pem")
        return base + ".pem", base + ".key"


# --- servers ---

class Front(Server):
    """nghttpx, which speaks TLS and HTTP/2, before the test upstream."""

    def __init__(self, t, up, cert=None, host="127.0.0.1", extra=()):
        self.port = hold_port(t, host)
        self.access = os.path.join(t.dir, f"access.{self.port}")
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if cert else 'http'}://{shown}:{self.port}"
        no_tls = "" if cert else ";no-tls"
        conf = os.path.join(t.dir, "no.conf")
        with open(conf, "w", encoding="ascii"):
            pass
        super().__init__(t, [
            tool("nghttpx"), f"--conf={conf}", "--single-process",
            "--workers=1", f"--frontend={host},{self.port}{no_tls}",
            f"--backend=127.0.0.1,{up.port}", "--no-ocsp",
            "--backend-connections-per-host=64",
            "--errorlog-file=/dev/stderr", f"--accesslog-file={self.access}",
            "--accesslog-format=$remote_port $alpn $status $request",
            *extra, *(reversed(cert) if cert else ())],
            "nghttpx", host, self.port)

    def requests(self):
        """(client's port, protocol, status) of each POST."""
        out = []
        with open(self.access, encoding="utf-8") as f:
            for line in f:
                w = line.split()
                if len(w) > 3 and w[3] == "POST":
                    out.append((int(w[0]), w[1], int(w[2])))
        return out

    def versions(self):
        """As the request lines tell them."""
        with open(self.access, encoding="utf-8") as f:
            return {line.split()[-1] for line in f if " POST " in line}


class Proxy(Server):
    """tinyproxy, with basic authentication."""

    def __init__(self, t, user="agent", word="s3cr3t-word"):
        self.port = hold_port(t)
        t.secrets.add(word)
        self.url = f"http://{user}:{word}@127.0.0.1:{self.port}"
        self.bare = f"http://127.0.0.1:{self.port}"
        conf = os.path.join(t.dir, "tinyproxy.conf")
        with open(conf, "w", encoding="ascii") as f:
            f.write(f"Port {self.port}\nListen 127.0.0.1\nTimeout 60\n"
                    f"BasicAuth {user} {word}\nLogLevel Connect\n")
        super().__init__(t, [tool("tinyproxy"), "-d", "-c", conf],
                         "tinyproxy", "127.0.0.1", self.port)

    def tunnels(self):
        return self.log(10 ** 9).count("CONNECT ")


def send(t, first, n):
    """n complete runs of one event; what check_runs() wants to know."""
    s = t.stream()
    for i in range(first, first + n):
        s.send({"runId": f"r{i}", "n": 0, "type": "run_end"})
    return {f"r{i}": [0] for i in range(first, first + n)}


def delivered(t, up, n, seconds=60):
    """All n came, once, and the books say so."""
    up.wait_sums(events=n, seconds=seconds)
    return t.check_books(accepted=n, delivered=n, pending=0, dead=0)


def no_answers(t):
    """How many requests have had no answer, as GET /metrics tells."""
    for line in t.daemon.get("/metrics")[1].split("\n"):
        if line.startswith('lumnid_upstream_answers_total{code="none"}'):
            return int(line.split()[1])
    raise lumnid_it.Failure("no such metric")


# --- HTTP/1.1 and 2 ---

def test_keep_alive(t):
    """Many requests, as few connections as are allowed."""
    up = t.upstream()
    t.lumnid(listen=BOOKS, upstream={"connections": 2})
    before = up.stats()["connections"]
    sent = {}
    for i in range(10):
        sent.update(send(t, i * 10, 10))
        up.wait_sums(events=i * 10 + 10)
    # Each look at the sums, and each wait, was a connection of its own.
    used = up.stats()["connections"] - before - 11
    t.true(1 <= used <= 2, f"{used} connections")
    delivered(t, up, 100)
    t.daemon.stop()
    t.check_runs(sent)


def together(t, seconds):
    """The most requests that came within so many seconds."""
    times = [x["time"] for x in t.taken()]
    return max(sum(a <= x < a + seconds for x in times) for a in times)


def test_http2(t):
    """All requests go over one connection, several at the same time."""
    ca = Authority(t)
    up = t.upstream(script="delay=500")
    front = Front(t, up, ca.sign("server"))
    t.lumnid(listen=BOOKS, upstream={
        "url": front.url, "ca_file": ca.cert, "connections": 8})
    sent = send(t, 0, 40)
    delivered(t, up, 40)
    t.daemon.stop()
    t.check_runs(sent)
    got = front.requests()
    t.equal({x[1] for x in got}, {"h2"}, "protocols")
    t.equal(len({x[0] for x in got}), 1, f"connections: {got}")
    # An answer takes half a second, so these were under way together.
    t.true(together(t, 0.45) >= 4, f"at once: {together(t, 0.45)}")


def test_http2_is_not_forced(t):
    """upstream.http: 1.1 where the server could speak 2; and 2 without TLS."""
    ca = Authority(t)
    for http, cert, want in (("1.1", ca.sign("server"), "http/1.1"),
                             ("2", None, "HTTP/2")):
        c = t.sub(http)
        up = c.upstream()
        front = Front(c, up, cert)
        c.lumnid(listen=BOOKS, upstream={
            "url": front.url, "ca_file": ca.cert, "http": http})
        sent = send(c, 0, 10)
        delivered(c, up, 10)
        c.daemon.stop()
        c.check_runs(sent)
        if cert:
            t.equal({x[1] for x in front.requests()}, {want}, "protocols")
        else:
            t.equal(front.versions(), {want}, "versions")


def connection_state(t, port):
    """The states of lumnid's connections to this port (proc_net_tcp(5))."""
    states = []
    with open("/proc/net/tcp", encoding="ascii") as f:
        for line in f.readlines()[1:]:
            w = line.split()
            if int(w[2].split(":")[1], 16) == port and \
                    w[9] in t.daemon._inodes():
                states.append(w[3])
    return states


def test_server_that_closes_idle_connections(t):
    """It is no failure, no attempt is counted, and nothing comes twice."""
    up = t.upstream(extra=["--idle-timeout", "1"])
    t.lumnid(listen=BOOKS, upstream={"connections": 1})
    for i in range(3):
        send(t, i, 1)
        up.wait_sums(events=i + 1)
        # 01 is an open connection; what has closed is closed or waits.
        wait_for("the connection to be closed", lambda:
                 "01" not in connection_state(t, up.port))
    delivered(t, up, 3)
    t.equal(no_answers(t), 0, "requests without an answer")
    t.daemon.stop()
    t.equal(up.stats()["requests"], 3, "requests")
    t.true("upstream_down" not in t.daemon.log(1000), "nothing is said")


def test_http2_server_that_goes_away(t):
    """GOAWAY after each few requests: nothing is lost, nothing twice."""
    ca = Authority(t)
    up = t.upstream(script="delay=5")
    front = Front(t, up, ca.sign("server"),
                  extra=["--frontend-max-requests=7"])
    t.lumnid(listen=BOOKS, upstream={"url": front.url, "ca_file": ca.cert})
    sent = send(t, 0, 60)
    delivered(t, up, 60)
    t.daemon.stop()
    t.check_runs(sent)
    t.true(len({x[0] for x in front.requests()}) > 1, "connections")


# --- proxies ---

def test_proxy(t):
    """A tunnel through a proxy that wants a password; upstream.proxy."""
    ca = Authority(t)
    up = t.upstream()
    front = Front(t, up, ca.sign("server"))
    proxy = Proxy(t)
    t.lumnid(listen=BOOKS, upstream={
        "url": front.url, "ca_file": ca.cert, "proxy": proxy.url})
    sent = send(t, 0, 10)
    delivered(t, up, 10)
    shown = t.run(lumnid_it.program("lumnid"), "-c", t.conf, "--print-config",
                  env={"LUMNI_API_KEY": KEY})
    t.equal(shown.returncode, 0, shown.stderr)
    t.true("s3cr3t-word" not in shown.stdout + shown.stderr, shown.stdout)
    t.daemon.stop()
    t.check_runs(sent)
    t.true(proxy.tunnels() >= 1, "the proxy was used\n" + proxy.log())


def test_proxy_refuses(t):
    """The wrong password holds everything, in words that say what to
    correct; a reload mends it."""
    ca = Authority(t)
    up = t.upstream()
    front = Front(t, up, ca.sign("server"))
    proxy = Proxy(t)
    upstream = {"url": front.url, "ca_file": ca.cert, "proxy":
                proxy.url.replace("s3cr3t-word", "wrong")}
    t.lumnid(listen=BOOKS, upstream=upstream)
    sent = send(t, 0, 3)
    t.daemon.wait_line("upstream_hold.*upstream.proxy")
    t.equal(up.stats()["requests"], 0, "requests")
    t.configure(listen=BOOKS, upstream=dict(upstream, proxy=proxy.url))
    t.daemon.signal(signal.SIGHUP)
    delivered(t, up, 3)
    t.daemon.stop()
    t.check_runs(sent)


def test_proxy_of_the_environment(t):
    """HTTPS_PROXY and NO_PROXY are obeyed; upstream.proxy: none is none."""
    ca = Authority(t)
    up = t.upstream()
    front = Front(t, up, ca.sign("server"))
    proxy = Proxy(t)
    n = 0
    dead = f"http://127.0.0.1:{hold_port(t)}"
    for env, conf, tunnels in (
            ({"HTTPS_PROXY": proxy.url}, {}, True),
            ({"HTTPS_PROXY": dead, "NO_PROXY": "127.0.0.1"}, {}, False),
            ({"HTTPS_PROXY": dead}, {"proxy": "none"}, False)):
        before = proxy.tunnels()
        t.lumnid(env=dict(env, LUMNI_API_KEY=KEY), listen=BOOKS,
                 upstream={"url": front.url, "ca_file": ca.cert, **conf})
        send(t, n, 5)
        n += 5
        delivered(t, up, n)
        t.daemon.stop()
        t.equal(proxy.tunnels() > before, tunnels, f"{env}: tunnel")


def test_proxy_without_tls(t):
    """A plain upstream: the proxy is asked in its own way. The key is meant
    for the upstream, the password for the proxy."""
    up = t.upstream()
    proxy = Proxy(t)
    t.lumnid(listen=BOOKS, upstream={"proxy": proxy.url})
    sent = send(t, 0, 5)
    delivered(t, up, 5)
    t.daemon.stop()
    t.check_runs(sent)


# --- TLS ---

def held(t, words):
    """Nothing is lost; log, status and readiness say why nothing goes."""
    t.daemon.wait_line(f"upstream_hold.*{words}")
    st = t.check_books(accepted=3, pending=3, delivered=0, dead=0)
    t.equal(st["upstream"]["state"], "hold", "state")
    t.true(words in st["upstream"]["why"], f"status: {st['upstream']}")
    code, body = t.daemon.get("/readyz")
    t.true(code == 503 and words in body, f"readyz: {code} {body}")


def test_private_ca(t):
    """Unknown until upstream.ca_file names it and a reload reads it."""
    ca = Authority(t)
    up = t.upstream()
    front = Front(t, up, ca.sign("server"))
    t.lumnid(listen=BOOKS, upstream={"url": front.url})
    sent = send(t, 0, 3)
    held(t, "unknown CA")
    t.equal(up.stats()["requests"], 0, "the key was given to nobody")
    t.configure(listen=BOOKS, upstream={"url": front.url,
                                        "ca_file": ca.cert})
    t.daemon.signal(signal.SIGHUP)
    delivered(t, up, 3)
    t.daemon.stop()
    t.check_runs(sent)


def test_bad_certificates(t):
    """Expired, or of another host: held, and mended at the server."""
    worlds = []
    for name, words, made in (
            ("expired", "has expired", {"days": -1}),
            ("elsewhere", "another host name", {
                "san": "subjectAltName=DNS:other.example"})):
        c = t.sub(name)
        ca = Authority(c)
        up = c.upstream()
        front = Front(c, up, ca.sign(name, **made))
        c.lumnid(listen=BOOKS, upstream={
            "url": front.url.replace("127.0.0.1", "localhost"),
            "ca_file": ca.cert})
        worlds.append((c, ca, up, front, words, send(c, 0, 3)))
    for c, ca, up, front, words, sent in worlds:
        held(c, words)
        front.kill()
        good = ca.sign("server")
        Server(c, front.proc.args[:-2] + list(reversed(good)), "nghttpx",
               "127.0.0.1", front.port)
    for c, ca, up, front, words, sent in worlds:
        delivered(c, up, 3)
        c.daemon.stop()
        c.check_runs(sent)


def test_mutual_tls(t):
    """Without its certificate lumnid is turned away and keeps everything;
    with it, after a reload, all is delivered."""
    ca = Authority(t)
    up = t.upstream()
    front = Front(t, up, ca.sign("server"), extra=[
        "--verify-client", f"--verify-client-cacert={ca.cert}"])
    cert, key = ca.sign("client")
    upstream = {"url": front.url, "ca_file": ca.cert}
    t.lumnid(listen=BOOKS, upstream=upstream)
    sent = send(t, 0, 3)
    t.daemon.wait_line("upstream_(hold|down).*certificate.*")
    t.check_books(accepted=3, pending=3, delivered=0, dead=0)
    t.configure(listen=BOOKS, upstream=dict(upstream, cert_file=cert,
                                            key_file=key))
    t.daemon.signal(signal.SIGHUP)
    delivered(t, up, 3)
    t.daemon.stop()
    t.check_runs(sent)


# --- addresses ---

def test_ipv6(t):
    up = t.upstream()
    front = Front(t, up, host="::1")
    t.lumnid(listen=BOOKS, upstream={"url": front.url})
    sent = send(t, 0, 5)
    delivered(t, up, 5)
    t.daemon.stop()
    t.check_runs(sent)


def test_unix_socket(t):
    path = os.path.join(t.dir, "upstream.sock")
    t.upstream().stop()
    up = t.upstream(unix_path=path)
    t.lumnid(listen=BOOKS, upstream={"url": "http://lumni.example",
                                     "unix_socket": path})
    sent = send(t, 0, 5)
    delivered(t, up, 5)
    t.daemon.stop()
    t.check_runs(sent)


def test_unix_url(t):
    """http+unix:///path, with a letter that needs an escape; no proxy is
    asked."""
    path = os.path.join(t.dir, "up stream.sock")
    t.upstream().stop()
    up = t.upstream(unix_path=path)
    dead = f"http://127.0.0.1:{hold_port(t)}"
    t.lumnid(listen=BOOKS, env={"LUMNI_API_KEY": KEY, "http_proxy": dead,
                                "ALL_PROXY": dead},
             upstream={"url": "http+unix://" + path.replace(" ", "%20")})
    sent = send(t, 0, 5)
    delivered(t, up, 5)
    t.daemon.stop()
    t.check_runs(sent)


def test_tls_files_are_watched(t):
    """A CA and a client certificate that are corrected are noticed within
    seconds, without a reload; and so is one that is renewed."""
    ca = Authority(t)
    up = t.upstream()
    front = Front(t, up, ca.sign("server"), extra=[
        "--verify-client", f"--verify-client-cacert={ca.cert}"])
    other = t.sub("other")
    wrong = Authority(other)
    cert, key = wrong.sign("client")
    paths = {name: os.path.join(t.dir, "our-" + name)
             for name in ("ca", "cert", "key")}

    def put(**files):
        for name, source in files.items():
            shutil.copy(source, paths[name] + ".new")
            os.rename(paths[name] + ".new", paths[name])
    put(ca=wrong.cert, cert=cert, key=key)
    t.lumnid(listen=BOOKS, upstream={
        "url": front.url, "ca_file": paths["ca"],
        "cert_file": paths["cert"], "key_file": paths["key"]})
    sent = send(t, 0, 3)
    held(t, "unknown CA")
    put(ca=ca.cert)
    _, after = t.daemon.wait_line("tls_files_changed")
    # Now the server turns the client away.
    t.daemon.wait_line("upstream_(hold|down).*certificate.*", after=after)
    cert, key = ca.sign("client")
    put(cert=cert, key=key)
    begun = time.monotonic()
    delivered(t, up, 3)
    t.true(time.monotonic() - begun < 20 * SLOW, "within seconds")
    first = {x[0] for x in front.requests()}
    cert, key = ca.sign("renewed")
    put(cert=cert, key=key)

    def noticed():
        n = len(sent)
        sent.update(send(t, n, 1))
        delivered(t, up, n + 1)
        return {x[0] for x in front.requests()} - first
    wait_for("a connection that knows the renewed one", noticed, step=0.3)
    t.daemon.stop()
    t.check_runs(sent)


class Resolver:
    """A mount namespace of lumnid's own with other /etc/hosts and
    resolv.conf; the name server there never answers."""

    def __init__(self, t):
        tool("unshare")
        done = t.run("unshare", "-m", "true")
        if done.returncode != 0:
            raise Skip(f"no mount namespaces: {done.stderr.strip()}")
        silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        t.files.callback(silent.close)
        try:
            silent.bind(("127.0.0.53", 53))
        except OSError as e:
            raise Skip(f"port 53: {e}") from None
        self.hosts = os.path.join(t.dir, "hosts")
        resolv = os.path.join(t.dir, "resolv.conf")
        switch = os.path.join(t.dir, "nsswitch.conf")
        self.tell("")
        for path, text in ((resolv, "nameserver 127.0.0.53\n"
                            "options timeout:5 attempts:5\n"),
                           (switch, "hosts: files dns\n")):
            with open(path, "w", encoding="ascii") as f:
                f.write(text)
        self.wrapper = os.path.join(t.dir, "lumnid.sh")
        with open(self.wrapper, "w", encoding="ascii") as f:
            f.write("#!/bin/sh\nset -e\n")
            for a, b in ((self.hosts, "hosts"), (resolv, "resolv.conf"),
                         (switch, "nsswitch.conf")):
                f.write(f"mount --bind {a} /etc/{b}\n")
            f.write(f'exec {lumnid_it.program("lumnid")} "$@"\n')
        os.chmod(self.wrapper, 0o700)

    def tell(self, line):
        with open(self.hosts, "w", encoding="ascii") as f:
            f.write("127.0.0.1 localhost\n" + line)

    def lumnid(self, t, **conf):
        real = lumnid_it.program
        try:
            lumnid_it.program = lambda name: \
                self.wrapper if name == "lumnid" else real(name)
            popen = Process.__init__

            def unshared(p, case, argv, name, env=None, **kw):
                popen(p, case, ["unshare", "-m", *argv], name, env, **kw)
            Process.__init__ = unshared
            return t.lumnid(**conf)
        finally:
            lumnid_it.program = real
            Process.__init__ = popen


def test_name_that_does_not_resolve(t):
    """A name server that is silent for many seconds holds up nothing but
    the requests; when the name is there, all is delivered."""
    up = t.upstream()
    names = Resolver(t)
    names.lumnid(t, listen=BOOKS, upstream={
        "url": f"http://upstream.test:{up.port}", "timeout": "1s"})
    s = t.stream()
    n = 0
    end = time.monotonic() + 4
    slowest = 0
    # Beyond the first request's limit: ending it must not wait either.
    while time.monotonic() < end:
        begun = time.monotonic()
        t.equal(s.ask({"runId": f"r{n}", "ack": n, "end": True,
                       "events": [{"n": 0}]}), {"ack": n}, "answer")
        slowest = max(slowest, time.monotonic() - begun)
        n += 1
        time.sleep(0.02)    # as an agent does, not as fast as it can
    t.true(slowest < 2 * SLOW, f"an ack took {slowest:.1f} s")
    t.daemon.wait_line("upstream_down.*(resolve|[Rr]esolving)")
    t.equal(up.stats()["requests"], 0, "requests")
    names.tell("127.0.0.1 upstream.test\n")
    delivered(t, up, n)
    t.daemon.stop()
    t.check_runs({f"r{i}": [0] for i in range(n)})


def test_stop_while_resolving(t):
    """A stop does not wait for a name server."""
    up = t.upstream()
    names = Resolver(t)
    names.lumnid(t, listen=BOOKS, upstream={
        "url": f"http://upstream.test:{up.port}", "timeout": "30s"})
    s = t.stream()
    t.equal(s.ask({"runId": "r0", "ack": 1, "end": True,
                   "events": [{"n": 0}]}), {"ack": 1}, "answer")
    wait_for("the request to be under way", lambda:
             t.daemon.status()["upstream"]["in_flight"] == 1)
    begun = time.monotonic()
    t.daemon.stop()
    took = time.monotonic() - begun
    # Requests under way have five seconds; the resolver takes 25.
    t.true(took < 15, f"the stop took {took:.1f} s")
    names.tell("127.0.0.1 upstream.test\n")
    names.lumnid(t)
    delivered(t, up, 1)


if __name__ == "__main__":
    lumnid_it.main()
