"""The line protocol of adapters: `open` for each stream that opens, `event {json}` for each message that a library hands out."""

import asyncio
import json
import time

# Delay before an application reconnects by itself.
RECONNECT_SECONDS = 0.3


def opened() -> None:
    """A stream has opened."""
    print("open", flush=True)


def event(name: str | None, data: str | None, id: str | None) -> None:
    """A library handed out a message."""
    message = {"name": name or "message", "data": data, "id": id}
    print("event", json.dumps(message), flush=True)


def fault(error: object) -> None:
    """Something went wrong, told for the reader of a failed test."""
    print("fault", " ".join(str(error).split()), flush=True)


def resume(read) -> None:
    """Calls `read` with the last id whenever a stream has ended, as an application must whose library does not.

    `read` yields the id of each message that it was handed, which may be none.
    """
    last_id = ""
    while True:
        try:
            for id in read(last_id):
                last_id = id or last_id
        except Exception as error:
            fault(f"{type(error).__name__}: {error}")
        time.sleep(RECONNECT_SECONDS)


async def resume_async(read) -> None:
    """As `resume`, for an asynchronous library."""
    last_id = ""
    while True:
        try:
            async for id in read(last_id):
                last_id = id or last_id
        except Exception as error:
            fault(f"{type(error).__name__}: {error}")
        await asyncio.sleep(RECONNECT_SECONDS)
