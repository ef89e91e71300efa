"""nginx in front of a site, as people deploy it: under a path prefix, with or without upgrades."""

from __future__ import annotations

from typing import Any

from tests.servers.process import Server, program

__all__ = ["Nginx"]

_CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
  server {{
    listen 127.0.0.1:{port};
    location {prefix}/ {{
      proxy_pass {upstream}{strip};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      {upgrade}
      {extra}
    }}
  }}
}}
"""
_UPGRADE = """proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;"""


class Nginx(Server):
    """nginx that hands `prefix` to another server.

    Args:
        upstream: The server behind, e.g. "http://127.0.0.1:8000".
        prefix: The path visitors see the site under, e.g. "/videos"; "" for none.
        strip: Whether the prefix is taken off before the request goes on.
        websockets: Whether upgrades are passed on (without it a WebSocket is answered as HTTP).
        extra: More lines for the location.
    """

    name = "nginx"

    def __init__(
        self,
        upstream: str,
        *,
        prefix: str = "",
        strip: bool = True,
        websockets: bool = True,
        extra: str = "",
        **server: Any,
    ) -> None:
        super().__init__(**server)
        self.upstream, self.prefix, self.strip = upstream, prefix, strip
        self.websockets, self.extra = websockets, extra
        self._program = program("nginx")

    @property
    def url(self) -> str:
        return super().url + self.prefix

    def command(self) -> list[str]:
        config = self.folder / "nginx.conf"
        config.write_text(
            _CONFIG.format(
                folder=self.folder,
                port=self.port,
                prefix=self.prefix,
                upstream=self.upstream,
                strip="/" if self.strip else "",
                upgrade=_UPGRADE if self.websockets else "",
                extra=self.extra,
            )
        )
        return [self._program, "-p", str(self.folder), "-c", str(config), "-e", "stderr"]
