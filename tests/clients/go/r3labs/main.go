// Reads with r3labs/sse, which connects again by itself, with the last id.
package main

import (
	"time"

	"github.com/r3labs/sse/v2"

	"tidings.example/clients/protocol"
)

// The library's own bound of 64 KiB is smaller than an event may be.
const bufferBytes = 1 << 20

func main() {
	client := sse.NewClient(protocol.URL(), sse.ClientMaxBufferSize(bufferBytes))
	client.Connection = protocol.Client()
	for {
		// The library does not reconnect after an end without an error.
		protocol.Fault(client.SubscribeRaw(func(message *sse.Event) {
			protocol.Event(string(message.Event), string(message.Data), string(message.ID))
		}))
		time.Sleep(300 * time.Millisecond)
	}
}
