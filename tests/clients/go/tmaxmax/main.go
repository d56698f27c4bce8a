// Reads with tmaxmax/go-sse, which connects again by itself, with the last id.
package main

import (
	"net/http"
	"time"

	"github.com/tmaxmax/go-sse"

	"tidings.example/clients/protocol"
)

// The library's own bound of 64 KiB is smaller than an event may be.
const bufferBytes = 1 << 20

func main() {
	request, err := http.NewRequest(http.MethodGet, protocol.URL(), http.NoBody)
	if err != nil {
		panic(err)
	}
	client := sse.Client{
		HTTPClient: protocol.Client(),
		OnRetry:    func(err error, _ time.Duration) { protocol.Fault(err) },
	}
	connection := client.NewConnection(request)
	connection.Buffer(nil, bufferBytes)
	connection.SubscribeToAll(func(event sse.Event) {
		protocol.Event(event.Type, event.Data, event.LastEventID)
	})
	protocol.Fault(connection.Connect())
}
