"""From a network's raw output to colours on a GPU; the definition is `gen2seg_runtime.colors`."""
