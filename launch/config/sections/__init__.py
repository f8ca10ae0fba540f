"""The sections of a run's settings, a module each; launch/config/schema.py joins them."""
