// Package protocol is the line protocol of adapters: `open` for each stream that opens, `event {json}` for each message that a library
// hands out.
package protocol

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
)

var output sync.Mutex

type message struct {
	Name string `json:"name"`
	Data string `json:"data"`
	ID   string `json:"id"`
}

// URL is the stream to read.
func URL() string {
	return os.Args[1]
}

// Open reports an opened stream.
func Open() {
	line("open")
}

// Event reports a message that a library handed out.
func Event(name, data, id string) {
	if name == "" {
		name = "message"
	}
	text, err := json.Marshal(message{name, data, id})
	if err != nil {
		panic(err)
	}
	line("event " + string(text))
}

// Fault reports a fault for the reader of a failed test.
func Fault(err error) {
	if err != nil {
		line("fault " + strings.ReplaceAll(err.Error(), "\n", " "))
	}
}

func line(text string) {
	output.Lock()
	defer output.Unlock()
	fmt.Println(text)
}

// Client is an HTTP client that reports each opened stream, for libraries that do not.
func Client() *http.Client {
	return &http.Client{Transport: teller{}}
}

type teller struct{}

func (teller) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(request)
	if err == nil && response.StatusCode == http.StatusOK {
		Open()
	}
	return response, err
}
