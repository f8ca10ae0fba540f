"""Makes a quantised checkpoint of a checkpoint with llm-compressor, in an environment of its own."""
