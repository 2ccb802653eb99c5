// Command stores reads and writes what MongoDB and DynamoDB keep of tasks, for differential tests.
//
// BSON is encoded and decoded by MongoDB's own driver for Go. The layouts of documents and items, and the reading of
// values, are written from sections 7.8 and 7.9 of docs/reference/protocol.md; none of it is Machinery's code.
package main

import (
	"encoding/json"
	"flag"
	"fmt"

	"gearmesh/oracle/frames"
	"gearmesh/oracle/protocol"
	"go.mongodb.org/mongo-driver/bson"
)

// Result, State and Group are as JSON has them.
type (
	Result = protocol.Result[json.RawMessage]
	State  = protocol.State[json.RawMessage]
	Group  = protocol.Group
)

var plant = flag.String("plant", "", "change one thing, to see that it is found: ms, base64, comma, number")

func main() {
	flag.Parse()
	frames.Serve(func(verb byte, data []byte) frames.Answer {
		text, err := answer(verb, data)
		if err != nil {
			return frames.Answer{Kind: frames.Error, Text: []byte(err.Error())}
		}
		return frames.Answer{Kind: frames.Value, Text: text}
	})
}

func answer(verb byte, data []byte) ([]byte, error) {
	switch verb {
	case 'B':
		return readDocument(data)
	case 'W':
		return writing(data, writeDocument)
	case 'b':
		return readGroupDocument(data)
	case 'w':
		return writing(data, writeGroupDocument)
	case 'D':
		return readItem(data)
	case 'I':
		return writing(data, writeItem)
	case 'd':
		return readGroupItem(data)
	case 'i':
		return writing(data, writeGroupItem)
	}
	return nil, fmt.Errorf("no verb %q", verb)
}

// writing decodes the JSON of a state or a group, and writes it.
func writing[T any](data []byte, write func(T) (any, error)) ([]byte, error) {
	var given T
	if err := json.Unmarshal(data, &given); err != nil {
		return nil, err
	}
	made, err := write(given)
	if err != nil {
		return nil, err
	}
	if document, ok := made.(bson.D); ok {
		return bson.Marshal(document)
	}
	return json.Marshal(made)
}
