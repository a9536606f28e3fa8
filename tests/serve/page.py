"""page.py: the page of `imago serve` in a headless Chromium: type, watch the preview change, stop, draw on a picture, reload,
draw again; by keyboard, on a phone, in the dark. Screenshots go to $SHOTS where it is set. Run by tests/cli/serve.sh."""
import base64
import os

import browser
from server import Server, check, done, generate, skip

if not browser.PROGRAM:
    skip("the page in a browser: there is no Chromium here")
    done()
folder, shots = os.environ["DIR"], os.environ.get("SHOTS")
s = Server("--max-steps", "999")
b = browser.Browser()
b.screen(1200, 900)


def shoot(name):
    if shots:
        b.shoot(os.path.join(shots, name + ".png"))


def press(name):
    b.value("document.getElementById('%s').click()" % name)


def draw():
    """A picture's last event comes before its stream ends; until then the page draws no other."""
    check("it can draw", b.until("!document.getElementById('draw').disabled"), b.value(status))
    press("draw")


def put(**values):
    for name, value in values.items():
        b.value("document.getElementById('%s').value = %r" % (name, value))


stage = "[...document.querySelectorAll('#stage img')].map(i => i.src)"
status = "document.getElementById('status').textContent"
b.go(s.url)
check("it tells the model", b.until("document.getElementById('model').textContent.startsWith('imago-small')"))
check("it offers the schedulers, the model's own first chosen", b.value("document.getElementById('scheduler').length") == 12
      and b.value("document.getElementById('scheduler').value") == "pndm")

# ---- by keyboard alone: type, Ctrl+Enter
check("the prompt has the focus", b.until("document.activeElement.id === 'prompt'"))
b.type("strawberry")
put(seed="5", steps="40", guidance="5")
b.value("window.seen = new Set(); new MutationObserver(() => %s.forEach(s => seen.add(s)))"
        ".observe(document.getElementById('stage'), { childList: true })" % stage)
b.key("Enter", 13, 2)
b.until("document.querySelectorAll('#history li').length === 1")
check("previews come before the picture", b.value("seen.size") >= 2, b.value("[seen.size, %s]" % status))
check("the picture is that of generate", base64.b64decode(b.value(stage)[0].split(",")[1]) ==
      generate(folder, prompt="strawberry", seed=5, steps=40, guidance=5), b.value(status))
check("it can be downloaded, named by its seed", b.value("document.querySelector('#stage a').download") == "5.png")
shoot("light")

# ---- stop; the pictures of 999 steps are never finished, however fast the machine is
LONG = {"steps": "999", "width": "128", "height": "128"}
under_way = "document.getElementById('status')?.textContent.startsWith('step')"


def reload():
    b.value("window.old = true")
    b.call("Page.reload")


put(seed="6", **LONG)
draw()
b.until(under_way)
b.key("Escape", 27)
check("Esc stops", b.until(status + " === 'stopped'"), b.value(status))
check("and another can be drawn", b.until("!document.getElementById('draw').disabled"))

# ---- reload while a picture is drawn
put(seed="7", **LONG)
draw()
b.until(under_way)
reload()
check("after a reload it goes on watching", b.until("!window.old && " + under_way), b.value(status))
check("and can stop", not b.value("document.getElementById('stop').disabled"))
check("the form is as it was", b.value("document.getElementById('prompt').value") == "strawberry")
b.key("Escape", 27)
check("and does so", b.until(status + " === 'stopped'"), b.value(status))
put(steps="100", width="64", height="64")
draw()
b.until("/^(step|drawn)/.test(%s)" % status)
reload()                                                        # it may be finished before, while or after
check("a picture is in the history, whenever the page was loaded again",
      b.until("!window.old && document.querySelectorAll('#history li').length === 2"), b.value(status))

# ---- draw on a picture
put(steps="10", width="64", height="64", seed="8")
press("blank")
b.until("!document.getElementById('editing').hidden")
b.value("document.getElementById('editor').scrollIntoView()")
x, y, w, h = b.value("(r => [r.x, r.y, r.width, r.height])(document.getElementById('editor').getBoundingClientRect())")
paper = "document.getElementById('editor').toDataURL()"
white = b.value(paper)
b.drag([(x + w * t, y + h * t) for t in (0.2, 0.4, 0.6, 0.8)])
drawn = b.value(paper)
check("a stroke is drawn", drawn != white)
press("undo")
check("and taken back", b.value(paper) == white)
b.drag([(x + w * t, y + h * t) for t in (0.2, 0.4, 0.6, 0.8)])
shoot("drawing")
draw()
b.until("document.querySelectorAll('#history li').length === 3")
open(os.path.join(folder, "drawn.png"), "wb").write(base64.b64decode(b.value(paper).split(",")[1]))
check("a picture that begins from the drawing", base64.b64decode(b.value(stage)[0].split(",")[1]) ==
      generate(folder, prompt="strawberry", seed=8, steps=10, guidance=5, init=os.path.join(folder, "drawn.png")),
      b.value(status))

# ---- a mask: by touch, by keyboard, taken off; what is covered is drawn anew
HALF = "document.getElementById('mask').getContext('2d').getImageData(0, 0, 64, 64).data.filter((v, i) => i % 4 === 3 && v).length"
b.until("!document.getElementById('draw').disabled")
b.value("document.getElementById('tool').value = 'mask'")
b.value("document.getElementById('editor').scrollIntoView()")
x, y, w, h = b.value("(r => [r.x, r.y, r.width, r.height])(document.getElementById('editor').getBoundingClientRect())")
b.touch([(x + w * t, y + h * 0.75) for t in (0.2, 0.4, 0.6, 0.8)])
touched = b.value(HALF)
check("touch covers", touched > 50 and b.value(paper) == b.value("document.getElementById('editor').toDataURL()"), touched)
b.value("document.getElementById('editor').focus()")
for key, code in (("ArrowUp", 38), ("ArrowUp", 38), (" ", 32), ("ArrowLeft", 37), ("ArrowLeft", 37), (" ", 32), ("ArrowUp", 38)):
    b.key(key, code)
check("arrow keys and space cover more", b.value(HALF) > touched + 10, b.value(HALF))
shoot("mask")
put(blur="1", seed="9")
draw()
b.until("document.querySelectorAll('#history li').length === 4")
# White where the file that the page sends is transparent: what generate takes.
b.value("window.flat = (async () => { const i = new Image(); i.src = maskFile(); await i.decode(); const c = document."
        "createElement('canvas'); c.width = c.height = 64; const g = c.getContext('2d'); g.drawImage(i, 0, 0); "
        "const d = g.getImageData(0, 0, 64, 64); for (let p = 0; p < d.data.length; p += 4) { "
        "d.data.fill(255 - d.data[p + 3], p, p + 3); d.data[p + 3] = 255; } g.putImageData(d, 0, 0); return c.toDataURL(); })()")
open(os.path.join(folder, "cover.png"), "wb").write(base64.b64decode(b.value("window.flat").split(",")[1]))
part = dict(prompt="strawberry", seed=9, steps=10, guidance=5, init=os.path.join(folder, "drawn.png"), mask_blur=1,
            mask=os.path.join(folder, "cover.png"))
check("the covered part is drawn anew", base64.b64decode(b.value(stage)[0].split(",")[1]) == generate(folder, **part),
      b.value(status))
b.until("!document.getElementById('draw').disabled")
b.value("document.getElementById('mask-fill').value = 'noise'; document.getElementById('mask-only').value = '12'")
draw()
b.until("document.querySelectorAll('#history li').length === 5")
check("the covered part alone, from noise", base64.b64decode(b.value(stage)[0].split(",")[1]) ==
      generate(folder, **part, mask_fill="noise", mask_only=12), b.value(status))
b.value("document.getElementById('mask-fill').value = 'original'; document.getElementById('mask-only').value = '-1'")
covered = b.value("document.getElementById('mask').toDataURL()")
press("no-mask")
check("the mask is taken off", b.value(HALF) == 0)
press("undo")
check("and put back", b.value("document.getElementById('mask').toDataURL()") == covered)

# ---- history: everything to make it again
was = b.value(stage)[0]
b.until("!document.getElementById('draw').disabled")
press("no-init")
put(prompt="another", seed="1", strength="0.1")
b.value("document.getElementById('status').textContent = ''")
b.value("[...document.querySelectorAll('#history li')][0].querySelectorAll('button')[1].click()")
b.until("!document.getElementById('draw').disabled && " + status + ".startsWith('drawn')")
check("again: the same bits", b.value(stage)[0] == was and b.value("document.querySelectorAll('#history li').length") == 5)

# ---- dark, and on a phone
b.screen(1200, 900, dark=True)
ground = "getComputedStyle(document.body).backgroundColor"
check("dark as the system is", b.until(ground + " === 'rgb(23, 22, 21)'"), b.value(ground))
b.value("scrollTo(0, 0)")
shoot("dark")
press("theme")
press("theme")
check("light by choice", b.value(ground) == "rgb(246, 245, 242)")
b.screen(375, 800, phone=True)
check("nothing is wider than a phone", b.value("document.documentElement.scrollWidth") == 375,
      b.value("document.documentElement.scrollWidth"))
b.value("scrollTo(0, 0)")
shoot("phone")
small = b.value("[...document.querySelectorAll('button, input, select, textarea')].filter(e => e.offsetParent)"
                ".filter(e => !e.labels?.length && !e.textContent.trim() && !e.getAttribute('aria-label')).map(e => e.id)")
check("every control has a name", small == [], small)
check("no error in the console", b.errors == [], b.errors)
b.__exit__()
check("the server stops", s.stop() == 0)
done()
