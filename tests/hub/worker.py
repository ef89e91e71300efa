"""A server worker in a process of its own.

    python -m tests.hub.worker <folder> <peer id> [<redis url>]

Its one peer, on a socket, announces a content and answers every OFFER. Prints one line of
state whenever that changes; ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tests.hub.people import Person, make_hub


async def main(folder: Path, id: str, redis_url: str | None = None) -> None:
    hub = make_hub(folder, redis_url=redis_url)
    person = Person(hub, id)
    await person.connect()
    person.announce([[0, 10]])
    asyncio.get_running_loop().run_in_executor(None, sys.stdin.read).add_done_callback(
        lambda _: asyncio.get_running_loop().stop()
    )
    state = ""
    heartbeat = 0
    while True:
        if hub.snapshot()["state"] != state:
            state = str(hub.snapshot()["state"])
            print(state, flush=True)
        for message in person.inbox:
            if message["type"] == "OFFER":
                person.say("ANSWER", message["payload"], dst=message["src"])
            if message["type"] == "REANNOUNCE":
                print("asked to announce again", flush=True)
        person.inbox.clear()
        heartbeat += 1
        if heartbeat % 100 == 0:
            person.say("HEARTBEAT")
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    try:
        asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
    except RuntimeError:  # the loop was stopped
        sys.exit(0)
