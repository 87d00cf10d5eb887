"""The scripts' templates, one file for each; render.py says what they may use."""
