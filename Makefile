# Two commands do everything on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test test-slow lint format book book-check book-accept book-outline site pdf clean

help:
	@echo "make demo       set up, then the whole way: facts -> text -> model -> conversation -> exam"
	@echo "make test       set up, then the tests that run on every change"
	@echo "make test-slow  the tests that take minutes"
	@echo "make lint       ruff and mypy"
	@echo "make format     let ruff format the code"
	@echo "make book       fill in what the pages of the book generate, run their snippets"
	@echo "make book-check say what in the book is not true any more, and change nothing"
	@echo "make site       the book as a site, in build/book/site"
	@echo "make pdf        the guide as one PDF, build/inkling_educational_guide.pdf"
	@echo "make clean      remove the environment and the demo's data and run"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("inkling needs Python 3.11 or newer; this is %s. Try: make PYTHON=python3.12 demo" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@echo "setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

# A stamp file says what is installed, so that the second `make` starts at once.
$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing inkling (about a minute) ..."
	@$(PIP) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing inkling and what its tests need (about a minute) ..."
	@$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.core

demo: $(VENV)/.core
	@$(BIN)/inkling speedrun
	@echo
	@echo "That was the whole way, from tables of facts to a bot that answers. Next:"
	@echo "  source $(BIN)/activate                      # so that 'inkling' is a command"
	@echo "  inkling chat chatbot                        # talk with it"
	@echo "  inkling plot chatbot-base chatbot           # how it learned"
	@echo "  inkling speedrun --tables=mine --name=mine  # with facts of your own: see 'Your own bot' in README.md"
	@echo "  inkling train --help                        # every setting; the book begins at book/README.md"

test: $(VENV)/.dev
	@$(BIN)/python -m pytest -m "not slow" -n logical --maxprocesses=4 --dist worksteal

test-slow: $(VENV)/.dev
	@$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	@$(BIN)/ruff check src tests benchmarks notebooks book
	@$(BIN)/ruff format --check src tests benchmarks notebooks book
	@$(BIN)/mypy

format: $(VENV)/.dev
	@$(BIN)/ruff check --fix src tests benchmarks notebooks book
	@$(BIN)/ruff format src tests benchmarks notebooks book

# PYTHONPATH, so that the book is about the source beside it, whatever the environment has installed.
BOOK = PYTHONPATH=src $(BIN)/python -m book.machine

book: $(VENV)/.dev
	@$(BOOK) build $(if $(AGAIN),--again) $(if $(PAGE),--page=$(PAGE))

book-check: $(VENV)/.dev
	@$(BOOK) check $(if $(AGAIN),--again) $(if $(PAGE),--page=$(PAGE))

# make book-accept PAGE=code-analysis/train-py-analysis.md SYMBOL=train REASON="a variable was renamed"
book-accept: $(VENV)/.dev
	@$(BOOK) accept --page='$(PAGE)' --symbol='$(SYMBOL)' --reason='$(REASON)'

# make book-outline FILE=src/inkling/train/loop.py: the directives that go through it
book-outline: $(VENV)/.dev
	@$(BOOK) outline $(FILE)

site: $(VENV)/.dev
	@$(BOOK) site $(if $(SERVE),--serve)

pdf: $(VENV)/.dev
	@$(BIN)/python book/guide/compile_to_pdf.py $(if $(LATEX),--latex)

clean:
	rm -rf $(VENV) data/chatbot tokenizers/chatbot runs/chatbot-base runs/chatbot runs/chatbot.pipeline.json
