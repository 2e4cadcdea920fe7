# The README's commands. Needs Python 3.11 or newer with venv, pip, make and git; everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE := # or each of the tests' thousand programs would compile all of Leyden anew
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help run test check bench bench-loader bench-tracking bench-sweeps clean

help:
	@echo "make run      install into .venv and train the digits example through 'leyden run'"
	@echo "make test     install and run every test"
	@echo "make check    format, lint, types, layers, dependencies, spelling, and every test"
	@echo "make bench    measure the cost of a training step beside Lightning and Accelerate"
	@echo "make bench-loader  Leyden's Loader beside eight others (installs them into .bench; a quarter of an hour)"
	@echo "make bench-tracking  the cost of logging beside TensorBoard, MLflow and trackio; the dashboard under load (ten minutes)"
	@echo "make bench-sweeps  time to a good enough model beside Optuna and Ray Tune (installs them into .bench-sweeps; half an hour)"
	@echo "make clean    remove .venv and caches"

# torch first and by version, so that no other package pulls a build for hardware that is not here.
$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "creating $(VENV) …"; $(PYTHON) -m venv $(VENV); }
	@echo "installing Leyden and its tools into $(VENV) (once; a few minutes) …"
	@$(PIP) install -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	@$(PIP) install -c constraints.txt -e '.[train,examples,dev]'
	@touch $@

run: $(INSTALLED)
	@$(BIN)/leyden run examples/digits/train.py

# Two at a time. A file's tests stay together, as they share what they set up, and files in their order. One file does
# nothing but wait for two minutes, and does so beside them. Many tests stop and kill programs and wait for what becomes
# of that: one that fails where two run at a time on a slow machine is tried once more alone, and counts if it fails again.
test: $(INSTALLED)
	@$(BIN)/python -m pytest -p no:cacheprovider tests/server/test_outage.py > .outage.log 2>&1 & waits=$$!; \
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore=tests/server/test_outage.py; code=$$?; \
	wait $$waits || { cat .outage.log; over=1; }; rm -f .outage.log; \
	if [ $$code = 1 ]; then echo "once more, alone:"; $(BIN)/python -m pytest -x -v --last-failed --last-failed-no-failures none; code=$$?; fi; \
	exit $$((code + $${over:-0}))

check: lint test

.PHONY: lint
lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/codespell

bench: $(INSTALLED)
	@$(PIP) install -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/step_overhead.py

# Peers have a venv of their own, so that nothing they ask for comes into ours.
bench-loader: $(INSTALLED)
	$(BIN)/python benchmarks/loader.py --install .bench
	.bench/bin/python benchmarks/loader.py

bench-tracking: $(INSTALLED)
	$(BIN)/python benchmarks/tracking.py --install .bench-tracking
	.bench-tracking/bin/python benchmarks/tracking.py
	$(BIN)/python benchmarks/dashboard.py

bench-sweeps: $(INSTALLED)
	$(BIN)/python benchmarks/sweep_time_to_target.py --install .bench-sweeps
	.bench-sweeps/bin/python benchmarks/sweep_time_to_target.py
	.bench-sweeps/bin/python benchmarks/sweep_overhead.py

clean:
	rm -rf $(VENV) .bench .bench-tracking .bench-sweeps .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
