"""What the name of a disk's file tells: its format, and how it is compressed."""

from os.path import splitext

# By the ending of a file's name. Never left to qemu: a guest that writes another format's header
# into a raw disk would be given whatever file that header names.
FORMATS = {
    ".qcow2": "qcow2",
    ".vmdk": "vmdk",
    ".vhd": "vpc",
    ".vhdx": "vhdx",
    ".vdi": "vdi",
}
DISK_FORMATS = ("raw", *FORMATS.values())
UNPACKERS = {
    ".zst": ("zstd", "-dcq"),
    ".gz": ("gzip", "-dc"),
    ".xz": ("xz", "-dc"),
    ".bz2": ("bzip2", "-dc"),
    ".lz4": ("lz4", "-dcq"),
}
# A shell's file descriptors have one digit; those up to 4 are in use, and 9 is the lock of run.
DESCRIPTORS = range(5, 9)
UNPACKED_AT_MOST = len(DESCRIPTORS)  # compressed disks of a guest


def stem(file: str) -> str:
    """The name without the ending of a compression."""
    return splitext(file)[0] if is_packed(file) else file


def is_packed(file: str) -> bool:
    return splitext(file)[1] in UNPACKERS


def kind(file: str) -> str:
    """The format that the name tells."""
    return FORMATS.get(splitext(stem(file))[1], "raw")
