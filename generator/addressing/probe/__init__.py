"""What a guest's kernel and initramfs do with ip=, read from their files."""
