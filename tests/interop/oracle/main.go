// Command oracle reads and writes Machinery's documents with Go's standard library, for differential tests.
//
// Its structs are written from docs/reference/protocol.md, and its reading of arguments from section 3 of that page and from the
// recordings in tests/golden; none of it is Machinery's code.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"

	"gearmesh/oracle/frames"
	"gearmesh/oracle/protocol"
)

// Arg is an argument (2.2).
type Arg struct {
	Name  string
	Type  string
	Value any
}

// Signature is a message (2.1).
type Signature struct {
	UUID                        string
	Name                        string
	RoutingKey                  string
	ETA                         *time.Time
	GroupUUID                   string
	GroupTaskCount              int
	Args                        []Arg
	Headers                     map[string]any
	Priority                    uint8
	Immutable                   bool
	RetryCount                  int
	RetryTimeout                int
	OnSuccess                   []*Signature
	OnError                     []*Signature
	ChordCallback               *Signature
	BrokerMessageGroupId        string
	SQSReceiptHandle            string
	StopTaskDeletionOnError     bool
	IgnoreWhenTaskNotRegistered bool
}

var plant = flag.String("plant", "", "change one thing, to see that it is found: b, 2028, amp, exponent, wrap, repeat")

func main() {
	flag.Parse()
	frames.Serve(answer)
}

func answer(verb byte, data []byte) frames.Answer {
	var text []byte
	var err error
	switch verb {
	case 'S':
		text, err = again(data, new(Signature))
	case 'T':
		state := new(protocol.State[any])
		text, err = again(data, state)
		for _, result := range state.Results {
			if result == nil && err == nil {
				err = errors.New("a result is null") // a nil pointer: Go falls over it when it looks at the result
			}
		}
	case 'G':
		group := new(protocol.Group)
		if text, err = again(data, group); err == nil && group.TaskUUIDs == nil {
			group.TaskUUIDs = []string{} // null and [] mean the same (4.6), and Python writes []
			text, err = json.Marshal(group)
		}
	case 's':
		text, err = json.Marshal(string(data))
	case 'd':
		text, err = json.Marshal(math.Float64frombits(binary.LittleEndian.Uint64(data)))
	case 'f':
		text, err = json.Marshal(math.Float32frombits(binary.LittleEndian.Uint32(data)))
	case 'A':
		kind, value, _ := bytes.Cut(data, []byte{0})
		return readArgument(string(kind), value)
	default:
		err = fmt.Errorf("no verb %q", verb)
	}
	if err != nil {
		return frames.Answer{Kind: frames.Error, Text: []byte(err.Error())}
	}
	return frames.Answer{Kind: frames.Value, Text: planted(text)}
}

// again decodes a document as a worker does, with numbers as they are, and encodes it.
func again(data []byte, into any) ([]byte, error) {
	if *plant == "repeat" {
		data = bytes.Replace(data, []byte(`"Name":`), []byte(`"Nam":`), 1)
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return nil, err
	}
	return json.Marshal(into)
}

// planted changes one escape, or one form of a number, if that was asked for.
func planted(text []byte) []byte {
	switch *plant {
	case "b":
		return bytes.ReplaceAll(text, []byte(`\b`), []byte(`\u0008`))
	case "2028":
		return bytes.ReplaceAll(text, []byte(`\u2028`), []byte("\u2028"))
	case "amp":
		return bytes.ReplaceAll(text, []byte(`\u0026`), []byte(`&`))
	case "exponent":
		return bytes.ReplaceAll(text, []byte(`e-7`), []byte(`e-07`))
	}
	return text
}

// readArgument reads a JSON value as an argument of a type (section 3), and writes what the task would get.
func readArgument(name string, raw []byte) frames.Answer {
	kind, isSlice, known := protocol.KindOf(name)
	if !known {
		return frames.Answer{Kind: frames.Error, Text: []byte(name + " is not one of supported types")}
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var node any
	if err := decoder.Decode(&node); err != nil {
		return frames.Answer{Kind: frames.Error, Text: []byte(err.Error())}
	}
	mangled := false
	var found reflect.Value
	var err error
	if isSlice {
		found, err = readSlice(kind, node, &mangled)
	} else {
		found, err = readScalar(kind, node, &mangled)
	}
	if err != nil {
		return frames.Answer{Kind: frames.Error, Text: []byte(err.Error())}
	}
	if mangled {
		return frames.Answer{Kind: frames.Mangled, Text: []byte(fmt.Sprint(found.Interface()))}
	}
	text, err := json.Marshal(plain(found))
	if err != nil {
		return frames.Answer{Kind: frames.Error, Text: []byte(err.Error())}
	}
	return frames.Answer{Kind: frames.Value, Text: text}
}

// plain lets bytes be written as a list of numbers, as other slices are.
func plain(value reflect.Value) any {
	if octets, ok := value.Interface().([]uint8); ok {
		list := make([]int, len(octets))
		for i, octet := range octets {
			list[i] = int(octet)
		}
		return list
	}
	return value.Interface()
}

func readSlice(kind reflect.Type, node any, mangled *bool) (reflect.Value, error) {
	slice := reflect.MakeSlice(reflect.SliceOf(kind), 0, 0)
	var elements []any
	switch v := node.(type) {
	case nil:
		return slice, nil // 3.4
	case bool:
		panic("reflect: call of reflect.Value.Len on bool Value") // 3.5
	case map[string]any:
		if len(v) == 0 {
			return slice, nil
		}
		panic("reflect: call of reflect.Value.Index on map Value") // 3.5
	case []any:
		elements = v
	case json.Number:
		// 3.3: a number is the bytes of its text.
		return readOctets(kind, []byte(v.String()))
	case string:
		if !protocol.Unsigned(kind) {
			return readOctets(kind, []byte(v))
		}
		octets, err := base64.StdEncoding.DecodeString(v) // 3.3
		if err != nil {
			return slice, err
		}
		return readOctets(kind, octets)
	}
	for _, each := range elements {
		element, err := readScalar(kind, each, mangled)
		if err != nil {
			return slice, err
		}
		slice = reflect.Append(slice, element)
	}
	return slice, nil
}

func readOctets(kind reflect.Type, octets []byte) (reflect.Value, error) {
	slice := reflect.MakeSlice(reflect.SliceOf(kind), 0, 0)
	for _, octet := range octets {
		if !protocol.Unsigned(kind) {
			return slice, fmt.Errorf("%v is not %v", octet, kind)
		}
		slice = reflect.Append(slice, reflect.ValueOf(octet).Convert(kind))
	}
	return slice, nil
}

func readScalar(kind reflect.Type, node any, mangled *bool) (reflect.Value, error) {
	found := reflect.New(kind).Elem()
	refused := fmt.Errorf("%v is not %v", node, kind)
	switch kind.Kind() {
	case reflect.Bool:
		value, ok := node.(bool)
		if !ok {
			return found, refused
		}
		found.SetBool(value)
		return found, nil
	case reflect.String:
		value, ok := node.(string)
		if !ok {
			return found, refused
		}
		found.SetString(value)
		return found, nil
	}
	number, ok := node.(json.Number)
	if !ok {
		return found, refused
	}
	switch {
	case kind.Kind() >= reflect.Int && kind.Kind() <= reflect.Int64:
		value, err := strconv.ParseInt(number.String(), 10, 64)
		if err != nil {
			return found, err
		}
		*mangled = *mangled || (found.OverflowInt(value) && *plant != "wrap") // 3.5: it wraps
		found.SetInt(value)
	case protocol.Unsigned(kind):
		value, err := strconv.ParseUint(number.String(), 10, 64)
		if err != nil {
			return found, err
		}
		*mangled = *mangled || found.OverflowUint(value)
		found.SetUint(value)
	default:
		value, err := strconv.ParseFloat(number.String(), 64)
		if err != nil {
			return found, err
		}
		*mangled = *mangled || (kind.Kind() == reflect.Float32 && math.IsInf(float64(float32(value)), 0)) // 3.5
		found.SetFloat(value)
	}
	return found, nil
}
