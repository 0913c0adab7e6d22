"""One page over HTTP, for this machine alone."""

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LOOPBACK = "127.0.0.1"


def page_server(page: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server on 127.0.0.1 that answers GET of `/` and of the page's name with the page, and nothing else.

    A request that names another host is refused: a foreign page could else read this one under a name of its own that
    points here (DNS rebinding).

    Args:
        page: the HTML file, read for each request, so it need not be there yet.
        port: where to listen; 0 takes a free one, see `server_port`.

    Raises:
        ValueError: the port cannot be had.
    """
    paths = {"/", f"/{page.name}"}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Host", "").partition(":")[0] not in (LOOPBACK, "localhost"):
                self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            elif self.path not in paths:
                self.send_error(HTTPStatus.NOT_FOUND)
            else:
                content = page.read_bytes()
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    try:
        return ThreadingHTTPServer((LOOPBACK, port), Handler)
    except OSError as error:
        raise ValueError(f"port {port} cannot be had ({error.strerror}): leave --port out for a free one") from None
