"""The page as people meet it: a real page process, a real browser, a summarizer that is told
by the text what to do."""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from sintese.baselines import Lead
from sintese.errors import InputError, ModelError, TrackingError, UsageError
from sintese.summarizer import Summary

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 5000
CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
NEWS = (
    "O governo federal anunciou nesta terça-feira um programa de cisternas para o semiárido. "
    "Serão 12 mil reservatórios até o fim do próximo ano. "
    "A recuperação de poços em nove estados completa o plano."
)
FIRST = "O governo federal anunciou nesta terça-feira um programa de cisternas para o semiárido."
needs_browser = pytest.mark.skipif(
    not CHROMIUM or not Path(CHROMIUM).exists() or not importlib.util.find_spec("playwright"),
    reason="no Chromium: install one or set CHROMIUM to its path, and pip install playwright",
)


@pytest.fixture(scope="module")
def ui():
    spec = importlib.util.spec_from_file_location("sintese_ui", ROOT / "serve" / "ui.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


# --- without a browser -----------------------------------------------------------------------


class Engine:
    """A summarizer with settings, which raises what it is told to."""

    name = "sintese v1"

    def __init__(self, *, raises=None, refuses=None, **settings):
        self.raises, self.refuses, self.settings = raises, refuses, settings

    def using(self, **settings):
        if self.refuses:
            raise self.refuses
        return Engine(raises=self.raises, **settings)

    def summarize(self, texts):
        return [summary.text for summary in self.summaries(texts)]

    def summaries(self, texts):
        if self.raises:
            raise self.raises
        return [
            Summary(repr(self.settings), 900, truncated=True, new_tokens=64, capped=True)
            for _ in texts
        ]


def test_both_languages_say_the_same_things(ui):
    assert ui.WORDS["pt"].keys() == ui.WORDS["en"].keys()
    for key, words in ui.WORDS["pt"].items():
        blanks = [re.findall(r"\{\w+\}", said) for said in (words, ui.WORDS["en"][key])]
        assert sorted(blanks[0]) == sorted(blanks[1]), key


@pytest.mark.parametrize(
    ("asked", "accepted", "language"),
    [
        (None, "pt-BR,pt;q=0.9,en;q=0.8", "pt"),
        (None, "en-US,en;q=0.9,pt;q=0.8", "en"),
        (None, "de-DE,de;q=0.9,pt;q=0.8", "pt"),
        (None, "de-DE", "en"),
        (None, "", "pt"),
        ("en", "pt-BR", "en"),
        ("pt-BR", "en", "pt"),
        ("<script>", "pt", "pt"),
    ],
)
def test_language_is_what_is_asked_for_or_what_the_browser_prefers(ui, asked, accepted, language):
    assert ui.preferred_language(asked, accepted) == language


def test_answer_passes_settings_to_an_engine_only(ui):
    chosen = {"num_beams": 2}
    with_engine = ui.answer(Engine, NEWS, settings=chosen, limit=LIMIT)
    assert with_engine.summary == "{'num_beams': 2}"
    assert (with_engine.truncated, with_engine.capped, with_engine.fixed) == (True, True, False)
    assert ui.answer(Engine, NEWS, settings={}, limit=LIMIT).summary == "{}"
    with_lead = ui.answer(lambda: Lead(1), NEWS, settings=chosen, limit=LIMIT)
    assert (with_lead.summary, with_lead.model) == (FIRST, "lead-1")
    assert with_lead.fixed and not with_lead.truncated
    assert (with_lead.words_in, with_lead.words_out) == (len(NEWS.split()), len(FIRST.split()))
    assert "não usa as opções" in ui.note(with_lead, "pt")


@pytest.mark.parametrize(
    ("engine", "problem", "detail"),
    [
        (Engine(raises=RuntimeError("segredo")), "failed", ""),
        (Engine(raises=ModelError("pesos danificados")), "failed", "pesos danificados"),
        (Engine(raises=InputError("texto impossível")), "failed", "texto impossível"),
        (Engine(refuses=InputError("num_beams: 99")), "settings", "num_beams: 99"),
        (Engine(refuses=ModelError("sem memória")), "failed", "sem memória"),
    ],
)
def test_answer_never_raises(ui, engine, problem, detail):
    result = ui.answer(lambda: engine, NEWS, settings={"num_beams": 99}, limit=LIMIT)
    assert (result.problem, result.detail, result.summary) == (problem, detail, "")
    for language in ("pt", "en"):
        assert "segredo" not in ui.note(result, language)


def test_answer_when_there_is_no_model(ui):
    def load():
        raise TrackingError("o registro não responde")

    result = ui.answer(load, NEWS, settings={}, limit=LIMIT)
    assert (result.problem, result.detail) == ("no_model", "o registro não responde")


def test_notes_are_inert_and_numbers_are_written_as_readers_write_them(ui):
    outcome = ui.Outcome(
        summary="x", seconds=1.26, words_in=12345, words_out=1234, model="<img src=x>${a}{{b}}"
    )
    assert "1,3 s · 12.345 palavras → 1.234 (10% do original)" in ui.note(outcome, "pt")
    assert "1.3 s · 12,345 words → 1,234 (10% of the original)" in ui.note(outcome, "en")
    for sign in ("<img", "${", "{{"):
        assert sign not in ui.note(outcome, "pt")


@pytest.mark.parametrize(
    ("host", "variables", "words"),
    [
        ("0.0.0.0", {}, "--host 0.0.0.0: SINTESE_UI_PASSWORD is not set"),
        ("192.168.1.9", {"SINTESE_UI_PASSWORD": "curta"}, "has 5 characters"),
        ("127.0.0.1", {"SINTESE_UI_USER": "ana"}, "SINTESE_UI_USER='ana' without"),
    ],
)
def test_refuses_to_be_open_to_others(ui, monkeypatch, host, variables, words):
    for name in ("SINTESE_UI_USER", "SINTESE_UI_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=re.escape(words)):
        ui.launch(Engine, model_label=str, host=host)


# --- the page process ------------------------------------------------------------------------

PAGE = """
    import json, pathlib, sys, time
    sys.path.insert(0, {root!r})
    from serve import ui
    from sintese.baselines import Lead
    from sintese.errors import ModelError, TrackingError
    from sintese.summarizer import Summary

    folder = pathlib.Path({folder!r})

    def version():
        found = (folder / "version").read_text()
        if found == "none":
            raise TrackingError("the registry at http://127.0.0.1:9 does not answer")
        return found

    class Engine:
        # The first sentence; words in capitals tell it what else to do.
        def __init__(self, name, settings=None):
            self.name, self.settings = name, settings or {{}}

        def using(self, **settings):
            return Engine(self.name, settings)

        def summarize(self, texts):
            return [summary.text for summary in self.summaries(texts)]

        def summaries(self, texts):
            with (folder / "calls").open("a") as calls:
                calls.write(json.dumps({{"texts": texts, "settings": self.settings}}) + "\\n")
            text = texts[0]
            if "QUEBRE" in text:
                raise RuntimeError("detalhe interno <b>que ninguém deve ler</b>")
            if "RECUSE" in text:
                raise ModelError("<i>weights</i> are damaged")
            if "DEMORE" in text:
                time.sleep(1)
            summary = text if "ECO" in text else Lead(1).summarize(texts)[0]
            return [Summary(summary, 1234, "LONGO" in text, 128, "CORTE" in text)]

    ui.launch(
        lambda: Engine("sintese " + version()),
        model_label=lambda: f"sintese {{version()}} (champion)",
        examples=[{news!r}, "ECO <b>Segundo</b> exemplo, com ${{1+1}} e {{{{marcas}}}}."],
        port={port},
        max_characters={limit},
        on_ready=lambda url: (folder / "ready").write_text(url),
    )
"""


class Page:
    """A page in a process of its own, with the calls that its summarizer received."""

    def __init__(self, folder, **variables):
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.moves_to("v1")
        script = textwrap.dedent(PAGE).format(
            root=str(ROOT), folder=str(folder), news=NEWS, port=self.port, limit=LIMIT
        )
        variables["PYTHONPATH"] = os.pathsep.join(
            [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
        )
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", script], env=os.environ | variables, stdout=log, stderr=log
            )

    def wait(self):
        deadline = time.monotonic() + 90
        while not (self.folder / "ready").exists():
            assert self.process.poll() is None and time.monotonic() < deadline, self.log
            time.sleep(0.05)
        self.url = (self.folder / "ready").read_text()
        return self

    @property
    def log(self):
        return (self.folder / "log").read_text()

    @property
    def calls(self):
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def moves_to(self, version):
        (self.folder / "version").write_text(version)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    page = Page(tmp_path_factory.mktemp("page"))
    try:
        yield page.wait()
    finally:
        code = page.stop()
    assert code == 0, page.log


def ask(url, data=None):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    body = urllib.parse.urlencode(data).encode() if data else None
    try:
        with opener.open(url, body, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_with_a_password_nothing_is_served_without_it(tmp_path):
    page = Page(tmp_path, SINTESE_UI_USER="ana", SINTESE_UI_PASSWORD="uma-senha-comprida").wait()
    try:
        assert "auth_required" in ask(page.url)[1]
        for path in ("/config", "/gradio_api/info", "/gradio_api/queue/data?session_hash=x"):
            assert ask(page.url + path)[0] == 401, path
        wrong = {"username": "ana", "password": "outra-senha-longa"}
        assert ask(page.url + "/login", wrong)[0] == 400
        right = {"username": "ana", "password": "uma-senha-comprida"}
        assert ask(page.url + "/login", right)[0] == 200
    finally:
        assert page.stop() == 0


def test_no_file_and_no_programming_interface_is_offered(served):
    assert json.loads(ask(served.url + "/gradio_api/info")[1])["named_endpoints"] == {}
    assert ask(served.url + "/gradio_api/runs")[0] == 404
    edge = "x"
    body = (
        f'--{edge}\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        + "a" * 5000
        + f"\r\n--{edge}--\r\n"
    ).encode()
    request = urllib.request.Request(
        served.url + "/gradio_api/upload",
        body,
        {"Content-Type": f"multipart/form-data; boundary={edge}"},
    )
    with pytest.raises(urllib.error.HTTPError, match="413") as refused:
        urllib.request.urlopen(request, timeout=20)
    refused.value.close()


def test_a_taken_port_is_told_in_one_line(served, tmp_path):
    script = textwrap.dedent(PAGE).format(
        root=str(ROOT), folder=str(served.folder), news=NEWS, port=served.port, limit=LIMIT
    )
    script = script.replace("ui.launch(", "from sintese.errors import UsageError\ntry: ui.launch(")
    script += "\nexcept UsageError as error: print(error)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.startswith(f"--port {served.port}: cannot listen on"), done.stderr
    assert done.stdout.count("\n") == 1


# --- in the browser --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    quiet = (
        "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync"
    )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet.split())
        yield chromium
        chromium.close()


class Reader:
    """Somebody in front of the page."""

    def __init__(self, browser, served, *, path="/", **options):
        self.served = served
        self.context = browser.new_context(**{"locale": "pt-BR"} | options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda said: self.complaints.append(said.text) if said.type == "error" else None,
        )
        self.page.goto(served.url + path)
        # The last thing to happen on opening: the model is named in the reader's language.
        self.page.wait_for_selector("#model p")

    def write(self, text):
        self.page.fill("#text textarea", text)

    def press(self, text=None):
        """Press the button, and return what the page then says."""
        if text is not None:
            self.write(text)
        before = self.page.inner_html("#remarks .prose")
        self.page.click("#summarize")
        self.page.wait_for_function(
            "before => document.querySelector('#remarks .prose').innerHTML !== before", arg=before
        )
        return self.remarks

    @property
    def remarks(self):
        return self.page.inner_text("#remarks")

    @property
    def summary(self):
        return self.page.input_value("#summary textarea")

    def close(self):
        self.context.close()
        elsewhere = [
            url for url in self.requests if not url.startswith((self.served.url, "data:", "blob:"))
        ]
        assert elsewhere == []
        assert self.complaints == []


@pytest.fixture
def reader(browser, served):
    served.moves_to("v1")
    opened = []

    def open_page(**options):
        opened.append(Reader(browser, served, **options))
        return opened[-1]

    yield open_page
    for one in opened:
        one.close()


@needs_browser
@pytest.mark.parametrize(
    ("options", "lang", "button", "label", "said"),
    [
        ({}, "pt-BR", "Resumir", "Seu texto", "palavras"),
        ({"locale": "en-US"}, "en", "Summarize", "Your text", "words"),
        ({"path": "/?lang=en"}, "en", "Summarize", "Your text", "words"),
        ({"path": "/?lang=pt", "locale": "en-US"}, "pt-BR", "Resumir", "Seu texto", "palavras"),
    ],
)
def test_paste_press_read(reader, served, options, lang, button, label, said):
    one = reader(**options)
    assert one.page.get_attribute("html", "lang") == lang
    assert one.page.inner_text("#summarize") == button
    one.page.get_by_label(label).fill(NEWS)
    calls = len(served.calls)
    remarks = one.press()
    assert one.summary == FIRST
    assert f"{len(NEWS.split())} {said}" in remarks and "sintese v1" in remarks
    assert len(served.calls) == calls + 1
    assert served.calls[-1] == {"texts": [NEWS], "settings": {}}
    assert "sintese v1 (champion)" in one.page.inner_text("#model")


@needs_browser
def test_nothing_is_generated_before_the_button_and_one_press_is_one_request(reader, served):
    one = reader()
    calls, requests = len(served.calls), len(one.requests)
    one.page.locator("#text textarea").press_sequentially("DEMORE um pouco. Depois siga.")
    one.page.keyboard.press("Enter")
    one.page.keyboard.press("Shift+Enter")
    one.page.wait_for_timeout(400)
    assert len(served.calls) == calls and len(one.requests) == requests
    one.page.dblclick("#summarize")
    one.page.wait_for_selector("#remarks .facts")
    one.page.wait_for_timeout(300)
    assert len(served.calls) == calls + 1
    one.write("Outra frase. E mais uma.")
    one.page.press("#text textarea", "Control+Enter")
    one.page.wait_for_function(
        "document.querySelector('#summary textarea').value === 'Outra frase.'"
    )
    assert len(served.calls) == calls + 2


@needs_browser
def test_language_can_be_switched_without_losing_anything(reader, served):
    one = reader()
    one.press(NEWS)
    calls = len(served.calls)
    one.page.get_by_label("English").check()
    one.page.wait_for_selector("#summarize:has-text('Summarize')")
    one.page.wait_for_selector("#remarks:has-text('words')")
    assert one.page.get_attribute("html", "lang") == "en"
    assert "Answering now: sintese v1" in one.page.inner_text("#model")
    assert one.page.input_value("#text textarea") == NEWS and one.summary == FIRST
    one.page.get_by_label("Português").check()
    one.page.wait_for_selector("#summarize:has-text('Resumir')")
    assert len(served.calls) == calls


@needs_browser
def test_scripts_in_texts_and_names_are_inert(reader, served):
    """FAULTS W5."""
    attack = (
        "ECO <script>alert(1)</script><img src=x onerror=alert(2)> ${alert(3)} {{alert(4)}} "
        "[x](javascript:alert(5))"
    )
    served.moves_to("v<img src=x onerror=alert(6)>${alert(7)}")
    one = reader()
    remarks = one.press(attack)
    assert one.summary == attack
    assert "v<img src=x onerror=alert(6)>${alert(7)}" in remarks
    assert "<img src=x" in one.page.inner_text("#model")
    one.press(attack + " RECUSE")
    assert "<i>weights</i>" in one.remarks
    one.page.get_by_role("button", name="Segundo").click()
    one.page.wait_for_function("document.querySelector('#text textarea').value.length < 60")
    assert "<b>Segundo</b> exemplo, com ${1+1} e {{marcas}}." in one.page.input_value(
        "#text textarea"
    )
    assert one.page.locator("img[src=x], #remarks script, #remarks i").count() == 0


@needs_browser
@pytest.mark.parametrize("language", ["pt", "en"])
def test_what_goes_wrong_is_said_kindly_and_the_page_lives_on(reader, served, language):
    one = reader(path=f"/?lang={language}")
    portuguese = language == "pt"
    calls = len(served.calls)
    assert ("Ainda não há texto" if portuguese else "There is no text yet") in one.press(" \n\t ")
    long = one.press("a" * (LIMIT + 1))
    assert ("5.001 caracteres e o limite é 5.000" if portuguese else "5,001 characters") in long
    assert len(served.calls) == calls
    said = one.press("QUEBRE agora.")
    assert ("não conseguiu resumir" if portuguese else "could not summarize") in said
    assert "interno" not in said and "Error" not in said
    assert "weights are damaged" in re.sub(r"</?i>", "", one.press("RECUSE agora."))
    served.moves_to("none")
    said = one.press("Frase qualquer. Outra.")
    assert ("Nenhum modelo está disponível" if portuguese else "No model is available") in said
    assert one.summary == "" and one.page.input_value("#text textarea") == "Frase qualquer. Outra."
    served.moves_to("v2")
    assert "sintese v2" in one.press()
    assert one.summary == "Frase qualquer."
    assert "sintese v2 (champion)" in one.page.inner_text("#model")
    assert one.page.locator(".toast-body").count() == 0


@needs_browser
def test_truncation_and_a_summary_cut_short_are_said(reader):
    one = reader()
    remarks = one.press("LONGO e CORTE. Fim.")
    assert "só o começo foi resumido" in remarks and "1.234 tokens" in remarks
    assert "comprimento máximo (128 tokens)" in remarks
    assert one.page.locator("#remarks .warning").count() == 2
    one.press("Nada disso. Fim.")
    assert one.page.locator("#remarks .warning").count() == 0
    one.page.click("#clear")
    one.page.wait_for_function("document.querySelector('#text textarea').value === ''")
    assert one.summary == "" and one.remarks.strip() == ""


@needs_browser
def test_settings_reach_the_model_only_when_they_are_chosen(reader, served):
    one = reader(locale="en-US")
    one.page.get_by_role("button", name="Advanced").click()
    beams = one.page.locator("#num_beams input[type=number]")
    assert beams.is_disabled()
    one.press(NEWS)
    assert served.calls[-1]["settings"] == {}
    one.page.get_by_label("Choose myself").check()
    one.page.wait_for_function("!document.querySelector('#num_beams input[type=number]').disabled")
    beams.fill("2")
    one.page.locator("#max_new_tokens input[type=number]").fill("64")
    one.page.locator("#length_penalty input[type=number]").fill("0.6")
    one.page.locator("#no_repeat_ngram_size input[type=number]").fill("0")
    one.page.keyboard.press("Tab")
    one.press(NEWS + " Fim.")
    assert served.calls[-1]["settings"] == {
        "num_beams": 2,
        "max_new_tokens": 64,
        "length_penalty": 0.6,
        "no_repeat_ngram_size": 0,
    }
    assert type(served.calls[-1]["settings"]["num_beams"]) is int


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1440, 900), (390, 844)])
def test_fits_every_screen(reader, tmp_path, width, height, scheme):
    """Leaves pictures in pytest's folder (`--basetemp`), for eyes."""
    one = reader(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        locale="pt-BR" if scheme == "light" else "en-US",
    )
    one.page.screenshot(path=tmp_path / f"{width}-{scheme}-empty.png")
    one.press("LONGO. " * 3 + NEWS * 6)
    one.page.click("#advanced > button")
    one.page.wait_for_selector("#own input")
    one.page.screenshot(path=tmp_path / f"{width}-{scheme}-done.png", full_page=True)
    one.press("RECUSE")
    one.page.screenshot(path=tmp_path / f"{width}-{scheme}-problem.png", full_page=True)
    assert one.page.evaluate("document.documentElement.scrollWidth") == width
    assert one.page.locator("footer:visible").count() == 0
    button = one.page.locator("#summarize").bounding_box()
    assert button["height"] >= 38 and button["x"] >= 0
    nameless = one.page.evaluate(
        """() => [...document.querySelectorAll('button, textarea, input')]
            .filter(e => e.offsetParent && !(e.labels && e.labels.length) && !e.innerText.trim()
                         && !e.getAttribute('aria-label') && !e.title)
            .map(e => e.outerHTML)"""
    )
    assert nameless == []
    assert one.page.locator("#summary textarea").is_enabled()
    assert one.page.get_by_role("textbox", name=re.compile("Resumo|Summary")).count() == 1
