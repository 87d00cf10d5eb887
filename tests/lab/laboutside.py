"""The outside host of a lab: a web server and a name server. Run by path.

    laboutside.py WEB-ADDRESS...      serves port 80 and port 53 on each

The page names who asked, so a test sees whether the address was hidden. Every name under
`.example` is at the first address. Both write a line for each request on standard output.
"""

import socket
import socketserver
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def say(*words: object) -> None:
    """A line in one write: print() writes the end of the line apart, and threads run between."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"hello from outside\nyou are {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        say("http", *self.client_address, format % args)


class Names(socketserver.BaseRequestHandler):
    """Answers A questions for *.example (RFC 1035, 4.1), and NXDOMAIN to all else."""

    def handle(self) -> None:
        query, sock = self.request
        end = query.index(b"\0", 12) + 5
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += query[at] + 1
        known = labels[-1:] == ["example"]
        wanted = known and query[end - 4 : end] == b"\0\1\0\1"
        head = query[:2] + struct.pack("!HHHHH", 0x8580 | (0 if known else 3), 1, int(wanted), 0, 0)
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(sys.argv[1])
        sock.sendto(head + query[12:end] + (record if wanted else b""), self.client_address)
        say("dns", *self.client_address, ".".join(labels))


def main() -> None:
    servers: list[socketserver.BaseServer] = []
    for address in sys.argv[1:]:
        servers.append(ThreadingHTTPServer((address, 80), Page))
        servers.append(socketserver.ThreadingUDPServer((address, 53), Names))
    for server in servers:
        threading.Thread(target=server.serve_forever).start()
    say("listening")


main()
