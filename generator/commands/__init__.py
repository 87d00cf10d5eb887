"""The verbs that do more than render."""
