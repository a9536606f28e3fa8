"""server.py: a server for the tests of `imago serve`, questions to it, and counts. Standard library only."""
import atexit
import base64
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib

IMAGO = os.environ.get("IMAGO", "build/imago")
passed = failed = skipped = 0


def check(name, good, found=""):
    """Counts a test; says which failed."""
    global passed, failed
    if os.environ.get("SHOW"):
        print("%.1f s" % time.process_time(), "%.1f" % (time.time() % 1000), name, flush=True)
    if good:
        passed += 1
    else:
        failed += 1
        print("FAIL", name, str(found)[:400])


def skip(name):
    global skipped
    skipped += 1
    print("SKIP", name)


def done():
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    sys.exit(failed > 0)


class Server:
    """`imago serve` on a free port. with Server("--queue", "3") as s: s.post(...)"""

    def __init__(self, *options, listen="127.0.0.1:0", model=None):
        self.dir = tempfile.mkdtemp()
        self.log = open(os.path.join(self.dir, "log"), "w+")
        args = [IMAGO, "serve", "--listen", listen, "-t", "2", *options]
        if model:
            args += ["-m", model]
        self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=self.log, text=True)
        atexit.register(self.process.kill)                      # a test that breaks off leaves none behind
        line = self.process.stdout.readline()
        self.url = line.split()[-1] if line else ""
        self.port = int(self.url.rsplit(":", 1)[1]) if line else 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def said(self):
        self.log.flush()
        return open(self.log.name).read()

    def stop(self, sig=signal.SIGTERM):
        """The exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(120)

    def resident(self):
        """Kilobytes in memory."""
        for line in open("/proc/%d/status" % self.process.pid):
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        return 0

    def connect(self, timeout=300):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method, path, body=None, headers=None):
        """Status, headers, bytes."""
        c = self.connect()
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, r.headers, data

    def get(self, path, headers=None):
        status, _, data = self.ask("GET", path, None, headers)
        return status, json.loads(data)

    def post(self, path, body, headers=None):
        status, _, data = self.ask("POST", path, body, headers)
        return status, json.loads(data)

    def raw(self, data, timeout=20):
        """What comes back for these bytes, until the server closes or the time is over."""
        s = socket.create_connection(("127.0.0.1", self.port), timeout)
        out = b""
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while chunk := s.recv(65536):
                out += chunk
        except OSError:
            pass
        s.close()
        return out

    def drawing(self, data):
        """A socket over which `data`, a request's body for txt2img, was sent; nothing is read."""
        s = socket.create_connection(("127.0.0.1", self.port), 20)
        text = json.dumps(data).encode()
        s.sendall(b"POST /sdapi/v1/txt2img HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
        return s

    def until(self, what, seconds=120):
        """Waits until what() is true."""
        end = time.time() + seconds
        while time.time() < end:
            if found := what():
                return found
            time.sleep(0.02)
        return None

    def idle(self):
        p = self.get("/sdapi/v1/progress?skip_current_image=true")[1]
        return p["state"]["job_count"] == 0 and p["progress"] == 0


def generate(folder, **options):
    """The bytes of the file that `imago generate` writes with these options."""
    path = os.path.join(folder, "generated." + options.pop("ending", "png"))
    args = [IMAGO, "generate", "-q", "-f", "-t", "1", "-o", path]
    for name, value in options.items():
        args += ["--" + name.replace("_", "-")] + ([] if value is True else [str(value)])
    subprocess.run(args, check=True)
    return open(path, "rb").read()


def png(width, height, pixel=b"\x80\x40\x20", claim=None, box=None, inside=b"\xff\xff\xff", text=None):
    """A PNG of one colour, RGB or with alpha as the pixel has values; claim: the size that its header tells instead; box:
    columns and rows (x0, y0, x1, y1) of the colour `inside`; text: (key, text), in Latin-1."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    x0, y0, x1, y1 = box or (0, 0, 0, 0)
    part = pixel * x0 + inside * (x1 - x0) + pixel * (width - x1)
    rows = b"".join(b"\0" + (part if y0 <= y < y1 else pixel * width) for y in range(height))
    head = struct.pack(">IIBBBBB", *(claim or (width, height)), 8, 6 if len(pixel) == 4 else 2, 0, 0, 0)
    said = chunk(b"tEXt", "\0".join(text).encode("latin-1")) if text else b""
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + said + chunk(b"IDAT", zlib.compress(rows, 9))
            + chunk(b"IEND", b""))


def b64(data):
    return base64.b64encode(data).decode()


def form(fields):
    """A body of multipart/form-data and its headers; a value of bytes is a file."""
    mark, out = "imago-test-form", b""
    for name, value in fields:
        file = isinstance(value, bytes)
        out += ("--%s\r\nContent-Disposition: form-data; name=\"%s\"%s\r\n\r\n"
                % (mark, name, '; filename="a.png"\r\nContent-Type: image/png' if file else "")).encode()
        out += (value if file else str(value).encode()) + b"\r\n"
    return out + ("--%s--\r\n" % mark).encode(), {"Content-Type": "multipart/form-data; boundary=" + mark}
