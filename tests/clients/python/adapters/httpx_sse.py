import httpx
from httpx_sse import connect_sse
from protocol import event, opened, resume


def read(url):
    # The library reads; the application keeps the id and connects again.
    def stream(last_id):
        with httpx.Client() as client, connect_sse(client, "GET", url, headers={"Last-Event-ID": last_id}) as source:
            opened()
            for it in source.iter_sse():
                event(it.event, it.data, it.id)
                yield it.id

    resume(stream)
