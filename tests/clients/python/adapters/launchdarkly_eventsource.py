from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Fault, Start
from ld_eventsource.config import ErrorStrategy
from protocol import event, fault, opened


def read(url):
    client = SSEClient(url, error_strategy=ErrorStrategy.always_continue())
    for action in client.all:
        if isinstance(action, Start):
            opened()
        elif isinstance(action, Event):
            event(action.event, action.data, action.last_event_id)
        elif isinstance(action, Fault):
            fault(action.error)
