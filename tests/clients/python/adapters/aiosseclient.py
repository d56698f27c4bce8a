import asyncio

from aiosseclient import aiosseclient
from protocol import event, opened, resume_async


def read(url):
    # Reads one stream, without an event at its opening; the application keeps the id and connects again.
    async def stream(last_id):
        opened()
        async for it in aiosseclient(url, last_id=last_id):
            event(it.event, it.data, it.id)
            yield it.id

    asyncio.run(resume_async(stream))
