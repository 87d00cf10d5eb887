"""Read-only actions and explanations: imported after every capability is given up."""
