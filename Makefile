# make demo: the whole pipeline on drawn landmarks, then its service's answers.
# make serve: its models over HTTP.
# make test: all checks and tests.  make test-all: the long ones, too.
.PHONY: venv demo serve test test-all lint lock audit clean
PYTHON ?= python3.11
REQUIREMENTS ?= requirements.txt
RUN = .venv/bin/python

venv: .venv/.made-with-$(REQUIREMENTS)

.venv/.made-with-$(REQUIREMENTS): requirements.txt $(REQUIREMENTS) pyproject.toml
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --require-hashes -r $(REQUIREMENTS)
	$(RUN) -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: venv
	$(RUN) -m landmark_ray.demo --out demo/source
	$(RUN) jobs/pipeline.py --config jobs/conf/demo.toml --source demo/source --root demo/root
	$(RUN) jobs/check_service.py --bundle demo/root/bundle --source demo/source

serve: venv
	@test -e demo/root/bundle/bundle.json || $(MAKE) demo
	$(RUN) jobs/serve.py --bundle demo/root/bundle

lint: venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# Two processes: what the second one's jobs leave in theirs (a Ray, a browser's loop) meets no unit test.
test: lint
	$(RUN) -m pytest tests/unit tests/web
	$(RUN) -m pytest tests/jobs tests/ray

test-all: lint
	$(RUN) -m pytest -m "" tests/unit tests/web
	$(RUN) -m pytest -m "" tests/jobs tests/ray

# Versions stay as they are, unless a line of requirements.in asks for another.
LOCK = .venv/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate \
  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

lock: venv
	$(LOCK) requirements.in --output-file requirements.txt
	$(LOCK) requirements-gpu.in --output-file requirements-gpu.txt

audit: venv
	$(RUN) .ci/audit.py

clean:
	rm -rf .venv demo
