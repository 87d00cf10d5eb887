"""From a TOML file to the model."""
