import asyncio
from datetime import timedelta

from aiohttp_sse_client.client import EventSource
from protocol import event, fault, opened, resume_async


def read(url):
    # Reconnects after the end of a stream; after a broken connection the application reconnects, with the id.
    async def stream(last_id):
        source = EventSource(
            url,
            reconnection_time=timedelta(milliseconds=300),
            on_open=opened,
            on_error=lambda: fault("lost"),
            headers={"Last-Event-Id": last_id},
        )
        async with source:
            async for it in source:
                event(it.type, it.data, it.last_event_id)
                yield it.last_event_id

    asyncio.run(resume_async(stream))
