"""A site's videos travel from visitor to visitor; the origin stays the source that works.

    from p2pcdn import P2PCDN

    app = P2PCDN(app)                         # any ASGI or WSGI app, told apart by itself
    app.wsgi_app = P2PCDN(app.wsgi_app)       # Flask
    app.add_middleware(P2PCDN, hud=True)      # Starlette, FastAPI
    P2PCDN().init_app(app)                    # Flask extension

Django: `MIDDLEWARE = ["p2pcdn.django.P2PCDNMiddleware", ...]`.
"""

from p2pcdn.config import Config
from p2pcdn.errors import ConfigError, P2PCDNError
from p2pcdn.middleware import P2PCDN

__all__ = ["P2PCDN", "Config", "ConfigError", "P2PCDNError"]
__version__ = "0.1.0"
