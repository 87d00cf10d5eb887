"""Prints the state of the network namespace it runs in, as JSON. Run by path, with no imports
of the lab's: inside the namespace there is only this one process to pay for."""

import json
import os
import subprocess
import sys

COMMANDS = {
    "links": ["ip", "-j", "-d", "link"],
    "addresses": ["ip", "-j", "address"],
    "routes": ["ip", "route", "show", "table", "all"],
    "routes6": ["ip", "-6", "route", "show", "table", "all"],
    "rules": ["ip", "rule"],
    "rules6": ["ip", "-6", "rule"],
    "nft": ["nft", "-j", "list", "ruleset"],
    "nft text": ["nft", "--stateless", "list", "ruleset"],
}


def sysctls() -> dict[str, str]:
    """Everything that can be read below /proc/sys/net; some files are for writing only."""
    found = {}
    for folder, _, names in os.walk("/proc/sys/net"):
        for name in names:
            path = os.path.join(folder, name)
            try:
                with open(path, "rb") as file:
                    found[path[len("/proc/sys/") :]] = file.read().decode(errors="replace").strip()
            except OSError as error:
                found[path[len("/proc/sys/") :]] = f"({error.strerror})"
    return found


def main() -> None:
    running = {
        name: subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        for name, argv in COMMANDS.items()
    }
    state: dict[str, object] = {"sysctl": sysctls()}
    for name, popen in running.items():
        state[name] = popen.communicate()[0]
        if popen.returncode:
            sys.exit(f"{COMMANDS[name]} failed with {popen.returncode}")
    json.dump(state, sys.stdout)


main()
