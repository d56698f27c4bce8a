import httpx2
from protocol import event, opened, resume


def read(url):
    # The library reads; the application keeps the id and connects again.
    def stream(last_id):
        with httpx2.Client() as client, client.sse(url, headers={"Last-Event-ID": last_id}) as source:
            opened()
            for it in source:
                event(it.event, it.data, it.id)
                yield it.id

    resume(stream)
