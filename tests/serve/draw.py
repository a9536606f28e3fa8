"""draw.py: pictures over HTTP have the bits of `imago generate`: alone, in batches, from a picture; queue, cancel, streams,
limits, kept pictures, a graceful stop. Run by tests/cli/serve.sh from the root of the repository."""
import base64
import json
import os
import shutil
import signal
import threading

from server import Server, b64, check, done, form, generate, png

folder = os.environ["DIR"]
s = Server("--keep", os.path.join(os.environ["DIR"], "kept"), "--queue", "8", "--max-pixels", "64K",
           "--max-steps", "100")

# ---- one picture
status, r = s.post("/sdapi/v1/txt2img", {"prompt": "strawberry", "negative_prompt": "blue", "seed": 7, "steps": 4,
                                         "cfg_scale": 5, "sampler_name": "Euler a"})
wanted = generate(folder, prompt="strawberry", negative="blue", seed=7, steps=4, guidance=5, scheduler="euler_a")
check("txt2img: the file of generate", status == 200 and base64.b64decode(r["images"][0]) == wanted, r)
info = json.loads(r["info"])
check("txt2img: info", info["seed"] == 7 and info["all_seeds"] == [7] and info["sampler_name"] == "Euler a"
      and info["steps"] == 4 and info["cfg_scale"] == 5 and info["infotexts"][0].startswith("strawberry\nNegative prompt"),
      info)
check("txt2img: the request comes back", r["parameters"]["prompt"] == "strawberry")
status, r = s.post("/sdapi/v1/png-info", {"image": b64(wanted)})
check("png-info", status == 200 and r["info"] == info["infotexts"][0] and r["parameters"]["Steps"] == "4"
      and r["parameters"]["Negative prompt"] == "blue" and json.loads(r["items"]["imago"])["seed"] == 7, r)
for text, part in (                                             # as that interface reads what it, or another, has written
        ("Negative prompt: b,\n c\nSteps: 2, Sampler: Euler a, Size: 64x96",
         {"Prompt": "", "Negative prompt": "b,\nc", "Steps": "2", "Sampler": "Euler a", "Size-1": "64", "Size-2": "96"}),
        ("Steps: 2, Sampler: Euler, Seed: 3", {"Prompt": "", "Negative prompt": "", "Seed": "3"}),
        ("a\nSteps: 9, said\nNegative prompt:b\r\nSampler: Euler, Steps: 2, Seed: 3\n",
         {"Prompt": "a\nSteps: 9, said", "Negative prompt": "b", "Steps": "2"}),
        ("a: 1, b\nNegative prompt: c", {"Prompt": "a: 1, b", "Negative prompt": "c"}),
        ('a\nSteps: 2, Lora hashes: "x: 1, y: 2", Hires prompt: "\\"q\\", \\n", Hashes: {"z": "3"}, Empty: , Last: "a, Seed: 3',
         {"Lora hashes": "x: 1, y: 2", "Hires prompt": '"q", \n', "Hashes": '{"z": "3"}', "Last": '"a', "Seed": "3"})):
    status, r = s.post("/sdapi/v1/png-info", {"image": b64(png(8, 8, text=("parameters", text)))})
    found = r.get("parameters", {})
    check("png-info: " + repr(text), status == 200 and r["info"] == text and {k: found.get(k) for k in part} == part
          and "Empty" not in found, r)

# ---- from a picture
init = png(48, 80)
status, r = s.post("/sdapi/v1/img2img", {"prompt": "cat", "init_images": ["data:image/png;base64," + b64(init)], "seed": 3,
                                         "steps": 6, "denoising_strength": 0.5, "sampler_name": "DDIM"})
open(os.path.join(folder, "init.png"), "wb").write(init)
wanted = generate(folder, prompt="cat", init=os.path.join(folder, "init.png"), seed=3, steps=6, strength=0.5, guidance=7,
                  scheduler="ddim")
check("img2img: the file of generate", status == 200 and base64.b64decode(r["images"][0]) == wanted, r)
body, headers = form([("image", init), ("prompt", "cat"), ("seed", 3), ("steps", 6), ("strength", 0.5), ("cfg_scale", 7),
                      ("sampler_name", "ddim"), ("output_format", "jpeg"), ("output_compression", 80)])
status, r = s.post("/v1/images/edits", body, headers)
wanted = generate(folder, prompt="cat", init=os.path.join(folder, "init.png"), seed=3, steps=6, strength=0.5, guidance=7,
                  scheduler="ddim", quality=80, ending="jpg")
check("edits: the file of generate", status == 200 and base64.b64decode(r["data"][0]["b64_json"]) == wanted, r)

# ---- from a picture, where a mask says so
box = (8, 16, 32, 64)
white = png(48, 80, b"\0\0\0", box=box)
for name, data in (("white", white), ("black", png(48, 80, b"\xff\xff\xff", box=box, inside=b"\0\0\0"))):
    open(os.path.join(folder, name + ".png"), "wb").write(data)
drawn = dict(prompt="cat", init=os.path.join(folder, "init.png"), seed=3, steps=6, strength=0.5, guidance=7, scheduler="ddim")
blurred = generate(folder, mask=os.path.join(folder, "white.png"), mask_blur=4, **drawn)
sharp = generate(folder, mask=os.path.join(folder, "white.png"), **drawn)
outside = generate(folder, mask=os.path.join(folder, "black.png"), mask_blur=2.5, **drawn)
asked = {"prompt": "cat", "init_images": [b64(init)], "seed": 3, "steps": 6, "denoising_strength": 0.5, "sampler_name": "DDIM"}
part = generate(folder, mask=os.path.join(folder, "white.png"), mask_blur=4, mask_fill="fill", mask_only=0, **drawn)
status, r = s.post("/sdapi/v1/img2img", dict(asked, mask=b64(white)))
check("img2img: a mask without a word: blurred by 4, filled, only its part", status == 200 and
      base64.b64decode(r["images"][0]) == part and json.loads(r["info"])["extra_generation_params"] ==
      {"Mask blur": 4, "Inpaint area": "Only masked", "Masked area padding": 0, "Masked content": "fill"}, r)
for fill, word in ((1, "original"), (2, "noise"), (3, "nothing")):
    status, r = s.post("/sdapi/v1/img2img", dict(asked, mask=b64(white), inpainting_fill=fill, inpaint_full_res=1,
                                                 inpaint_full_res_padding=6, width=64, height=32))
    check("img2img: a mask with " + word, status == 200 and base64.b64decode(r["images"][0]) == generate(
        folder, mask=os.path.join(folder, "white.png"), mask_blur=4, mask_fill=word, mask_only=6, width=64, height=32, **drawn), r)
asked.update(inpainting_fill=1, inpaint_full_res=False)
status, r = s.post("/sdapi/v1/img2img", dict(asked, mask=b64(white)))
check("img2img: a mask, blurred by 4 without a word", status == 200 and base64.b64decode(r["images"][0]) == blurred
      and json.loads(r["info"])["extra_generation_params"] == {"Mask blur": 4} and blurred != sharp, r)
status, r = s.post("/sdapi/v1/img2img", dict(asked, mask=b64(white), mask_blur=2.5, inpainting_mask_invert=1,
                                             mask_round=True))
check("img2img: a mask turned around", status == 200 and base64.b64decode(r["images"][0]) == outside, r)
clear = png(48, 80, b"\0\0\0\0", box=box, inside=b"\0\0\0\xff")
status, r = s.post("/sdapi/v1/img2img", dict(asked, mask=b64(clear), mask_blur=0))
check("img2img: a mask with transparent parts, opaque is drawn anew", status == 200 and
      base64.b64decode(r["images"][0]) == sharp, r)
hole = png(48, 80, b"\x30\x30\x30\xff", box=box, inside=b"\0\0\0\0")
status, r = s.post("/v1/images/edits", *form([("image", init), ("mask", hole), ("prompt", "cat"), ("seed", 3), ("steps", 6),
                                              ("strength", 0.5), ("cfg_scale", 7), ("sampler_name", "ddim")]))
check("edits: a mask, transparent is drawn anew", status == 200 and base64.b64decode(r["data"][0]["b64_json"]) == sharp, r)
status, r = s.post("/v1/jobs", {"prompt": "cat", "image": b64(init), "mask": b64(hole), "mask_blur": 4, "seed": 3, "steps": 6,
                                "strength": 0.5, "cfg_scale": 7, "sampler_name": "ddim"})
check("jobs: a mask", status == 202 and r["request"]["mask_blur"] == 4, r)
job = s.until(lambda: (j := s.get("/v1/jobs/" + r["id"])[1])["status"] == "completed" and j)
check("jobs: its bits", job and base64.b64decode(job["result"]["data"][0]["b64_json"]) == blurred)
status, r = s.post("/v1/images/edits", *form([("image", init), ("mask", hole), ("prompt", "cat"), ("seed", 3), ("steps", 6),
                                              ("strength", 0.5), ("cfg_scale", 7), ("sampler_name", "ddim"), ("mask_blur", 4),
                                              ("mask_fill", "fill"), ("mask_only", 0)]))
check("edits: only the masked part, and the size of the picture", status == 200 and r["size"] == "48x80" and
      base64.b64decode(r["data"][0]["b64_json"]) == part, r)

# with a mask, without, and with another, side by side
bodies, answers = [dict(asked, mask=b64(white)), asked, dict(asked, mask=b64(clear), mask_blur=0)], [None] * 3
threads = [threading.Thread(target=lambda i: answers.__setitem__(i, s.post("/sdapi/v1/img2img", bodies[i])), args=(i,))
           for i in range(3)]
for t in threads:
    t.start()
for t in threads:
    t.join()
check("masks beside others in a batch", [base64.b64decode(a[1]["images"][0]) for a in answers] ==
      [blurred, generate(folder, **drawn), sharp])

# ---- many at once, of unequal steps and schedulers: the bits of each alone
asked = [dict(prompt=p, seed=i, steps=3 + i % 3, sampler_name=n) for i, (p, n) in
         enumerate([("strawberry", "euler"), ("a cat", "pndm"), ("flag of Japan", "dpmpp_2m"), ("a cat", "heun"),
                    ("tree", "ddim"), ("house", "lms"), ("dog", "euler_a")])]
answers = [None] * len(asked)


def one(i):
    answers[i] = s.post("/v1/images/generations", asked[i])


threads = [threading.Thread(target=one, args=(i,)) for i in range(len(asked))]
for t in threads:
    t.start()
for t in threads:
    t.join()
same = [base64.b64decode(a[1]["data"][0]["b64_json"]) == generate(folder, prompt=q["prompt"], seed=q["seed"],
                                                                  steps=q["steps"], scheduler=q["sampler_name"])
        for q, a in zip(asked, answers) if a[0] == 200]
check("batches change no bit", same == [True] * len(asked), (same, [a[0] for a in answers]))
status, r = s.post("/v1/jobs", {"prompt": "dog", "n": 5, "seed": 20, "steps": 2, "size": "32x48"})
check("jobs: 202", status == 202 and r["status"] in ("queued", "generating") and r["n"] == 5, r)
job = s.until(lambda: (j := s.get("/v1/jobs/" + r["id"])[1])["status"] == "completed" and j)
check("jobs: seeds count up", job and [p["seed"] for p in job["result"]["data"]] == [20, 21, 22, 23, 24], job)
check("jobs: the last of five", job and base64.b64decode(job["result"]["data"][4]["b64_json"]) ==
      generate(folder, prompt="dog", seed=24, steps=2, width=32, height=48))
status, headers, file = s.ask("GET", "/v1/jobs/%s/picture?n=5" % r["id"])
check("jobs: a picture's file", status == 200 and headers["Content-Type"] == "image/png"
      and b64(file) == job["result"]["data"][4]["b64_json"])
check("jobs: which picture", [s.ask("GET", "/v1/jobs/%s/picture?n=%s" % (r["id"], n))[0] for n in ("0", "6", "x")] == [404] * 3)

# ---- streams
c = s.connect()
c.request("POST", "/v1/images/generations", json.dumps({"prompt": "tree", "seed": 1, "steps": 8, "stream": True,
                                                        "partial_images": 2}))
text = c.getresponse().read().decode()
events = [(e.split("\n")[0][7:], json.loads(e.split("\n")[1][6:])) for e in text.split("\n\n") if e.startswith("event:")]
check("stream: partial pictures, then the picture", [e[0] for e in events] ==
      ["image_generation.partial_image"] * 2 + ["image_generation.completed"] and
      [e[1].get("partial_image_index") for e in events] == [0, 1, None] and events[0][1]["b64_json"] != events[1][1]["b64_json"],
      [e[0] for e in events])
check("stream: its bits", base64.b64decode(events[-1][1]["b64_json"]) == generate(folder, prompt="tree", seed=1, steps=8))

# ---- queue, cancel, dropped connections
long = dict(prompt="x", steps=100, width=96, height=96, seed=1)
first = s.post("/v1/jobs", long)[1]["id"]
second = s.post("/v1/jobs", dict(long, width=128))[1]["id"]
s.until(lambda: s.get("/v1/jobs/" + first)[1]["status"] == "generating")
check("queue: positions", s.get("/v1/jobs/" + second)[1]["queue_position"] == 1)
r = s.post("/v1/jobs/%s/cancel" % second, {})[1]
check("cancel: one that waits", r["status"] == "cancelled" and r["step"] == 0 and r["steps"] == 101, r)
check("cancel: once", s.post("/v1/jobs/%s/cancel" % second, {})[0] == 409)
check("cancel: unknown", s.post("/v1/jobs/9999/cancel", {})[0] == 404 and s.post("/v1/jobs/a/cancel", {})[0] == 404)
check("cancel: one that is drawn", s.post("/v1/jobs/%s/cancel" % first, {})[0] == 200
      and s.until(lambda: s.get("/v1/jobs/" + first)[1]["status"] == "cancelled"))
gone = [s.drawing(long) for _ in range(3)]
s.until(lambda: len([j for j in s.get("/v1/jobs")[1]["data"] if j["status"] in ("queued", "generating")]) == 3)
for x in gone:
    x.close()
check("a dropped connection cancels", s.until(s.idle))
held = [s.drawing(long) for _ in range(8)]
s.until(lambda: s.get("/sdapi/v1/progress")[1]["state"]["sampling_step"] > 0)
p = s.until(lambda: (p := s.get("/sdapi/v1/progress")[1])["current_image"] and p)
check("progress: a preview", p and base64.b64decode(p["current_image"])[:4] == b"\x89PNG" and 0 < p["progress"] < 1
      and p["state"]["sampling_steps"] == 100, p)
full = None
for _ in range(12):
    x = s.connect()
    x.request("POST", "/v1/jobs", json.dumps(long))
    full = x.getresponse()
    full.read()
    if full.status == 429:
        break
check("a full queue: 429 and when to come again", full.status == 429 and full.headers["Retry-After"], full.status)
for x in held:
    x.close()
for j in s.get("/v1/jobs")[1]["data"]:
    s.post("/v1/jobs/%s/cancel" % j["id"], {})
s.until(s.idle)

# ---- interrupt and skip
result = []
t = threading.Thread(target=lambda: result.append(s.post("/sdapi/v1/txt2img", dict(long, n_iter=2))))
t.start()
s.until(lambda: s.get("/sdapi/v1/progress")[1]["state"]["sampling_step"] > 0)
check("interrupt answers at once", s.post("/sdapi/v1/interrupt", {}) == (200, {}))
t.join(120)
check("interrupt: what is finished comes back", result and result[0][0] == 200 and result[0][1]["images"] == []
      and json.loads(result[0][1]["info"])["interrupted"], result)
t = threading.Thread(target=lambda: result.append(s.post("/sdapi/v1/txt2img", dict(long, n_iter=6, steps=20, width=64, height=64))))
t.start()
s.until(lambda: s.get("/sdapi/v1/progress")[1]["state"]["sampling_step"] > 0)
check("skip answers null", s.post("/sdapi/v1/skip", {}) == (200, None))
t.join(120)
check("skip: the others are drawn", len(result[-1][1]["images"]) == 2, len(result[-1][1]["images"]))

# ---- limits
check("more pixels than --max-pixels", s.post("/v1/jobs", {"prompt": "x", "size": "512x512"})[0] == 400)
check("more steps than --max-steps", s.post("/sdapi/v1/txt2img", {"steps": 101})[0] == 422)

# ---- kept, stopped
kept = os.listdir(os.path.join(folder, "kept"))
check("kept: each picture, by time, job and seed", len([k for k in kept if k.endswith("-seed24.png")]) == 1
      and not [k for k in kept if "tmp" in k], kept)
t = threading.Thread(target=lambda: result.append(s.post("/v1/images/generations", dict(prompt="x", steps=30, seed=77))))
t.start()
s.until(lambda: [j for j in s.get("/v1/jobs")[1]["data"] if j["request"]["steps"] == 30 and j["status"] == "generating"])
rc = s.stop(signal.SIGTERM)
t.join(120)
check("SIGTERM: what is drawn is finished, exit code 0", rc == 0 and result[-1][0] == 200, (rc, result[-1]))
check("SIGTERM: and kept", [k for k in os.listdir(os.path.join(folder, "kept")) if k.endswith("-seed77.png")])

# ---- stopped while others wait, and before what is drawn is finished: told so, not given nothing
for pictures in (0, 1):
    s = Server("--batch", "1", "--grace", "0", "--max-steps", "1000")
    asked = [("/sdapi/v1/txt2img", dict(long, n_iter=60, steps=20 if pictures else 1000)), ("/sdapi/v1/txt2img", long),
             ("/v1/images/generations", long), ("/v1/images/generations", dict(long, stream=True))]
    answers = [None] * 4
    threads = [threading.Thread(target=lambda i: answers.__setitem__(i, s.ask("POST", *asked[i])), args=(i,))
               for i in range(4)]
    threads[0].start()
    s.until(lambda: s.get("/sdapi/v1/progress")[1]["state"]["sampling_step"] > 0)
    for t in threads[1:]:
        t.start()
    s.until(lambda: len(s.get("/v1/jobs")[1]["data"]) == 4
            and s.get("/sdapi/v1/progress")[1]["state"]["job_no"] >= pictures)
    rc = s.stop(signal.SIGTERM)
    for t in threads:
        t.join(120)
    said = [json.loads(a[2]) for a in answers[:3]]
    check("SIGTERM: what waits is told 503", rc == 0 and [a[0] for a in answers[1:3]] == [503, 503] and
          answers[1][1]["Retry-After"] and said[1]["detail"] == said[2]["error"]["message"] == "the server is stopping" and
          said[2]["error"]["code"] == "stopping" and b'"message":"the server is stopping"' in answers[3][2], answers)
    if pictures:
        check("SIGTERM: --grace is over, what was finished is given", answers[0][0] == 200 and
              1 <= len(said[0]["images"]) < 60 and json.loads(said[0]["info"])["interrupted"], said[0])
    else:
        check("SIGTERM: --grace is over, nothing is finished: 503", answers[0][0] == 503 and
              said[0] == {"detail": "the server is stopping"}, answers[0])

# ---- a kill loses nothing that was kept
s = Server("--keep", os.path.join(folder, "killed"))
s.post("/v1/images/generations", {"prompt": "x", "steps": 1, "seed": 5})
s.post("/v1/jobs", {"prompt": "x", "steps": 50, "n": 4})
s.process.kill()
s.process.wait()
kept = os.listdir(os.path.join(folder, "killed"))
check("SIGKILL: the kept picture is whole", len(kept) == 1 and open(os.path.join(folder, "killed", kept[0]), "rb").read() ==
      generate(folder, prompt="x", steps=1, seed=5), kept)

# ---- what prompts can say
model = "tests/golden/models/a"
os.mkdir(os.path.join(folder, "loras"))
shutil.copy("tests/golden/lora.safetensors", os.path.join(folder, "loras"))
loras = os.path.join(folder, "loras")
s = Server("--lora-dir", loras, model=model)
check("LoRAs are listed", [x["name"] for x in s.get("/sdapi/v1/loras")[1]] == s.get("/v1/server")[1]["loras"] == ["lora"])
status, r = s.post("/v1/images/generations", {"prompt": "a (cat:1.3), <lora:lora:0.5>", "seed": 4, "steps": 3, "clip_skip": 2,
                                              "prompt_syntax": "a1111"})
check("a LoRA by name, weights, clip skip: the file of generate", status == 200 and
      base64.b64decode(r["data"][0]["b64_json"]) == generate(folder, prompt="a (cat:1.3), <lora:lora:0.5>", seed=4, steps=3,
                                                             model=model, lora_dir=loras, prompt_syntax="a1111", clip_skip=2), r)
status, r = s.post("/v1/images/generations", {"prompt": "a cat", "seed": 4, "steps": 3,
                                              "loras": [{"name": "lora", "weight": 0.5}]})
check("a LoRA beside the prompt", status == 200 and base64.b64decode(r["data"][0]["b64_json"]) ==
      generate(folder, prompt="a cat <lora:lora:0.5>", seed=4, steps=3, model=model, lora_dir=loras), r)
status, r = s.post("/v1/images/generations", {"prompt": "a cat", "seed": 4, "steps": 3})
check("and without it the weights are as they were", base64.b64decode(r["data"][0]["b64_json"]) ==
      generate(folder, prompt="a cat", seed=4, steps=3, model=model))
status, r = s.post("/v1/images/generations", {"prompt": "a cat <lora:other>", "steps": 3})
check("a LoRA that is not there", status == 400 and "other" in r["error"]["message"], r)
s.stop()

# ---- fewer tokens, and noise that is put back
s = Server()
status, r = s.post("/sdapi/v1/txt2img", {"prompt": "a cat", "seed": 4, "steps": 3, "cfg_scale": 7.5, "sampler_name": "DDIM",
                                         "override_settings": {"token_merging_ratio": 0.5}})
wanted = generate(folder, prompt="a cat", seed=4, steps=3, scheduler="ddim", token_merging=0.5)
check("token_merging_ratio: the file of generate --token-merging", status == 200 and
      base64.b64decode(r["images"][0]) == wanted and "Token merging ratio: 0.5" in r["info"], r)
status, r = s.post("/v1/images/generations", {"prompt": "a cat", "seed": 4, "steps": 3, "scheduler": "ddim",
                                               "token_merging": 0.5})
check("token_merging", status == 200 and base64.b64decode(r["data"][0]["b64_json"]) == wanted, r)
status, r = s.post("/sdapi/v1/txt2img", {"prompt": "a cat", "steps": 3, "override_settings": {"token_merging_ratio": "half"}})
check("token_merging_ratio that is none", status == 422 and "from 0 to 0.9" in str(r), r)
wanted = generate(folder, prompt="a cat", seed=4, steps=3, scheduler="ddim", eta=0.5)
for path, more in (("/sdapi/v1/txt2img", {"cfg_scale": 7.5, "sampler_name": "DDIM"}),
                   ("/v1/images/generations", {"scheduler": "ddim"})):
    status, r = s.post(path, {"prompt": "a cat", "seed": 4, "steps": 3, "eta": 0.5} | more)
    found = r["images"][0] if "images" in r else r["data"][0]["b64_json"] if "data" in r else ""
    check(f"eta in {path}", status == 200 and base64.b64decode(found) == wanted, r)
plain = [s.post("/sdapi/v1/txt2img", {"prompt": "a cat", "seed": 4, "steps": 3, "sampler_name": "Euler"} | more)
         for more in ({}, {"eta": 0}, {"eta": 1})]
check("eta 1 of a sampler that has none", all(r[0] == 200 and r[1]["images"] == plain[0][1]["images"] for r in plain), plain)
for path in ("/sdapi/v1/txt2img", "/v1/images/generations"):
    status, r = s.post(path, {"prompt": "a cat", "steps": 3, "sampler_name": "Euler", "eta": 0.5})
    check(f"eta 0.5 of a sampler that has none, {path}", status >= 400 and "euler has no eta" in str(r), r)
s.stop()

# ---- another VAE
s = Server("--vae", "tests/golden/models/a", model="tests/golden/models/a")
status, r = s.post("/v1/images/generations", {"prompt": "a cat", "seed": 4, "steps": 3, "width": 64, "height": 64})
check("--vae: the file of generate --vae", status == 200 and base64.b64decode(r["data"][0]["b64_json"]) ==
      generate(folder, prompt="a cat", seed=4, steps=3, width=64, height=64, model="tests/golden/models/a",
               vae="tests/golden/models/a"), r)
status, r = s.get("/sdapi/v1/options")
check("and the options name it", status == 200 and r["sd_vae"] == "a", r)
s.stop()

# ---- decoded strip by strip
s = Server("--tile")
status, r = s.post("/v1/images/generations", {"prompt": "a cat", "seed": 4, "steps": 3, "width": 96, "height": 128})
check("--tile: the file of generate --tile", status == 200 and base64.b64decode(r["data"][0]["b64_json"]) ==
      generate(folder, prompt="a cat", seed=4, steps=3, width=96, height=128, tile=True), r)
s.stop()
done()
