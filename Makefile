# make demo: run the whole pipeline on drawn landmarks, then check the answers of its service.
# make serve: serve the demo's models over HTTP.
# make test: run all checks and tests.  make test-all: run the long tests, too.
.PHONY: venv demo serve test test-units test-runs test-all lint lock audit clean
PYTHON ?= $(or $(firstword $(foreach minor,11 12 13,$(shell command -v python3.$(minor)))),python3.11)
RUN = .venv/bin/python

# requirements.txt has what runs; requirements-dev.txt adds what tests and checks need, and
# requirements-gpu.txt adds CUDA. A package has the same version in all three, so each of them can be
# installed over another.
REQUIREMENTS ?= requirements.txt
MADE = .venv/.made-with-

venv: $(MADE)$(REQUIREMENTS)

# pip installs uv, with the hash from the lock; uv installs the rest much faster than pip would. uv
# doesn't read pip's configuration: where that names the only index within reach, pip goes on alone.
# uv compiles all modules, as pip does. Otherwise the first processes would do it, or, where
# PYTHONDONTWRITEBYTECODE is set, each process: importing TensorFlow would then take 8 s longer.
$(MADE)%.txt: %.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt | $(RUN) -m pip install --quiet --require-hashes -r /dev/stdin
	.venv/bin/uv pip install --quiet --compile-bytecode --python $(RUN) --require-hashes -r $< || \
	  $(RUN) -m pip install --quiet --require-hashes -r $<
	$(RUN) -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(MADE)requirements.txt $@

demo: venv
	$(RUN) -m landmark_ray.demo --out demo/source
	$(RUN) jobs/pipeline.py --config jobs/conf/demo.toml --source demo/source --root demo/root
	$(RUN) jobs/check_service.py --bundle demo/root/bundle --source demo/source

serve: venv
	@test -e demo/root/bundle/bundle.json || $(MAKE) demo
	$(RUN) jobs/serve.py --bundle demo/root/bundle

lint: $(MADE)requirements-dev.txt
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# Three processes run side by side. The output of each is shown when it ends, and all run to their
# end even if one fails.
test: $(MADE)requirements-dev.txt
	@echo "The output of lint, test-units and test-runs is shown when each of them ends."
	@$(MAKE) --no-print-directory --jobs=3 --keep-going --output-sync=target lint test-units test-runs

# By default Ray's workers give way to all other processes. Beside the other half of the tests a
# worker could then take longer to start than the minute that Ray waits for it.
test-units test-runs: export RAY_worker_niceness = 0
# These save processor time: workers that have imported everything wait for the next task, Ray looks at
# its own processes once a minute and at the logs of a cluster's nodes once an hour, Python keeps what it
# compiled of this checkout, even where an image of a container tells it not to, and starts faster
# (tests/quick).
test-units test-runs: export RAY_idle_worker_killing_time_threshold_ms = 120000
test-units test-runs: export RAY_USAGE_STATS_ENABLED = 0
test-units test-runs: export REPORTER_UPDATE_INTERVAL_MS = 60000
test-units test-runs: export RAY_LOG_MONITOR_MANY_FILES_THRESHOLD = 0
test-units test-runs: export LOG_NAME_UPDATE_INTERVAL_S = 3600
test-units test-runs: export PYTHONDONTWRITEBYTECODE =
test-units test-runs: export PYTHONPATH := $(CURDIR)/tests/quick$(addprefix :,$(PYTHONPATH))

# Both halves take about the same time. The tests that need the root of a run (`small_root` in
# tests/conftest.py) are all in the second one, which makes it once.
UNITS = tests/unit tests/jobs/test_bench.py $(addprefix tests/jobs/cluster/test_,bench_cluster.py rollout.py)

test-units: $(MADE)requirements-dev.txt
	$(RUN) -m pytest $(PYTEST) $(UNITS)

test-runs: $(MADE)requirements-dev.txt
	$(RUN) -m pytest $(PYTEST) tests/jobs tests/ray tests/web $(addprefix --ignore=,$(UNITS))

test-all:
	$(MAKE) test PYTEST='-m ""'

# Each lock covers all versions of Python. Versions stay as they are, unless pyproject.toml asks for others.
LOCK = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" pyproject.toml

lock: $(MADE)requirements-dev.txt
	$(LOCK) --extra serve --extra aws --output-file requirements.txt
	$(LOCK) --extra serve --extra aws --extra hub --extra dev --constraint requirements.txt --output-file requirements-dev.txt
	$(LOCK) --extra serve --extra aws --extra gpu --constraint requirements.txt --output-file requirements-gpu.txt

audit: $(MADE)requirements-dev.txt
	$(RUN) .ci/audit.py

clean:
	rm -rf .venv demo
