"""Names of the files that a fine-tuning leaves, in the store and in its folder of results."""

ADAPTER, MODEL = "adapter.safetensors", "model"
"""What was trained: an adapter's file, or a folder that :func:`weights_convert.load_vggt` reads."""
METRICS = "metrics.jsonl"
"""Losses of all steps."""
DONE = "done.json"
"""In the store, written last: parameters, losses on validation scenes before and after training, seconds and statistics."""
SUMMARY = "summary.json"
"""In a folder of results: settings, data, parameters, losses and seconds."""
OUTPUTS = frozenset({ADAPTER, MODEL, METRICS, SUMMARY})
"""What may lie in a folder of results."""
