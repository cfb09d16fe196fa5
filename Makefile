# Every target sets up what it needs; only Python 3.11 and a package index are assumed.
PYTHON ?= python3
GEN2SEG_DATA ?= ../shared/data
export GEN2SEG_DATA

RUNTIME := .venv-runtime
DEV := .venv
TORCH := torch==2.14.1 torchvision==0.29.1
NATIVE := setup.py $(wildcard kernels/gen2seg_kernels/csrc/*)

.PHONY: demo test soak lint bench full gpu-check aarch64 evaluate clean

demo: $(RUNTIME)/.installed
	$(RUNTIME)/bin/gen2seg demo $(if $(IMAGE),--image "$(IMAGE)") $(if $(POINT),--point "$(POINT)") -o demo-out

test: $(DEV)/.installed
	GEN2SEG_REQUIRE_CONTRIB=1 $(DEV)/bin/python -m pytest --cov=gen2seg_runtime --cov=gen2seg_kernels --cov-fail-under=90 $(ARGS)

# The long forms of tests/robustness: 10,000 bad inputs, 16 threads × 1,000 prompts, 20,000 encodes. Minutes.
soak: $(DEV)/.installed
	$(DEV)/bin/python -m tests.robustness.bad_inputs --inputs 10000
	$(DEV)/bin/python -m tests.robustness.soak

lint: $(DEV)/.installed
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/pyright
	$(DEV)/bin/lint-imports

bench: $(DEV)/.installed
	$(DEV)/bin/python -m pytest bench --benchmark-only $(ARGS)

# Every backbone at full size with random weights, beside its rivals: an hour on two cores, 16 GB, 30 GB of disk.
full: $(DEV)/.installed
	$(DEV)/bin/python -m pytest bench/test_export.py --benchmark-only --full --bundles build/full $(ARGS)

gpu-check: $(DEV)/.installed
	$(DEV)/bin/python -m bench.gpu_check

# Compiled, not run: there is no such machine here.
aarch64: $(DEV)/.installed
	PYTHON="$(CURDIR)/$(DEV)/bin/python" .ci/aarch64 build/aarch64

evaluate: $(DEV)/.installed
	$(DEV)/bin/gen2seg evaluate --data "$(GEN2SEG_DATA)" --system tiny,sobel,floodfill,felzenszwalb \
		--jobs "$$(nproc)" -o reports/evaluation --resume $(ARGS)

$(RUNTIME)/.installed: pyproject.toml $(NATIVE)
	$(PYTHON) -m venv $(RUNTIME)
	$(RUNTIME)/bin/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(RUNTIME)/bin/python -m pip install --quiet --editable ".[demo]"
	touch $@

# OpenCV's contrib build writes the same cv2 package as the core build: the tests need it as the
# rival of our filter, so it goes in last, over the core build, at the same version.
$(DEV)/.installed: pyproject.toml $(NATIVE)
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/python -m pip install --quiet --upgrade pip
	$(DEV)/bin/python -m pip install --quiet $(TORCH)
	PYTHONWARNINGS=ignore $(DEV)/bin/python -m pip install --quiet --editable ".[demo,train,export,tensorrt-rtx,evaluate,ray,dev,bench]"
	$(DEV)/bin/python -m pip install --quiet --no-deps --force-reinstall \
		"opencv-contrib-python-headless==$$($(DEV)/bin/python -c 'from importlib.metadata import version; print(version("opencv-python-headless"))')"
	touch $@

clean:
	rm -rf $(RUNTIME) $(DEV) build dist demo-out reports
