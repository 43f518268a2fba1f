"""The page: paste a text, press one button, read the summary. Portuguese and English.

The page knows a `Summarizer` and nothing of MLflow: whoever starts it says where the model
comes from. Nothing is generated before the button is pressed, nothing leaves this machine, and
what people or models write is only ever shown as text.
"""

from __future__ import annotations

import contextlib
import html
import ipaddress
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from sintese.config import GenerationConfig
from sintese.errors import InputError, SinteseError, UsageError
from sintese.summarizer import Engine, Summarizer, Summary

MAX_CHARACTERS = 200_000
MIN_PASSWORD = 12

# What the page says. A word in {braces} is filled in; keys are the same in both languages.
WORDS: dict[str, dict[str, str]] = {
    "pt": {
        "tagline": "Resumos de textos em português: cole, peça, leia.",
        "language": "Idioma",
        "text": "Seu texto",
        "text_hint": "Cole aqui uma notícia, um artigo, uma ata…",
        "summarize": "Resumir",
        "clear": "Limpar",
        "examples": "Ou experimente com um destes:",
        "summary": "Resumo",
        "summary_hint": "O resumo aparece aqui.",
        "advanced": "Opções avançadas",
        "own": "Escolher eu mesmo como o resumo é gerado",
        "own_info": "Desmarcado, valem os ajustes com que o modelo foi avaliado.",
        "num_beams": "Feixes (beams)",
        "num_beams_info": "Quantas versões são comparadas palavra a palavra. Mais é mais lento.",
        "max_new_tokens": "Comprimento máximo (tokens)",
        "max_new_tokens_info": "Um token equivale mais ou menos a três quartos de uma palavra.",
        "length_penalty": "Peso do comprimento (length_penalty)",
        "length_penalty_info": "Acima de 1, resumos mais longos; abaixo, mais curtos.",
        "no_repeat_ngram_size": "Não repetir sequências de (no_repeat_ngram_size)",
        "no_repeat_ngram_size_info": "Em tokens; 0 permite qualquer repetição.",
        "model": "Quem responde agora: {model}",
        "model_unknown": "Nenhum modelo respondeu até agora.",
        "facts": "{seconds} s · {words_in} palavras → {words_out} ({share} do original) · {model}",
        "truncated": "O texto é maior do que o modelo consegue ler ({source_tokens} tokens): "
        "só o começo foi resumido. Para não perder o resto, resuma-o em partes.",
        "capped": "O resumo chegou ao comprimento máximo ({new_tokens} tokens) e pode ter parado "
        "no meio de uma frase. Nas opções avançadas é possível aumentá-lo.",
        "fixed": "Este modelo não usa as opções avançadas; elas ficaram sem efeito.",
        "blank": "Ainda não há texto. Cole um texto acima e peça o resumo de novo.",
        "too_long": "O texto tem {characters} caracteres e o limite é {limit}. Divida-o em "
        "partes e resuma uma de cada vez.",
        "settings": "O modelo não aceita uma das opções avançadas.",
        "no_model": "Nenhum modelo está disponível agora. Seu texto continua aqui: tente de novo "
        "daqui a pouco.",
        "failed": "O modelo não conseguiu resumir este texto. Seu texto continua aqui: tente de "
        "novo ou experimente um trecho menor.",
        "empty": "O modelo devolveu um resumo vazio. Isso acontece com textos muito curtos.",
    },
    "en": {
        "tagline": "Summaries of Portuguese texts: paste, press, read.",
        "language": "Language",
        "text": "Your text",
        "text_hint": "Paste a news story, an article, the minutes of a meeting…",
        "summarize": "Summarize",
        "clear": "Clear",
        "examples": "Or try one of these:",
        "summary": "Summary",
        "summary_hint": "The summary appears here.",
        "advanced": "Advanced",
        "own": "Choose myself how the summary is generated",
        "own_info": "Unticked, the settings under which the model was evaluated apply.",
        "num_beams": "Beams",
        "num_beams_info": "How many versions are compared word by word. More is slower.",
        "max_new_tokens": "Maximum length (tokens)",
        "max_new_tokens_info": "A token is roughly three quarters of a word.",
        "length_penalty": "Weight of length (length_penalty)",
        "length_penalty_info": "Above 1 favours longer summaries, below 1 shorter ones.",
        "no_repeat_ngram_size": "Never repeat sequences of (no_repeat_ngram_size)",
        "no_repeat_ngram_size_info": "In tokens; 0 allows every repetition.",
        "model": "Answering now: {model}",
        "model_unknown": "No model has answered yet.",
        "facts": "{seconds} s · {words_in} words → {words_out} ({share} of the original) · {model}",
        "truncated": "The text is longer than the model can read ({source_tokens} tokens): only "
        "its beginning was summarized. To keep the rest, summarize it in parts.",
        "capped": "The summary reached the maximum length ({new_tokens} tokens) and may stop in "
        "mid-sentence. The maximum can be raised under Advanced.",
        "fixed": "This model does not use the advanced settings; they had no effect.",
        "blank": "There is no text yet. Paste one above and ask again.",
        "too_long": "The text has {characters} characters and the limit is {limit}. Please split "
        "it and summarize one part at a time.",
        "settings": "The model does not accept one of the advanced settings.",
        "no_model": "No model is available right now. Your text is still here: please try again "
        "in a moment.",
        "failed": "The model could not summarize this text. Your text is still here: try again, "
        "or try a shorter passage.",
        "empty": "The model returned an empty summary. That happens with very short texts.",
    },
}

# Fields of GenerationConfig that can be chosen: lowest, highest, step. Narrower than what a
# model accepts; these are the values that make sense for a summary.
_CONTROLS: tuple[tuple[str, float, float, float], ...] = (
    ("num_beams", 1, 10, 1),
    ("max_new_tokens", 8, 512, 8),
    ("length_penalty", 0.0, 3.0, 0.1),
    ("no_repeat_ngram_size", 0, 10, 1),
)


@dataclass(frozen=True)
class Outcome:
    """What came of one press of the button, in no language yet.

    Attributes:
        problem: the key in `WORDS` of what went wrong, or "".
        detail: what the model or the registry said about it; shown below the message.
        seconds: time from the press to the summary, without the way to the browser.
    """

    summary: str = ""
    problem: str = ""
    detail: str = ""
    seconds: float = 0.0
    words_in: int = 0
    words_out: int = 0
    model: str = ""
    truncated: bool = False
    source_tokens: int = 0
    capped: bool = False
    new_tokens: int = 0
    fixed: bool = False
    characters: int = 0
    limit: int = 0


def answer(
    load: Callable[[], Summarizer], text: str, *, settings: dict[str, Any], limit: int
) -> Outcome:
    """Summarize one text with whatever `load` returns now. Never raises.

    Args:
        load: gives the summarizer to use; called once.
        text: as pasted.
        settings: fields of `GenerationConfig` that were chosen; empty for the model's own.
        limit: longest text accepted, in characters.
    """
    if not text.strip():
        return Outcome(problem="blank")
    if len(text) > limit:
        return Outcome(problem="too_long", characters=len(text), limit=limit)
    stage = "no_model"
    try:
        started = time.perf_counter()
        summarizer = load()
        stage, fixed = "settings", False
        # A remote model takes settings too, without being able to say more than the bare text.
        using = getattr(summarizer, "using", None)
        if settings and using:
            summarizer = using(**settings)
        stage, fixed = "failed", bool(settings) and using is None
        if isinstance(summarizer, Engine):
            result = summarizer.summaries([text])[0]
        else:
            summary = summarizer.summarize([text])[0]
            result = Summary(summary, 0, truncated=False, new_tokens=0, capped=False)
        seconds = time.perf_counter() - started
    except SinteseError as error:
        # An InputError while generating is about the text; before, about a setting.
        problem = "failed" if stage == "settings" and not isinstance(error, InputError) else stage
        return Outcome(problem=problem, detail=str(error))
    except Exception:
        logging.getLogger(__name__).exception("the page could not answer")
        return Outcome(problem=stage)
    return Outcome(
        summary=result.text,
        problem="" if result.text.strip() else "empty",
        seconds=seconds,
        words_in=len(text.split()),
        words_out=len(result.text.split()),
        model=summarizer.name,
        truncated=result.truncated,
        source_tokens=result.source_tokens,
        capped=result.capped,
        new_tokens=result.new_tokens,
        fixed=fixed,
    )


def note(outcome: Outcome | None, language: str) -> str:
    """Return what the page says below the summary, as HTML in which all data is inert."""
    if outcome is None:
        return ""
    words = WORDS[language]

    def number(value: float, form: str = ",") -> str:
        text = format(value, form)
        return text if language == "en" else text.translate(str.maketrans(",.", ".,"))

    def line(key: str, kind: str) -> str:
        share = outcome.words_out / outcome.words_in if outcome.words_in else 0.0
        said = words[key].format(
            seconds=number(outcome.seconds, ".1f"),
            words_in=number(outcome.words_in),
            words_out=number(outcome.words_out),
            share=number(share, ".0%"),
            model=outcome.model,
            source_tokens=number(outcome.source_tokens),
            new_tokens=number(outcome.new_tokens),
            characters=number(outcome.characters),
            limit=number(outcome.limit),
        )
        return f'<p class="{kind}">{inert(said)}</p>'

    if outcome.problem:
        detail = f'<p class="detail">{inert(outcome.detail)}</p>' if outcome.detail else ""
        return line(outcome.problem, "problem") + detail
    lines = [line("facts", "facts")]
    lines += [line(key, "warning") for key in ("truncated", "capped") if getattr(outcome, key)]
    lines += [line("fixed", "hint")] if outcome.fixed else []
    return "".join(lines)


def inert(text: str) -> str:
    """Escape `text` for HTML, and for the templates that Gradio's HTML component understands."""
    escaped = html.escape(text)
    return escaped.replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;")


def preferred_language(asked: str | None, accepted: str) -> str:
    """Return "pt" or "en": what `?lang=` asks for, else the browser's first that we speak.

    Args:
        asked: value of `?lang=`, if any.
        accepted: the header `Accept-Language`; browsers list their languages by preference.
    """
    for tag in [asked or "", *accepted.split(",")]:
        language = tag.strip()[:2].lower()
        if language in WORDS:
            return language
    # Someone whose browser speaks neither reads English more probably; no header says nothing.
    return "en" if accepted.strip() else "pt"


def build(
    load: Callable[[], Summarizer],
    *,
    model_label: Callable[[], str],
    examples: Sequence[str] = (),
    max_characters: int = MAX_CHARACTERS,
) -> gr.Blocks:
    """Build the page. Serve it with what `presentation` returns, which holds its words and looks.

    Args:
        load: gives the summarizer; called at every press, so that a champion that moves is
            followed. Keeping it cheap is its own affair.
        model_label: names the model that would answer now; called when a page is opened.
        examples: texts offered for a first try; four at most are shown.
        max_characters: longest text accepted.
    """
    translate = gr.I18n(**_locales())
    # Every component that speaks, with the key of each of its properties.
    spoken: dict[gr.components.Component | gr.blocks.BlockContext, dict[str, str]] = {}

    def say(kind: Any, keys: dict[str, str], **options: Any) -> Any:
        component = kind(**{name: translate(key) for name, key in keys.items()}, **options)
        spoken[component] = keys
        return component

    defaults = GenerationConfig()
    with gr.Blocks(title="Síntese", analytics_enabled=False) as page:
        outcome = gr.State(None)
        with gr.Row(elem_id="masthead"):
            gr.HTML("<h1>Síntese</h1>", elem_id="wordmark")
            language = say(
                gr.Radio,
                {"label": "language"},
                choices=[("Português", "pt"), ("English", "en")],
                show_label=False,
                container=False,
                elem_id="language",
            )
        tagline = gr.HTML("", elem_id="tagline")
        with gr.Row(elem_id="desk"):
            with gr.Column(min_width=300):
                text = say(
                    gr.Textbox,
                    {"label": "text", "placeholder": "text_hint"},
                    lines=13,
                    max_lines=13,
                    autoscroll=False,
                    elem_id="text",
                )
                with gr.Row(elem_id="actions"):
                    clear = say(gr.Button, {"value": "clear"}, variant="secondary", elem_id="clear")
                    press = say(
                        gr.Button, {"value": "summarize"}, variant="primary", elem_id="summarize"
                    )
                if examples:
                    examples_title = gr.HTML("", elem_id="examples-title")
                    with gr.Row(elem_id="examples"):
                        for example in examples[:4]:
                            button = gr.Button(_beginning(example), size="sm")
                            button.click(
                                # A default argument: the loop variable moves on.
                                lambda whole=example: whole,
                                outputs=text,
                                api_visibility="private",
                                show_progress="hidden",
                            )
            with gr.Column(min_width=300):
                summary = say(
                    gr.Textbox,
                    {"label": "summary", "placeholder": "summary_hint"},
                    lines=11,
                    max_lines=18,
                    autoscroll=False,
                    interactive=False,
                    buttons=["copy"],
                    elem_id="summary",
                )
                remarks = gr.HTML("", elem_id="remarks")
        with say(gr.Accordion, {"label": "advanced"}, open=False, elem_id="advanced"):
            own = say(gr.Checkbox, {"label": "own", "info": "own_info"}, elem_id="own")
            controls = []
            for pair in (_CONTROLS[:2], _CONTROLS[2:]):
                with gr.Row():
                    for name, low, high, step in pair:
                        control = say(
                            gr.Slider,
                            {"label": name, "info": f"{name}_info"},
                            minimum=low,
                            maximum=high,
                            step=step,
                            value=getattr(defaults, name),
                            interactive=False,
                            min_width=260,
                            elem_id=name,
                            buttons=[],
                        )
                        controls.append(control)
        model = gr.HTML("", elem_id="model")
        label = gr.State("")

        def greet(request: gr.Request) -> tuple[str, str]:
            asked = request.query_params.get("lang")
            chosen = preferred_language(asked, request.headers.get("accept-language", ""))
            return _label(model_label), chosen

        def speak(chosen: str | None, last: Outcome | None, named: str) -> dict[Any, Any]:
            chosen = chosen or "pt"
            words = WORDS[chosen]
            said = {
                component: gr.update(**{name: words[key] for name, key in keys.items()})
                for component, keys in spoken.items()
            }
            said[tagline] = f"<p>{inert(words['tagline'])}</p>"
            if examples:
                said[examples_title] = f"<p>{inert(words['examples'])}</p>"
            return said | {remarks: note(last, chosen), model: _model_line(named, chosen)}

        def summarize(
            pasted: str, chooses: bool, chosen: str | None, *values: float
        ) -> dict[Any, Any]:
            names = [name for name, *_ in _CONTROLS]
            settings = dict(zip(names, values, strict=True)) if chooses else {}
            result = answer(load, pasted or "", settings=settings, limit=max_characters)
            said = {summary: result.summary, remarks: note(result, chosen or "pt"), outcome: result}
            if result.model:
                named = _label(model_label)
                said |= {label: named, model: _model_line(named, chosen or "pt")}
            return said

        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        page.load(greet, outputs=[label, language], **quiet)
        page.load(fn=None, js=_ON_LOAD, **quiet)
        changing = [tagline, remarks, model, *spoken]
        language.change(
            speak,
            inputs=[language, outcome, label],
            outputs=changing + ([examples_title] if examples else []),
            **quiet,
        )
        language.change(fn=None, inputs=language, js=_SET_LANGUAGE, **quiet)
        press.click(
            summarize,
            inputs=[text, own, language, *controls],
            outputs=[summary, remarks, outcome, label, model],
            api_visibility="private",
            show_progress_on=summary,
            scroll_to_output=True,
            trigger_mode="once",
        )
        own.change(
            lambda chooses: [gr.update(interactive=chooses) for _ in controls],
            inputs=own,
            outputs=controls,
            **quiet,
        )
        clear.click(lambda: ("", "", "", None), outputs=[text, summary, remarks, outcome], **quiet)
    page.queue(max_size=64)
    return page


def presentation() -> dict[str, Any]:
    """Return what `Blocks.launch` and `gr.mount_gradio_app` need to show the page as meant."""
    return {
        "i18n": gr.I18n(**_locales()),
        "theme": _theme(),
        "css": _CSS,
        "head": _HEAD,
        "footer_links": [],
        # Both would keep texts where nobody expects them: in the browser, and as uploads.
        "run_history": False,
        "max_file_size": "1kb",
        "show_error": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": False,
    }


def launch(
    load: Callable[[], Summarizer],
    *,
    model_label: Callable[[], str],
    examples: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int = 7860,
    max_characters: int = MAX_CHARACTERS,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    Args:
        load: as of `build`.
        model_label: as of `build`.
        examples: as of `build`.
        max_characters: as of `build`.
        host: address to listen on. Beyond loopback a password is required, from the variables
            `SINTESE_UI_USER` and `SINTESE_UI_PASSWORD`.
        port: port to listen on.
        on_ready: called with the address once the page can be opened.

    Raises:
        UsageError: the port is taken, or others could reach a page without a password.
    """
    login = _login(host)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Gradio asks itself whether it is reachable, and would ask through a proxy.
    for name in ("NO_PROXY", "no_proxy"):
        known = os.environ.get(name, "")
        os.environ[name] = ",".join(filter(None, [known, "127.0.0.1", "localhost"]))
    page = build(load, model_label=model_label, examples=examples, max_characters=max_characters)
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port,
            auth=login,
            share=False,
            quiet=True,
            inbrowser=False,
            prevent_thread_lock=True,
            **presentation(),
        )
    except OSError as error:
        raise UsageError(
            f"--port {port}: cannot listen on {host}:{port}; choose another port, such as "
            f"--port {port + 1}"
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if on_ready:
            on_ready(url.rstrip("/"))
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
    finally:
        page.close(verbose=False)


def _login(host: str) -> tuple[str, str] | None:
    user = os.environ.get("SINTESE_UI_USER", "").strip()
    password = os.environ.get("SINTESE_UI_PASSWORD", "")
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local and len(password) < MIN_PASSWORD:
        state = f"has {len(password)} characters" if password else "is not set"
        raise UsageError(
            f"--host {host}: SINTESE_UI_PASSWORD {state}; others could reach this page, so "
            f"export a password of at least {MIN_PASSWORD} characters"
        )
    if user and not password:
        raise UsageError(
            f"SINTESE_UI_USER={user!r} without SINTESE_UI_PASSWORD would leave the page open; "
            "export both or neither"
        )
    return (user or "sintese", password) if password else None


def _label(model_label: Callable[[], str]) -> str:
    try:
        return model_label()
    except Exception:
        # The page opens all the same; a press of the button says what is wrong.
        logging.getLogger(__name__).warning("the model has no name just now", exc_info=True)
        return ""


def _model_line(named: str, language: str) -> str:
    words = WORDS[language]
    said = words["model"].format(model=named) if named else words["model_unknown"]
    return f"<p>{inert(said)}</p>"


def _beginning(text: str, length: int = 44) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else line[:length].rsplit(" ", 1)[0].rstrip(" ,.;:") + "…"


def _locales() -> dict[str, dict[str, str]]:
    return {"pt": WORDS["pt"], "pt-BR": WORDS["pt"], "pt-PT": WORDS["pt"], "en": WORDS["en"]}


# --- looks -----------------------------------------------------------------------------------

_HEAD = (
    '<link rel="icon" href="data:image/svg+xml,'
    "%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Crect width='16' height='16' rx='3.5' fill='%230f6b57'/%3E"
    "%3Cpath d='M4 4.5h8M4 8h5M4 11.5h3' stroke='white' stroke-width='1.6' "
    "stroke-linecap='round'/%3E%3C/svg%3E\">"
)

_ON_LOAD = """() => {
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest && event.target.closest("#text");
    if (typing && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      document.querySelector("#summarize").click();
    }
  });
  const remarks = document.querySelector("#remarks");
  remarks.setAttribute("role", "status");
  remarks.setAttribute("aria-live", "polite");
}"""

# Gradio ties the label of a text box that has a copy button to that button and greys the box
# out for the keyboard; a summary should be announced by its name, and reachable to be read.
_SET_LANGUAGE = """(language) => {
  document.documentElement.lang = language === "en" ? "en" : "pt-BR";
  const summary = document.querySelector("#summary textarea");
  summary.setAttribute("aria-label", language === "en" ? "Summary" : "Resumo");
  summary.readOnly = true;
  summary.disabled = false;
}"""


def _theme() -> gr.themes.Base:
    green = gr.themes.Color(
        c50="#eef8f4", c100="#d6efe5", c200="#aedfcc", c300="#7cc8ad", c400="#48a98a",
        c500="#238a6d", c600="#0f6b57", c700="#0c5747", c800="#0b453a", c900="#09392f",
        c950="#04211c", name="sintese",
    )  # fmt: skip
    sans = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
    mono = ["ui-monospace", "SFMono-Regular", "Menlo", "monospace"]
    return gr.themes.Base(
        primary_hue=green, neutral_hue=gr.themes.colors.stone, font=sans, font_mono=mono,
        radius_size=gr.themes.sizes.radius_md, text_size=gr.themes.sizes.text_md,
    ).set(
        body_background_fill="#faf9f6",
        body_background_fill_dark="#161513",
        block_background_fill="#ffffff",
        block_background_fill_dark="#1f1e1b",
        body_text_color_subdued="#68635b",
        body_text_color_subdued_dark="#a8a29a",
        block_info_text_color="#68635b",
        block_info_text_color_dark="#a8a29a",
        input_placeholder_color="#7a756c",
        input_placeholder_color_dark="#8f8a81",
        block_border_color="#e4e1d9",
        block_border_color_dark="#35332e",
        block_label_text_color="#57534e",
        block_label_text_color_dark="#b8b3aa",
        input_background_fill="#ffffff",
        input_background_fill_dark="#1f1e1b",
        button_primary_background_fill="#0f6b57",
        button_primary_background_fill_hover="#0c5747",
        button_primary_background_fill_dark="#1f7d64",
        button_primary_background_fill_hover_dark="#238a6d",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
    )  # fmt: skip


_CSS = """
.gradio-container { max-width: 1120px !important; margin: 0 auto !important; }
.html-container { padding: 0 !important; }
#masthead { align-items: center; flex-wrap: nowrap; margin-top: .5rem; }
#wordmark { flex: 1 1 auto; }
#wordmark h1 { font: 600 1.9rem/1.2 Georgia, "Iowan Old Style", "Noto Serif", serif;
  letter-spacing: -.01em; margin: 0; }
#tagline { margin-top: -.75rem; }
#tagline p { margin: 0; color: var(--body-text-color-subdued); }
#language { flex: 0 0 auto; min-width: 0; width: auto; }
#language label { background: none; border: 0; box-shadow: none; padding: .4rem .3rem;
  color: var(--body-text-color-subdued); }
#language label.selected { color: var(--body-text-color); }
#text textarea { font-size: 1.05rem; line-height: 1.6; }
#summary textarea { font-family: Georgia, "Iowan Old Style", "Noto Serif", serif;
  font-size: 1.15rem; line-height: 1.65; color: var(--body-text-color);
  -webkit-text-fill-color: var(--body-text-color); opacity: 1; }
#summary textarea::placeholder { -webkit-text-fill-color: var(--input-placeholder-color); }
#actions { flex-wrap: nowrap; }
#clear { flex: 0 0 auto; min-width: 96px; font-weight: 500; }
#examples { gap: .5rem; margin-top: -.5rem; }
#examples-title p { margin: 0; font-size: .9rem; color: var(--body-text-color-subdued); }
#examples button { flex: 0 1 auto; min-width: 0; padding: .4rem .75rem; font-size: .88rem;
  font-weight: 400; text-align: left; white-space: normal; background: none;
  border: 1px solid var(--block-border-color); color: var(--body-text-color); }
#examples button:hover { border-color: var(--primary-500); }
#remarks p { margin: 0 0 .5rem; line-height: 1.5; }
#remarks .facts, #model p { color: var(--body-text-color-subdued); font-size: .92rem;
  font-variant-numeric: tabular-nums; }
#remarks .warning, #remarks .problem, #remarks .hint { padding: .6rem .8rem; border-radius: 8px;
  border-left: 3px solid #b7791f; background: #fdf6e3; color: #4a3410; }
#remarks .problem { border-color: #b4432f; background: #fdf0ec; color: #5c1f13; }
#remarks .hint { border-color: #78716c; background: #f3f1ec; color: #44403c; }
#remarks .detail { font-size: .85rem; color: var(--body-text-color-subdued);
  overflow-wrap: anywhere; }
.dark #remarks .warning { background: #2e2614; color: #f0dca8; }
.dark #remarks .problem { background: #331c17; color: #f6c9bf; }
.dark #remarks .hint { background: #292723; color: #d6d1c7; }
:focus-visible { outline: 2px solid #238a6d !important; outline-offset: 2px; }
footer { display: none !important; }
@media (max-width: 640px) {
  #text textarea { height: 15rem !important; }
  #summary textarea { field-sizing: content; height: auto !important; min-height: 9rem; }
}
"""
