"""What every test may ask for; the fixtures start nothing until they are used."""

pytest_plugins = ["tests.browser.fixtures", "tests.servers.fixtures"]
