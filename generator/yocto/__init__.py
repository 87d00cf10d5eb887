"""A description from Yocto's qemuboot.conf, which its builds write for runqemu.

    variables.py  the file: its variables, each with its line
    image_files.py  where runqemu finds the kernel, the image and the rest
    document_keys.py  the keys of a description that the variables come to
    hardware.py  what each variable means for them: machine, kernel, disk,
    links.py     and network, serial lines, screen
    writing.py   the description as a file that a person can read and keep
    beyond.py    what is told of the options that are passed on
    convert.py   all of it

Nothing of the file is run, and nothing of what it names is opened.
"""
