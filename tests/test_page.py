"""The page in a browser, as a person uses it: with a mouse, with the keyboard alone, on a phone."""

import contextlib
import os
import re
import shutil
from pathlib import Path

import pytest

from conftest import flags
from inkling import cli
from inkling.hub.load import load
from inkling.model.config import GPTConfig
from inkling.model.gpt import GPT
from inkling.serve.served import Served
from inkling.text.tokenizer_sources import trained_tokenizer
from pretended import Listening, Pretended

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

# What is quick alone is slow on a machine that does something else as well.
PATIENCE = 120_000  # milliseconds
expect.set_options(timeout=PATIENCE)

WIDE, NARROW = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
# A folder for pictures of the page, for whoever wants to see them.
PICTURES = os.environ.get("INKLING_SCREENSHOTS")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(prepared, tmp_path_factory):
    """A run of twelve steps. It says that it can chat, because its chat is pretended."""
    folder = tmp_path_factory.mktemp("page")
    shutil.copytree(prepared, folder, dirs_exist_ok=True)
    with contextlib.chdir(folder):
        cli.run(["train", "tiny.toml", *flags({"out_dir": "run", "block_size": 64})])
    model, tokenizer = load(folder / "run")
    return Served("tiny", model, tokenizer, folder / "run", can_chat=True)


@pytest.fixture(scope="module")
def server(served):
    server = Pretended(served)
    yield server
    server.kill()


@pytest.fixture
def context(browser, server):
    context = browser.new_context(viewport=WIDE)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    context.set_default_timeout(PATIENCE)
    yield context
    context.close()


@pytest.fixture
def page(context, server):
    """A page that must not complain, nor ask anybody else."""
    page = watched(context.new_page(), server.url)
    yield page
    assert page.complaints == []


def watched(page, url):
    """`page.complaints` holds what its console says, and whom else it asks."""
    page.complaints = complaints = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(url) else complaints.append(asked.url))
    return page


def say(page, text):
    page.get_by_label("Your message", exact=True).fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def as_text(page):
    """Ask snapshots for a continuation. Before the run's history has come the box is empty and hidden, and "uncheck"
    finds nothing to do; then the page ticks it."""
    expect(page.get_by_label("as a question")).to_be_checked()
    page.get_by_label("as a question").uncheck()


def answers(page):
    return page.locator(".message.assistant")


def wait_for_end(page):
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


# --- the chat ----------------------------------------------------------------------------------------------


def test_a_conversation_from_start_to_finish(page, server):
    page.goto(server.url)
    page.get_by_text("System prompt and sampling").click()
    page.get_by_label("System prompt", exact=True).fill("Be brief.")
    page.get_by_label("Temperature").first.fill("0.5")
    page.get_by_label("Top-k").fill("7")
    page.get_by_label("Seed").first.fill("42")
    server.asked.clear()
    say(page, "Hello")
    expect(answers(page)).to_contain_text("You said: Hello, message 2, seed 42.")
    expect(answers(page).locator("strong")).to_have_text("Hello")
    expect(page.locator(".facts")).to_have_text(re.compile(r"^\d+ tokens · .*tokens/s · first after .* · seed 42$"))
    say(page, "And again")
    expect(answers(page).last).to_contain_text("message 4")
    wait_for_end(page)
    first, second = server.asked
    assert first["temperature"] == 0.5 and first["top_k"] == 7 and first["seed"] == 42 and "top_p" not in first
    assert [m["role"] for m in second["messages"]] == ["system", "user", "assistant", "user"]
    assert second["messages"][0]["content"] == "Be brief."

    page.reload()
    expect(page.locator(".message")).to_have_count(4)
    expect(page.get_by_label("Temperature").first).to_have_value("0.5")
    expect(page.get_by_label("System prompt", exact=True)).to_have_value("Be brief.")


def test_an_answer_can_be_stopped_and_the_server_hears_of_it(page, server):
    page.goto(server.url)
    say(page, "slow stop")
    expect(answers(page)).to_contain_text("word3")
    page.get_by_role("button", name="Stop", exact=True).click()
    wait_for_end(page)
    expect(answers(page)).to_contain_text("Stopped.")
    said = answers(page).locator(".body").inner_text()
    page.wait_for_timeout(200)
    assert answers(page).locator(".body").inner_text() == said
    for _ in range(50):
        page.wait_for_timeout(50)
        if "slow stop" in server.left:
            break
    assert "slow stop" in server.left
    say(page, "next")
    expect(answers(page).last).to_contain_text("message 3")  # what was said before the stop is part of the conversation


def test_a_question_can_be_changed_and_an_answer_made_anew(page, server):
    page.goto(server.url)
    say(page, "one")
    wait_for_end(page)
    say(page, "two")
    wait_for_end(page)
    before = answers(page).last.locator(".body").inner_text()
    answers(page).last.get_by_role("button", name="Regenerate").click()
    expect(answers(page)).to_have_count(2)
    expect(answers(page).last.locator(".body")).not_to_have_text(before)  # another seed
    wait_for_end(page)

    page.locator(".message.user").first.get_by_role("button", name="Edit").click()
    page.get_by_label("Your message, to be changed").fill("uno")
    page.get_by_role("button", name="Send again").click()
    expect(answers(page)).to_have_count(1)
    expect(answers(page)).to_contain_text("You said: uno, message 1")
    wait_for_end(page)
    page.locator(".message.user").first.get_by_role("button", name="Edit").click()
    page.keyboard.press("Escape")
    expect(page.locator(".message.user .body")).to_have_text("uno")


def test_conversations_are_kept_deleted_and_brought_back(page, server):
    page.goto(server.url)
    say(page, "first talk")
    wait_for_end(page)
    page.get_by_role("button", name="New conversation").first.click()
    expect(page.locator(".message")).to_have_count(0)
    say(page, "second talk")
    wait_for_end(page)
    shelf = page.get_by_role("navigation", name="Conversations")
    expect(shelf.locator("li .title")).to_have_text(["second talk", "first talk"])
    shelf.get_by_role("button", name="first talk", exact=True).click()
    expect(page.locator(".message.user .body")).to_have_text("first talk")
    shelf.get_by_role("button", name="Delete: first talk").click()
    expect(page.locator(".message.user .body")).to_have_text("second talk")
    page.get_by_role("button", name="Bring it back").click()
    expect(page.locator(".message.user .body")).to_have_text("first talk")
    page.reload()
    expect(shelf.locator("li .title")).to_have_count(2)


def test_an_answer_can_be_copied_and_so_can_its_code(page, server):
    page.goto(server.url)
    say(page, "rich")
    wait_for_end(page)
    answers(page).get_by_role("button", name="Copy code").click()
    assert page.evaluate("navigator.clipboard.readText()") == 'print("<b>not bold</b>")'
    answers(page).get_by_role("button", name="Copy", exact=True).click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("# Answer")


def test_markdown_is_drawn(page, server):
    page.goto(server.url)
    say(page, "rich")
    wait_for_end(page)
    body = answers(page).locator(".body")
    expect(body.locator("h3")).to_have_text("Answer")
    expect(body.locator("ol > li")).to_have_count(2)
    expect(body.locator("ol ul li")).to_have_text("inner")
    expect(body.locator("blockquote")).to_have_text("quoted")
    expect(body.locator("pre code")).to_have_text('print("<b>not bold</b>")')
    expect(body.locator("td")).to_have_text(["1", "2"])
    link = body.get_by_role("link")
    assert link.get_attribute("href") == "https://example.org/" and "noopener" in link.get_attribute("rel")


def test_a_hostile_answer_is_text(page, server):
    page.goto(server.url)
    say(page, "hostile")
    wait_for_end(page)
    body = answers(page).locator(".body")
    assert body.locator("img, script, svg, iframe, style").count() == 0
    assert [a.get_attribute("href") for a in body.locator("a").all()] == [
        "https://elsewhere.example/pixel.png",  # a picture is a link, and nobody has fetched it
        "https://example.org/a?b=1&c=2",
    ]
    expect(body).to_contain_text("<img src=x onerror=")
    expect(body).to_contain_text("[press me](javascript:")
    expect(page).to_have_title("Chat · inkling")


@pytest.mark.slow
def test_a_megabyte_and_pathological_marks_do_not_stop_the_page(page, server):
    page.goto(server.url)
    say(page, "long")
    expect(answers(page)).to_have_attribute("aria-busy", "false")
    wait_for_end(page)
    assert len(answers(page).locator(".body").text_content()) == 1_080_000
    say(page, "stars")
    expect(answers(page).last).to_have_attribute("aria-busy", "false")
    wait_for_end(page)
    say(page, "still there?")
    expect(answers(page).last).to_contain_text("still there?")
    page.reload()
    expect(answers(page).last).to_contain_text("still there?")


def test_refusals_are_said_in_words(page, server):
    page.goto(server.url)
    say(page, "refuse")
    expect(answers(page).locator(".problem")).to_have_text("This conversation is too long. Begin another.")
    say(page, "busy")
    expect(answers(page).last.locator(".problem")).to_have_text("The server is busy. Try again in 3 s.")
    say(page, "cut")
    expect(answers(page).last).to_contain_text("The answer was cut")
    assert [m["content"] for m in server.asked[-1]["messages"]] == ["cut"], "unanswered questions are not sent again"
    page.complaints[:] = [text for text in page.complaints if "status of 4" not in text]


def test_a_key_is_asked_for_and_kept(page, server):
    server.token = "open sesame"
    try:
        page.goto(server.url)
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Key").fill("wrong")
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog).to_contain_text("does not accept this key")
        dialog.get_by_label("Key").fill("open sesame")
        page.keyboard.press("Enter")
        say(page, "hi")
        expect(answers(page)).to_contain_text("You said: hi")
        page.reload()
        expect(answers(page)).to_contain_text("You said: hi")
        page.get_by_role("button", name="Forget the key").click()
        say(page, "hi")
        expect(dialog).to_be_visible()
        dialog.get_by_role("button", name="Cancel").click()
        expect(answers(page).last.locator(".problem")).to_have_text("The server wants a key.")
    finally:
        server.token = ""
    page.complaints[:] = [text for text in page.complaints if "status of 401" not in text]


def test_a_server_that_dies_and_comes_back(page, server):
    page.goto(server.url)
    say(page, "slow death")
    expect(answers(page)).to_contain_text("word3")
    server.kill()
    try:
        expect(page.get_by_role("alert").filter(has_text="cannot be reached")).to_be_visible()
        wait_for_end(page)
        expect(answers(page).locator(".problem")).to_contain_text("server")
        expect(answers(page)).to_contain_text("word3")
        say(page, "anybody?")
        expect(answers(page).last.locator(".problem")).to_contain_text("cannot be reached")
    finally:
        server.start()
    expect(page.get_by_text("This page waits for it")).to_have_count(0)
    answers(page).last.get_by_role("button", name="Regenerate").click()
    expect(answers(page).last).to_contain_text("You said: anybody?")
    page.complaints[:] = [text for text in page.complaints if "net::ERR" not in text]


def test_a_page_closed_in_the_middle_keeps_what_was_said(page, server):
    page.goto(server.url)
    say(page, "slow leave")
    expect(answers(page)).to_contain_text("word5")
    page.reload()
    expect(answers(page)).to_contain_text("word5")
    expect(answers(page)).to_contain_text("The page was closed before the end.")
    answers(page).get_by_role("button", name="Regenerate").click()
    expect(answers(page)).to_contain_text("word1")


def test_a_full_storage_is_said(page, server):
    page.goto(server.url)
    page.evaluate(
        "for (let n = 1e6, i = 0; n > 1; ) { try { localStorage.setItem('x' + i++, 'y'.repeat(n)) } catch { n /= 2 } }"
    )
    say(page, "hello")
    expect(page.get_by_text("This browser has no room left")).to_be_visible()
    expect(answers(page)).to_contain_text("You said: hello")


def test_a_model_that_cannot_chat_goes_on_with_a_text(page, server):
    server.served.can_chat = False
    try:
        page.goto(server.url)
        expect(page.get_by_text("never taught to chat")).to_be_visible()
        field = page.get_by_label("Text", exact=True)
        field.fill("It was late")
        page.get_by_role("button", name="Continue").click()
        expect(field).to_have_value(re.compile(r"^It was late and so on \d+$"))
        assert server.asked[-1]["prompt"] == "It was late"
        before = field.input_value()
        page.get_by_role("button", name="Another ending").click()
        expect(field).not_to_have_value(before)
        expect(field).to_have_value(re.compile(r"^It was late and so on \d+$"))
        page.get_by_role("button", name="Take back").click()
        expect(field).to_have_value("It was late")
        page.reload()
        expect(field).to_have_value("It was late")
    finally:
        server.served.can_chat = True


def test_the_keyboard_is_enough(page, server):
    page.goto(server.url)
    expect(page.get_by_label("Your message", exact=True)).to_be_focused()
    page.keyboard.type("by hand")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two lines")
    page.keyboard.press("Enter")
    expect(answers(page)).to_contain_text("two lines")
    expect(page.get_by_role("status")).to_contain_text("The answer is complete")
    page.keyboard.type("slow")
    page.keyboard.press("Enter")
    expect(answers(page).last).to_contain_text("word2")
    page.keyboard.press("Escape")
    expect(answers(page).last).to_contain_text("Stopped.")
    page.get_by_role("tab", name="Chat").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Inside")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Inside")).to_be_visible()
    page.keyboard.press("End")
    expect(page.get_by_role("tabpanel", name="Watch it learn")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tabpanel", name="Chat")).to_be_visible()


def test_the_page_and_the_api_understand_each_other(browser):
    """Everything above is pretended; here an untrained model speaks through the API itself."""
    app = pytest.importorskip("inkling.serve.app", reason="the API is not there yet")
    tokenizer = trained_tokenizer([], "cl100k")
    config = GPTConfig(block_size=128, vocab_size=tokenizer.vocab_size, n_layer=2, n_head=2, n_embd=32)
    served = Served("untrained", GPT(config, seed=1).eval(), tokenizer, None, can_chat=True)
    server = Listening(lambda: app.make_app(served, token="sesame"))
    context = browser.new_context(viewport=WIDE)
    context.set_default_timeout(PATIENCE)
    try:
        page = watched(context.new_page(), server.url)
        page.goto(server.url)
        page.get_by_role("dialog").get_by_label("Key").fill("sesame")
        page.keyboard.press("Enter")
        page.get_by_text("System prompt and sampling").click()
        page.locator("[name=max_tokens]").fill("9")
        page.locator("[name=min_p]").fill("0.01")
        for question in ("first", "second"):
            say(page, question)
            expect(answers(page).last.locator(".facts")).to_have_text(re.compile(r"^\d tokens? .* seed \d+$"))
            wait_for_end(page)
        page.locator("[name=temperature]").fill("2")
        page.locator("[name=max_tokens]").fill("99999")
        say(page, "third")
        expect(answers(page).last.locator(".problem")).to_contain_text("max_tokens")
        page.get_by_role("tab", name="Inside").click()
        expect(page.locator(".token").first).to_have_text("<|bos|>")
        page.get_by_role("tab", name="Watch it learn").click()
        expect(page.locator("#learn-problem")).to_contain_text("nothing to watch")
        assert [said for said in page.complaints if "status of 40" not in said] == []
    finally:
        context.close()
        server.kill()


# --- Inside ------------------------------------------------------------------------------------------------


def test_inside(page, server):
    page.goto(f"{server.url}/#inside")
    page.get_by_label("Text to look at").fill("The old king")
    page.get_by_role("button", name="Look inside").click()
    tokens = page.get_by_role("listbox", name="Tokens").get_by_role("option")
    expect(tokens).to_have_count(12)
    expect(tokens.nth(3)).to_have_text("·")
    expect(tokens.nth(11)).to_have_attribute("aria-selected", "true")
    expect(page.locator("#next .bar")).to_have_count(10)
    expect(page.locator(".forming tbody tr")).to_have_count(3)
    expect(page.locator(".lens tbody td")).to_have_count(36)

    tokens.nth(2).click()
    expect(page.locator("#token-facts")).to_contain_text("Token 3 of 12, “e”, number 101")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#token-facts")).to_contain_text("Token 4 of 12")
    choice = page.locator("#next .bar").nth(1)
    piece = choice.locator(".label").inner_text()
    choice.click()
    expect(tokens).to_have_count(5)
    expect(tokens.nth(4)).to_have_text(piece)
    assert len(page.get_by_label("Text to look at").input_value()) == 5


def test_attention_by_layer_and_head(page, server):
    page.goto(f"{server.url}/#inside")
    page.get_by_label("Text to look at").fill("abcdef")
    page.get_by_role("button", name="Look inside").click()
    expect(page.get_by_role("option").first).to_have_text("a")
    words = page.locator("#attention-words")
    expect(words).to_contain_text("Layer 2, head 1: token 6, “f”")
    page.get_by_role("radio", name="Head 2").click()
    expect(words).to_contain_text("head 2")
    page.locator("#layer").select_option("0")
    expect(words).to_contain_text("Layer 1, head 2: token 6")
    picture = page.locator(".heatmap")
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] * 0.6, "y": box["height"] * 0.4})
    expect(words).not_to_contain_text("token 6,")


def test_inside_says_what_is_wrong(page, server):
    page.goto(f"{server.url}/#inside")
    page.get_by_label("Text to look at").fill("x" * 65)
    page.get_by_role("button", name="Look inside").click()
    expect(page.locator("#look-problem")).to_have_text("This text has 65 tokens; 64 fit. Shorten it.")
    page.get_by_label("Text to look at").fill("short")
    expect(page.locator("#look-problem")).to_be_hidden()
    page.complaints[:] = [text for text in page.complaints if "status of 400" not in text]


# --- Watch it learn ----------------------------------------------------------------------------------------


def test_watch_it_learn(page, server):
    page.goto(f"{server.url}/#learn")
    slider = page.get_by_role("slider", name="Snapshot")
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"step 12, loss \d"))
    as_text(page)
    page.get_by_label("The same prompt for every snapshot").fill("The old ")
    page.get_by_role("button", name="Ask all, side by side").click()
    cards = page.locator(".card")
    expect(page.locator(".card .plain-text")).to_have_count(cards.count())
    assert cards.count() >= 4
    expect(cards.first).to_contain_text("step 1")
    marker = page.locator(".curve .chosen")
    at_end = marker.get_attribute("x1")
    slider.focus()
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", re.compile("step 1, loss"))
    expect(cards.first).to_have_class("card chosen")
    assert marker.get_attribute("x1") != at_end
    expect(page.locator("path.training")).to_have_count(1)
    page.get_by_label("The same prompt for every snapshot").fill("Another ")
    page.get_by_role("button", name="Ask this snapshot").click()
    expect(page.locator(".card .plain-text")).to_have_count(1)
    expect(cards.first.locator(".plain-text")).to_contain_text("Another ")


def test_weights_without_a_past_say_so(page, server):
    run, server.served.run = server.served.run, None
    try:
        page.goto(f"{server.url}/#learn")
        expect(page.locator("#learn-problem")).to_contain_text("nothing to watch")
    finally:
        server.served.run = run


# --- how it looks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_it_fits_the_screen(page, server, size, theme):
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=theme)
    page.goto(server.url)
    say(page, "rich")
    wait_for_end(page)
    assert_fits(page, f"chat-{size['width']}-{theme}")
    page.get_by_role("tab", name="Inside").click()
    expect(page.locator("#next .bar")).to_have_count(10)
    assert_fits(page, f"inside-{size['width']}-{theme}")
    page.get_by_role("tab", name="Watch it learn").click()
    as_text(page)
    page.get_by_role("button", name="Ask all, side by side").click()
    expect(page.get_by_text("not asked yet")).to_have_count(0)
    expect(page.locator(".card", has_text="…")).to_have_count(0)
    assert_fits(page, f"learn-{size['width']}-{theme}")


def assert_fits(page, name):
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(PICTURES) / f"{name}.png")
        # As high as its content, for whoever looks at all of it.
        size = page.viewport_size
        head = page.evaluate("document.querySelector('header').offsetHeight")
        height = head + page.evaluate("document.querySelector('main').scrollHeight")
        page.set_viewport_size({"width": size["width"], "height": max(size["height"], height)})
        page.screenshot(path=Path(PICTURES) / f"{name}-whole.png")
        page.set_viewport_size(size)
    wide = page.evaluate("[...document.querySelectorAll('body, main')].every((e) => e.scrollWidth <= e.clientWidth)")
    assert wide, f"{name} is wider than the screen"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, textarea, select')].filter((e) => !e.labels?.length"
        " && !e.textContent.trim() && !e.ariaLabel).map((e) => e.outerHTML)"
    )
    assert unnamed == []


def test_the_theme_can_be_chosen_and_is_kept(page, server):
    page.goto(server.url)
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(ground)
    switch = page.get_by_role("button", name="Theme:")
    switch.click()
    expect(switch).to_have_text("Theme: light")
    switch.click()
    expect(switch).to_have_text("Theme: dark")
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
