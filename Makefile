# `make demo` and `make test` set up what they need by themselves; a second run is quick.
# Stamps of what is set up are in .make/.

PYTHON ?= python3
PORT ?= 8000
MOST ?= 1000
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export NPM_CONFIG_AUDIT := false
export NPM_CONFIG_FUND := false
export NPM_CONFIG_UPDATE_NOTIFIER := false
export NPM_CONFIG_LOGLEVEL := error

JS_SOURCES := $(shell find js/src js/test -type f 2>/dev/null) $(wildcard js/*.mjs js/*.json)
STATIC := p2pcdn/static/loader.js

# A stamp without the thing it stands for is worth nothing.
_ := $(shell mkdir -p .make; \
	[ -x $(BIN)/python ] || rm -f .make/venv .make/python-demo .make/python; \
	[ -d js/node_modules ] || rm -f .make/node; \
	[ -d tests/browser/node_modules ] || rm -f .make/node-browser)

.PHONY: help
help: ## what there is to make
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

# --- the example sites -------------------------------------------------------------------

.PHONY: demo
demo: .make/python-demo $(STATIC) ## the Flask example on port 8000 (PORT=)
	@echo
	@echo "Open http://localhost:$(PORT)/watch/northern-light?p2pcdn=hud in two tabs:"
	@echo "the second one is fed by the first, the panel shows how. Stop with Ctrl-C."
	@echo
	@exec $(BIN)/flask --app examples/flask_site/app run --port $(PORT)

.PHONY: demo-django
demo-django: .make/python-demo $(STATIC) ## the Django example, with accounts and uploads
	@cd examples/django_site && ../../$(BIN)/python manage.py migrate -v 0
	@echo
	@cd examples/django_site && ../../$(BIN)/python manage.py demo_content
	@echo "Open http://localhost:$(PORT)/?p2pcdn=hud and a film in two tabs. Stop with Ctrl-C."
	@echo
	@cd examples/django_site && exec ../../$(BIN)/python manage.py runserver --noreload $(PORT)

QUICK := npm run --silent test:quick
SECOND := PASSED ONLY AT THE SECOND TRY: what failed above. Please look into it.

# --- tests -------------------------------------------------------------------------------

.PHONY: test
test: system check ## everything but the long matrix, real browsers included
	cd js && npm run --silent test:long
	tools/run-tests.sh -n 2 --dist loadfile -m "(server or lengthy) and not browser and not slow"
	tools/run-tests.sh -n 2 --dist worksteal -m "browser and not slow"

.PHONY: check
check: .make/python $(STATIC) .make/node-browser ## linters, types and the quick tests: no server, no browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# Side by side: either keeps one core busy for a quarter of a minute or more.
	cd js && npm run --silent check & lint=$$!; $(BIN)/mypy; types=$$?; wait $$lint && exit $$types
	@# The WebRTC that Node gets for these tests is native code, and dies with its process now and then.
	cd js && { $(QUICK) || { echo "Once more:" && $(QUICK) && echo "$(SECOND)"; }; }
	tools/run-tests.sh -q -n 3 --dist worksteal -m "not browser and not server and not lengthy and not slow"

.PHONY: test-browser
test-browser: system .make/python $(STATIC) .make/node-browser ## the tests in real browsers
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "browser and not slow"

.PHONY: test-slow
test-slow: system .make/python $(STATIC) .make/node-browser ## the long matrix
	$(BIN)/python -m pytest -m slow

.PHONY: bench
bench: .make/python $(STATIC) ## what the middleware costs
	@for file in tests/bench/bench_*.py; do \
		echo; echo "$$file"; $(BIN)/python -m tests.bench.$$(basename $$file .py) || exit; done

.PHONY: bench-swarm
bench-swarm: system .make/python $(STATIC) .make/node-browser ## what a swarm saves
	$(BIN)/python -m tests.bench.swarm

.PHONY: simulate
simulate: .make/node ## swarms of up to 1,000 peers in virtual time (MOST=10000: an hour more)
	cd js && npm run --silent simulate -- --most $(MOST)

# --- what is shipped ---------------------------------------------------------------------

.PHONY: docs
docs: .make/python ## the documentation as a site, into site/
	@$(BIN)/python tools/settings_page.py > docs/settings.md.new
	@mv docs/settings.md.new docs/settings.md
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open site/index.html"

.PHONY: build
build: .make/python $(STATIC) ## wheel and sdist into dist/
	$(BIN)/pip install -q build
	rm -rf dist
	$(BIN)/python -m build --outdir dist . >.make/build.log 2>&1 || { cat .make/build.log; exit 1; }
	@ls -l dist

.PHONY: clean
clean: ## remove all that was made, the set-up included
	rm -rf .make $(VENV) js/node_modules tests/browser/node_modules dist build *.egg-info
	rm -rf p2pcdn/static/*.js p2pcdn/static/*.map p2pcdn/static/*.css
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis examples/django_site/var
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- set-up ------------------------------------------------------------------------------

.PHONY: system
system:
	@tools/system-packages.sh chromium firefox-esr webkit2gtk-driver redis-server nginx coturn openssl ffmpeg xvfb \
		gstreamer1.0-plugins-good gstreamer1.0-libav prometheus

.make/venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "p2pcdn needs Python 3.11 or newer; name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || tools/system-packages.sh python3-venv
	@[ -x $(BIN)/python ] || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@touch $@

.make/python-demo: .make/venv pyproject.toml $(STATIC)
	@echo "Installing p2pcdn, Flask and Django ..."
	@$(BIN)/pip install -q -e ".[cli]" "flask>=3.0" "django>=5.2,<6"
	@touch $@

.make/python: .make/venv pyproject.toml $(STATIC)
	@echo "Installing what the tests need ..."
	@$(BIN)/pip install -q -e ".[test]"
	@touch $@ .make/python-demo

.make/node: js/package.json js/package-lock.json js/.npmrc
	@npm --version >/dev/null 2>&1 && \
		node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' || \
		{ echo "Building the loader needs Node.js 20 or newer, with npm." >&2; exit 1; }
	@echo "Installing what builds the loader ..."
	@cd js && npm ci --silent
	@touch $@

.make/node-browser: tests/browser/package.json tests/browser/package-lock.json tests/browser/.npmrc
	@cd tests/browser && npm ci --silent
	@touch $@

$(STATIC): .make/node $(JS_SOURCES)
	@cd js && npm run --silent build
	@touch $@
