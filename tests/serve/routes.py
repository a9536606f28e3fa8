"""routes.py: every address of openapi.json is answered as it says, and no other one; defaults, errors and lists of
/sdapi/v1; errors of OpenAI's form. Run by tests/cli/serve.sh from the root of the repository."""
import json
import os
import re
import subprocess

from server import IMAGO, Server, b64, check, done, form, png

doc = json.load(open("src/cli/serve/openapi.json"))
routes = re.findall(r'(?:WEBUI|OURS|\{)\(?\s*"(GET|POST)", "([^"]+)"', open("src/cli/serve/routes.c").read())
prefix = dict(re.findall(r'#define (WEBUI|OURS)\(method, path, answer\) \{ method, "([^"]+)" path',
                         open("src/cli/serve/routes.c").read()))
served = set()
for kind, method, path in re.findall(r'(WEBUI\(|OURS\(|\{ )"(GET|POST)", "([^"]*)"', open("src/cli/serve/routes.c").read()):
    served.add((method.lower(), prefix.get(kind[:-1], "") + path))
told = {(m, p) for p, ops in doc["paths"].items() for m in ops}
check("openapi.json has the addresses of routes.c", served == told and len(told) > 35, served ^ told)

s = Server("--max-steps", "60", "--max-body", "2M")


def fits(value, schema, where=""):
    """What of value the schema does not allow: the part of JSON Schema that openapi.json uses."""
    if "$ref" in schema:
        return fits(value, doc["components"]["schemas"][schema["$ref"].split("/")[-1]], where)
    if value is None:
        return [] if schema.get("nullable") or not schema else [where + ": null"]
    if "oneOf" in schema:
        return [] if any(not fits(value, x) for x in schema["oneOf"]) else [where + ": none of several"]
    kind = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    t = schema.get("type")
    if t and (not isinstance(value, kind[t]) or (t in ("integer", "number") and isinstance(value, bool))):
        return ["%s: wanted %s, found %r" % (where, t, value)]
    wrong = ["%s: not one of the words" % where] if "enum" in schema and value not in schema["enum"] else []
    if t == "object":
        wrong += [where + "." + k + ": missing" for k in schema.get("required", []) if k not in value]
        wrong += [w for k, v in value.items() if k in schema.get("properties", {})
                  for w in fits(v, schema["properties"][k], where + "." + k)]
    if t == "array":
        wrong += [w for i, v in enumerate(value) for w in fits(v, schema["items"], "%s[%d]" % (where, i))]
    return wrong


def said(method, path, status, data, kind="application/json"):
    """Is this answer one that openapi.json tells of?"""
    answers = doc["paths"][path][method]["responses"]
    if str(status) not in answers:
        return ["%d is not told of" % status]
    content = answers[str(status)]["content"]
    if kind not in content:
        return [kind + " is not told of"]
    return fits(json.loads(data), content[kind]["schema"], path) if kind == "application/json" else []


# ---- each address, once as it should be and once with a body of nonsense
job = s.post("/v1/jobs", {"prompt": "x", "steps": 1, "n": 2})[1]["id"]
s.until(lambda: s.get("/v1/jobs/" + job)[1]["status"] == "completed")
bodies = {"/sdapi/v1/txt2img": {"steps": 1}, "/sdapi/v1/img2img": {"steps": 2, "init_images": [b64(png(32, 32))]},
          "/sdapi/v1/options": {"sd_model_checkpoint": "imago-small", "unknown": [1]},
          "/sdapi/v1/png-info": {"image": b64(png(8, 8))}, "/internal/progress": {"id_task": "none"},
          "/v1/images/generations": {"prompt": "x", "steps": 1}, "/v1/jobs": {"prompt": "x", "steps": 1},
          "/v1/images/edits": {"prompt": "x", "steps": 2, "image": "data:image/png;base64," + b64(png(40, 32))}}
wrong, statuses = [], {}
for method, path in sorted(told):
    at = path.replace("{id}", "imago-small" if "models" in path else job)
    for body in ([bodies.get(path, {}), {"prompt": 5, "image": [], "id_task": 7, "init_images": 3}]
                 if method == "post" else [None]):
        status, headers, data = s.ask(method.upper(), at, body)
        statuses.setdefault(path, []).append(status)
        wrong += said(method, path, status, data, headers["Content-Type"])
check("answers are as openapi.json tells", not wrong, wrong)
check("right requests are answered", [p for p, x in statuses.items() if x[0] not in (200, 202)] == ["/v1/jobs/{id}/cancel"],
      statuses)
check("openapi.json is what is served", s.get("/openapi.json")[1] == doc)
check("another method: 405 and Allow", s.ask("PUT", "/v1/jobs")[0] == 405 and
      s.ask("PUT", "/v1/jobs")[1]["Allow"] == "POST, GET, HEAD"
      and "POST, GET, HEAD" in s.ask("PUT", "/v1/jobs")[2].decode())
check("another address: 404 in the form of its neighbours", "error" in s.get("/v2")[1] and "detail" in s.get("/sdapi/v1/x")[1])
check("a name that is not UTF-8", [s.get("/v1/models/" + x)[1]["error"]["message"].split(";")[0]
      for x in ("%ff", "%c3%bc%ff")] == ['there is no model "?" here', 'there is no model "ü?" here'])
check("HEAD", s.ask("HEAD", "/")[0] == 200 and s.ask("HEAD", "/")[2] == b"")

# ---- /sdapi/v1: defaults and errors
status, r = s.post("/sdapi/v1/txt2img", {})
info = json.loads(r["info"]) if status == 200 else {}
check("txt2img: defaults", status == 200 and info["steps"] == 50 and info["cfg_scale"] == 7
      and info["sampler_name"] == "Euler" and len(r["images"]) == 1, r)


def detail(path, body):
    status, r = s.post("/sdapi/v1/" + path, body)
    d = r.get("detail")
    return status, (d[0]["loc"] + [d[0]["msg"]] if isinstance(d, list) else d)


check("unknown sampler", detail("txt2img", {"sampler_name": "Eule"}) == (400, "Sampler not found"))
check("unknown scheduler", detail("txt2img", {"scheduler": "x"})[0] == 400)
check("no picture to begin from", detail("img2img", {})[0] == 404 and detail("img2img", {"init_images": []})[0] == 404)
check("unknown always-on script", detail("txt2img", {"alwayson_scripts": {"y": {}}}) ==
      (422, ["body", "alwayson_scripts", "always on script y not found"]))
check("a script", detail("txt2img", {"script_name": "X/Y/Z plot"})[0] == 422)
check("what is wrong, and where", detail("txt2img", {"steps": "many"}) ==
      (422, ["body", "steps", 'steps is "many"; wanted a whole number from 1 to 100000']))
check("the server's own limit", "--max-steps" in detail("txt2img", {"steps": 61})[1][2])
check("a size the model cannot draw", detail("txt2img", {"width": 33})[0] == 422)
check("what is not offered", [detail("txt2img", {k: v})[0] for k, v in
      (("enable_hr", True), ("tiling", True), ("subseed_strength", 0.5), ("styles", ["a"]))] == [422] * 4)
masked = {"init_images": [b64(png(32, 32))], "mask": b64(png(32, 32, b"\xff\xff\xff")), "steps": 2}
check("a mask", s.post("/sdapi/v1/img2img", masked)[0] == 200)
for key, value, says in (("inpainting_fill", 4, "from 0 to 3"), ("inpaint_full_res", "perhaps", "true, false, 0 or 1"),
                         ("inpaint_full_res_padding", -1, "from 0 to"),
                         ("mask_round", False, "drawn anew or kept"), ("mask_blur_x", 2, "mask_blur_y is 4"),
                         ("inpainting_mask_invert", 2, "0 or 1"), ("inpainting_mask_invert", True, "no white part"),
                         ("mask", b64(png(32, 48)), "other proportions"), ("mask", "aGFsbG8=", "not a picture"),
                         ("mask", [5], "base64"), ("mask_blur", -1, "from 0 to 1000")):
    status, d = detail("img2img", dict(masked, **{key: value}))
    check("a mask, and %s %s" % (key, value), status == 422 and says in str(d), d)
for given, blur in (({"mask_blur_x": 8, "mask_blur_y": "8"}, 8), ({"mask_blur_x": 4}, 4),
                    ({"mask_blur": 2, "mask_blur_x": 4}, 2)):
    status, r = s.post("/sdapi/v1/img2img", dict(masked, **given))
    check("a mask, and the blur of " + str(given), status == 200 and
          json.loads(r["info"])["extra_generation_params"]["Mask blur"] == blur, r)
check("what is said of masks decides nothing without one",
      s.post("/sdapi/v1/img2img", {"init_images": masked["init_images"], "steps": 2, "inpainting_fill": 0, "mask": "",
                                   "inpaint_full_res": True})[0] == 200)
# what pydantic 1 makes of values in another type than their key's; None: 422
for key, cases in {
        "steps": {5.0: 5, 5.7: 5, "5": 5, " 5 ": 5, "+5": 5, True: 1, "5.0": None, "": None, "0x5": None, "five": None},
        "cfg_scale": {"7": 7, "7.5": 7.5, ".5": 0.5, "1e1": 10, True: 1, "nan": None, "0x5": None, "": None, "7,5": None},
        "seed": {5.0: 5, 5.5: 5, "5": 5, 1e19: "10000000000000000000", 2 ** 64 - 1: str(2 ** 64 - 1),
                 2 ** 63: str(2 ** 63), str(2 ** 64 - 1): str(2 ** 64 - 1), "5.0": None, 2 ** 64: None, "-2": None},
        "prompt": {5: "5", 5.5: "5.5", 1e6: "1000000.0", True: "True"}}.items():
    for value, wanted in cases.items():
        status, r = s.post("/sdapi/v1/txt2img", {"width": 16, "height": 16, "steps": 1, key: value})
        found = json.loads(r["info"])[key] if status == 200 else status
        check("%s is %r" % (key, value), found == (422 if wanted is None else wanted), found)
small = {"width": "16", "height": "16", "steps": "1"}
check("any seed, in other types", {s.post("/sdapi/v1/txt2img", dict(small, seed=x))[0] for x in (-1.0, "-1", "-1 ", -1)}
      == {200})
check("flags in other types", [bool(s.post("/sdapi/v1/txt2img", dict(small, send_images=x))[1].get("images"))
      for x in (1, 0, 1.0, "true", "OFF", "n", "Yes")] == [True, False, True, True, False, False, True])
check("flags that are none", [s.post("/sdapi/v1/txt2img", dict(small, send_images=x))[0]
      for x in (2, "", "no way", [], " on")] == [422] * 5)
check("what is not offered, left off in other types", [s.post("/sdapi/v1/txt2img", dict(small, **{k: v}))[0] for k, v in (
      ("refiner_checkpoint", "None"), ("enable_hr", "false"), ("tiling", 0), ("s_noise", "1"), ("eta", "0"),
      ("refiner_checkpoint", "sd_xl"), ("enable_hr", "yes"), ("s_noise", "2"))] == [200] * 5 + [422] * 3)
check("another model", detail("txt2img", {"override_settings": {"sd_model_checkpoint": "v1-5"}})[0] == 422)
check("no pictures wanted", s.post("/sdapi/v1/txt2img", {"steps": 1, "send_images": False})[1]["images"] == [])
options = s.get("/sdapi/v1/options")[1]
check("options, posted back whole and with others", s.post("/sdapi/v1/options", dict(options, new_key=[1]))[0] == 200)
check("options: another model", s.post("/sdapi/v1/options", {"sd_model_checkpoint": "other"})[0] == 422)
names = [x["name"] for x in s.get("/sdapi/v1/samplers")[1]]
check("samplers: each can be asked for by name and by alias", {s.post("/sdapi/v1/txt2img", {"steps": 3, "sampler_name": n,
      "width": 16, "height": 16})[0] for x in s.get("/sdapi/v1/samplers")[1] for n in [x["name"]] + x["aliases"]} == {200})
status, r = s.post("/sdapi/v1/txt2img", {"steps": 2, "sampler_name": "DPM++ 2M", "scheduler": "Karras"})
check("DPM++ 2M with Karras", status == 200 and json.loads(r["info"])["sampler_name"] == "DPM++ 2M Karras" in names, r)
check("Euler with Karras is refused", detail("txt2img", {"sampler_name": "Euler", "scheduler": "karras"})[0] == 400)
check("idle: progress 0, no jobs", s.until(s.idle))

# ---- bodies: as Python's json reads them, and what is wrong in plain words
for body, wanted in (('\ufeff{"steps": 1, "seed": 3}', 3),
                     ('{"steps": 1, "seed": 3, "other": NaN, "more": [-Infinity, 1e999]}', 3),
                     ('{"steps": 1, "seed": 3, "prompt": "a\\ud83d b\\u0000"}', 3),
                     ('{"steps": 1, "cfg_scale": NaN}', 'cfg_scale is "NaN"; wanted a number from -1000 to 1000'),
                     ('{"steps": 99999999999999999999}', 'steps is "99999999999999999999"; wanted a whole number'),
                     ('{"steps": 1,\n"steps": 2}', 'the body has the key "steps" twice, again in line 2; give it once'),
                     ('{"steps": }', "the body is not JSON: in line 1, column 11, } stands where something else is wanted"),
                     ('{"prompt": "a\nb"}', "in line 1, a text holds a control character; a line break is written \\n"),
                     ('{"steps": 1', "it ends before its brackets and quotes are closed"), ('{"a": 1} x', "in line 1: x"),
                     (b'{"prompt": "\xff"}', "it is not UTF-8, in line 1"), (b'{"steps": 1\0}', "a zero byte"),
                     ('[1]', "not an object"), ('5', "not an object"), ('', "the body is empty"),
                     ('{"x": ' * 5000 + '1' + '}' * 5000, "nested too deeply")):
    if isinstance(body, str):
        body = body.encode()
    status, r = s.post("/sdapi/v1/txt2img", body)
    found = json.loads(r["info"])["seed"] if status == 200 else r["detail"][0]["msg"]
    check("the body %s" % body[:60], found == wanted if isinstance(wanted, int) else status == 422 and wanted in found, r)

# ---- OpenAI's form
status, r = s.post("/v1/images/generations", {"steps": 1})
check("no prompt", status == 400 and r["error"]["param"] == "prompt" and r["error"]["type"] == "invalid_request_error", r)
check("an unknown key that is cut within a letter", [s.post("/v1/jobs", {"prompt": "x", k + "é" * 40: 1})[0] for k in ("", "x")]
      == [400, 400])
check("an unknown key", s.post("/v1/images/generations", {"prompt": "x", "stepz": 1})[1]["error"]["param"] == "stepz")
for name, value in (("size", "64"), ("n", 11), ("output_format", "webp"), ("background", "transparent"), ("seed", -2),
                    ("seed", 1.5), ("sampler_name", "x"), ("strength", 2), ("loras", [{"name": "none"}]), ("stream", 1),
                    ("prompt", ["x"]), ("steps", 1e30)):
    status, r = s.post("/v1/images/generations", {"prompt": "x", name: value})
    check("%s %s" % (name, value), status == 400 and r["error"]["message"], r)
status, r = s.post("/v1/images/generations", {"prompt": "x", "num_inference_steps": 1, "guidance_scale": 2, "rng_seed": 9,
                                              "width": 32, "height": 16, "response_format": "url", "n": 2,
                                              "output_format": "jpeg", "model": "any", "user": "u"})
check("other servers' names, url, jpeg", status == 200 and [d["seed"] for d in r["data"]] == [9, 10]
      and r["size"] == "32x16" and r["data"][0]["url"].startswith("data:image/jpeg;base64,/9j"), r)
status, r = s.post("/v1/images/generations", {"prompt": "x", "steps": 1, "seed": "18446744073709551615"})
for given, wanted in ((2 ** 64 - 1, str(2 ** 64 - 1)), (5.0, 5), ("-1", None)):
    status, r = s.post("/v1/images/generations", {"prompt": "x", "steps": 1, "seed": given})
    check("the seed %r" % given, status == 200 and wanted in (None, r["data"][0]["seed"]), r)
status, _, text = s.ask("POST", "/v1/images/generations",
                        {"prompt": "x", "steps": 1, "seed": str(2 ** 64 - 1), "stream": True})
check("a seed of 64 bits in a stream", status == 200 and b'"seed":"18446744073709551615"' in text, text)
status, r = s.post("/v1/images/generations", {"prompt": "x", "steps": 1, "seed": "18446744073709551615"})
check("a seed of 64 bits", status == 200 and r["data"][0]["seed"] == "18446744073709551615", r)
body, headers = form([("prompt", "x"), ("steps", 2), ("image[]", png(32, 32)), ("n", 2)])
check("edits: a form with image[]", len(s.post("/v1/images/edits", body, headers)[1]["data"]) == 2)
body, headers = form([("prompt", "x"), ("image[]", png(32, 32)), ("image[]", png(32, 32))])
check("edits: two pictures", s.post("/v1/images/edits", body, headers)[0] == 400)
edit = {"prompt": "x", "steps": 2, "image": b64(png(32, 32))}
for mask, says in ((png(32, 32), "transparent"), (png(32, 32, b"\0\0\0\xff"), "no white part"), (b"x", "picture")):
    status, r = s.post("/v1/images/edits", dict(edit, mask=b64(mask)))
    check("edits: a mask, and " + says, status == 400 and says in r["error"]["message"], r)
status, r = s.post("/v1/images/edits", dict(edit, mask=b64(png(32, 32, b"\0\0\0\0")), mask_fill="paint"))
check("edits: a filling that there is not", status == 400 and "original, fill, noise or nothing" in r["error"]["message"], r)
check("a mask without its picture", s.post("/v1/jobs", {"prompt": "x", "mask": b64(png(8, 8))})[1]["error"]["param"] == "mask")
check("edits: a form that is cut short", s.post("/v1/images/edits", body[:-60], headers)[0] == 400)
check("a job that is forgotten: 410", s.get("/v1/jobs/1" if job != "1" else "/v1/jobs/2")[0] == 410)
check("stopped by Ctrl-C: 0", s.stop(2) == 0)

s = Server("--embedding", "tests/golden/embeddings", model="tests/golden/models/a")
r = s.get("/sdapi/v1/embeddings")[1]
check("embeddings", r == {"loaded": {n: {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, "shape": 48,
                                         "vectors": v} for n, v in (("<blob>", 3), ("wool", 1))}, "skipped": {}}, r)
s.stop()

# ---- a single file: its name is as long as names of files may be, and clients name it with its ending or without
name = "m" * 200 + ".v1"
path = os.path.join(s.dir, name + ".safetensors")
subprocess.run([IMAGO, "convert", "tests/golden/models/a", "-o", path], check=True, stdout=subprocess.DEVNULL,
               stderr=subprocess.DEVNULL)
s = Server(model=path)
status, r = s.get("/v1/models/" + name + ".safetensors")
check("a long name", status == 200 and r["id"] == name + ".safetensors", r)
found = [s.post("/sdapi/v1/txt2img", {"steps": 1, "override_settings": {"sd_model_checkpoint": x}})[0]
         for x in (name + ".safetensors", name, name[:-1], name + ".")]
check("a file is named with its ending or without", found == [200, 200, 422, 422], found)
check("options, too", s.post("/sdapi/v1/options", {"sd_model_checkpoint": name})[0] == 200)
s.stop()
done()
