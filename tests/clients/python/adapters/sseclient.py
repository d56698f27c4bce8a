import requests
from protocol import event, opened
from sseclient import SSEClient


class Session(requests.Session):
    """Tells each answer: the library does not."""

    def get(self, *args, **kwargs):
        answer = super().get(*args, **kwargs)
        opened()
        return answer


def read(url):
    # Connects again by itself, with the last id.
    for it in SSEClient(url, session=Session()):
        event(it.event, it.data, it.id)
