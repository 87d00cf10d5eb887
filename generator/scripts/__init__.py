"""From plans and options to scripts, and to files."""
