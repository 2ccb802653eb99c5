// Command items reads items of DynamoDB that neither Machinery nor gearmesh has written, for differential tests.
//
// The AWS SDK's own attributevalue decodes them, as it does in a Go service. The structs, and the reading of typed values,
// are written from sections 3, 4 and 7.9 of docs/reference/protocol.md; none of it is Machinery's code.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"time"

	"gearmesh/oracle/frames"
	"gearmesh/oracle/protocol"
	"github.com/aws/aws-sdk-go-v2/feature/dynamodb/attributevalue"
)

// Read is a state, and for each of its results the value that a Go client gets; null: it gets an error.
type Read struct {
	State  protocol.State[any]
	Values []json.RawMessage
}

var plant = flag.String("plant", "", "change one thing, to see that it is found: case, set")

func main() {
	flag.Parse()
	time.Local = time.UTC // where a Unix time is told
	frames.Serve(func(verb byte, data []byte) frames.Answer {
		text, err := answer(verb, data)
		if err != nil {
			return frames.Answer{Kind: frames.Error, Text: []byte(err.Error())}
		}
		return frames.Answer{Kind: frames.Value, Text: text}
	})
}

func answer(verb byte, data []byte) ([]byte, error) {
	var given map[string]Attribute
	if err := json.Unmarshal(data, &given); err != nil {
		return nil, err
	}
	item := sdkItem(given)
	switch verb {
	case 'X':
		var found Read
		if err := attributevalue.UnmarshalMap(item, &found.State); err != nil {
			return nil, err
		}
		for _, each := range found.State.Results {
			found.Values = append(found.Values, read(each))
		}
		return json.Marshal(found)
	case 'Y':
		var found protocol.Group
		if err := attributevalue.UnmarshalMap(item, &found); err != nil {
			return nil, err
		}
		return json.Marshal(found)
	}
	return nil, fmt.Errorf("no verb %q", verb)
}
