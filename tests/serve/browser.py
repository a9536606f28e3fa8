"""browser.py: a headless Chromium, asked through its DevTools pipe. Standard library only."""
import atexit
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time

# What Runtime.evaluate answers while one page goes and the next one comes.
BETWEEN_PAGES = ("Inspected target navigated or closed", "Cannot find context with specified id",
                 "Cannot find default execution context", "Execution context was destroyed")
PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """with Browser() as b: b.go(url); b.value("document.title")"""

    def __init__(self):
        self.folder = tempfile.mkdtemp()
        out, self.write = os.pipe()
        self.read, into = os.pipe()

        def pipes():                        # the browser reads commands at 3 and answers at 4
            a, b = os.dup(out), os.dup(into)
            os.dup2(a, 3)
            os.dup2(b, 4)
        self.process = subprocess.Popen(
            [PROGRAM, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--no-first-run",
             "--disable-dev-shm-usage", "--disable-background-networking", "--user-data-dir=" + self.folder, "about:blank"],
            preexec_fn=pipes, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        atexit.register(self.process.kill)
        os.close(out)
        os.close(into)
        self.buffer, self.number, self.session, self.errors = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(domain + ".enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.folder, ignore_errors=True)

    def message(self):
        while b"\0" not in self.buffer:
            chunk = os.read(self.read, 1 << 20)
            if not chunk:
                raise RuntimeError("the browser has ended")
            self.buffer += chunk
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        self.number += 1
        ask = {"id": self.number, "method": method, "params": params}
        if self.session:
            ask["sessionId"] = self.session
        os.write(self.write, json.dumps(ask).encode() + b"\0")
        while True:
            m = self.message()
            if m.get("method") == "Runtime.exceptionThrown":
                self.errors.append(m["params"]["exceptionDetails"].get("exception", {}).get("description", "?"))
            if m.get("method") == "Log.entryAdded" and m["params"]["entry"]["level"] == "error":
                self.errors.append(m["params"]["entry"]["text"])
            if m.get("id") == self.number:
                if "error" in m:
                    raise RuntimeError(method + ": " + m["error"]["message"])
                return m["result"]

    def value(self, expression):
        r = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        return r["result"].get("value")

    def until(self, expression, seconds=120):
        """Waits until it is true, across pages that are loaded meanwhile; what it was last."""
        end, found = time.time() + seconds, None
        while time.time() < end:
            try:
                if found := self.value(expression):
                    return found
            except RuntimeError as e:
                if not any(text in str(e) for text in BETWEEN_PAGES):
                    raise
            time.sleep(0.05)
        return None

    def go(self, url):
        self.call("Page.navigate", url=url)
        self.until('document.readyState === "complete"')

    def type(self, text):
        self.call("Input.insertText", text=text)

    def key(self, key, code, modifiers=0):
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, modifiers=modifiers)

    def drag(self, points):
        """The mouse goes down at the first point, up at the last."""
        for i, (x, y) in enumerate(points):
            self.call("Input.dispatchMouseEvent", type="mousePressed" if i == 0 else "mouseMoved", x=x, y=y, button="left",
                      buttons=1, clickCount=1)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=points[-1][0], y=points[-1][1], button="left",
                  clickCount=1)

    def touch(self, points):
        """A finger goes down at the first point, up at the last."""
        for i, (x, y) in enumerate(points):
            self.call("Input.dispatchTouchEvent", type="touchStart" if i == 0 else "touchMove", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def screen(self, width, height, dark=False, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def shoot(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        open(path, "wb").write(base64.b64decode(data))
