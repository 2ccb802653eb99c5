package main

import (
	"encoding/base64"
	"encoding/json"
	"reflect"

	"gearmesh/oracle/protocol"
)

// read gives the JSON of the value that a Go client gets of a result; null if it gets an error, or panics.
func read(result *protocol.Result[any]) (text json.RawMessage) {
	refused := json.RawMessage("null")
	defer func() {
		if recover() != nil {
			text = refused // 3.5: so does the client
		}
	}()
	kind, isSlice, known := protocol.KindOf(result.Type)
	if !known {
		return refused
	}
	var found any
	var ok bool
	if isSlice {
		found, ok = readSlice(kind, result.Value)
	} else {
		found, ok = readScalar(kind, result.Value)
	}
	if !ok {
		return refused
	}
	text, err := json.Marshal(found)
	if err != nil {
		return refused
	}
	return text
}

func readSlice(kind reflect.Type, value any) ([]any, bool) {
	slice := []any{}
	if value == nil {
		return slice, true // 3.4
	}
	if text, isText := value.(string); isText && protocol.Unsigned(kind) {
		octets, err := base64.StdEncoding.DecodeString(text) // 3.3
		if err != nil {
			return nil, false
		}
		value = octets
	}
	elements := reflect.ValueOf(value)
	for i := 0; i < elements.Len(); i++ {
		element, ok := readScalar(kind, elements.Index(i).Interface())
		if !ok {
			return nil, false
		}
		slice = append(slice, element)
	}
	return slice, true
}

// readScalar reads a value that DynamoDB's reader has made: numbers are floats, and no integer is read from one.
func readScalar(kind reflect.Type, value any) (any, bool) {
	switch given := value.(type) {
	case bool:
		return given, kind.Kind() == reflect.Bool
	case string:
		return given, kind.Kind() == reflect.String
	case float64:
		found := reflect.New(kind).Elem()
		if kind.Kind() != reflect.Float32 && kind.Kind() != reflect.Float64 {
			return nil, false
		}
		found.SetFloat(given)
		return found.Interface(), true
	case uint8:
		return given, protocol.Unsigned(kind)
	}
	return nil, false
}
