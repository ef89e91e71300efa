"""The mounted Starlette app, one file an endpoint family."""
