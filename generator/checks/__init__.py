"""tapdraft check: one module a subject, and what they share."""
