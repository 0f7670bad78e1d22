# Everything sets itself up: Python packages in .venv, and as root the system packages that the tests need.
#
#   make demo      the tour: one network function from object to a three-way split, and the comparison; no root
#   make test      lint, types and all tests (as root with the kernel and veth runs)
#   make check     lint and types only            make lint      ruff only
#   make test-corpus  real objects in and out, in the kernel, interpreted, compiled (long; PIPELINES=... chooses)
#   make bench     the benchmarks in bench/       make examples  rebuild the objects of examples/ from their C
#   make clean     removes what make made
#
# PYTHON=...       the Python to use (3.11 or newer)      PYTEST_ARGS=...  more arguments for pytest

VENV := .venv/bin
PYTEST_ARGS ?=
JOBS ?= 2

.PHONY: help demo test check lint types pytest test-corpus bench examples clean setup-run setup-dev setup-system
.NOTPARALLEL:

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed -n '3,10p'

setup-run:
	@.ci/venv run

setup-dev:
	@.ci/venv dev

setup-system:
	@.ci/system

demo: setup-run
	@$(VENV)/python -m fsir.tools.fs_demo

# The tests run even when lint or types complain, and come last; the exit status is that of all three.
test: setup-system setup-dev
	@$(MAKE) --no-print-directory --keep-going lint types; checks=$$?; \
	$(MAKE) --no-print-directory pytest && exit $$checks

check: setup-dev lint types

lint: setup-dev
	$(VENV)/python -m ruff check .
	$(VENV)/python -m ruff format --check .

types: setup-dev
	$(VENV)/python -m mypy

pytest: setup-dev
	$(VENV)/python -m pytest -n $(JOBS) --dist loadgroup $(PYTEST_ARGS)

# Every check runs, also after one that found something; the exit status is that of all.
PIPELINES ?= raise raise,lower-to-xdp raise,optimize,lower-to-xdp
CORPUS = PYTHONPATH=test $(VENV)/python -m corpus
test-corpus: setup-system setup-dev
	@$(CORPUS) collect
	@failed=0; for check in identity load interp; do $(CORPUS) $$check || failed=1; done; \
	for passes in $(PIPELINES); do $(CORPUS) pipeline $$passes || failed=1; done; exit $$failed

# Every benchmark runs, also after one that failed; the exit status is that of all.
bench: setup-system setup-dev
	@failed=0; for script in bench/bench_*.py; do \
		echo "== $$script"; PYTHONPATH=test $(VENV)/python "$$script" || failed=1; \
	done; exit $$failed

examples: setup-system
	$(MAKE) --no-print-directory -C examples

clean:
	rm -rf .venv .venv.lock build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find test -name Output -type d -prune -exec rm -rf {} +
