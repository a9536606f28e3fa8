"""wildcards.py: __name__ in prompts of a server with --wildcards: the pictures of `imago generate --wildcards`, what answers say
was drawn, and that no request reads a file outside the folder. Run by tests/cli/serve.sh."""
import base64
import json
import os
import shutil

from server import Server, b64, check, done, generate, png

folder = os.environ["DIR"]
cards = os.path.join(folder, "cards")
os.makedirs(os.path.join(cards, "more"))
for name, text in (("colour", "# colours\nred\n\n green \nblue\n"), ("thing", "__colour__ hat\n__more/wood__ chair\n"),
                   ("more/wood", "oak\nbeech\n"), ("empty", "#\n"), ("self", "a __self__\n"), ("long", "x" * 70000 + "\n")):
    open(os.path.join(cards, name + ".txt"), "w").write(text)
open(os.path.join(folder, "secret.txt"), "w").write("secret\n")
os.symlink(os.path.join(folder, "secret.txt"), os.path.join(cards, "link.txt"))
os.symlink(folder, os.path.join(cards, "up"))
os.symlink(os.path.join(cards, "colour.txt"), os.path.join(cards, "tint.txt"))
s = Server("--wildcards", cards)

text, ugly = "a __colour__ __thing__, __tint__", "__more/wood__"
wanted = [generate(folder, prompt=text, negative=ugly, wildcards=cards, seed=n, steps=2, guidance=7, scheduler="euler")
          for n in (5, 6, 7)]
body = {"prompt": text, "negative_prompt": ugly, "seed": 5, "steps": 2, "batch_size": 3}
status, r = s.post("/sdapi/v1/txt2img", body)
check("txt2img: the files of generate", status == 200 and [base64.b64decode(i) for i in r["images"]] == wanted, r)
info = json.loads(r["info"])
check("info tells what was drawn", all("__" not in p for p in info["all_prompts"] + info["all_negative_prompts"]) and
      info["prompt"] == info["all_prompts"][0] and info["negative_prompt"] == info["all_negative_prompts"][0] and
      len(set(info["all_prompts"])) > 1 and [t.split("\n")[0] for t in info["infotexts"]] == info["all_prompts"], info)
check("the request is as it was asked", r["parameters"]["prompt"] == text)
more = {"prompt": text, "negative_prompt": ugly, "seed": 5, "n": 3, "steps": 2, "cfg_scale": 7, "sampler_name": "euler"}
status, r = s.post("/v1/images/generations", more)
check("generations: the same", status == 200 and [base64.b64decode(d["b64_json"]) for d in r["data"]] == wanted, r)
check("generations: each tells its prompt", [d["revised_prompt"] for d in r["data"]] == info["all_prompts"], r)
status, r = s.post("/v1/images/generations", {"prompt": "a cat", "steps": 1})
check("a text without wildcards is not revised", status == 200 and "revised_prompt" not in r["data"][0])
status, r = s.post("/v1/jobs", more)
job = s.until(lambda: (j := s.get("/v1/jobs/" + r["id"])[1])["status"] == "completed" and j)
check("jobs: the same", job["request"]["prompt"] == text and
      [base64.b64decode(d["b64_json"]) for d in job["result"]["data"]] == wanted)
status, r = s.post("/sdapi/v1/img2img", dict(body, init_images=[b64(png(64, 64))], batch_size=1))
check("img2img, too", status == 200 and json.loads(r["info"])["all_prompts"] == info["all_prompts"][:1])

for name, says in (("none", "no file none.txt"), ("link", "no file link.txt"), ("up/secret", "no file up/secret.txt"),
                   ("empty", "no line to choose"), ("self", "more than 8 deep"), ("/etc/hostname", None), ("../secret", None)):
    status, r = s.post("/sdapi/v1/txt2img", {"prompt": "__%s__" % name, "steps": 1, "seed": 1})
    said = str(r.get("detail", ""))
    if says:
        check("__%s__ is refused" % name, status == 422 and says in said and folder not in said and "secret\n" not in said, r)
    else:
        check("__%s__ is text" % name, status == 200 and json.loads(r["info"])["prompt"] == "__%s__" % name, r)
status, r = s.post("/sdapi/v1/txt2img", {"prompt": "__long__" * 20, "steps": 1})
check("a text that grows too long is refused", status == 422 and "1048576" in str(r), str(r)[:300])
check("the server goes on", s.post("/sdapi/v1/txt2img", {"prompt": "__colour__", "steps": 1})[0] == 200)
check("the server stops", s.stop() == 0)

# ---- lines that name LoRAs: pictures of one request that have other weights are drawn one after the other
A = "tests/golden/models/a"
os.makedirs(os.path.join(folder, "more-loras"))
shutil.copy("tests/golden/lora.safetensors", os.path.join(folder, "more-loras", "x.safetensors"))
open(os.path.join(cards, "style.txt"), "w").write("<lora:x:1>\n<lora:x:0.5>\nplain\n")
s = Server("-m", A, "--wildcards", cards, "--lora-dir", os.path.join(folder, "more-loras"))
status, r = s.post("/sdapi/v1/txt2img", {"prompt": "cat __style__", "seed": 1, "steps": 2, "batch_size": 6, "width": 64,
                                         "height": 64})
check("lines that name LoRAs", status == 200 and [base64.b64decode(i) for i in r["images"]] == [
    generate(folder, model=A, prompt="cat __style__", wildcards=cards, lora_dir=os.path.join(folder, "more-loras"), seed=n, steps=2,
             guidance=7, scheduler="euler", width=64, height=64) for n in range(1, 7)], str(r)[:300])
check("they differ", len(set(json.loads(r["info"])["all_prompts"])) == 3, json.loads(r["info"])["all_prompts"])
check("the second server stops", s.stop() == 0)
done()
