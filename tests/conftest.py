"""What every test may ask for; the fixtures start nothing until they are used."""

import signal

pytest_plugins = ["tests.browser.fixtures", "tests.servers.fixtures"]

# A shell that runs tests in the background hands them an ignored SIGINT, and so do they to the
# commands under test, whose Ctrl-C would then do nothing.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
