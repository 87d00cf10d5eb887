"""From the model to qemu's options, in groups that each have a reason."""
