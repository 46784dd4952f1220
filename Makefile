# Two commands matter: `make demo` and `make test`. Both install all they need.
# tests/conftest.py shares them out. All share one store, as many builds at once may.
PARALLEL = -n 3 --dist loadgroup

.PHONY: demo test test-large lint unit integration coverage bench docs setup clean tables fuzz faults

demo:
	scripts/setup run
	scripts/with-docker scripts/demo

test:
	scripts/setup test
	$(MAKE) --no-print-directory lint
	scripts/with-docker .venv/bin/python -m pytest $(PARALLEL) --durations=25 tests

# TensorFlow and cuDNN: 2 GB to fetch, not in CI.
test-large:
	scripts/setup test
	scripts/with-docker .venv/bin/python -m pytest tests/large.py

setup:
	scripts/setup test

lint:
	.venv/bin/ruff check
	.venv/bin/ruff format --check -q
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

unit:
	.venv/bin/python -m pytest tests/unit

integration:
	scripts/with-docker .venv/bin/python -m pytest $(PARALLEL) tests/integration

# The lines that no test runs. Not in CI: it makes the tests half as slow again. It fails below the share
# that pyproject.toml names, which only rises.
COVERAGE = COVERAGE_FILE=$(CURDIR)/.coverage/data
coverage:
	scripts/setup test
	rm -rf .coverage && mkdir .coverage
	$(COVERAGE) scripts/with-docker .venv/bin/python -m coverage run -m pytest $(PARALLEL) \
	    tests/unit tests/integration tests/hostile
	$(COVERAGE) .venv/bin/python -m coverage combine -q
	$(COVERAGE) .venv/bin/python -m coverage report

bench:
	scripts/setup bench
	scripts/with-docker .venv/bin/python -m benchmarks

docs:
	.venv/bin/python -m grammar.vocabulary.reference

# The parser's tables, after a change of grammar/starlark/starlark.lark (or of Lark).
tables:
	PYTHONHASHSEED=0 .venv/bin/python -m grammar.starlark.tables

# Coverage-guided fuzzing of whatever reads foreign input, one after the other; FUZZ takes any option of
# libFuzzer's.
FUZZ = -max_total_time=20
fuzz:
	scripts/setup test
	for target in tests/fuzz/fuzz_*.py; do .venv/bin/python $$target $(FUZZ) || exit 1; done

# What killed processes, full disks, damaged files and bad networks do: about 15 minutes, as root.
# FAULTS takes --seed and --only.
FAULTS =
faults:
	scripts/setup faults
	.venv/bin/python -m tests.faults --output docs/faults.md $(FAULTS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .hypothesis .coverage
