from datetime import timedelta

from protocol import event, fault, opened
from requests_sse import EventSource


def read(url):
    source = EventSource(url, reconnection_time=timedelta(milliseconds=300), on_open=opened, on_error=lambda: fault("lost"))
    with source:
        for it in source:
            event(it.type, it.data, it.last_event_id)
