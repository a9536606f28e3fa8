"""guard.py: who is let in, and what is refused without harm: tokens, names, hosts, origins, damaged and hostile requests;
the server goes on, and its memory stays. Run by tests/cli/serve.sh from the root of the repository."""
import base64
import json
import os
import random
import select
import socket
import struct
import subprocess
import time
import zlib

from server import IMAGO, Server, b64, check, done, png

folder = os.environ["DIR"]


def refused(text, *options):
    p = subprocess.run([IMAGO, "serve", *options], capture_output=True, text=True, timeout=60)
    check("refused: " + " ".join(options), p.returncode in (1, 2) and text in p.stderr and p.stderr.count("\n") <= 2,
          p.stderr)


# ---- the door
refused("--token-file FILE or --user", "--listen", "0.0.0.0:0")
refused("--token-file FILE or --user", "--listen", "[::]:0")
refused("wanted ADDRESS:PORT", "--listen", "localhost")
refused("wanted ADDRESS:PORT", "--listen", "127.0.0.1:99999")
refused("NAME:PASSWORD", "--user", "me")
open(os.path.join(folder, "short"), "w").write("abc\n")
refused("8 or more", "--token-file", os.path.join(folder, "short"))
refused("is not a folder", "--lora-dir", "/none")
taken = socket.create_server(("127.0.0.1", 0))
refused("another program has this port", "--listen", "127.0.0.1:%d" % taken.getsockname()[1])
taken.close()
open(os.path.join(folder, "token"), "w").write("correct-horse\n")
s = Server("--token-file", os.path.join(folder, "token"), "--user", "me:secret", listen="0.0.0.0:0")
basic = lambda pair: {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
cases = [({}, 401), ({"Authorization": "Bearer correct-horse"}, 200), ({"Authorization": "Bearer correct-hors"}, 401),
         (basic("me:secret"), 200), (basic("me:secre"), 401), (basic("any:correct-horse"), 200), (basic("me"), 401),
         ({"Authorization": "Basic %%%"}, 401), ({"Authorization": "bearer correct-horse"}, 200)]
check("tokens and passwords", [s.ask("GET", "/v1/models", None, h)[0] for h, _ in cases] == [w for _, w in cases])
check("401 names the way in", s.ask("GET", "/v1/models")[1]["WWW-Authenticate"].startswith("Basic"))
check("the page asks for the token itself", s.ask("GET", "/")[0] == s.ask("GET", "/openapi.json")[0] == 200)
check("any address of this machine as Host", s.ask("GET", "/v1/models", None, dict(basic("me:secret"), Host="10.0.0.1"))[0]
      == 200)
s.stop()

s = Server("--host", "my.box", "--max-body", "1M", "--max-pixels", "16K", "--queue", "4")
hosts = [("localhost", 200), ("127.0.0.1:%d" % s.port, 200), ("[::1]:80", 200), ("my.box:7860", 200), ("evil.example", 403),
         ("127.0.0.1.evil.example", 403), ("10.0.0.1", 403), ("localhost.evil.example:80", 403)]
check("Host", [s.ask("GET", "/v1/models", None, {"Host": h})[0] for h, _ in hosts] == [w for _, w in hosts])
origins = [("http://localhost", "localhost", 200), ("http://evil.example", "localhost", 403), ("null", "localhost", 403),
           ("http://localhost:81", "localhost", 403), ("https://my.box", "my.box", 200), ("http://LOCALHOST", "localhost", 200)]
check("Origin", [s.ask("POST", "/sdapi/v1/interrupt", "{}", {"Host": h, "Origin": o})[0] for o, h, _ in origins] ==
      [w for _, _, w in origins])
check("pages of other sites", s.ask("GET", "/v1/jobs", None, {"Sec-Fetch-Site": "cross-site"})[0] == 403
      and s.ask("GET", "/openapi.json", None, {"Sec-Fetch-Site": "cross-site"})[0] == 200)
status, headers, _ = s.ask("GET", "/")
check("no other site may frame it, nor is it allowed to ask one", "frame-ancestors 'none'" in
      headers["Content-Security-Policy"] and "Access-Control-Allow-Origin" not in headers)
check("too many headers", s.ask("GET", "/v1/models", None, {"X-%d" % i: "a" for i in range(150)})[0] == 431)
check("paths open no files", {s.ask("GET", p)[0] for p in ("/../README.md", "/..%2f..%2fetc/passwd", "/etc/passwd",
      "//etc/passwd", "/v1/jobs/..%2f..%2f1", "/page.html", "/v1/jobs/%00", "/%")} == {404})
bad = [{"prompt": "x", k: v} for k in ("image", "mask") for v in ("/etc/passwd", "file:///etc/passwd",
                                                                  "http://127.0.0.1:1/a.png", "../a.png")]
check("nor do texts", {s.post("/v1/images/edits", b)[0] for b in bad} == {400}
      and s.post("/v1/jobs", {"prompt": "<lora:../../etc/passwd:1>"})[0] == 400)

# ---- requests that a proxy could read in another way than this server
post, text = b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n", b'{"prompt": "x", "steps": 1}'
get, chunks = b"GET /v1/models HTTP/1.1\r\n", b"1b\r\n" + text + b"\r\n0\r\n\r\n"
length, chunked = b"Content-Length: 27\r\n", b"Transfer-Encoding: chunked\r\n"
for name, data, status in (("one length", post + length + b"\r\n" + text, 202),
                           ("chunks", post + chunked + b"\r\n" + chunks, 202),
                           ("two lengths", post + length + b"Content-Length: 3\r\n\r\n" + text, 400),
                           ("a length and chunks", post + length + chunked + b"\r\n" + chunks, 400),
                           ("two codings", post + chunked + chunked + b"\r\n" + chunks, 501),
                           ("another coding", post + b"Transfer-Encoding: gzip\r\n\r\n" + text, 501),
                           ("gzip in chunks", post + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks, 501),
                           ("chunks in HTTP/1.0", post.replace(b"/1.1", b"/1.0") + chunked + b"\r\n" + chunks, 400),
                           ("a space before a colon", get + b"Host : localhost\r\n\r\n", 400),
                           ("no Host", get + b"\r\n", 400),
                           ("no Host in HTTP/1.0", get.replace(b"/1.1", b"/1.0") + b"\r\n", 200),
                           ("two Hosts", get + b"Host: localhost\r\nHost: evil.example\r\n\r\n", 400)):
    c = socket.create_connection(("127.0.0.1", s.port), 20)
    c.sendall(data)                                             # and no end: it is answered all the same
    out = c.recv(65536) if select.select([c], [], [], 20)[0] else b"nothing"
    check("framing: " + name, out.startswith(b"HTTP/1.1 %d " % status) and
          (status < 400 or b"\r\nConnection: close\r\n" in out), out)
    c.close()
targets = [(b"http://localhost/v1/models", b"200"), (b"HTTP://127.0.0.1:1", b"200"), (b"https://my.box:7860/v1/jobs", b"200"),
           (b"http://evil.example/v1/models", b"403"), (b"http:///v1/models", b"404")]
check("targets with a host", [s.raw(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % t)[9:12]
                              for t, _ in targets] == [w for _, w in targets])

# ---- bodies
big = b"A" * (3 << 20)
check("a body beyond --max-body", b" 413 " in s.raw(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                                                    % len(big) + big).split(b"\r\n")[0])
chunked = b"".join(b"10000\r\n" + b"A" * 65536 + b"\r\n" for _ in range(20)) + b"0\r\n\r\n"
check("the same in chunks", b" 413 " in s.raw(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked"
                                              b"\r\n\r\n" + chunked).split(b"\r\n")[0])
check("a picture bomb by its header", s.post("/sdapi/v1/png-info", {"image": b64(png(1, 1, claim=(50000, 50000)))})[0] == 422)
bomb = png(1024, 1024)
status, r = s.post("/v1/images/edits", {"prompt": "x", "image": b64(bomb)})
check("a picture bomb by its pixels", status == 400 and "pixels" in r["error"]["message"], r)
deep = '{"prompt": %s1%s}' % ("[" * 100000, "]" * 100000)
check("deep JSON", s.post("/v1/jobs", deep)[0] == 400)

# ---- those that dawdle hold nobody up
slow = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(60)]
for i, x in enumerate(slow):
    x.sendall([b"POST /v1/jobs HTT", b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
               b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20][i % 3])
before = time.time()
check("60 that stall: others are served", s.post("/v1/images/generations", {"prompt": "x", "steps": 1})[0] == 200
      and time.time() - before < 20)

# ---- hundreds of damaged requests
random.seed(1)
start = s.resident()
good = json.dumps({"prompt": "x", "steps": 1, "seed": 1, "n": 1, "size": "32x32", "image": b64(png(32, 32))}).encode()
targets = [b"/v1/jobs", b"/sdapi/v1/txt2img", b"/v1/images/edits", b"/sdapi/v1/png-info", b"/sdapi/v1/options"]
worst, silent = b"", 0
for i in range(250):
    body = bytearray(good)
    for _ in range(random.randint(1, 6)):
        at = random.randrange(len(body))
        how = random.randrange(4)
        if how == 0:
            body[at] = random.randrange(256)
        elif how == 1:
            del body[at:at + random.randint(1, 20)]
        elif how == 2:
            body[at:at] = random.choice([b'"', b"{", b"[[[[", b"\\u0000", b"\xff\xfe", b"1e999", b"null", b"-", b"\\ud800"])
        else:
            body[at:at] = body[max(0, at - 30):at]
    length = len(body) + random.choice([0, 0, 0, 50, -3])
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (random.choice(targets), max(0, length))
    if i % 10 == 0:
        head = bytes(random.randrange(256) for _ in range(60)) + b"\r\n\r\n"
    out = s.raw(head + bytes(body))
    silent += not out
    code = out.split(b" ")[1] if out.startswith(b"HTTP/1.1 ") else b"0"
    worst = code if code.startswith(b"5") else worst
check("250 damaged requests: none breaks anything", s.process.poll() is None and not worst, worst)
for x in slow:
    x.close()
check("and it goes on", s.until(s.idle) and s.post("/v1/images/generations", {"prompt": "x", "steps": 1})[0] == 200)
check("its memory stays", s.resident() < start + 60000, (start, s.resident()))
check("nothing was said but of pictures", not [line for line in s.said().split("\n") if line and not line.startswith("job ")],
      s.said())
check("it stops in order", s.stop() == 0)
done()
