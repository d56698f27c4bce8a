// Reads with launchdarkly/eventsource, which connects again by itself, with the last id.
package main

import (
	"github.com/launchdarkly/eventsource"

	"tidings.example/clients/protocol"
)

func main() {
	onError := func(err error) eventsource.StreamErrorHandlerResult {
		protocol.Fault(err)
		return eventsource.StreamErrorHandlerResult{}
	}
	stream, err := eventsource.SubscribeWithURL(
		protocol.URL(),
		eventsource.StreamOptionHTTPClient(protocol.Client()),
		eventsource.StreamOptionErrorHandler(onError),
	)
	if err != nil {
		panic(err)
	}
	for event := range stream.Events {
		protocol.Event(event.Event(), event.Data(), event.Id())
	}
}
