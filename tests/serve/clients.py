"""clients.py: the clients that people use, out of PyPI: openai, webuiapi, sd-backend-client. Each draws, and has the picture of
`imago generate`. Run by tests/cli/serve_clients.sh with a Python that has them; those that are missing are skipped by name."""
import base64
import importlib
import io
import os

from server import Server, check, done, generate, png, skip

folder = os.environ["DIR"]
s = Server("--max-pixels", "1M")


def have(name, package):
    try:
        return importlib.import_module(name)
    except ImportError:
        skip("%s: it is not installed" % package)


def pixels(data):
    image = importlib.import_module("PIL.Image")
    return image.open(io.BytesIO(data)).convert("RGB").tobytes()


wanted = generate(folder, prompt="strawberry", negative="blue", seed=7, steps=4, guidance=5, scheduler="euler_a")
first = pixels(wanted) if have("PIL", "pillow") else None

openai = have("openai", "openai")
if openai:
    c = openai.OpenAI(base_url=s.url + "/v1", api_key="none", max_retries=0)
    check("openai: models", [m.id for m in c.models.list()] == ["imago-small"])
    more = {"seed": 7, "steps": 4, "cfg_scale": 5, "negative_prompt": "blue", "sampler_name": "Euler a"}
    r = c.images.generate(prompt="strawberry", model="imago-small", response_format="b64_json", extra_body=more)
    check("openai: the picture of generate", base64.b64decode(r.data[0].b64_json) == wanted)
    check("openai: seed, size, usage", r.data[0].seed == 7 and r.size == "64x64" and r.usage.input_tokens == 1)
    events = list(c.images.generate(prompt="strawberry", stream=True, partial_images=2, extra_body=more))
    check("openai: a stream", [e.type for e in events] == ["image_generation.partial_image"] * 2 +
          ["image_generation.completed"] and base64.b64decode(events[-1].b64_json) == wanted, [e.type for e in events])
    picture = os.path.join(folder, "first.png")
    open(picture, "wb").write(wanted)
    r = c.images.edit(image=open(picture, "rb"), prompt="cat", n=2, extra_body={"seed": 3, "steps": 4, "strength": 0.5})
    check("openai: an edit", [base64.b64decode(d.b64_json) for d in r.data] ==
          [generate(folder, prompt="cat", seed=n, steps=4, init=picture, strength=0.5) for n in (3, 4)])
    hole, white = [os.path.join(folder, name + ".png") for name in ("hole", "white")]
    open(hole, "wb").write(png(64, 64, b"\0\0\0\xff", box=(16, 16, 48, 64), inside=b"\0\0\0\0"))
    open(white, "wb").write(png(64, 64, b"\0\0\0", box=(16, 16, 48, 64)))
    r = c.images.edit(image=open(picture, "rb"), mask=open(hole, "rb"), prompt="cat",
                      extra_body={"seed": 3, "steps": 4, "strength": 0.5, "mask_blur": 2})
    check("openai: an edit with a mask", base64.b64decode(r.data[0].b64_json) ==
          generate(folder, prompt="cat", seed=3, steps=4, init=picture, strength=0.5, mask=white, mask_blur=2))
    try:
        c.images.generate(prompt="x", size="1x1")
        check("openai: an error", False)
    except openai.BadRequestError as e:
        check("openai: an error", "1" in str(e) and e.status_code == 400, e)

webuiapi = have("webuiapi", "webuiapi")
if webuiapi:
    c = webuiapi.WebUIApi(baseurl=s.url + "/sdapi/v1", sampler="Euler a", steps=4)
    r = c.txt2img(prompt="strawberry", negative_prompt="blue", seed=7, cfg_scale=5, width=64, height=64)
    check("webuiapi: the picture of generate", r.image.convert("RGB").tobytes() == first)
    check("webuiapi: info", r.info["all_seeds"] == [7] and r.parameters["seed"] == 7)
    check("webuiapi: what the picture says", "Seed: 7" in c.png_info(r.image).info)
    again = c.img2img(images=[r.image], prompt="cat", seed=3, width=64, height=64, denoising_strength=0.5)
    check("webuiapi: from a picture", again.image.size == (64, 64) and again.info["denoising_strength"] == 0.5)
    image = importlib.import_module("PIL.Image")
    box = image.new("RGB", (64, 64))
    box.paste((255, 255, 255), (16, 16, 48, 64))
    for path, i in (("start.png", r.image), ("box.png", box)):
        i.convert("RGB").save(os.path.join(folder, path))
    part = c.img2img(images=[r.image], mask_image=box, mask_blur=3, inpainting_fill=1, inpaint_full_res=False, prompt="cat",
                     seed=3, cfg_scale=5, width=64, height=64, denoising_strength=0.5)
    check("webuiapi: a part of a picture", part.image.convert("RGB").tobytes() == pixels(generate(
        folder, prompt="cat", seed=3, steps=4, guidance=5, scheduler="euler_a", strength=0.5, mask_blur=3,
        init=os.path.join(folder, "start.png"), mask=os.path.join(folder, "box.png"))))
    part = c.img2img(images=[r.image], mask_image=box, prompt="cat", seed=3, width=64, height=64, steps=4, denoising_strength=0.5)
    check("webuiapi: a part of a picture, by its own defaults", part.image.convert("RGB").tobytes() == pixels(generate(
        folder, prompt="cat", seed=3, steps=4, guidance=7, scheduler="euler_a", strength=0.5, mask_blur=4, mask_fill="fill",
        mask_only=0, width=64, height=64, init=os.path.join(folder, "start.png"), mask=os.path.join(folder, "box.png"))))
    try:
        c.img2img(images=[r.image], mask_image=box, prompt="cat", custom_script="x")
        check("webuiapi: what is not offered", False)
    except (RuntimeError, TypeError) as e:
        check("webuiapi: what is not offered", "x" in str(e), e)
    c.set_options(c.get_options())
    c.util_set_model("imago")
    check("webuiapi: lists", "Euler a" in c.util_get_sampler_names() and c.util_get_current_model().startswith("imago-small [")
          and c.get_loras() == [] and c.get_memory()["ram"]["used"] > 0 and c.get_embeddings()["loaded"] == {})
    c.util_wait_for_ready(0.1)
    check("webuiapi: interrupt, skip", c.interrupt() == {} and c.skip() is None)

if have("sd_backend_client", "sd-backend-client"):
    from sd_backend_client.api.a1111_webservice import A1111Webservice
    from sd_backend_client.api.webui.diffusion_request_body import DiffusionRequestBody
    c = A1111Webservice(s.url)
    body = DiffusionRequestBody(prompt="strawberry", negative_prompt="blue", seed=7, steps=4, cfg_scale=5, width=64, height=64,
                                sampler_name="Euler a")
    job = c.submit_txt2img(body)
    result = job.wait(60)
    check("sd-backend-client: the picture of generate", result.images[0].convert("RGB").tobytes() == first)
    body.init_images = [result.images[0]]
    check("sd-backend-client: from a picture", c.submit_img2img(body).wait(60).images[0].size == (64, 64))
    have_no = c.get_capabilities()
    check("sd-backend-client: what there is", have_no.scheduler and not have_no.controlnet, have_no)
    lists = [c.get_samplers(), c.get_models(), c.get_upscalers(), c.get_vae(), c.get_styles(), c.get_script_info(),
             c.get_hypernetworks(), c.get_latent_upscale_modes(), c.get_scripts(), c.get_config(), c.progress_check()]
    check("sd-backend-client: lists", len(lists[0]) == 12 and lists[1][0].model_name == "imago-small" and c.interrupt() == {})
check("the server stops", s.stop() == 0)
done()
