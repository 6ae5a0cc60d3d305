# make demo: the whole pipeline on drawn landmarks, then its service's answers.
# make serve: its models over HTTP.
# make test: all checks and tests.  make test-all: the long ones, too.
.PHONY: venv demo serve test test-service test-jobs test-all lint lock audit clean
PYTHON ?= $(or $(firstword $(foreach minor,11 12 13,$(shell command -v python3.$(minor)))),python3.11)
RUN = .venv/bin/python

# requirements.txt is what runs; requirements-dev.txt that and what tests; requirements-gpu.txt that
# and CUDA. What is in several has one version, so each can be installed over another.
REQUIREMENTS ?= requirements.txt
MADE = .venv/.made-with-

venv: $(MADE)$(REQUIREMENTS)

# pip installs uv, by the lock's hash; uv installs the rest in a fraction of pip's time.
$(MADE)%.txt: %.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements-dev.txt | $(RUN) -m pip install --quiet --require-hashes -r /dev/stdin
	.venv/bin/uv pip install --quiet --python $(RUN) --require-hashes -r $<
	.venv/bin/uv pip install --quiet --python $(RUN) --no-deps --no-build-isolation --editable .
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

# Two processes of about equal length, which `make -j2 test` runs side by side.
test: test-service test-jobs

test-service: lint
	$(RUN) -m pytest $(PYTEST) tests/unit tests/web tests/ray

test-jobs: lint
	$(RUN) -m pytest $(PYTEST) tests/jobs

test-all:
	$(MAKE) test PYTEST='-m ""'

# Locks for each version of Python. Versions stay as they are, unless pyproject.toml asks for others.
LOCK = .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" pyproject.toml

lock: $(MADE)requirements-dev.txt
	$(LOCK) --extra serve --output-file requirements.txt
	$(LOCK) --extra serve --extra dev --constraint requirements.txt --output-file requirements-dev.txt
	$(LOCK) --extra serve --extra gpu --constraint requirements.txt --output-file requirements-gpu.txt

audit: $(MADE)requirements-dev.txt
	$(RUN) .ci/audit.py

clean:
	rm -rf .venv demo
