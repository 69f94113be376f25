#!/usr/bin/env python3
"""Try nginx, haproxy and vllm-router in front of `glia serve`, with the configurations of docs/SERVING.md.

    tools/check_proxies.py [--glia build/glia] [--model models/qwen3-demo] [--only nginx,haproxy,vllm-router]

Starts two servers, then each program that is installed (Debian: nginx-light haproxy; PyPI: vllm-router): with
the text of the page, in which only addresses, ports and the paths of the certificate are replaced. Checks
answers, streams (their events must arrive one by one), TLS, a long body, and that requests go on when a replica
drains. Prints versions, one line for each check, and SKIPPED for what is not installed. The exit status is 1 if a
check failed.
"""
import argparse
import http.client
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

PAGE = (pathlib.Path(__file__).resolve().parent.parent / "docs/SERVING.md").read_text()
failed = 0


def check(name, good, found=""):
    global failed
    print(f"{'ok      ' if good else 'FAILED  '}{name}{'' if good else f': {found}'}", flush=True)
    failed += not good


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def block(language):
    """The text of the page's first block of a language."""
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.S)[1]


class Process:
    def __init__(self, command, log):
        self.log = open(log, "w+")
        self.process = subprocess.Popen([str(c) for c in command], stdout=self.log, stderr=self.log)

    def said(self):
        return pathlib.Path(self.log.name).read_text()

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(60)


class Replica(Process):
    def __init__(self, options, directory, name):
        self.port = free_port()
        super().__init__([options.glia, "serve", options.model, "--served-model-name", "m", "--port", self.port,
                          "--threads", 1, "--block-size", 32], directory / f"{name}.log")
        wait(self.port, None)


def connect(port, trust):
    if trust is None:
        return http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    return http.client.HTTPSConnection("localhost", port, timeout=60, context=ssl.create_default_context(cafile=trust))


def ask(port, trust, method, path, body=None, headers={}):
    c = connect(port, trust)
    c.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json", **headers})
    r = c.getresponse()
    return r, r.read().decode()


def wait(port, trust):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if ask(port, trust, "GET", "/health")[0].status == 200:
                return
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"nothing answers on port {port}")


ASK = {"prompt": [9] * 100, "max_tokens": 200, "ignore_eos": True, "temperature": 0, "stream": True}


def check_stream(port, trust):
    """Events arrive while the answer is made, not at its end."""
    c = connect(port, trust)
    c.request("POST", "/v1/completions", json.dumps(ASK), {"Content-Type": "application/json"})
    r, times, lines = c.getresponse(), [], []
    while line := r.readline():
        if line.startswith(b"data: "):
            times.append(time.monotonic())
            lines.append(line)
    whole = len(lines) > 100 and lines[-1].strip() == b"data: [DONE]"
    check(f"a stream of {len(lines)} events", whole, lines[-1:])
    apart = sum(b - a > 1e-4 for a, b in zip(times, times[1:]))
    check(f"{apart} of them arrive apart from the one before", apart > len(times) / 4)


def check_answers(port, trust):
    r, text = ask(port, trust, "POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8},
                  {"X-Request-Id": "mine"})
    check("a chat", r.status == 200 and json.loads(text)["choices"], text)
    check("an id", bool(r.getheader("X-Request-Id")), r.getheaders())
    r, text = ask(port, trust, "POST", "/v1/completions", {"prompt": "a", "max_tokens": 1, "user": "u" * (3 << 20)})
    check("a body of 3 MiB", r.status == 200, text[:200])
    check_stream(port, trust)


def check_drain(port, trust, replica):
    """One replica drains: every request is still answered."""
    replica.process.send_signal(signal.SIGTERM)
    statuses = []
    for _ in range(30):
        statuses.append(ask(port, trust, "POST", "/v1/completions", {"prompt": "a", "max_tokens": 1})[0].status)
        time.sleep(0.1)
    check("30 requests while a replica drains", statuses == [200] * 30, statuses)
    check("the replica ends with status 0", replica.process.wait(60) == 0)


def certificate(directory):
    key, cert = directory / "glia.key", directory / "glia.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    return key, cert


# ---- programs --------------------------------------------------------------------------------------------


def run_nginx(program, options, directory):
    port, a = free_port(), Replica(options, directory, "a")
    key, cert = certificate(directory)
    text = block("nginx").replace("127.0.0.1:8000", f"127.0.0.1:{a.port}").replace("listen 443", f"listen 127.0.0.1:{port}")
    text = text.replace("/etc/ssl/glia.pem", str(cert)).replace("/etc/ssl/glia.key", str(key))
    temporary = "".join(f"{n}_temp_path {directory}/{n};\n" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (directory / "nginx.conf").write_text(f"daemon off;\n{'user root;' if os.geteuid() == 0 else ''}\npid {directory}/pid;\nerror_log {directory}/error.log;\nevents {{}}\n"
                                          f"http {{\naccess_log off;\n{temporary}{text}}}\n")
    proxy = Process([program, "-c", directory / "nginx.conf"], directory / "nginx.log")
    wait(port, cert)
    check_answers(port, cert)
    check("nginx ends with status 0", proxy.end(signal.SIGQUIT) == 0, proxy.said())
    a.end()


def run_haproxy(program, options, directory):
    port, a, b = free_port(), Replica(options, directory, "a"), Replica(options, directory, "b")
    key, cert = certificate(directory)
    both = directory / "both.pem"
    both.write_text(cert.read_text() + key.read_text())
    text = block("haproxy").replace("bind :443", f"bind 127.0.0.1:{port}").replace("/etc/ssl/glia.pem", str(both))
    text = text.replace("10.0.0.1:8000", f"127.0.0.1:{a.port}").replace("10.0.0.2:8000", f"127.0.0.1:{b.port}")
    (directory / "haproxy.cfg").write_text(text)
    proxy = Process([program, "-db", "-f", directory / "haproxy.cfg"], directory / "haproxy.log")
    wait(port, cert)
    check("no warning about the configuration", "[WARNING]" not in proxy.said() and "[ALERT]" not in proxy.said(), proxy.said())
    check_answers(port, cert)
    check_drain(port, cert, a)
    proxy.end()
    b.end()


def run_router(program, options, directory):
    port, a, b = free_port(), Replica(options, directory, "a"), Replica(options, directory, "b")
    command = re.search(r"`(vllm-router [^`]*)`", PAGE)[1].split()[1:]
    command = [f"http://127.0.0.1:{a.port}" if "10.0.0.1" in w else f"http://127.0.0.1:{b.port}" if "10.0.0.2" in w else w for w in command]
    proxy = Process([program, *command, "--host", "127.0.0.1", "--port", port, "--prometheus-port", free_port()], directory / "router.log")
    wait(port, None)
    check_answers(port, None)
    cached = []
    for turn in range(2):
        for k in range(4):
            body = {"prompt": " ".join(f"word{k}-{i}" for i in range(60)), "max_tokens": 1, "temperature": 0}
            usage = json.loads(ask(port, None, "POST", "/v1/completions", body)[1])["usage"]
            cached.append(usage["prompt_tokens_details"]["cached_tokens"])
    check("a prompt returns to the replica that has it", cached[:4] == [0] * 4 and all(cached[4:]), cached)
    proxy.end()
    a.end()
    b.end()


PROGRAMS = {"nginx": run_nginx, "haproxy": run_haproxy, "vllm-router": run_router}


def version_of(program, name):
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        said = subprocess.run([program, "-v"], capture_output=True, text=True)
        return (said.stdout + said.stderr).splitlines()[0]



def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--glia", default="build/glia")
    p.add_argument("--model", default="models/qwen3-demo")
    p.add_argument("--only", default="")
    options = p.parse_args()
    beside = str(pathlib.Path(sys.executable).parent)
    for name, function in PROGRAMS.items():
        program = shutil.which(name) or shutil.which(name, path=f"/usr/sbin:{beside}")
        if options.only and name not in options.only.split(","):
            continue
        if not program:
            print(f"SKIPPED {name}: not installed", flush=True)
            continue
        print(f"---- {version_of(program, name)}", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            function(program, options, pathlib.Path(directory))
    print("all proxies passed" if not failed else f"{failed} checks failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
