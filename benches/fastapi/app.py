"""FastAPI serves messages that Redis publishes, by sse-starlette and broadcaster."""

import os
from contextlib import asynccontextmanager

from broadcaster import Broadcast
from fastapi import APIRouter, FastAPI
from sse_starlette.sse import EventSourceResponse

pubsub_client = Broadcast(os.environ["REDIS_URL"])
router = APIRouter()


@router.get("/{channel}")
async def subscribe(channel: str):
    async def event_generator():
        async with pubsub_client.subscribe(channel=channel) as subscriber:
            async for event in subscriber:
                yield {"data": event.message}

    return EventSourceResponse(event_generator())


@asynccontextmanager
async def lifespan(_app: FastAPI):
    async with pubsub_client:
        yield


app = FastAPI(lifespan=lifespan)
app.include_router(router, prefix="/api/v1/events")
