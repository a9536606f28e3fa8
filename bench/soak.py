#!/usr/bin/env python3
"""soak.py: four clients ask a server for mixed pictures (from texts, from pictures, with masks) for as long as --hours or --minutes
says: every picture has to have the bytes that `imago generate` writes, memory has to stay flat, and no answer may be one that
nobody expects. Prints a row a minute, which --log keeps as CSV at once, and a summary. Standard library only.

    bench/soak.py --hours 2 --log bench/results/soak.csv
    bench/soak.py --minutes 2                               # --imago build/imago, -m MODEL
"""
import argparse
import base64
import concurrent.futures
import csv
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../tests/serve"))
from server import png  # noqa: E402

p = argparse.ArgumentParser()
p.add_argument("--hours", type=float, default=0)
p.add_argument("--minutes", type=float, default=0)
p.add_argument("--clients", type=int, default=4)
p.add_argument("--imago", default="build/imago")
p.add_argument("-m", "--model")
p.add_argument("--seed", type=int, default=1)
p.add_argument("--log")
a = p.parse_args()
seconds = a.hours * 3600 + a.minutes * 60 or 60

own = ["-m", a.model] if a.model else []
machine = next((x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), "unknown")
commit = subprocess.run([a.imago, "--version"], capture_output=True, text=True).stdout.strip()
with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryDirectory() as folder:
    server = subprocess.Popen([a.imago, "serve", "--listen", "127.0.0.1:0", "-q", *own], stdout=subprocess.PIPE, stderr=said,
                              text=True)
    line = server.stdout.readline()
    assert line, "the server did not start"
    port = int(line.rsplit(":", 1)[1])

    # A choice of pictures, so that each is checked against generate many times and drawn by it once.
    draw = random.Random(a.seed)
    size = json.load(open(os.path.join(a.model or "weights/imago-small", "unet/config.json")))["sample_size"] * (
        8 if a.model else 4)
    choice = [{"prompt": draw.choice(["strawberry", "a cat", "tree", "flag of Japan", "house"]), "seed": draw.randrange(1 << 32),
               "steps": draw.randint(1, 12), "guidance": draw.choice([1, 3, 7.5]), "width": size, "height": w,
               "scheduler": draw.choice(["pndm", "ddim", "euler", "euler_a", "heun", "dpmpp_2m_karras"])}
              for w in [size, size, size * 3 // 2] for _ in range(6)]
    # Some begin from a picture, some of those are drawn anew in a part of it.
    init, white, hole = (os.path.join(folder, n) for n in ("init.png", "white.png", "hole.png"))
    box = (size // 4, size // 4, size, size * 3 // 4)
    for path, data in ((init, png(size, size, b"\x80\x40\xc0", box=box)), (white, png(size, size, b"\0\0\0", box=box)),
                       (hole, png(size, size, b"\0\0\0\xff", box=box, inside=b"\0\0\0\0"))):
        open(path, "wb").write(data)
    given, held = [{}] * len(choice), {path: base64.b64encode(open(path, "rb").read()).decode() for path in (init, white, hole)}
    for more in ({"init": init, "strength": 0.5}, {"init": init, "strength": 0.7, "mask": white, "mask-blur": 2}) * 3:
        choice.append({"prompt": "house", "seed": draw.randrange(1 << 32), "steps": draw.randint(4, 12), "guidance": 5,
                       "width": size, "height": size, "scheduler": draw.choice(["ddim", "euler", "dpmpp_2m"])})
        given.append(more)
    wanted = []
    for i, c in enumerate(choice):
        path = os.path.join(folder, "%d.png" % i)
        subprocess.run([a.imago, "generate", "-q", *own, "-o", path] +
                       [x for k, v in dict(c, **given[i]).items() for x in ("--" + k, str(v))], check=True)
        wanted.append(open(path, "rb").read())

    lock, end = threading.Lock(), time.time() + seconds
    took, counts = [], {"pictures": 0, "wrong": 0, "errors": 0, "refused": 0, "dropped": 0, "cancelled": 0, "damaged": 0}

    def count(what, n=1):
        with lock:
            counts[what] += n

    def ask(method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        c.request(method, path, json.dumps(body) if isinstance(body, dict) else body)
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, data

    def picture(rng):
        i = rng.randrange(len(choice))
        c, files = dict(choice[i]), {k: held[v] for k, v in given[i].items() if k in ("init", "mask")}
        start = time.time()
        if rng.random() < 0.5:
            if files:
                c.update(image=files["init"], strength=given[i]["strength"])
            if "mask" in files:
                c.update(mask=held[hole], mask_blur=given[i]["mask-blur"])
            status, data = ask("POST", "/v1/images/" + ("edits" if files else "generations"), c)
            got = json.loads(data)["data"][0]["b64_json"] if status == 200 else None
        else:
            c.update(sampler_name=c["scheduler"], scheduler="automatic", cfg_scale=c["guidance"])
            if files:
                c.update(init_images=[files["init"]], denoising_strength=given[i]["strength"])
            if "mask" in files:
                # without these the web interface's own: colours filled in, and the part alone
                c.update(mask=files["mask"], mask_blur=given[i]["mask-blur"], inpainting_fill=1, inpaint_full_res=False)
            status, data = ask("POST", "/sdapi/v1/" + ("img2img" if files else "txt2img"), c)
            got = json.loads(data)["images"][0] if status == 200 else None
        with lock:
            took.append(time.time() - start)
        if status == 429:
            count("refused")
        elif got is None:
            count("errors")
            print("error", status, data[:200], flush=True)
        else:
            count("pictures")
            count("wrong", base64.b64decode(got) != wanted[i])

    def drop(rng):
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        c.request("POST", "/sdapi/v1/txt2img", json.dumps({"steps": 100}))
        time.sleep(rng.random())
        c.close()
        count("dropped")

    def cancel(rng):
        status, data = ask("POST", "/v1/jobs", {"prompt": "x", "steps": 100})
        if status == 202:
            time.sleep(rng.random())
            ask("GET", "/sdapi/v1/progress")
            count("cancelled", ask("POST", json.loads(data)["poll_url"] + "/cancel")[0] == 200)

    def damage(rng):
        body = bytearray(json.dumps(choice[0]).encode())
        for _ in range(3):
            body[rng.randrange(len(body))] = rng.randrange(256)
        status, _ = ask("POST", "/v1/images/generations", bytes(body))
        count("errors" if status >= 500 else "damaged")

    def client(n):
        rng = random.Random(a.seed * 1000 + n)
        while time.time() < end:
            rng.choices([picture, drop, cancel, damage], [12, 1, 1, 2])[0](rng)

    def resident():
        for text in open("/proc/%d/status" % server.pid):
            if text.startswith("VmRSS"):
                return int(text.split()[1]) / 1024

    head = ["seconds", "MiB"] + list(counts) + ["median s", "95 % s"]
    began = time.time()
    log = csv.writer(open(a.log, "w", buffering=1, newline="") if a.log else open(os.devnull, "w"), lineterminator="\n")
    log.writerow(["machine", "program", *head])
    print(*head, sep=",")
    with concurrent.futures.ThreadPoolExecutor(a.clients) as pool:
        work = [pool.submit(client, n) for n in range(a.clients)]
        while not all(w.done() for w in work):
            concurrent.futures.wait(work, timeout=60 if seconds > 300 else 10)
            with lock:
                t = sorted(took)
                took = []
                row = ["%.0f" % (time.time() - began), "%.1f" % resident(), *counts.values(),
                       "%.2f" % t[len(t) // 2] if t else "", "%.2f" % t[len(t) * 95 // 100] if t else ""]
            print(*row, sep=",", flush=True)
            log.writerow([machine, commit, *row])
        for w in work:
            w.result()
    server.terminate()
    rc = server.wait(120)
    said.seek(0)
    print("exit code %d; on standard error: %s" % (rc, said.read().strip() or "nothing"))
raise SystemExit(bool(rc or counts["wrong"] or counts["errors"] or not counts["pictures"]))
