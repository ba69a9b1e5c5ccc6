# The whole project from here; `make` lists what it does. It needs Python 3.11 and make, nothing else.
PROFILES := smoke laptop paper
ifdef PROFILE
ifneq ($(words $(PROFILE)) $(filter $(PROFILES),$(PROFILE)),1 $(strip $(PROFILE)))
$(error unknown PROFILE '$(PROFILE)': use one of $(PROFILES))
endif
endif

VENV ?= .venv
BIN  := $(VENV)/bin
JOBS ?= 2

# Python is looked for only when the virtual environment has to be made
is_311  = $(filter 1,$(shell $(1) -c 'import sys; print(int(sys.version_info[:2] == (3, 11)))' 2>/dev/null))
PYTHON ?= $(firstword $(foreach p,python3.11 python3 python,$(if $(call is_311,$(p)),$(p))))

# One thread a process: thread counts change float32 sums, and two threads on a busy machine are slower than one
export OMP_NUM_THREADS := 1
export PYTHONHASHSEED := 0
export PYTHONNOUSERSITE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport MPLBACKEND
MAKEFLAGS += --no-print-directory

# A book is made in a folder of its own under build/, from a copy of what data/ ships; the working tree stays as it is
HOUSE := .
DATA  := data
PARAMETERS =

CHAPTERS := $(patsubst book/src/%.md,%,$(wildcard book/src/*.md))
RUNS     := $(CHAPTERS:%=run/%)

.DEFAULT_GOAL := help
.PHONY: help install book chapters site pdf lab test bench reproduce clean shipped tables executed rendered $(RUNS)

help: ## list the targets
	@echo "make TARGET [PROFILE=one of: $(PROFILES)] [JOBS=$(JOBS)] [PYTHON=/path/to/python3.11]"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

install: $(VENV)/.installed ## make the virtual environment from the pinned versions

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(if $(call is_311,$(PYTHON)),$(PYTHON) -m venv --clear $(VENV),$(error Python 3.11 was not found: install it, or name one with `make PYTHON=/path/to/python3.11`))
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[book,test]'
	@$(BIN)/python -c 'import matplotlib.font_manager'  # makes the font cache, which would otherwise speak up in a chapter
	@touch $@

# The committed chapters are the paper's book: they need no other parameters. Of smoke nothing is shipped.
book: PROFILE := $(or $(PROFILE),paper)
book: $(VENV)/.installed ## execute every chapter from what data/ ships and render them; PROFILE=paper by default, into build/paper
	@$(MAKE) shipped HOUSE=build/$(PROFILE)
ifeq ($(PROFILE),smoke)
	PNPKIT_DATA="$(CURDIR)/build/smoke/data" $(BIN)/pnpkit run --profile smoke
endif
	@$(MAKE) executed HOUSE=build/$(PROFILE) PROFILE=$(PROFILE)

chapters: $(VENV)/.installed ## execute the committed chapters again, from what data/ ships; FORCE=1 for the unchanged ones too
	@$(MAKE) -j$(JOBS) $(RUNS)

site: $(VENV)/.installed ## render the committed chapters into _build/html; executes nothing
	@$(MAKE) rendered

pdf: site ## print the site as build/book.pdf, by a Chromium
	@$(BIN)/python tools/pdf.py _build/html build/book.pdf

lab: $(VENV)/.installed ## open the chapters in JupyterLab
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[book,lab]'
	PNPKIT_DATA="$(CURDIR)/data" $(BIN)/jupyter lab book

test: $(VENV)/.installed ## lint, types, unit tests, chapters compared, site built and opened; ONLY="lint unit" for some
	@$(BIN)/python tools/check.py $(ONLY)

bench: $(VENV)/.installed ## time Φ, its Jacobian, its gradient and training steps beside others (OUT=FILE keeps the figures; best on an idle machine)
	@$(BIN)/python benchmarks/bench.py $(if $(OUT),--out $(OUT))

# What was computed stays and is gone on with; what other profiles ship is copied beside it, again each time: a pull brings new
reproduce: PROFILE := $(or $(PROFILE),laptop)
reproduce: REPRODUCED = build/reproduce-$(PROFILE)
reproduce: $(VENV)/.installed ## compute a profile from nothing and make the book of it; PROFILE=laptop by default (paper: a day); goes on where it stopped
	@$(MAKE) shipped HOUSE=$(REPRODUCED) BUT=data/$(PROFILE)
	PNPKIT_DATA="$(CURDIR)/$(REPRODUCED)/data" $(BIN)/pnpkit run --profile $(PROFILE)
	@$(MAKE) tables HOUSE=$(REPRODUCED) PROFILE=$(PROFILE)
	@$(MAKE) executed HOUSE=$(REPRODUCED) PROFILE=$(PROFILE)

clean: ## remove what book, site and test made; the environment and what reproduce computed stay
	rm -rf _build $(addprefix build/,$(PROFILES)) build/run build/book.pdf .pytest_cache .mypy_cache .ruff_cache .hypothesis

# What is ignored there (inputs, weights, checkpoints) may be large, and is computed again
shipped:
	@mkdir -p $(HOUSE) && tar -cf - $(if $(BUT),--exclude=$(BUT)) --exclude='features-*' --exclude='tangents-*' --exclude='*.partial*' --exclude=checkpoint --exclude='.*.lock' data | tar -xf - -C $(HOUSE)

# A table that is shipped may be of this profile's runs too, which are others now: it is made again, of these
tables:
	@for file in $$(grep -ls '"\.\./$(PROFILE)/' $(HOUSE)/data/*/results.json); do \
	  of=$$(basename $$(dirname $$file)) && PNPKIT_DATA=$(HOUSE)/data $(BIN)/pnpkit table --profile $$of >/dev/null || exit 1; \
	done

executed: $(VENV)/.installed
	@$(MAKE) -j$(JOBS) $(RUNS) DATA=$(HOUSE)/data PARAMETERS="$(if $(filter-out paper,$(PROFILE)),-p profile $(PROFILE))"
	@$(MAKE) rendered

# execute.py compares contents, not dates, so that a fresh clone has nothing to do; and it replaces a notebook whole
$(RUNS): run/%: book/src/%.md $(VENV)/.installed
	@PNPKIT_DATA="$(CURDIR)/$(DATA)" $(BIN)/python tools/execute.py $< $(HOUSE)/book/$*.ipynb $(PARAMETERS) $(if $(FORCE),--force)

rendered: $(VENV)/.installed
ifneq ($(HOUSE),.)
	@mkdir -p $(HOUSE)/book
	@cp -R _config.yml _toc.yml $(HOUSE)/
	@cp -R book/*.md book/references.bib book/_static book/_ext book/reference $(HOUSE)/book/
endif
	$(BIN)/jupyter-book build $(HOUSE) -W -n --keep-going
	@echo "The book is at $(CURDIR)/$(HOUSE:.=)$(if $(filter-out .,$(HOUSE)),/)_build/html/index.html"
