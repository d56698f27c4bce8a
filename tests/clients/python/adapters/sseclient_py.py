import requests
import sseclient
from protocol import event, opened, resume


def read(url):
    # A parser: the application asks, keeps the id and connects again.
    def stream(last_id):
        with requests.get(url, stream=True, headers={"Last-Event-ID": last_id}) as answer:
            opened()
            for it in sseclient.SSEClient(answer).events():
                event(it.event, it.data, it.id)
                yield it.id

    resume(stream)
